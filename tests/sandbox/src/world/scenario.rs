//! What befalls each student: the scenario by which a student is made, and what changes from night to night.
//!
//! The status each scenario must end in is written down here beside its story, by hand. It is the tests' oracle, so
//! nothing in it looks at dates: those are made by [`super::spell`] to fit the story.

use serde::Serialize;

/// A student's story on night 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// One open enrollment of this year.
    Current,
    /// Ended last year with the year, open this year.
    CurrentWithHistory,
    /// Left one school this year and entered another.
    ChangedSchool,
    /// At the home school, with a course elsewhere (code CECS).
    CourseElsewhere,
    /// Enrolled this year and, upcoming, next year.
    CurrentAndNext,
    /// Of last year's enrollment, which ends after today.
    OldYearStillInForce,
    /// Enters soon, never here before.
    FutureOnly,
    /// Left lately, comes back soon: over the summer.
    PastAndFuture,
    /// Left with the graduation code.
    Graduated,
    /// Graduated first, then came back and left otherwise.
    GraduatedThenLeft,
    /// Left with another code.
    Withdrawn,
    /// Left, with a course elsewhere still going on (code CECS).
    WithdrawnWithCourseElsewhere,
    /// Dropped as a no-show some days after the start.
    NoShow,
    /// Left more than a year ago.
    LongGone,
    /// Never enrolled.
    NoEnrollment,
    /// Last year's enrollment was never closed.
    OldYearLeftOpen,
    /// Enters next school year.
    NextYearOnly,
    /// Listed first on a later night, enrolled since yesterday.
    Newcomer,
    /// Listed first on a later night, entering soon.
    NewcomerFuture,
    /// Enters today.
    EntersToday,
    /// Enters tomorrow.
    EntersTomorrow,
    /// Today is the last day.
    LeavesToday,
    /// Left a year ago to the day.
    LeftAYearAgo,
    /// Left a year and a day ago.
    LeftAYearAndADayAgo,
}

/// Status of a student who is not imported: never seen, and nothing counts.
pub const SKIPPED: &str = "SKIPPED";

use Scenario::{
    ChangedSchool, CourseElsewhere, Current, CurrentAndNext, CurrentWithHistory, EntersToday, EntersTomorrow,
    FutureOnly, Graduated, GraduatedThenLeft, LeavesToday, LeftAYearAgo, LeftAYearAndADayAgo, LongGone, Newcomer,
    NewcomerFuture, NextYearOnly, NoEnrollment, NoShow, OldYearLeftOpen, OldYearStillInForce, PastAndFuture, Withdrawn,
    WithdrawnWithCourseElsewhere,
};

/// How many of a thousand students have each story; the rest are [`Scenario::Current`].
const SHARES: [(u16, Scenario); 16] = [
    (60, CurrentWithHistory),
    (20, ChangedSchool),
    (15, CourseElsewhere),
    (10, CurrentAndNext),
    (2, OldYearStillInForce),
    (20, FutureOnly),
    (12, PastAndFuture),
    (25, Graduated),
    (3, GraduatedThenLeft),
    (20, Withdrawn),
    (4, WithdrawnWithCourseElsewhere),
    (8, NoShow),
    (10, LongGone),
    (6, NoEnrollment),
    (3, OldYearLeftOpen),
    (5, NextYearOnly),
];

const EDGES: [Scenario; 5] = [EntersToday, EntersTomorrow, LeavesToday, LeftAYearAgo, LeftAYearAndADayAgo];

impl Scenario {
    /// The story of a student with this hash.
    pub(crate) fn of(hash: u64, edge_dates: bool) -> Self {
        if edge_dates && hash.is_multiple_of(25) {
            return EDGES[(hash / 25 % 5) as usize];
        }
        let mut left = (hash >> 20) % 1000;
        for (share, scenario) in SHARES {
            match left.checked_sub(u64::from(share)) {
                Some(rest) => left = rest,
                None => return scenario,
            }
        }
        Current
    }

