//! The stand-ins, asked as a client would ask them: one program with a module for each subject.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod campus;
mod common;
mod protocol;
mod quirks;
mod world;
