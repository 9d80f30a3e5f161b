//! Participations and flags, as they are stored.

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::{id::StudentId, roster::Status};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::document::CompletedDocument;

/// A student's time in a program. Worked out from completed documents; the id stays while it is the same one, so that
/// a corrected start changes the flag it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participation {
    /// Its id: a UUID of version 5, worked out from whose it is and its first document when it first appears.
    pub id: Uuid,
    /// Whose.
    pub student: StudentId,
    /// Which program.
    pub program: String,
    /// First day.
    pub starts_on: NaiveDate,
    /// Last day; none while open.
    pub ends_on: Option<NaiveDate>,
    /// The day on which no completed document spoke for it any more. Such a one only ends its flag.
    pub void_on: Option<NaiveDate>,
    /// Ids of the documents it rests on, by start.
    pub documents: Vec<String>,
}

/// Where a flag stands, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlagState {
    /// To be pushed, or kept back for the reason beside it.
    Wanted,
    /// Accepted by the SIS, and not read back yet.
    Accepted,
    /// Read back as it should be.
    Pushed,
    /// Somebody changed it in the SIS.
    Drift,
    /// The SIS refuses it, or its program cannot be synced.
    Failed,
    /// The SIS's id of the student is not known.
    NoSisId,
}

impl FlagState {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Wanted, Self::Accepted, Self::Pushed, Self::Drift, Self::Failed, Self::NoSisId];

    /// As the database spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Accepted => "accepted",
            Self::Pushed => "pushed",
            Self::Drift => "drift",
            Self::Failed => "failed",
            Self::NoSisId => "no-sis-id",
        }
    }

    /// Reads what [`FlagState::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Why a flag that is pushed has no launch link: nobody told flag-sync where people reach the HTTP side.
pub const NO_PUBLIC_URL: &str = "no-public-url";

/// What the SIS accepted last for a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedFlag {
    /// First day.
    pub starts_on: NaiveDate,
    /// Last day.
    pub ends_on: Option<NaiveDate>,
    /// The student's id in the SIS.
    pub sis_id: String,
    /// The program's id in the SIS.
    pub program_sis_id: String,
    /// Where a click on the flag leads; none where it was sent without a link, or before links were kept here.
    #[serde(default)]
    pub link: Option<String>,
}

/// What the SIS refused for good: the same is not sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFlag {
    /// HTTP status.
    pub status: u16,
    /// What was sent.
    pub sent: PushedFlag,
}

/// A flag, or an old one of a take-over, that the SIS fails at: it has a turn of its own, and nothing else waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// How often in a row; none: it was tried in vain while the SIS was away, and is tried after the others.
    pub failures: i64,
    /// Nobody tries it before.
    pub retry_at: DateTime<Utc>,
    /// What the last try came to: a status, or a reason code.
    pub answer: String,
}

/// A flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Its id, the same in the SIS: from district, student, program and participation.
    pub id: Uuid,
    /// Which participation it shows.
    pub participation: Uuid,
    /// Whose.
    pub student: StudentId,
    /// Which program.
    pub program: String,
    /// The student's id in the SIS, if known.
    pub sis_id: Option<String>,
    /// First day it should show.
    pub starts_on: NaiveDate,
    /// Last day it should show.
    pub ends_on: Option<NaiveDate>,
    /// Where it stands.
    pub state: FlagState,
    /// Why it stands there: a reason code, a blank and a detail, where there is one.
    pub reason: Option<String>,
    /// To be pushed.
    pub due: bool,
    /// Why it is pushed.
    pub why: Option<String>,
    /// What the SIS accepted last.
    pub pushed: Option<PushedFlag>,
    /// When that was read back.
    pub verified_at: Option<DateTime<Utc>>,
    /// What the SIS refused for good, until something else is wanted or a person asks.
    pub refused: Option<RefusedFlag>,
    /// What the SIS fails at, while it is to be pushed. Not saved with the flag: see [`crate::Store::flag_fails`].
    pub failing: Option<Failing>,
}