    /// The status after a first run with the default settings (`school_years = "current"`, last day enrolled).
    pub const fn status(self) -> &'static str {
        match self {
            Current | CurrentWithHistory | ChangedSchool | CourseElsewhere | CurrentAndNext | OldYearStillInForce
            | PastAndFuture | Newcomer | EntersToday | LeavesToday => "ENROLLED",
            FutureOnly | NewcomerFuture | EntersTomorrow => "PRE_ENROLLED",
            Graduated => "GRADUATED",
            GraduatedThenLeft | Withdrawn | WithdrawnWithCourseElsewhere | NoShow | LeftAYearAgo => "INACTIVE",
            LongGone | NoEnrollment | OldYearLeftOpen | NextYearOnly | LeftAYearAndADayAgo => SKIPPED,
        }
    }

    /// Whether withdrawals, graduations and moves can befall the student: one open enrollment of this year.
    const fn is_plain(self) -> bool {
        matches!(self, Current | CurrentWithHistory | Newcomer)
    }
}

/// What happened to a student between two nights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Newly listed.
    Added,
    /// Another last name.
    Renamed,
    /// A new or other phone number.
    NewPhone,
    /// At another school since yesterday.
    MovedSchool,
    /// Left.
    Withdrawn,
    /// Left with the graduation code.
    Graduated,
    /// No longer listed.
    Removed,
}

impl Change {
    /// What befalls a student who is touched, by hash.
    fn of(hash: u64, scenario: Scenario) -> Self {
        match (hash % 100, scenario.is_plain()) {
            (30..55, _) => Self::NewPhone,
            (55..62, _) => Self::Removed,
            (62..80, true) => Self::MovedSchool,
            (80..93, true) => Self::Withdrawn,
            (93.., true) => Self::Graduated,
            (0..30, _) | (_, false) => Self::Renamed,
        }
    }
}

/// How a student left after night 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    Withdrawn,
    Graduated,
}

/// A student as of one night.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    pub(crate) scenario: Scenario,
    /// Last names changed so far.
    pub(crate) renames: u8,
    /// Phone numbers changed so far.
    pub(crate) phones: u8,
    pub(crate) moved: bool,
    pub(crate) left: Option<Leaving>,
    /// No longer listed.
    pub(crate) gone: bool,
    /// What happened last.
    pub(crate) last_change: Option<(u32, Change)>,
}

impl State {
    /// As first listed.
    pub(crate) fn new(scenario: Scenario) -> Self {
        let (renames, phones, moved, left, gone, last_change) = (0, 0, false, None, false, None);
        Self { scenario, renames, phones, moved, left, gone, last_change }
    }

    /// Applies what befalls the student in a generation, if the hash says that something does.
    pub(crate) fn touch(&mut self, generation: u32, hash: u64) {
        let change = Change::of(hash, self.scenario);
        let settled = self.moved || self.left.is_some();
        match change {
            Change::Removed => self.gone = true,
            Change::NewPhone => self.phones += 1,
            Change::MovedSchool if !settled => self.moved = true,
            Change::Withdrawn if !settled => self.left = Some(Leaving::Withdrawn),
            Change::Graduated if !settled => self.left = Some(Leaving::Graduated),
            _ => {
                self.renames += 1;
                self.last_change = Some((generation, Change::Renamed));
                return;
            }
        }
        self.last_change = Some((generation, change));
    }

    /// The status a run ends in that knows the student's earlier nights. By the story alone.
    pub(crate) fn status(&self, gone: bool) -> &'static str {
        let status = match self.left {
            Some(Leaving::Withdrawn) => "INACTIVE",
            Some(Leaving::Graduated) => "GRADUATED",
            None => self.scenario.status(),
        };
        match (gone, status) {
            (true, "ENROLLED" | "PRE_ENROLLED") => "INACTIVE",
            _ => status,
        }
    }
}
