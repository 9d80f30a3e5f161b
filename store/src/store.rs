//! The store's entry point.

use std::path::Path;

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::{
    id::{ConnectionNo, DistrictId, ListingNo, PageNo, RunId, StudentId},
    message::StudentEvents,
    roster::{Status, Student},
};

use crate::{
    StoreError,
    audit::AuditEntry,
    board::Board,
    district::{ConnectionSecrets, District},
    page::{NewPage, PageFragments, PageRow},
    plan::{ApproveRefusal, BatchOutcome, NewPlan, PlanLine, Skip, StoredStudent},
    roster::{HistoryRow, StudentDetail, StudentFilter, StudentRow},
    run::{Baseline, Discovery, Finding, NewRun, Pull, Run, Stage},
};

type Result<T> = std::result::Result<T, StoreError>;

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {}

/// A run that is open, for the reconciler: ids, dates and states only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    pub district: DistrictId,
    pub run: RunId,
    pub stage: Stage,
    pub as_of: NaiveDate,
    /// Last time its rows changed (page in, batch applied, stage changed).
    pub touched_at: DateTime<Utc>,
}

/// A district's schedule as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledDistrict {
    pub district: DistrictId,
    pub time_zone: chrono_tz::Tz,
    pub at: chrono::NaiveTime,
    pub weekends: bool,
    /// Local date of the last scheduled run made.
    pub last_scheduled: Option<NaiveDate>,
    /// When the district's schedule came to be (first apply): nothing before is caught up.
    pub since: DateTime<Utc>,
}

#[allow(unused_variables)]
impl Store {
    // --- opening -------------------------------------------------------------------------------------------------
    /// Opens (and migrates) the embedded store `dir/store.db`.
    pub async fn open_embedded(dir: &Path, key: crate::secret::Keyring) -> Result<Self> { todo!() }
    /// Connects to PostgreSQL as a worker: SET ROLE rollcall_app on every connection; checks the schema version.
    pub async fn connect(url: &secrecy::SecretString, key: crate::secret::Keyring, connections: u32) -> Result<Self> { todo!() }
    /// Applies the migrations as the schema's owner.
    pub async fn migrate(url: &secrecy::SecretString) -> Result<Vec<String>> { todo!() }
    /// Can the database be reached right now, at the right schema?
    pub async fn check(&self) -> Result<()> { todo!() }

    // --- districts -----------------------------------------------------------------------------------------------
    /// Inserts or replaces a district's configuration and its secrets (one set per connection, in order).
    pub async fn apply_district(&self, district: &District, secrets: &[ConnectionSecrets], actor: &str, now: DateTime<Utc>) -> Result<()> { todo!() }
    pub async fn districts(&self) -> Result<Vec<DistrictId>> { todo!() }
    pub async fn district(&self, id: &DistrictId) -> Result<District> { todo!() }
    pub async fn secrets(&self, id: &DistrictId, connection: ConnectionNo) -> Result<ConnectionSecrets> { todo!() }
    /// No more runs; the roster stays. `apply_district` brings it back.
    pub async fn remove_district(&self, id: &DistrictId, actor: &str, now: DateTime<Utc>) -> Result<()> { todo!() }
    pub async fn schedules(&self) -> Result<Vec<ScheduledDistrict>> { todo!() }
    /// Seals every secret anew under the newest key. Returns how many.
    pub async fn rotate_key(&self, new: crate::secret::Keyring, actor: &str, now: DateTime<Utc>) -> Result<u64> { todo!() }