impl Flag {
    /// The state as `flags list` shows it on a day: `wanted pushed ended drift failed no-sis-id`.
    pub fn shown_state(&self, today: NaiveDate) -> &'static str {
        match self.state {
            _ if self.fails().is_some() => FlagState::Failed.as_str(),
            FlagState::Accepted => "wanted",
            FlagState::Pushed if self.ends_on.is_some_and(|end| end < today) => "ended",
            state => state.as_str(),
        }
    }

    /// The reason as `flags list` shows it.
    pub fn shown_reason(&self) -> Option<String> {
        let fails = self.fails().map(|failing| format!("campus-{} Campus does not take this flag", failing.answer));
        fails.or_else(|| self.reason.clone())
    }

    fn fails(&self) -> Option<&Failing> {
        self.failing.as_ref().filter(|failing| self.due && failing.failures > 0)
    }
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// Who: `flag-sync`, or a person.
    pub actor: String,
    /// The flag's id in the SIS.
    pub flag: String,
    /// Whose, if known.
    pub student: Option<StudentId>,
    /// Which program.
    pub program: String,
    /// `put`, `read-back`, `found`, `failed`, `drift`, `take-over`, `approve`.
    pub action: String,
    /// Why.
    pub why: String,
    /// First day sent.
    pub starts_on: Option<NaiveDate>,
    /// Last day sent.
    pub ends_on: Option<NaiveDate>,
    /// What the SIS answered: a status, or a reason code.
    pub answer: String,
}

/// What flags need to know of a student.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagStudent {
    /// Who.
    pub student: StudentId,
    /// Enrollment status.
    pub status: Status,
    /// Position of the connection the student comes from.
    pub connection: u16,
    /// The SIS's own id, where the connection tells one.
    pub sis_id: Option<String>,
}

/// A program's take-over of existing flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cutover {
    /// Which program.
    pub program: String,
    /// First day on which our flags rule.
    pub cutover: NaiveDate,
    /// Who approved it.
    pub approved_by: String,
    /// When.
    pub approved_at: DateTime<Utc>,
    /// Digest of the plan that was approved; none where it is older than such digests.
    pub plan_hash: Option<String>,
    /// When the last of its flags was read back.
    pub done_at: Option<DateTime<Utc>>,
}

/// An existing flag to be ended by a take-over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutoverFlag {
    /// The SIS's id of the flag.
    pub flag: String,
    /// The SIS's id of the student, as the take-over was approved.
    pub sis_id: String,
    /// The SIS's id of its program then; none: of an approval before that was kept.
    pub program_sis_id: Option<String>,
    /// Whose it is, where the roster knew the student at the approval: by today's id.
    pub student: Option<StudentId>,
    /// Its student was to get a new flag when the take-over was approved.
    pub goes_on: bool,
    /// When it was read back as ended, or found gone.
    pub done_at: Option<DateTime<Utc>>,
    /// What came of it.
    pub outcome: Option<String>,
    /// The SIS fails at it.
    pub failing: Option<Failing>,
}

/// Old flags that an approved take-over has looked at and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOldFlags {
    /// Which program.
    pub program: String,
    /// Why they stay open.
    pub outcome: String,
    /// How many.
    pub flags: i64,
}

/// Where a program's take-over stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOverState {
    /// Nobody has approved it for its day.
    AwaitingApproval,
    /// It is approved, and not done.
    Approved,
    /// Its last flag was read back.
    Done,
}

impl TakeOverState {
    /// As it is listed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "awaiting-approval",
            Self::Approved => "approved",
            Self::Done => "done",
        }
    }
}

/// What a take-over of a program would do, as the SIS is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeOverPlan {
    /// Which program.
    pub program: String,
    /// First day on which our flags rule.
    pub cutover: NaiveDate,
    /// The flags to end.
    pub to_end: Vec<CutoverFlag>,
    /// Of these, how many are of students who get no new flag.
    pub without_new: usize,
    /// What a person should look at before approving.
    pub warnings: Vec<String>,
    /// Where it stands.
    pub state: TakeOverState,
    /// Digest of all that: what is approved is what was shown.
    pub hash: String,
}

/// What an approval came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedTakeOver {
    /// Which program.
    pub program: String,
    /// First day on which our flags rule.
    pub cutover: NaiveDate,
    /// How many existing flags end.
    pub to_end: usize,
    /// The digest of what was approved.
    pub hash: String,
    /// What a person should have looked at.
    pub warnings: Vec<String>,
    /// It was approved just so before.
    pub again: bool,
}

/// Why a take-over is not planned or approved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeOverRefused {
    /// The district's file names no such program.
    #[error("the district's file names no [[program]] {0}")]
    NoProgram(String),
    /// The program does not take over existing flags.
    #[error("[[program]] {0} does not take over existing flags (option = \"take-over\", flags = true)")]
    NotTakingOver(String),
    /// No program does.
    #[error("no [[program]] with flags = true takes over existing flags (option = \"take-over\")")]
    NothingToTakeOver,
    /// The program has no first day.
    #[error("[[program]] {0} has no cutover")]
    NoCutover(String),
    /// The SIS does not have the program as it must be: a reason code, then a detail.
    #[error("{program} cannot be taken over: {reason}")]
    Unready {
        /// Which program.
        program: String,
        /// Why.
        reason: String,
    },
    /// What would be approved is not what was looked at.
    #[error("the plan of {program} is another one by now ({now}): look at it again, and approve that")]
    PlanChanged {
        /// Which program.
        program: String,
        /// Its digest now.
        now: String,
    },
    /// Nobody has looked at what would be approved.
    #[error(
        "nobody was shown what taking over {program} would end: `rollcall flags plan` shows it, and \
         `rollcall flags approve --plan {now}` approves it"
    )]
    NotShown {
        /// Which program.
        program: String,
        /// The digest of its plan.
        now: String,
    },
    /// It was approved before, and stays as it was then.
    #[error(
        "{0} was approved before; it stays as it was then (another cutover can be approved while no flag is ended)"
    )]
    Approved(String),
    /// Flags of the district are being worked on.
    #[error("flag-sync is at work on the district's flags; try again in a minute")]
    Busy,
}

