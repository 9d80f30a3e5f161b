//! Plans: what a run would change, saved before anything is written, and its release in batches.

use chrono::{DateTime, Utc};
use rollcall_proto::{
    id::{ConnectionNo, StudentId},
    message::{Fingerprint, StudentEvents},
    packed,
    roster::{Rule, School, Staff, Status},
};
use serde::{Deserialize, Serialize};

use crate::run::{Baseline, Counts, Finding};

/// A student as the next plan compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredStudent {
    /// Who.
    pub id: StudentId,
    /// Connection that it came from.
    pub connection: u16,
    /// Status.
    pub status: Status,
    /// Digest of the stored record and status.
    pub fingerprint: Fingerprint,
}

/// A student that a run neither changes nor leaves unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// Who.
    pub student_id: StudentId,
    /// Reason code, such as `no-enrollment-in-window`, `code-unresolved`, `date-unreadable`, `not-confirmed`.
    pub reason: String,
    /// For people: names the enrollment and field; no student fact.
    pub detail: String,
}

/// What becomes of a run once its plan is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Within its limits: release now.
    Release,
    /// Waits for a person. The reasons, joined by `; ` (such as `preview`, `removed 51.2 % > 10 %`).
    Hold(String),
    /// Someone would be taken out: ask the SIS again first. The bytes are the planner's candidates, for itself.
    Recheck(Vec<u8>),
    /// Nothing to change: close at once.
    Nothing,
    /// Cannot go on: the run fails with this reason.
    Fail(String),
}

/// A plan to be saved, all in one transaction.
#[derive(Debug)]
pub struct NewPlan {
    /// What happens next.
    pub verdict: Verdict,
    /// Counts; `applied`, `parked` and `superseded` are 0.
    pub counts: Counts,
    /// Digest over the changes, without run ids, times and sequence numbers.
    pub hash: Fingerprint,
    /// The roster version it was compared with.
    pub roster_version: i64,
    /// `Verdict::Hold` only: candidates to be looked at again once a person approves (approval then leads to
    /// [`Stage::Recheck`](crate::run::Stage::Recheck), and [`Store::candidates`](crate::Store::candidates) gives these
    /// bytes). `None`: they were looked at, or there are none; approval leads straight to release.
    pub recheck_on_approval: Option<Vec<u8>>,
    /// Each becomes a message when released. Ordered; `batch` counts from 0.
    pub batches: Vec<EncodedBatch>,
    /// Students neither changed nor unchanged.
    pub skips: Vec<Skip>,
    /// What else there is to say.
    pub findings: Vec<Finding>,
    /// Baselines to keep, by connection, when the run closes; none for a connection that was not pulled.
    pub baselines: Vec<(u16, Baseline)>,
    /// Schools and staff to upsert when the plan is released (not students: never held back on their own).
    pub schools: Vec<School>,
    /// Staff to upsert when the plan is released.
    pub staff: Vec<Staff>,
    /// These are all the staff there are: others have left. Only of complete pulls of everything.
    pub staff_whole: bool,
    /// The connections of which the same is so.
    pub staff_whole_of: Vec<u16>,
    /// Staff who have left by a row of theirs, where `staff` is not all there are.
    pub staff_gone: Vec<String>,
    /// People of whom an administrator has said something and whom their SIS has given other ids since.
    pub people_moved: Vec<PersonMoved>,
}

/// A person of a SIS of whom an administrator has said something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpokenOf {
    /// Whose id it is. `None`: nobody noted it.
    pub of: Option<ConnectionNo>,
    /// The id that it was said of, in small letters.
    pub id: String,
}

/// Such a person whose SIS has given them another id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PersonMoved {
    /// Whose id it is. `None`: nobody noted it.
    pub of: Option<ConnectionNo>,
    /// The id that it was said of, in small letters.
    pub old: String,
    /// The id since.
    pub new: String,
}

impl NewPlan {
    /// A plan that changes nothing and has nothing to say.
    pub fn empty(verdict: Verdict) -> Self {
        Self {
            verdict,
            counts: Counts::default(),
            hash: Fingerprint::default(),
            roster_version: 0,
            recheck_on_approval: None,
            batches: Vec::new(),
            skips: Vec::new(),
            findings: Vec::new(),
            baselines: Vec::new(),
            schools: Vec::new(),
            staff: Vec::new(),
            staff_whole: false,
            staff_whole_of: Vec::new(),
            staff_gone: Vec::new(),
            people_moved: Vec::new(),
        }
    }
}