    // --- runs ----------------------------------------------------------------------------------------------------
    /// Makes a run, with a pull per connection. `None`: a scheduled run of that district and date exists already.
    pub async fn create_run(&self, run: &NewRun, now: DateTime<Utc>) -> Result<Option<Run>> { todo!() }
    pub async fn run(&self, district: &DistrictId, run: RunId) -> Result<Run> { todo!() }
    /// The district a run belongs to (for commands that name only the run).
    pub async fn district_of(&self, run: RunId) -> Result<DistrictId> { todo!() }
    /// Newest first.
    pub async fn runs(&self, district: Option<&DistrictId>, limit: i64) -> Result<Vec<Run>> { todo!() }
    pub async fn open_runs(&self) -> Result<Vec<OpenRun>> { todo!() }
    /// True for one caller per run and interval: so that many reconcilers do the work once.
    pub async fn claim_reconcile(&self, district: &DistrictId, run: RunId, not_since: DateTime<Utc>, now: DateTime<Utc>) -> Result<bool> { todo!() }
    /// queued → running, at the first message.
    pub async fn start_run(&self, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<()> { todo!() }
    pub async fn add_finding(&self, district: &DistrictId, run: RunId, finding: &Finding) -> Result<()> { todo!() }
    pub async fn fail_run(&self, district: &DistrictId, run: RunId, reason: &str, now: DateTime<Utc>) -> Result<()> { todo!() }
    /// Ends an open run whose events are not released yet; refused (false) otherwise.
    pub async fn cancel_run(&self, district: &DistrictId, run: RunId, actor: &str, now: DateTime<Utc>) -> Result<bool> { todo!() }

    // --- pulls ---------------------------------------------------------------------------------------------------
    pub async fn pulls(&self, district: &DistrictId, run: RunId) -> Result<Vec<Pull>> { todo!() }
    /// Saves what discovery found and the board to pull by. False: it was done before (nothing changed).
    pub async fn save_discovery(&self, district: &DistrictId, run: RunId, connection: ConnectionNo, discovery: &Discovery, board: &Board) -> Result<bool> { todo!() }
    pub async fn fail_pull(&self, district: &DistrictId, run: RunId, connection: ConnectionNo, reason: &str) -> Result<()> { todo!() }
    /// Reads a board without locking it.
    pub async fn board(&self, district: &DistrictId, run: RunId, connection: ConnectionNo) -> Result<Option<Board>> { todo!() }
    /// Changes a board under a lock, in one transaction. The pull becomes `Fetched` when `change` returns true as the
    /// second part (everything fetched), `Fetching` otherwise. `None`: there is no board (not discovered, or the run has ended).
    pub async fn with_board<T: Send>(&self, district: &DistrictId, run: RunId, connection: ConnectionNo, change: impl FnOnce(&mut Board) -> (T, bool) + Send) -> Result<Option<T>> { todo!() }
    /// Raw body of a page too large for a message, stored before its message.
    pub async fn stash_raw(&self, district: &DistrictId, run: RunId, connection: ConnectionNo, listing: ListingNo, page: PageNo, raw: &[u8]) -> Result<()> { todo!() }
    /// Reads a raw page (zstd), stashed or collected.
    pub async fn raw_page(&self, district: &DistrictId, run: RunId, connection: ConnectionNo, listing: ListingNo, page: PageNo) -> Result<Option<Vec<u8>>> { todo!() }
    /// Stores a page once. False: it was there already (kept as it was, unless that one had not decoded and this one does).
    pub async fn save_page(&self, district: &DistrictId, run: RunId, page: &NewPage) -> Result<bool> { todo!() }
    pub async fn pages(&self, district: &DistrictId, run: RunId) -> Result<Vec<PageRow>> { todo!() }
    /// All fragments of a run's pages, ordered by connection, listing, page.
    pub async fn fragments(&self, district: &DistrictId, run: RunId) -> Result<Vec<PageFragments>> { todo!() }
    pub async fn baseline(&self, district: &DistrictId, connection: ConnectionNo) -> Result<Option<Baseline>> { todo!() }
    pub async fn accept_empty(&self, district: &DistrictId, connection: ConnectionNo, resource: &str, actor: &str, now: DateTime<Utc>) -> Result<()> { todo!() }

    // --- planning ------------------------------------------------------------------------------------------------
    /// Moves Pull→Plan (or Recheck→Plan) when every pull is Fetched or Failed and `complete` holds, once. True: it moved, or already stood at Plan.
    pub async fn pulled(&self, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<bool> { todo!() }
    /// One planner per run at a time: a lease. False: somebody else plans, or the run is not at Plan.
    pub async fn claim_plan(&self, district: &DistrictId, run: RunId, now: DateTime<Utc>, until: DateTime<Utc>) -> Result<bool> { todo!() }
    /// An earlier run of the district with released and unsettled events, which must settle first.
    pub async fn unsettled_before(&self, district: &DistrictId, run: RunId) -> Result<Option<RunId>> { todo!() }
    pub async fn roster_version(&self, district: &DistrictId) -> Result<i64> { todo!() }
    /// What the plan compares with: sorted by student id.
    pub async fn stored_students(&self, district: &DistrictId) -> Result<Vec<StoredStudent>> { todo!() }
    /// Whole records, sorted by student id, for comparing field by field when something was not granted.
    pub async fn records(&self, district: &DistrictId, ids: &[StudentId]) -> Result<Vec<Student>> { todo!() }
    /// Saves a plan and does what its verdict says, in one transaction, superseding every earlier held plan of the
    /// district. False: the run was not at Plan any more (cancelled, or planned by another).
    pub async fn save_plan(&self, district: &DistrictId, run: RunId, plan: &NewPlan, now: DateTime<Utc>) -> Result<bool> { todo!() }
    /// The candidates that a `Verdict::Recheck` saved, and whether a person approved them already.
    pub async fn candidates(&self, district: &DistrictId, run: RunId) -> Result<Option<(Vec<u8>, bool)>> { todo!() }
    pub async fn plan_lines(&self, district: &DistrictId, run: RunId) -> Result<Vec<PlanLine>> { todo!() }
    pub async fn skips(&self, district: &DistrictId, run: RunId) -> Result<Vec<Skip>> { todo!() }

    // --- release and apply ---------------------------------------------------------------------------------------
    /// Held → Release (or back to Recheck where candidates have to be looked at first), checked in one transaction.
    pub async fn approve(&self, district: &DistrictId, run: RunId, actor: &str, now: DateTime<Utc>) -> Result<std::result::Result<Stage, ApproveRefusal>> { todo!() }
    pub async fn discard(&self, district: &DistrictId, run: RunId, actor: &str, reason: &str, now: DateTime<Utc>) -> Result<bool> { todo!() }
    /// The next batches to publish, at most `window` unsettled events of the run in flight. Also those published before
    /// `again_before` and not settled.
    pub async fn batches_to_publish(&self, district: &DistrictId, run: RunId, window: i64, again_before: Option<DateTime<Utc>>) -> Result<Vec<StudentEvents>> { todo!() }
    pub async fn batches_published(&self, district: &DistrictId, run: RunId, batches: &[u32], now: DateTime<Utc>) -> Result<()> { todo!() }
    /// Applies a batch in one transaction: roster, history, counters. A student the database refuses is parked alone.
    pub async fn apply_batch(&self, district: &DistrictId, run: RunId, events: &StudentEvents, now: DateTime<Utc>) -> Result<BatchOutcome> { todo!() }
    /// Ends a run whose events are all settled: succeeded or partial; keeps baselines; drops fragments. Returns the ended run.
    pub async fn close_run(&self, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<Option<Run>> { todo!() }
    /// Runs of the district at Plan, oldest first: what a settled run may have held up.
    pub async fn waiting_to_plan(&self, district: &DistrictId) -> Result<Vec<RunId>> { todo!() }

    // --- reading -------------------------------------------------------------------------------------------------
    pub async fn students(&self, district: &DistrictId, filter: &StudentFilter) -> Result<Vec<StudentRow>> { todo!() }
    /// Found by student id, local id or state id.
    pub async fn student(&self, district: &DistrictId, id: &str) -> Result<Option<StudentDetail>> { todo!() }
    pub async fn history(&self, district: &DistrictId, student: &StudentId) -> Result<Vec<HistoryRow>> { todo!() }
    pub async fn status_counts(&self, district: &DistrictId) -> Result<Vec<(Status, i64)>> { todo!() }
    pub async fn audit(&self, entry: &AuditEntry) -> Result<()> { todo!() }
    pub async fn audit_trail(&self, district: &DistrictId, limit: i64) -> Result<Vec<AuditEntry>> { todo!() }

    // --- upkeep --------------------------------------------------------------------------------------------------
    /// Deletes raw pages and fragments of runs ended before `before`. Returns how many pages.
    pub async fn forget_pages(&self, before: DateTime<Utc>) -> Result<u64> { todo!() }
}
