//! Trace context as the W3C writes it (<https://www.w3.org/TR/trace-context/>).
//!
//! One trace for each run: the trace id is the run's UUID. A message's span id is taken from its own id and its
//! parent's from the message that caused it, so the whole tree of a run can be told from the messages alone, and a
//! message that is handled twice is the same span twice.
//!
//! Deliberately absent: an exporter. Spans are written by `tracing`; who exports them is the binary's business.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::{id::RunId, message::Message};

/// The header, and the column of the embedded bus.
pub const HEADER: &str = "traceparent";

/// A place in a trace. Neither id is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct TraceError;

impl TraceContext {
    /// The root of a run's trace.
    pub fn of_run(run: RunId) -> Self {
        Self { trace: run.0.as_u128().max(1), span: span_of(run.0), sampled: true }
    }

    /// The span of a message: of its publishing, and what its handling is a child of.
    pub fn of_message(message: &Message) -> Self {
        Self::of_run(message.run).child(message.id)
    }

    /// The span that the message's publisher was in: that of the causing message, or the run's root.
    pub fn parent_of(message: &Message) -> Self {
        let root = Self::of_run(message.run);
        message.cause.map_or(root, |cause| root.child(cause))
    }

    /// A span in the same trace, named by something's own id.
    pub fn child(self, id: Uuid) -> Self {
        Self { span: span_of(id), ..self }
    }

    /// The trace's id as a number.
    pub(crate) const fn trace_number(self) -> u128 {
        self.trace
    }

    /// The span's id as a number.
    pub(crate) const fn span_number(self) -> u64 {
        self.span
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// 16 hexadecimal digits.
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span)
    }
}

/// The low half of a UUID: random in versions 4 and 7.
fn span_of(id: Uuid) -> u64 {
    id.as_u64_pair().1.max(1)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl FromStr for TraceContext {
    type Err = TraceError;

    fn from_str(text: &str) -> Result<Self, TraceError> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits).ok_or(TraceError)?;
            let lowercase = part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            if lowercase { Ok(part) } else { Err(TraceError) }
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // A later version may append parts; version ff is forbidden, and version 00 has exactly four.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(TraceError);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| TraceError)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| TraceError)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| TraceError)?;
        if trace == 0 || span == 0 {
            return Err(TraceError);
        }
        Ok(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_and_writes_the_same_text() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(context.to_string(), EXAMPLE);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id(), "00f067aa0ba902b7");
    }

    #[test]
    fn refuses_what_the_recommendation_forbids() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(TraceError), "{text}");
        }
        assert!("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x".parse::<TraceContext>().is_ok());
    }

    #[test]
    fn a_runs_trace_is_its_id() {
        let run = RunId(Uuid::parse_str("0193a5b0-0000-7000-8000-0000000000aa").unwrap());
        assert_eq!(TraceContext::of_run(run).trace_id(), run.0.simple().to_string());
        assert_eq!(TraceContext::of_run(run).child(Uuid::nil()).span_id(), "0000000000000001");
    }
}
