//! What Rollcall's services say to each other, and over what.
//!
//! Role: identifiers, the roster's records, messages with their MessagePack codec, the broker topology, and the
//! [`bus::Bus`] contract with its two implementations (RabbitMQ, and SQLite for one machine).
//!
//! Neighbours: every service and `store` depend on this crate; it depends on none of them.
//!
//! Invariants: a message once published can be decoded for ever (golden samples); a message is never dropped, only
//! done, retried later or parked; no student fact is part of a queue name, a routing key, a header or an error text.
//!
//! Deliberately absent: decisions. What a message means is the services' business.

pub mod bus;
pub mod chain;
pub mod clock;
pub mod codec;
pub mod date;
pub mod failpoint;
pub mod handler;
pub mod id;
pub mod message;
pub mod packed;
pub mod private;
pub mod roster;
pub mod telemetry;
pub mod topology;
pub mod trace;
