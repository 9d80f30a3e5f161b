//! What becomes of a message whose request failed. Pure, but for the dice of the pause.

use std::time::Duration;

use rollcall_proto::{handler::Fate, topology::ATTEMPTS};

use crate::{
    error::{FetchError, Remedy, SisError},
    limits::pause,
};

/// Attempts that a run gets whose person is waiting; a scheduled one gets all that the bus allows.
const IMPATIENT_ATTEMPTS: u32 = 5;

/// What follows a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Again(Duration),
    Wait(Duration),
    GiveUp,
}

/// Decides by the error, the attempts so far, and whether somebody is waiting. Who is turned away from a host at which others
/// failed comes back when it may be tried, and has had an attempt: where many listings fail at once, one try at a time for all of them
/// would last for ever.
pub(crate) fn next_step(error: &SisError, attempt: u32, patient: bool) -> Step {
    let most = if patient { ATTEMPTS - 1 } else { IMPATIENT_ATTEMPTS };
    match error.remedy() {
        Remedy::GiveUp => Step::GiveUp,
        Remedy::Wait(after) => Step::Wait(after),
        Remedy::Again if attempt >= most => Step::GiveUp,
        Remedy::Again => {
            let pause = pause(attempt, patient, fastrand::f64());
            let closed = if let SisError::CircuitOpen { after, .. } = error { *after } else { Duration::ZERO };
            Step::Again(pause.max(closed))
        }
    }
}

/// A wait that the SIS named costs no attempt.
pub(crate) fn later(error: &SisError, after: Duration, waits: bool) -> Fate {
    let detail = error.to_string();
    if waits { Fate::wait(error.code(), detail, after) } else { Fate::retry(error.code(), detail, after) }
}

/// A store or bus that is away is waited for; nobody waits for what belongs to an erased district or run; anything else of
/// theirs is a person's business.
pub(crate) fn trouble(error: &FetchError) -> Fate {
    let detail = crate::chain(error);
    if error.is_unknown() {
        tracing::info!(why = detail, "a message of what is not known here, or was erased, is done");
        return Fate::Done;
    }
    if error.is_transient() {
        Fate::wait("infrastructure-away", detail, Duration::from_secs(2))
    } else {
        Fate::retry("infrastructure-refused", detail, Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect() -> SisError {
        SisError::Connect { host: "h".to_owned() }
    }

    #[test]
    fn what_follows_a_failure() {
        let busy = SisError::Busy { host: "h".to_owned(), status: 429, after: Duration::from_secs(90) };
        let refused = SisError::AccessRefused { what: "w".to_owned(), status: 403 };
        let open = SisError::CircuitOpen { host: "h".to_owned(), after: Duration::from_secs(14) };
        assert!(matches!(next_step(&connect(), 0, false), Step::Again(after) if after <= Duration::from_secs(1)));
        assert!(matches!(next_step(&connect(), IMPATIENT_ATTEMPTS, true), Step::Again(_)));
        assert_eq!(next_step(&connect(), IMPATIENT_ATTEMPTS, false), Step::GiveUp);
        assert_eq!(next_step(&connect(), ATTEMPTS - 1, true), Step::GiveUp);
        assert_eq!(next_step(&busy, 0, false), Step::Wait(Duration::from_secs(90)));
        assert_eq!(next_step(&refused, 0, true), Step::GiveUp);
        assert_eq!(next_step(&open, 0, false), Step::Again(Duration::from_secs(14)));
        assert!(matches!(next_step(&open, ATTEMPTS - 2, true), Step::Again(after) if after > Duration::from_mins(2)));
        assert_eq!(next_step(&open, IMPATIENT_ATTEMPTS, false), Step::GiveUp);
    }
}
