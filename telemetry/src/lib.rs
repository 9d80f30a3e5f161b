//! How a process of Rollcall shows what it does.
//!
//! Role: where spans, metrics, log lines and health go; what they are is in `rollcall_proto::telemetry`. [`otlp`] sends
//! spans, [`recorder`] keeps metrics, [`figures`] looks at queues and districts, [`health`] judges, [`endpoint`] serves
//! both over HTTP, [`logs`] writes lines. Neighbours: the `rollcall` binary switches them on; nobody else depends on
//! this crate, so that no service knows an exporter.
//!
//! Invariants: a collector that is down or slow, or a scrape that hangs, costs nothing but a counter; liveness asks
//! neither database nor broker; no label is unbounded.
//!
//! Deliberately absent: logs and metrics over OTLP. Logs go to standard error, metrics are scraped.

pub mod endpoint;
pub mod figures;
pub mod health;
pub mod logs;
pub mod otlp;
pub mod recorder;
