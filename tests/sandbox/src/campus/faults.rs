//! What may go wrong with a Campus, switched on by tests.

/// Faults in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CampusFaults {
    /// Nothing is served: 503 for everything, tokens included.
    pub outage: bool,
    /// The vendor pair is refused (401), whatever it is.
    pub vendor_refused: bool,
    /// After so many accepted writes every further call is answered with 503.
    pub outage_after_writes: Option<u64>,
    /// Who asks for one participation by its id is answered with this status.
    pub refuses_one: Option<u16>,
    /// Who asks for one of these participations by its id is told that it was deleted.
    pub deleted: Vec<String>,
    /// The next so many writes wait, each until it is let go.
    pub hold_writes: u32,
    /// What strikes, the first that matches.
    pub strikes: Vec<Strike>,
    /// What befalls the next request for a token: a status, or else a broken connection.
    pub token: Option<CampusFault>,
}

/// A fault that strikes calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    /// What happens.
    pub fault: CampusFault,
    /// Only writes; reads go well.
    pub writes_only: bool,
    /// Only of the flag whose id, or whose student's id, is this; or of lists that are filtered by this.
    pub only: Option<String>,
    /// So many times; always where it is not given.
    pub times: Option<u32>,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CampusFault {
    /// It is done, and the connection breaks before the answer is through.
    LostAnswer,
    /// It is not done, and answered with this status.
    Status(u16),
    /// 429 with so many seconds in `Retry-After`.
    TooMany(u32),
    /// The right answer, cut in the middle.
    Cut,
    /// A list ends after so many rows, as if there were no more; nothing befalls another call.
    Torn(usize),
}

/// Faults, and how often each has struck.
#[derive(Debug, Default)]
pub(super) struct Struck {
    pub(super) faults: CampusFaults,
    /// Writes that had to wait.
    pub(super) held: u32,
    times: Vec<u32>,
}

impl Struck {
    pub(super) fn new(faults: CampusFaults) -> Self {
        let times = vec![0; faults.strikes.len()];
        Self { faults, held: 0, times }
    }

    /// Whether the next write waits.
    pub(super) fn hold(&mut self) -> bool {
        let is_held = self.held < self.faults.hold_writes;
        self.held += u32::from(is_held);
        is_held
    }

    /// The fault that strikes a call, if any. `about`: ids that the call names.
    pub(super) fn strike(&mut self, is_write: bool, about: &[&str]) -> Option<CampusFault> {
        for (strike, struck) in self.faults.strikes.iter().zip(&mut self.times) {
            let concerns = strike.only.as_deref().is_none_or(|id| about.iter().any(|one| one.eq_ignore_ascii_case(id)));
            let matches = (is_write || !strike.writes_only) && concerns;
            if matches && strike.times.is_none_or(|times| *struck < times) {
                *struck += 1;
                return Some(strike.fault);
            }
        }
        None
    }
}
