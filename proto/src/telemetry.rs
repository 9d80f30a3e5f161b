//! What every service tells of its work: spans by OpenTelemetry's conventions, metrics, and whether it consumes.
//!
//! Role: the names and shapes, in one place; docs/METRICS.md and docs/TRACING.md describe them. Neighbours: the buses,
//! the worker loop, the HTTP client and the store call in here; the binary says where it all goes (`rollcall-telemetry`).
//!
//! Invariants: with nothing switched on, a call costs a load of one atomic and returns; nothing here can fail, wait or
//! block; no student fact becomes an attribute or a label; labels are bounded.
//!
//! Deliberately absent: exporters, and `tracing` spans: the ids of messages and runs are the ids of spans
//! ([`crate::trace`]), which only the OpenTelemetry API lets us say.

pub mod consuming;
pub mod messaging;
pub mod metric;
pub mod span;

pub use span::{Spanned, Whose};

use std::sync::atomic::{AtomicBool, Ordering};

static MEASURED: AtomicBool = AtomicBool::new(false);

/// From here on metrics go somewhere.
pub fn measure() {
    MEASURED.store(true, Ordering::Relaxed);
}

/// Whether anybody looks: work that only telemetry wants is done only then.
pub fn is_on() -> bool {
    MEASURED.load(Ordering::Relaxed) || span::is_on()
}

/// Takes the current trace along to another thread, for work that leaves the runtime.
pub fn carried<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let context = opentelemetry::Context::current();
    move || {
        let _current = context.attach();
        work()
    }
}
