//! Messages: one envelope, one body for each kind of work.
//!
//! Wire form: MessagePack map with named fields, `body` last. Unknown fields are ignored; a kind or version that this
//! program does not know is parked, never dropped (see [`crate::codec`]).

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    id::{ConnectionNo, DistrictId, ListingNo, PageNo, RunId, StudentId},
    roster::{Rule, Status, Student},
};

/// Most events that one message carries.
pub const EVENTS_PER_MESSAGE: usize = 256;

/// A run with more rows than this is a large one: it is planned apart ([`Plan::large`]).
pub const LARGE_RUN_ROWS: i64 = 500_000;

/// A message as handlers see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Stays the same over retries, parking and replay.
    pub id: Uuid,
    /// The tenant.
    pub district: DistrictId,
    /// The run this work belongs to. Flags that no run asked for: an id of their own, for one trace.
    pub run: RunId,
    /// Id of the message whose handling published this one.
    pub cause: Option<Uuid>,
    /// When it was first published.
    pub time: DateTime<Utc>,
    /// Deliveries that ended in a retry so far: 0 the first time.
    pub attempt: u32,
    /// The work.
    pub body: Body,
}

impl Message {
    /// A first message of a chain: fresh id, no cause.
    pub fn new(district: DistrictId, run: RunId, time: DateTime<Utc>, body: Body) -> Self {
        Self { id: Uuid::now_v7(), district, run, cause: None, time, attempt: 0, body }
    }

    /// Asks for a look at a district's flags, or one student's, that no run asked for.
    pub fn flag_sync(district: DistrictId, student: Option<StudentId>, time: DateTime<Utc>) -> Self {
        Self::new(district, RunId(Uuid::now_v7()), time, Body::FlagSync(FlagSync { student, program: None }))
    }

    /// Asks for a look at the flags of a district's program.
    pub fn program_flag_sync(district: DistrictId, program: String, time: DateTime<Utc>) -> Self {
        let sync = FlagSync { student: None, program: Some(program) };
        Self::new(district, RunId(Uuid::now_v7()), time, Body::FlagSync(sync))
    }

    /// A message published while handling `self`.
    pub fn follow_up(&self, time: DateTime<Utc>, body: Body) -> Self {
        Self { cause: Some(self.id), ..Self::new(self.district.clone(), self.run, time, body) }
    }
}

/// The kinds of work.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Find out what a connection grants and which listings to pull.
    Discover(Discover),
    /// Fetch the page that the store has dealt to a lane.
    Fetch(Fetch),
    /// A page as the SIS answered it.
    Page(Page),
    /// Plan a run: assemble, judge, save.
    Plan(Plan),
    /// Publish the next window of a released plan.
    Release(Release),
    /// Students' changes.
    Students(StudentEvents),
    /// Students' changes as the plan packed them: only for publishing. What arrives is [`Body::Students`].
    Planned(PlannedEvents),
    /// Every planned event of the run is settled.
    Applied(Applied),
    /// Compare a district's flags, a student's or a program's with what they should be.
    FlagSync(FlagSync),
    /// Push the next of a district's flags that are due.
    FlagPush(FlagPush),
}

/// See [`Body::Discover`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discover {
    /// Which connection.
    pub connection: ConnectionNo,
}

/// See [`Body::Fetch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Which connection.
    pub connection: ConnectionNo,
    /// Which of its lanes, from 0.
    pub lane: u16,
    /// The lane's generation; an older one than the store's is done with.
    pub generation: u64,
}

/// See [`Body::Page`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Which connection.
    pub connection: ConnectionNo,
    /// Which listing of the connection's pull.
    pub listing: ListingNo,
    /// Which page of it.
    pub page: PageNo,
    /// HTTP status of the answer.
    pub status: u16,
    /// When the request was sent.
    pub asked_at: DateTime<Utc>,
    /// Milliseconds from request to the last byte.
    pub took_ms: u32,
    /// `Content-Type` of the answer.
    pub content_type: Option<String>,
    /// Size of the body before compression.
    pub body_bytes: u64,
    /// The body, zstd. Absent when it was too large for a message and lies in the store already.
    pub body: Option<Bytes>,
    /// What the page told of its listing, in the form of whoever fetched it: kept beside the page, for who gets the same
    /// page again. Absent where it cannot be told from the body alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Bytes>,
}

/// See [`Body::Plan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// More rows than a small run: goes to the queue of large ones.
    pub large: bool,
}

/// See [`Body::Release`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {}

/// See [`Body::Students`]. Carries 1 to [`EVENTS_PER_MESSAGE`] events of one run and one status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudentEvents {
    /// The batch of the run's plan that this message is, from 0.
    pub batch: u32,
    /// The district's run number: an older one never overwrites a newer.
    pub run_seq: i64,
    /// The status all these students now have.
    pub status: Status,
    /// The changes.
    pub events: Vec<StudentEvent>,
}

/// See [`Body::Planned`]: packed once, when the plan is made, and not touched again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedEvents {
    /// The batch of the run's plan, from 0.
    pub batch: u32,
    /// The status all these students now have.
    pub status: Status,
    /// [`StudentEvents`] as MessagePack with named fields, zstd.
    pub packed: Bytes,
}

/// What a run does to a student.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Not stored before.
    Added,
    /// Stored, and something differs.
    Changed,
    /// Leaves ENROLLED or PRE_ENROLLED for INACTIVE, or ENROLLED for PRE_ENROLLED.
    Removed,
}

impl Change {
    /// The change as people and the database read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// One student's change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudentEvent {
    /// Who.
    pub student_id: StudentId,
    /// What kind of change.
    pub change: Change,
    /// Status before; absent for an added student.
    pub from: Option<Status>,
    /// Status now.
    pub to: Status,
    /// The rule that decided.
    pub rule: Rule,
    /// Ids of the enrollments the decision rests on.
    pub enrollments: Vec<String>,
    /// Digest of the record and its status, compared by the next run.
    pub fingerprint: Fingerprint,
    /// The whole record. Absent where the SIS does not list the student any more: the stored facts stay.
    pub record: Option<Box<Student>>,
    /// The id under which the student is stored, where the SIS has given all its people other ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekeyed_from: Option<StudentId>,
}

/// First 16 bytes of a BLAKE3 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Fingerprint(#[serde(with = "serde_bytes")] pub [u8; 16]);

/// See [`Body::Applied`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {}

/// See [`Body::FlagSync`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagSync {
    /// Only this student's; all of the district's where there is none.
    pub student: Option<StudentId>,
    /// Only this program's; of all programs where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// See [`Body::FlagPush`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagPush {}
