//! The HTTP side, asked from outside: one program with a module for each subject.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod attacks;
mod browser;
mod documents_api;
mod flags_api;
mod independent_platform;
mod key_sets;
mod launch;
mod limits;
mod support;
