//! What a simulation is started with.

use crate::sis::weather::SisWeather;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Decides everything.
    pub seed: u64,
    /// Nights with faults, before the undisturbed one.
    pub nights: usize,
    /// Students of each district on the first day.
    pub students: u64,
    /// Districts whose rosters are pulled, classified and written.
    pub rosters: bool,
    /// Districts with flags.
    pub flags: bool,
    /// No fault at all: what the disturbed districts are compared with.
    pub undisturbed: bool,
    /// A piece that is broken on purpose, to see that it is found out.
    pub sabotage: Option<Sabotage>,
}

impl Settings {
    /// A few nights of three small districts; in every fifth seed with two more that have flags, so that the others are as they
    /// were.
    pub const fn new(seed: u64) -> Self {
        let flags = seed % 5 == 2;
        Self { seed, nights: 2, students: 16, rosters: true, flags, undisturbed: false, sabotage: None }
    }

    /// A few days of two districts with flags, and nothing else.
    pub const fn of_flags(seed: u64) -> Self {
        Self { seed, nights: 4, students: 0, rosters: false, flags: true, undisturbed: false, sabotage: None }
    }

    pub(crate) const fn undisturbed(self) -> Self {
        Self { undisturbed: true, sabotage: None, ..self }
    }

    /// How often a command's last message is lost, per mille.
    pub(crate) const fn terminal_closed(&self) -> u64 {
        if self.undisturbed { 0 } else { 200 }
    }

    /// Whether clocks of processes are wrong, and step: in every fourth seed, so that the others are as they were.
    pub(crate) const fn clocks_step(&self) -> bool {
        !self.undisturbed && self.seed.is_multiple_of(4)
    }

    /// Whether a run that nobody can read stands before all others, for ever: in every eighth seed.
    pub(crate) const fn has_poison(&self) -> bool {
        !self.undisturbed && self.seed.is_multiple_of(8)
    }

    pub(crate) fn no_reconciler(&self) -> bool {
        self.sabotage == Some(Sabotage::NobodyReconciles)
    }

    /// Percent of students that may be taken out without a hold.
    pub(crate) fn most_removed(&self) -> u32 {
        if self.sabotage == Some(Sabotage::NothingIsHeld) { 100 } else { 10 }
    }

    /// Weather in which it matters that the piece is broken, once a roster is stored.
    pub(crate) fn spoil(&self, weather: &mut SisWeather, night: usize) {
        if night > 0 && self.sabotage == Some(Sabotage::NothingIsHeld) {
            *weather = SisWeather { most_missing: true, ..SisWeather::default() };
        }
    }
}

/// A piece that does not do what others rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The store forgets that a batch was written: a message that comes again is written again.
    SettlingForgotten,
    /// No plan is held for what it would take out.
    NothingIsHeld,
    /// Nobody looks after what was lost.
    NobodyReconciles,
    /// The store makes enrolled students whom it changes ones that are about to come.
    EnrolledGoBack,
    /// The store deletes students who have left.
    WhoLeftIsDeleted,
    /// A flag that somebody edited is pushed again, whatever the district wants.
    EditsAreWrittenOver,
}

impl Sabotage {
    /// Done to the store.
    pub(crate) const fn statement(self) -> Option<&'static str> {
        match self {
            Self::SettlingForgotten => Some(
                "CREATE TRIGGER sabotage AFTER UPDATE OF settled_at ON plan_batch WHEN NEW.settled_at IS NOT NULL \
                 BEGIN UPDATE plan_batch SET settled_at = NULL \
                 WHERE district = NEW.district AND run = NEW.run AND batch = NEW.batch; END",
            ),
            Self::EnrolledGoBack => Some(
                "CREATE TRIGGER sabotage AFTER UPDATE ON student WHEN OLD.status = 'ENROLLED' AND NEW.status = 'ENROLLED' \
                 BEGIN UPDATE student SET status = 'PRE_ENROLLED' \
                 WHERE district = NEW.district AND student_id = NEW.student_id; END",
            ),
            Self::WhoLeftIsDeleted => Some(
                "CREATE TRIGGER sabotage AFTER UPDATE ON student WHEN NEW.status IN ('INACTIVE', 'GRADUATED') \
                 BEGIN DELETE FROM student WHERE district = NEW.district AND student_id = NEW.student_id; END",
            ),
            Self::EditsAreWrittenOver => Some(
                "CREATE TRIGGER sabotage AFTER UPDATE ON flag WHEN NEW.state = 'drift' AND NOT NEW.due \
                 BEGIN UPDATE flag SET due = 1, why = 'restore' WHERE district = NEW.district AND flag = NEW.flag; END",
            ),
            Self::NothingIsHeld | Self::NobodyReconciles => None,
        }
    }
}