/// A batch of events, encoded for the store (MessagePack, zstd).
#[derive(Debug, Clone)]
pub struct EncodedBatch {
    /// From 0, without gaps.
    pub batch: u32,
    /// The status that all its students get.
    pub status: Status,
    /// How many events.
    pub events: u32,
    /// `StudentEvents`, encoded by [`encode_batch`].
    pub bytes: Vec<u8>,
}

/// A line of `rollcall runs plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLine {
    /// Who.
    pub student_id: StudentId,
    /// `added`, `changed` or `removed`.
    pub change: String,
    /// Status before.
    pub from: Option<Status>,
    /// Status after.
    pub to: Status,
    /// The rule that decided.
    pub rule: Rule,
    /// The enrollments it rests on.
    pub enrollments: Vec<String>,
}

/// What the writer made of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchOutcome {
    /// It was settled before: nothing was done.
    pub already_settled: bool,
    /// Events written.
    pub applied: u32,
    /// Events that a newer run had overtaken.
    pub superseded: u32,
    /// Events that the database refused, each parked alone.
    pub parked: Vec<ParkedEvent>,
    /// Every planned event of the run is settled now: publish `run.applied`.
    pub run_settled: bool,
    /// The release window has room again and batches wait: publish `run.release`.
    pub release_more: bool,
}

/// One student's event that could not be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedEvent {
    /// Who.
    pub student_id: StudentId,
    /// Reason code.
    pub reason: String,
    /// For people; no student fact.
    pub detail: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Why a plan could not be approved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApproveRefusal {
    /// Not held.
    #[error("the run is {0}, and only a held run can be approved")]
    NotHeld(String),
    /// Its date was given by a person.
    #[error(
        "the run was planned for a date given with --as-of, and such a plan is only to look at; start a run without it"
    )]
    AsOfGiven,
    /// A newer run has planned.
    #[error("run {0} has planned since; approve that one")]
    NewerRun(String),
    /// A newer run has planned, and waits for nobody.
    #[error("run {run} has planned since, in place of this one, and is {state}; start a new run")]
    Superseded {
        /// Which.
        run: String,
        /// Its state.
        state: String,
    },
    /// A newer run has planned, and nobody can approve it.
    #[error(
        "run {0} has planned since, in place of this one, for a date given with --as-of; such a plan is only to look at: \
         start a new run"
    )]
    OnlyLooked(String),
    /// The roster has changed since.
    #[error("the roster has changed since this plan was made; start a new run")]
    RosterChanged,
}

/// Encodes a batch for [`EncodedBatch::bytes`].
pub fn encode_batch(events: &StudentEvents) -> Result<Vec<u8>, crate::StoreError> {
    pack(events)
}

/// Decodes what [`encode_batch`] wrote.
pub fn decode_batch(bytes: &[u8]) -> Result<StudentEvents, crate::StoreError> {
    unpack(bytes)
}

/// No value is larger than this, unpacked.
pub(crate) const LARGEST: usize = 1 << 30;

/// A value as MessagePack with named fields, zstd.
pub(crate) fn pack<T: Serialize>(value: &T) -> Result<Vec<u8>, crate::StoreError> {
    let plain = rmp_serde::to_vec_named(value).map_err(crate::StoreError::encode)?;
    packed::compress(&plain).map_err(crate::StoreError::compress)
}

/// Reads what [`pack`] wrote.
pub(crate) fn unpack<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, crate::StoreError> {
    let plain = packed::decompress(bytes, LARGEST).map_err(crate::StoreError::compress)?;
    rmp_serde::from_slice(&plain).map_err(crate::StoreError::decode)
}

/// A batch to be published, as the plan packed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedBatch {
    /// From 0.
    pub batch: u32,
    /// The status its students get.
    pub status: Status,
    /// See [`encode_batch`].
    pub bytes: Vec<u8>,
}

/// A released batch as `rollcall runs trace` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// From 0.
    pub batch: u32,
    /// The status its students get.
    pub status: Status,
    /// How many events.
    pub events: i64,
    /// When it was last published.
    pub published_at: Option<DateTime<Utc>>,
    /// When it was settled.
    pub settled_at: Option<DateTime<Utc>>,
    /// Events written.
    pub applied: i64,
    /// Events overtaken.
    pub superseded: i64,
    /// Events parked.
    pub parked: i64,
}
