//! How Rollcall reads a student information system, and what it means.
pub mod decode;
pub mod fragment;
pub mod completeness;
pub mod hold;
pub mod status;
