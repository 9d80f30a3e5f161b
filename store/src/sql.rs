//! SQL, with the engines' differences kept small.
//!
//! Role: typed arguments ([`Arg`]), rows ([`Row`]) and transactions ([`Tx`]) over PostgreSQL and SQLite, so that a
//! query which both engines understand is written once, with `$1` placeholders on both.
//!
//! Invariants: no work outside a transaction; every transaction over tenant rows names its district (see
//! [`Store::begin`](crate::Store)); an error never carries a value.
//!
//! Deliberately absent: query building. SQL is literal text; where the engines differ, the caller asks
//! [`Tx::is_postgres`] and has two texts.

mod arg;
mod connect;
mod fault;
mod many;
mod migrate;
mod patience;
mod row;
mod told;
mod tx;

pub(crate) use arg::{Arg, args};
pub use connect::{CommitGate, is_this_machine};
pub(crate) use connect::{Engine, is_private};
pub(crate) use fault::{fault, is_of_the_database};
pub(crate) use many::ManyRows;
pub(crate) use migrate::postgres as migrate_postgres;
pub(crate) use patience::within;
pub(crate) use row::Row;
pub(crate) use told::{Told, finish};
pub(crate) use tx::Tx;
