//! How often and how soon a SIS is asked again: pure state machines over a clock reading.
//!
//! Role: the circuit of each host, the reading of `Retry-After`, the waits between attempts.
//! Neighbours: [`crate::session`] asks before each request and reports after it.
//!
//! Deliberately absent: a rate of our own. W lanes a connection bound what a SIS sees.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};

use crate::net::http_date;

/// Longest wait that a SIS may impose.
pub const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// A wait up to this long is sat out; a longer one goes back to the bus, so that no fetcher is blocked.
pub const SHORT_WAIT: Duration = Duration::from_secs(2);

/// The wait where a SIS says "too many requests" without saying until when.
const UNNAMED_WAIT: Duration = Duration::from_secs(5);

/// Failures in a row that open a circuit.
const FAILURES: u32 = 5;

/// How long a circuit stays open before one request may try.
const OPEN_FOR: Duration = Duration::from_secs(15);

/// Reads `Retry-After`: seconds or an HTTP date (RFC 9110, 10.2.3). Never more than [`LONGEST_WAIT`].
pub fn retry_after(header: Option<&str>, now: DateTime<Utc>) -> Option<Duration> {
    let text = header?.trim();
    let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
    let wait = seconds.or_else(|| Some((http_date(text)? - now).to_std().unwrap_or_default()))?;
    Some(wait.min(LONGEST_WAIT))
}

/// How long to stay away after 429, or a 503 that names a time; `None` where the status is an ordinary failure.
pub fn told_to_wait(status: u16, header: Option<&str>, now: DateTime<Utc>) -> Option<Duration> {
    match status {
        429 => Some(retry_after(header, now).unwrap_or(UNNAMED_WAIT)),
        503 => retry_after(header, now),
        _ => None,
    }
}

/// The wait after attempt number `attempt` (from 0) failed: doubling, or quadrupling for the patient, with jitter of
/// half its length so that a SIS that comes back is not met by everybody at once. `dice` is from 0 to 1.
pub fn pause(attempt: u32, patient: bool, dice: f64) -> Duration {
    let factor: u64 = if patient { 4 } else { 2 };
    let seconds = factor.saturating_pow(attempt).min(LONGEST_WAIT.as_secs());
    Duration::from_secs(seconds).mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0)
}

/// The state of a host's circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Circuit {
    failures: u32,
    open_until: Option<DateTime<Utc>>,
}

impl Circuit {
    /// Whether a request may go now; `Err` says how long not. When an open circuit's time is over, one request may
    /// try, and the others stay away until it is back.
    pub fn admit(&mut self, now: DateTime<Utc>) -> Result<(), Duration> {
        match self.open_until {
            Some(until) if now < until => Err((until - now).to_std().unwrap_or_default()),
            Some(_) => {
                self.open_until = Some(now + OPEN_FOR);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A request was answered: the host is up.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A request failed.
    pub fn failed(&mut self, now: DateTime<Utc>) {
        self.failures += 1;
        if self.failures >= FAILURES {
            self.open_until = Some(now + TimeDelta::from_std(OPEN_FOR).unwrap_or_default());
        }
    }
}

/// The circuits of all hosts.
#[derive(Debug, Default)]
pub struct Circuits(Mutex<HashMap<String, Circuit>>);

impl Circuits {
    /// Looks at or changes the circuit of `host`.
    pub fn with<T>(&self, host: &str, change: impl FnOnce(&mut Circuit) -> T) -> T {
        let mut circuits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !circuits.contains_key(host) {
            circuits.insert(host.to_owned(), Circuit::default());
        }
        change(circuits.entry(host.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rollcall_proto::clock::{Clock as _, ManualClock};

    use super::*;

    fn clock() -> ManualClock {
        ManualClock::new(DateTime::from_timestamp(1_760_000_000, 0).unwrap())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_capped() {
        let now = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let cases = [
            (Some("0"), Some(0)),
            (Some(" 7 "), Some(7)),
            (Some("100000"), Some(300)),
            (Some("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10)),
            (Some("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0)),
            (Some("Mon, 07 Nov 1994 08:49:37 GMT"), Some(300)),
            (Some("soon"), None),
            (Some("-5"), None),
            (None, None),
        ];
        for (header, seconds) in cases {
            assert_eq!(retry_after(header, now), seconds.map(Duration::from_secs), "{header:?}");
        }
    }

    #[test]
    fn only_429_and_a_503_with_a_time_are_waits() {
        let now = clock().now();
        assert_eq!(told_to_wait(429, None, now), Some(UNNAMED_WAIT));
        assert_eq!(told_to_wait(429, Some("3"), now), Some(Duration::from_secs(3)));
        assert_eq!(told_to_wait(503, Some("3"), now), Some(Duration::from_secs(3)));
        assert_eq!(told_to_wait(503, None, now), None);
        assert_eq!(told_to_wait(500, Some("3"), now), None);
    }

    #[test]
    fn a_circuit_opens_lets_one_try_and_closes() {
        let clock = clock();
        let mut circuit = Circuit::default();
        for _ in 0..FAILURES {
            assert_eq!(circuit.admit(clock.now()), Ok(()));
            circuit.failed(clock.now());
        }
        assert_eq!(circuit.admit(clock.now()), Err(OPEN_FOR));
        clock.advance(TimeDelta::seconds(15));
        assert_eq!(circuit.admit(clock.now()), Ok(()), "one may try");
        assert!(circuit.admit(clock.now()).is_err(), "the others stay away");
        circuit.failed(clock.now());
        assert_eq!(circuit.admit(clock.now()), Err(OPEN_FOR), "still down");
        clock.advance(TimeDelta::seconds(15));
        assert_eq!(circuit.admit(clock.now()), Ok(()));
        circuit.succeeded();
        assert_eq!(circuit, Circuit::default());
    }

    #[test]
    fn a_try_that_never_comes_back_does_not_block_a_host_for_ever() {
        let clock = clock();
        let mut circuit = Circuit { failures: FAILURES, open_until: Some(clock.now()) };
        assert_eq!(circuit.admit(clock.now()), Ok(()));
        clock.advance(TimeDelta::seconds(15));
        assert_eq!(circuit.admit(clock.now()), Ok(()));
    }

    #[test]
    fn a_success_in_between_keeps_the_circuit_closed() {
        let clock = clock();
        let mut circuit = Circuit::default();
        for _ in 0..10 {
            circuit.failed(clock.now());
            circuit.failed(clock.now());
            circuit.succeeded();
        }
        assert_eq!(circuit.admit(clock.now()), Ok(()));
    }

    #[test]
    fn hosts_have_circuits_of_their_own() {
        let (circuits, now) = (Circuits::default(), clock().now());
        for _ in 0..FAILURES {
            circuits.with("a.example", |circuit| circuit.failed(now));
        }
        assert!(circuits.with("a.example", |circuit| circuit.admit(now)).is_err());
        assert!(circuits.with("b.example", |circuit| circuit.admit(now)).is_ok());
    }

    proptest! {
        #[test]
        fn pauses_grow_and_end(attempt in 0_u32..40, patient: bool, dice in 0.0..1.0_f64) {
            let wait = pause(attempt, patient, dice);
            prop_assert!(wait <= LONGEST_WAIT);
            prop_assert!(wait >= Duration::from_millis(500));
            prop_assert!(pause(attempt + 1, patient, 0.0) >= pause(attempt, patient, 0.0));
        }
    }
}