impl TakeOverRefused {
    /// Reason code, listed in `docs/runbooks/reasons.md`.
    pub fn code(&self) -> &str {
        match self {
            Self::NoProgram(_) => "program-unknown",
            Self::NotTakingOver(_) | Self::NothingToTakeOver => "take-over-not-chosen",
            Self::NoCutover(_) => "flag-unconfigured",
            Self::Unready { reason, .. } => reason.split(' ').next().unwrap_or_default(),
            Self::PlanChanged { .. } => "plan-changed",
            Self::NotShown { .. } => "plan-not-shown",
            Self::Approved(_) => "take-over-approved",
            Self::Busy => "flags-busy",
        }
    }
}

/// Which flags to list.
#[derive(Debug, Clone, Default)]
pub struct FlagFilter {
    /// Only of this student.
    pub student: Option<StudentId>,
    /// Only of this program.
    pub program: Option<String>,
    /// Only ids after this one: where the page before ended.
    pub after: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
}

/// How far a district's flags are: what a reconciler goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagWork {
    /// Whose.
    pub district: rollcall_proto::id::DistrictId,
    /// When the facts of the last whole sync were read.
    pub synced_at: Option<DateTime<Utc>>,
    /// When a run of the district stopped last, held or ended.
    pub stopped_at: Option<DateTime<Utc>>,
    /// Since when a student's changed documents wait.
    pub pending_since: Option<DateTime<Utc>>,
    /// Flags wait to be pushed or read back, and nothing says that they are to wait longer; or a comparison of them is not finished.
    pub unfinished: bool,
    /// When the first of the flags that the SIS fails at, or failed at while it was away, is to be tried again.
    pub failing_due_at: Option<DateTime<Utc>>,
    /// Nobody tries before.
    pub retry_at: Option<DateTime<Utc>>,
    /// Somebody is at it until then.
    pub lease_until: Option<DateTime<Utc>>,
    /// When a reconciler asked last.
    pub asked_at: Option<DateTime<Utc>>,
    /// The first day of an approved take-over with flags that nobody looked at yet.
    pub take_over_on: Option<NaiveDate>,
    /// When a person asked for a program alone that nobody has compared since.
    pub program_asked_at: Option<DateTime<Utc>>,
    /// When the first of the students whose documents changed is to be looked at: the SIS may have failed at them.
    pub pending_due_at: Option<DateTime<Utc>>,
}

/// A student whose completed documents changed since the flags were last looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingStudent {
    /// Who.
    pub student: StudentId,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Which change it was that marked the student; none: a version before did.
    pub mark: Option<Uuid>,
    /// How often in a row the SIS failed at the student's list.
    pub failures: i64,
}

/// A program that a person asked for, and that nobody has compared since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedProgram {
    /// Which program.
    pub program: String,
    /// When.
    pub asked_at: DateTime<Utc>,
    /// Which request it was; none: a version before asked.
    pub mark: Option<Uuid>,
}

/// What the wishes for flags follow from, all of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagFacts {
    /// What completed documents say; by student, program, start.
    pub documents: Vec<CompletedDocument>,
    /// Participations, void ones included; by student, program, start.
    pub participations: Vec<Participation>,
    /// Flags; by student, program, start.
    pub flags: Vec<Flag>,
    /// Students who have documents or participations.
    pub students: Vec<FlagStudent>,
}

/// Some students of a district, one after the other by their ids, all as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagPiece {
    /// What the wishes for their flags follow from.
    pub facts: FlagFacts,
    /// Which of them are marked, as their documents changed.
    pub pending: Vec<PendingStudent>,
    /// The last of them.
    pub last: StudentId,
}

/// A program's standing in the SIS, as the last sync found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagProgram {
    /// Which program.
    pub program: String,
    /// Why it cannot be synced.
    pub problem: Option<String>,
    /// Its id in the SIS.
    pub program_sis_id: Option<String>,
}
