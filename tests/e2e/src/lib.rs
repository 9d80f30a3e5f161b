//! End-to-end tests: whole nights with real processes, a real RabbitMQ and a real PostgreSQL, and the same nights
//! embedded in one process.
//!
//! Role: the harness that the tests of this crate stand on. A [`House`] is one test's own installation: a virtual host
//! and a database (or a directory), a sandbox SIS, worker processes, the command line.
//!
//! Neighbours: the `rollcall` binary, used from outside only; `rollcall-sandbox`, whose stories are the oracle. The
//! servers are started by `./test`, which names them in `ROLLCALL_TEST_…`.
//!
//! Invariants: a test that lacks its servers fails; nothing of one test is visible to another; whatever was started is
//! ended when its value is dropped; waiting is for a condition, with a limit.
//!
//! Deliberately absent: any use of Rollcall's own libraries. What these tests see is what an operator sees.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a harness fails by panicking")]

pub mod binary;
pub mod canaries;
pub mod cases;
pub mod cli;
pub mod collector;
pub mod deployed;
pub mod district;
pub mod house;
pub mod ledger;
pub mod local;
pub mod overheard;
pub mod pair;
pub mod points;
pub mod ports;
pub mod private;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod roster;
pub mod services;
pub mod small_disk;
pub mod svg;
pub mod waiting;
pub mod watch;

pub use cli::Answer;
pub use district::District;
pub use house::{House, Role};
pub use ledger::Ledger;
pub use pair::Pair;
pub use process::Process;
pub use proxy::Proxy;
pub use roster::RunRow;
pub use waiting::{until, until_told};
