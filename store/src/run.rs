//! Runs: what they are, and how they move from state to state.

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::{
    id::{ConnectionNo, DistrictId, RunId},
    message::Fingerprint,
};
use serde::{Deserialize, Serialize};

/// Why a planner gives a run back without a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlan {
    /// An attempt that failed.
    Failed,
    /// Store or bus were away, or the process is ending: no attempt at all.
    Hindered,
}

/// State of a run. The first three are stops on the way, the others ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Made, not started.
    Queued,
    /// At work.
    Running,
    /// Its plan waits for a person.
    Held,
    /// All went well.
    Succeeded,
    /// Something is missing or parked; says what.
    Partial,
    /// Nothing was changed; says why.
    Failed,
    /// A person ended it.
    Cancelled,
    /// Its plan was thrown away.
    Discarded,
}

impl RunState {
    /// As the command line and the database spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Held => "held",
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Discarded => "discarded",
        }
    }

    /// Whether the run has ended for good.
    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Held)
    }
}

/// Where an open run stands; what the reconciler goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Connections are discovered, pages fetched and collected.
    Pull,
    /// All pages are in; to be planned.
    Plan,
    /// Second look: recheck pages are fetched and collected, then planned again.
    Recheck,
    /// The plan is saved and waits for a person.
    Held,
    /// The plan is approved; events are published and applied.
    Release,
    /// Ended.
    Closed,
}

/// What made a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// The district's schedule.
    Scheduled,
    /// A person or a program.
    Manual,
}

/// What a run is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Whose.
    pub district: DistrictId,
    /// Why.
    pub trigger: Trigger,
    /// The district's today, fixed for the run.
    pub as_of: NaiveDate,
    /// Stop at the plan, as `held`, reason `preview`.
    pub plan_only: bool,
    /// The date was given by a person: such a plan can never be approved.
    pub as_of_given: bool,
    /// Pull everything, whatever changes could be asked for over.
    pub everything: bool,
    /// Who asked, for the audit.
    pub requested_by: String,
}

/// Counts of a run, in students. `listed + missing = added + changed + removed + unchanged + skipped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Shown by the SIS.
    pub listed: i64,
    /// Stored, and not shown any more.
    pub missing: i64,
    /// To be added.
    pub added: i64,
    /// To be changed.
    pub changed: i64,
    /// To be removed.
    pub removed: i64,
    /// Same as stored.
    pub unchanged: i64,
    /// Not imported or withheld, each with a reason.
    pub skipped: i64,
    /// Planned events written.
    pub applied: i64,
    /// Planned events parked.
    pub parked: i64,
    /// Planned events that a newer run has overtaken.
    pub superseded: i64,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Whose.
    pub district: DistrictId,
    /// The district's run number, from 1; only grows.
    pub seq: i64,
    /// The date it decides for.
    pub as_of: NaiveDate,
    /// What made it.
    pub trigger: Trigger,
    /// State.
    pub state: RunState,
    /// Where it stands.
    pub stage: Stage,
    /// Stop at the plan.
    pub plan_only: bool,
    /// A person gave the date.
    pub as_of_given: bool,
    /// Pull everything, whatever changes could be asked for over.
    pub everything: bool,
    /// Counts so far.
    pub counts: Counts,
    /// Why it is held, partial, failed, cancelled or discarded; several are joined by `; `.
    pub reason: Option<String>,
    /// What makes it partial so far, or is worth a person's look. Grows while it runs.
    pub findings: Vec<Finding>,
    /// Digest of the plan.
    pub plan_hash: Option<String>,
    /// The roster version that the plan was compared with.
    pub planned_roster_version: Option<i64>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When work on it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When all its pages were in.
    pub pulled_at: Option<DateTime<Utc>>,
    /// When its plan was saved (the last one, after a second look).
    pub planned_at: Option<DateTime<Utc>>,
    /// When its plan was released.
    pub released_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// The run whose pages it was planned from, in place of a pull of its own.
    pub replay_of: Option<RunId>,
}

/// Something a run has to say, beyond its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `Partial` makes the run partial; `Warning` does not.
    pub weight: FindingWeight,
    /// Code, such as `listing-empty`, `grant-lost`, `page-repeated`, `withdrawal-before-entry`.
    pub code: String,
    /// For people: names the thing and the mend; ids only, no student fact.
    pub message: String,
    /// How many times.
    pub count: i64,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingWeight {
    /// Worth a look.
    Warning,
    /// The run is partial.
    Partial,
}

/// State of one connection's pull within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullState {
    /// To be discovered.
    Discovering,
    /// Pages are being fetched.
    Fetching,
    /// Every page that the pull wants has been fetched (they may not all be collected yet).
    Fetched,
    /// Given up; says why.
    Failed,
}

