//! How Rollcall reads a student information system, and what it means.
pub mod assemble;
pub mod batch;
pub mod completeness;
pub mod decode;
pub mod diff;
pub mod fingerprint;
pub mod fragment;
pub mod hold;
pub mod load;
pub mod overlay;
pub mod plan;
pub mod recheck;
pub mod status;
pub mod view;
