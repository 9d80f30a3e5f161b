//! How often and how soon a SIS is asked again: pure state machines over a clock reading.
//!
//! Role: the circuit of each host, the reading of `Retry-After`, the waits between attempts.
//! Neighbours: [`crate::session`] asks before each request and reports after it.
//!
//! Deliberately absent: a rate of our own. W lanes a connection bound what a SIS sees.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
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

/// How long a circuit stays open before one request may try, and how long others wait for what becomes of it.
pub(crate) const OPEN_FOR: Duration = Duration::from_secs(15);

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

/// How a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As it is.
    Free,
    /// An open circuit's time is over: one request tries, and the others wait for what becomes of it ([`Circuits::trial`]). Turned
    /// away, they would take the one that tries with them, where two questions are asked at once and both are needed: the
    /// host would stay shut for ever.
    Trial,
}

impl Circuit {
    /// How a request may go now; `Err` says how long not.
    pub fn admit(&self, now: DateTime<Utc>) -> Result<Admission, Duration> {
        match self.open_until {
            Some(until) if now < until => Err((until - now).to_std().unwrap_or_default()),
            Some(_) => Ok(Admission::Trial),
            None => Ok(Admission::Free),
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

/// A host's circuit, and whose turn it is to try.
#[derive(Debug, Default)]
struct Host {
    circuit: Circuit,
    trial: Arc<tokio::sync::Mutex<()>>,
}

/// The circuits of all hosts.
#[derive(Debug, Default)]
pub struct Circuits(Mutex<HashMap<String, Host>>);

impl Circuits {
    /// Looks at or changes the circuit of `host`.
    pub fn with<T>(&self, host: &str, change: impl FnOnce(&mut Circuit) -> T) -> T {
        self.host(host, |host| change(&mut host.circuit))
    }

    /// Held by the one request that tries a host whose circuit has been open. Whoever is given up lets go of it.
    pub fn trial(&self, host: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.host(host, |host| Arc::clone(&host.trial))
    }

    fn host<T>(&self, host: &str, change: impl FnOnce(&mut Host) -> T) -> T {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !hosts.contains_key(host) {
            hosts.insert(host.to_owned(), Host::default());
        }
        change(hosts.entry(host.to_owned()).or_default())
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
            assert_eq!(circuit.admit(clock.now()), Ok(Admission::Free));
            circuit.failed(clock.now());
        }
        assert_eq!(circuit.admit(clock.now()), Err(OPEN_FOR));
        clock.advance(TimeDelta::seconds(15));
        assert_eq!(circuit.admit(clock.now()), Ok(Admission::Trial));
        circuit.failed(clock.now());
        assert_eq!(circuit.admit(clock.now()), Err(OPEN_FOR), "still down");
        clock.advance(TimeDelta::seconds(15));
        assert_eq!(circuit.admit(clock.now()), Ok(Admission::Trial));
        circuit.succeeded();
        assert_eq!(circuit, Circuit::default());
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
        assert_eq!(circuit.admit(clock.now()), Ok(Admission::Free));
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