/// One connection's pull within a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Pull {
    /// Which connection.
    pub connection: ConnectionNo,
    /// State.
    pub state: PullState,
    /// What discovery found out: opaque to the store, written by fetcher/src/sis and read by classifier/src/decode.
    pub discovery: Option<Discovery>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// What a connection grants, and the years to pull. Same shape for every SIS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Discovery {
    /// Fields granted and asked for, by resource (Qmlativ: `Module/Object`).
    pub granted: std::collections::BTreeMap<String, Vec<String>>,
    /// Fields wanted and not granted, by resource. A resource not granted at all has the single entry `*`.
    pub refused: std::collections::BTreeMap<String, Vec<String>>,
    /// Of these, the ones the status rests on: the run cannot go on.
    pub fatal: Vec<String>,
    /// School years pulled, as the SIS identifies them.
    pub school_years: Vec<String>,
    /// The ending year of each school year that the SIS's own metadata calls current, by the SIS's id of it: for an access that
    /// does not grant the table of entities, or years without their numbers.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub current_years: std::collections::BTreeMap<i64, i32>,
    /// Name of the district or system as the SIS gives it, for `district test`.
    pub source_name: Option<String>,
    /// Rows that there are, as the source counted them when the pull began, by resource; where it does.
    #[serde(default)]
    pub totals: std::collections::BTreeMap<String, i64>,
    /// Rows that a filter admits which admits all, by resource, where the source counts them: those marked as deleted are
    /// among them, whether or not they are among the [totals](Self::totals).
    #[serde(default)]
    pub ever: std::collections::BTreeMap<String, i64>,
    /// What the source was like when the pull began, where it can tell later what has changed since.
    #[serde(default)]
    pub snapshot: Option<Snapshot>,
    /// How much the pull asks for.
    #[serde(default)]
    pub scope: PullScope,
    /// [Which SIS](crate::district::Connection::origin) was asked: what it answered is planned again as an answer of this one
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// What a discovery that is not finished has learned so far: no fact about a student, and no secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Learned {
    /// Program, settings and secrets that it was asked with, those as digests. Under others nothing of it counts.
    pub asked_by: String,
    /// Answers, by what was asked for.
    pub answers: std::collections::BTreeMap<String, serde_json::Value>,
}

/// What a source was like when a pull began: a pull for changes alone must find it the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// By the SIS's clock or ours, whichever was behind.
    pub at: DateTime<Utc>,
    /// The program that read, and digest of the settings that it was asked with.
    pub settings: String,
    /// What the first rows showed: fields with values, roles, school years. Names only, no value of a person.
    pub shape: std::collections::BTreeSet<String>,
}

/// How much a pull asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullScope {
    /// Every row; where changes alone might have been asked for, why not.
    Everything(Option<String>),
    /// Rows changed since an instant, over what is stored of an earlier run.
    Changes(Changes),
    /// Every row, since the source cannot tell what has changed.
    #[default]
    Always,
}

/// A pull for changes alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Rows changed at or after this, by the SIS's clock.
    pub since: DateTime<Utc>,
    /// The run whose rows count where nothing has changed.
    pub over: RunId,
    /// Date of the run that last asked for everything.
    pub full_on: NaiveDate,
    /// When the pull of [`Changes::over`] began, as of [`Snapshot::at`].
    #[serde(default)]
    pub over_at: Option<DateTime<Utc>>,
}

impl std::fmt::Display for PullScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Always | Self::Everything(None) => f.write_str("everything"),
            Self::Everything(Some(why)) => write!(f, "everything ({why})"),
            Self::Changes(Changes { since, over, full_on, .. }) => {
                let since = since.format("%Y-%m-%dT%H:%M:%SZ");
                write!(f, "changes since {since}, over run {over}; last everything on {full_on}")
            }
        }
    }
}

