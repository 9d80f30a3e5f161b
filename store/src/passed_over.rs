//! Looking after many, one after the other: what is wrong with one keeps nobody behind it waiting.
//!
//! Role: tells of those that could not be looked after, in the log and by a metric, and says when the trouble is no longer
//! theirs. Neighbours: the reconcilers of the services, and what deletes what has aged out.

use rollcall_proto::{
    chain::chain,
    id::{DistrictId, RunId},
    telemetry::metric,
};

/// So many in a row that were away: it is the store, and whoever is next would only wait for it too.
const AWAY: u32 = 3;

/// What was to be done, as the metric has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// Making the runs that are due.
    Schedule,
    /// What open runs owe in fetching.
    Fetching,
    /// What open runs owe in planning and writing.
    Planning,
    /// Flags that are due.
    Flags,
    /// Deleting what has been kept long enough.
    Retention,
}

impl Chore {
    const fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Fetching => "fetching",
            Self::Planning => "planning",
            Self::Flags => "flags",
            Self::Retention => "retention",
        }
    }
}

/// Those of one look that were passed over.
#[derive(Debug)]
pub struct PassedOver {
    chore: Chore,
    count: u32,
    away: u32,
}

impl PassedOver {
    /// None yet.
    pub const fn none(chore: Chore) -> Self {
        Self { chore, count: 0, away: 0 }
    }

    /// How many.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Somebody was looked after.
    pub const fn looked_after(&mut self) {
        self.away = 0;
    }

    /// Tells whom `error` kept from being looked after, and gives it back. `passes`: it may pass by itself.
    ///
    /// # Errors
    /// The same error, where so many in a row were away that it is not theirs.
    pub fn note<E: std::error::Error>(
        &mut self,
        (district, run): (&DistrictId, Option<RunId>),
        error: E,
        passes: bool,
    ) -> Result<E, E> {
        let (chore, text) = (self.chore.word(), chain(&error));
        let of_run = run.as_ref().map(tracing::field::display);
        if passes {
            tracing::warn!(%district, run = of_run, chore, error = text, "not looked after; again soon, and the others now");
        } else {
            tracing::error!(
                %district, run = of_run, chore, error = text,
                "it cannot be looked after, and a person has to see why; the others are (`rollcall reconcile --check`)"
            );
        }
        metrics::counter!(metric::PASSED_OVER, "chore" => chore).increment(1);
        self.count += 1;
        self.away = if passes { self.away + 1 } else { 0 };
        if self.away < AWAY { Ok(error) } else { Err(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreError;

    fn damaged() -> StoreError {
        StoreError::Corrupt { what: "value", detail: "ends too early".to_owned() }
    }

    #[test]
    fn what_is_wrong_with_one_is_never_everybodys_and_a_store_that_is_away_is() {
        let district: DistrictId = "d".parse().unwrap();
        let mut passed = PassedOver::none(Chore::Fetching);
        for _ in 0..10 {
            passed.note((&district, None), damaged(), false).unwrap();
        }
        assert_eq!(passed.count(), 10);
        let mut away = || passed.note((&district, None), damaged(), true);
        assert!(away().is_ok() && away().is_ok(), "two whose rows are locked");
        assert!(away().is_err());
        passed.looked_after();
        assert!(passed.note((&district, None), damaged(), true).is_ok());
    }
}