/// What the last complete pull of a connection held: what emptiness and lost grants are judged against. What listings held that
/// were whole in a pull that was not counts too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// Rows, by resource, over all entities and years.
    pub rows: std::collections::BTreeMap<String, i64>,
    /// Fields granted, by resource.
    pub granted: std::collections::BTreeMap<String, Vec<String>>,
    /// Fields that were granted on some complete pull and are not any more, by resource: values that came from them are stored.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub lost: std::collections::BTreeMap<String, std::collections::BTreeSet<String>>,
    /// Resources whose emptiness a person accepted, until they hold rows again; of Qmlativ's also fields, until a row carries them.
    pub accepted_empty: std::collections::BTreeSet<String>,
    /// Whether the source's totals count rows marked as deleted, by resource; where there were any to tell it by.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub counts_deleted: std::collections::BTreeMap<String, bool>,
    /// Kinds of values that whole pages lacked, with how many people's stored ones stayed because of it.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub thinned: std::collections::BTreeMap<String, i64>,
    /// Names in `rows` whose count is of an earlier pull: the last one found them empty though nobody had accepted it, or did not
    /// pull them whole.
    #[serde(default, skip_serializing_if = "std::collections::BTreeSet::is_empty")]
    pub carried: std::collections::BTreeSet<String>,
    /// Keys that led to no row, by the table they lead to, because of which stored values stayed: as of the last complete pull.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub kept_keys: std::collections::BTreeMap<String, KeptKeys>,
    /// Keys that led to no row, by the table they lead to, and are believed to.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub dangling: std::collections::BTreeMap<String, std::collections::BTreeSet<i64>>,
    /// Qmlativ: ending year of the current school year, by entity as enrollments name it; under no name, that of all others.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub current_years: std::collections::BTreeMap<String, i32>,
    /// As `dangling`, of tables whose rows are found by a student, and of which a student has several.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub dangling_places: std::collections::BTreeMap<String, std::collections::BTreeSet<RowPlace>>,
    /// No pull was complete so far: what is here is of listings that were whole by themselves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_complete: bool,
    /// What the next pull may ask for changes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<PullBase>,
}

/// What a person accepts as empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emptiness<'a> {
    /// Whose.
    pub connection: ConnectionNo,
    /// As in [`Baseline::accepted_empty`].
    pub name: &'a str,
    /// The table of which not the listing is meant, but rows that keys lead to: those because of which the run kept something.
    pub rows_of: Option<&'a str>,
}

impl<'a> From<(ConnectionNo, &'a str)> for Emptiness<'a> {
    fn from((connection, name): (ConnectionNo, &'a str)) -> Self {
        Self { connection, name, rows_of: None }
    }
}

/// Why an emptiness is not accepted: a newer run has found rows there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSince {
    /// Where: as in [`Baseline::accepted_empty`].
    pub resource: String,
    /// The first that did.
    pub run: RunId,
}

impl Baseline {
    /// Before any pull was complete.
    pub fn of_none_complete() -> Self {
        Self { never_complete: true, ..Self::default() }
    }

    /// Ending year of an entity's current school year. `None`: nobody told.
    pub fn current_year(&self, entity: &str) -> Option<i32> {
        self.current_years.get(entity).or_else(|| self.current_years.get("")).copied()
    }

    /// Whether some pull was complete: a listing that it does not know is new, and not one that was never seen whole. (What a
    /// version before kept for an acceptance alone has no rows.)
    pub fn is_of_complete(&self) -> bool {
        !self.never_complete && !self.rows.is_empty()
    }

    /// Whether rows of this pull carried a field, by its name (`Demographics/Name.BirthDate`): then no acceptance that it is empty
    /// holds any longer. Not so of one that is lost, or that this baseline accepts as empty, or whose listing held no row.
    pub fn tells_field(&self, name: &str) -> bool {
        let Some((resource, field)) = name.split_once('.') else { return false };
        let granted = self.granted.get(resource).is_some_and(|fields| fields.iter().any(|own| own == field));
        let lost = self.lost.get(resource).is_some_and(|fields| fields.contains(field));
        let rows = self.rows.get(resource).is_some_and(|rows| *rows > 0) && !self.carried.contains(resource);
        granted && !lost && rows && !self.accepted_empty.contains(name)
    }
}

/// Where a student's row of a school year and an entity would be, by the SIS's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowPlace {
    /// Whose.
    pub student: i64,
    /// School year.
    pub year: Option<i64>,
    /// Entity.
    pub entity: Option<i64>,
}

/// Keys of one table because of which stored values stayed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptKeys {
    /// What the missing rows would be found by.
    pub keys: std::collections::BTreeSet<i64>,
    /// Of a table whose rows are found by a student: which of theirs are missing.
    #[serde(default, skip_serializing_if = "std::collections::BTreeSet::is_empty")]
    pub places: std::collections::BTreeSet<RowPlace>,
    /// People, or schools, of whom something stayed.
    pub people: i64,
}

/// A complete pull that another may build on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullBase {
    /// Its run.
    pub run: RunId,
    /// Date of the run that last asked for everything: this one, or an earlier one that it builds on.
    pub full_on: NaiveDate,
    /// When the pull began over which it asked for changes itself: the next one asks back to there, so that every change is
    /// told on two nights, however many days lie between them.
    #[serde(default)]
    pub before: Option<DateTime<Utc>>,
    /// What the source was like.
    pub snapshot: Snapshot,
}

/// A digest as people see it.
pub fn plan_hash_text(fingerprint: Fingerprint) -> String {
    use std::fmt::Write as _;
    fingerprint.0.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
