//! Runs: made, read, and moved from state to state up to the plan. Release and end are in `releasing` and `closing`.
//!
//! Invariant: every move is a compare-and-set on stage or state, so that a message which comes twice or late moves
//! nothing. Lock order: the district's row, then the run's.

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::id::{DistrictId, RunId};
use uuid::{NoContext, Timestamp, Uuid};

use crate::{
    OpenRun, Store, StoreError,
    audit::AuditEntry,
    districts::{district_id, parse},
    findings, pulls,
    run::{Counts, NewRun, NoPlan, Run, RunState, Stage, Trigger},
    sql::{Row, Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

/// The columns that [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "id, district, seq, as_of, trigger, state, stage, plan_only, as_of_given, listed, missing, added, changed, \
         removed, unchanged, skipped, applied, parked, superseded, reason, plan_hash, planned_roster_version, \
         created_at, started_at, pulled_at, planned_at, released_at, ended_at, replay_of, everything"
    };
}

const ONE: &str = concat!("SELECT ", columns!(), " FROM run WHERE district = $1 AND id = $2");
const ONE_LOCKED: &str = concat!("SELECT ", columns!(), " FROM run WHERE district = $1 AND id = $2 FOR UPDATE");
const NEWEST: &str = concat!("SELECT ", columns!(), " FROM run WHERE district = $1 ORDER BY seq DESC LIMIT $2");

const INSERT: &str = "\
INSERT INTO run (district, id, seq, as_of, trigger, state, stage, plan_only, as_of_given, requested_by, created_at,
                 touched_at, everything)
VALUES ($1, $2, $3, $4, $5, 'queued', 'pull', $6, $7, $8, $9, $9, $10)
ON CONFLICT DO NOTHING";

const OPEN_PG: &str = "SELECT district, run, stage, as_of, touched_at FROM lookout_open_runs()";
const OPEN_LITE: &str = "\
SELECT district, id, stage, as_of, CASE WHEN stage IN ('pull', 'recheck') THEN
           max(touched_at, coalesce((SELECT max(p.collected_at) FROM page p
                                     WHERE p.district = run.district AND p.run = run.id), touched_at))
       ELSE touched_at END
FROM run WHERE ended_at IS NULL ORDER BY created_at, id";

impl Store {
    /// Makes a run, with a pull per connection. `None`: a scheduled run of that district and date exists already.
    pub async fn create_run(&self, run: &NewRun, now: DateTime<Utc>) -> Result<Option<Run>> {
        let operation = "make a run";
        let mut tx = self.begin(&run.district, operation).await?;
        let Some((id, connections)) = make(&mut tx, run, now).await? else {
            return Ok(None);
        };
        let pull = "INSERT INTO pull (district, run, connection, state) VALUES ($1, $2, $3, 'discovering')";
        for connection in 0..connections {
            tx.execute(operation, pull, args![&run.district, id, connection]).await?;
        }
        if run.trigger == Trigger::Scheduled {
            let sql = "UPDATE district SET last_scheduled = $2 WHERE district = $1 \
                       AND (last_scheduled IS NULL OR last_scheduled < $2)";
            tx.execute(operation, sql, args![&run.district, run.as_of]).await?;
        }
        let made = load(&mut tx, &run.district, id).await?;
        tx.commit(operation).await?;
        Ok(Some(made))
    }

    /// A run.
    pub async fn run(&self, district: &DistrictId, run: RunId) -> Result<Run> {
        let operation = "read a run";
        let mut tx = self.read(district, operation).await?;
        let found = load(&mut tx, district, run).await?;
        tx.commit(operation).await?;
        Ok(found)
    }

    /// The district a run belongs to (for commands that name only the run).
    pub async fn district_of(&self, run: RunId) -> Result<DistrictId> {
        let operation = "find a run's district";
        let mut tx = self.lookout(operation).await?;
        let sql = if tx.is_postgres() {
            "SELECT district FROM lookout_run($1)"
        } else {
            "SELECT district FROM run WHERE id = $1"
        };
        let row = tx.row(operation, sql, args![run]).await?;
        tx.commit(operation).await?;
        row.map_or(Err(StoreError::NoRun(run)), |row| district_id(&row, 0))
    }

    /// Newest first.
    pub async fn runs(&self, district: Option<&DistrictId>, limit: i64) -> Result<Vec<Run>> {
        let Some(district) = district else {
            return self.runs_of_all(limit).await;
        };
        let operation = "list the runs of a district";
        let mut tx = self.read(district, operation).await?;
        let mut runs = Vec::new();
        for row in tx.rows(operation, NEWEST, args![district, limit]).await? {
            runs.push(with_findings(&mut tx, read(&row)?).await?);
        }
        tx.commit(operation).await?;
        Ok(runs)
    }

    async fn runs_of_all(&self, limit: i64) -> Result<Vec<Run>> {
        let operation = "list the newest runs";
        let mut tx = self.lookout(operation).await?;
        let sql = if tx.is_postgres() {
            "SELECT district, run FROM lookout_runs($1)"
        } else {
            "SELECT district, id FROM run ORDER BY id DESC LIMIT $1"
        };
        let rows = tx.rows(operation, sql, args![limit]).await?;
        tx.commit(operation).await?;
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            runs.push(self.run(&district_id(&row, 0)?, RunId(row.get(1)?)).await?);
        }
        Ok(runs)
    }

    /// Every run that has not ended, oldest first.
    pub async fn open_runs(&self) -> Result<Vec<OpenRun>> {
        let operation = "list the open runs";
        let mut tx = self.lookout(operation).await?;
        let sql = if tx.is_postgres() { OPEN_PG } else { OPEN_LITE };
        let rows = tx.rows(operation, sql, args![]).await?;
        tx.commit(operation).await?;
        rows.iter().map(open_run).collect()
    }

    /// True for one caller per run and interval: so that many reconcilers do the work once.
    pub async fn claim_reconcile(
        &self,
        district: &DistrictId,
        run: RunId,
        not_since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let sql = "UPDATE run SET reconciled_at = $4 WHERE district = $1 AND id = $2 AND ended_at IS NULL \
                   AND (reconciled_at IS NULL OR reconciled_at <= $3)";
        self.move_run("claim a run for reconciling", district, sql, args![district, run, not_since, now]).await
    }

    /// queued → running, at the first message.
    pub async fn start_run(&self, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<()> {
        let operation = "start a run";
        let mut tx = self.read(district, operation).await?;
        let queued = load(&mut tx, district, run).await?.state == RunState::Queued;
        tx.commit(operation).await?;
        if !queued {
            return Ok(());
        }
        let sql = "UPDATE run SET state = 'running', started_at = coalesce(started_at, $3), touched_at = $3 \
                   WHERE district = $1 AND id = $2 AND state = 'queued'";
        self.move_run(operation, district, sql, args![district, run, now]).await.map(drop)
    }

    /// The run counts as changed at `at`, which may lie ahead where its work is known to wait until then. Never earlier
    /// than it counted before.
    pub async fn touch_run(&self, district: &DistrictId, run: RunId, at: DateTime<Utc>) -> Result<()> {
        let sql = "UPDATE run SET touched_at = $3 \
                   WHERE district = $1 AND id = $2 AND touched_at < $3 AND ended_at IS NULL";
        self.move_run("touch a run", district, sql, args![district, run, at]).await.map(drop)
    }

    /// Ends an open run that cannot go on. A run that has released its plan, or has ended, stays as it is.
    pub async fn fail_run(&self, district: &DistrictId, run: RunId, reason: &str, now: DateTime<Utc>) -> Result<()> {
        let operation = "fail a run";
        let sql = "UPDATE run SET state = 'failed', stage = 'closed', reason = $3, ended_at = $4, touched_at = $4 \
                   WHERE district = $1 AND id = $2 AND stage IN ('pull', 'plan', 'recheck', 'held')";
        let mut tx = self.begin(district, operation).await?;
        if tx.execute(operation, sql, args![district, run, reason, now]).await? == 0 {
            return Ok(());
        }
        pulls::forget_learned(&mut tx, district, run).await?;
        tx.commit(operation).await?;
        self.tell_if_ended(district, run).await;
        Ok(())
    }

    /// Ends an open run whose events are not released yet; refused (false) otherwise.
    pub async fn cancel_run(&self, district: &DistrictId, run: RunId, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let operation = "cancel a run";
        let sql = "UPDATE run SET state = 'cancelled', stage = 'closed', reason = $3, ended_at = $4, touched_at = $4 \
                   WHERE district = $1 AND id = $2 AND stage IN ('pull', 'plan', 'recheck', 'held')";
        let reason = format!("by {actor}");
        let mut tx = self.begin(district, operation).await?;
        if tx.execute(operation, sql, args![district, run, reason, now]).await? == 0 {
            return Ok(false);
        }
        pulls::forget_learned(&mut tx, district, run).await?;
        trail::write(&mut tx, &entry(district, run, "run.cancel", actor, String::new(), now)).await?;
        tx.commit(operation).await?;
        self.tell_if_ended(district, run).await;
        Ok(true)
    }

    /// Moves Pull→Plan (or Recheck→Plan) when every pull is Fetched or Failed, once; that its pages are complete, the
    /// caller has seen. True: it moved, or already stood at Plan.
    pub async fn pulled(&self, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<bool> {
        let operation = "note that a run is pulled";
        let sql = "UPDATE run SET stage = 'plan', pulled_at = $3, touched_at = $3, plan_lease_until = NULL, \
                   plan_attempts = 0 \
                   WHERE district = $1 AND id = $2 AND stage IN ('pull', 'recheck') AND NOT EXISTS \
                   (SELECT 1 FROM pull WHERE pull.district = $1 AND pull.run = $2 \
                    AND pull.state NOT IN ('fetched', 'failed'))";
        let mut tx = self.begin(district, operation).await?;
        let moved = tx.execute(operation, sql, args![district, run, now]).await? > 0;
        let at_plan = moved || load(&mut tx, district, run).await?.stage == Stage::Plan;
        tx.commit(operation).await?;
        Ok(at_plan)
    }

    /// Moves Plan→Recheck, whose pages the fetcher's reconciler looks after: a second look of the run is not all in.
    pub async fn look_again(&self, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<()> {
        let sql =
            "UPDATE run SET stage = 'recheck', touched_at = $3 WHERE district = $1 AND id = $2 AND stage = 'plan'";
        self.move_run("go back to a second look", district, sql, args![district, run, now]).await.map(drop)
    }

    /// Moves Plan→Pull, likewise: the first pull of the run is not all in.
    pub async fn pull_again(&self, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<()> {
        let sql = "UPDATE run SET stage = 'pull', touched_at = $3 WHERE district = $1 AND id = $2 AND stage = 'plan'";
        self.move_run("go back to a pull", district, sql, args![district, run, now]).await.map(drop)
    }

    /// One planner per run at a time: a lease. Returns which attempt at this plan it is, from 1 on. `None`: somebody else
    /// plans, or the run is not at Plan.
    ///
    /// An attempt counts until it is given back ([`Store::give_planning_back`]) as one that did not fail, so that those count of
    /// which nobody came back.
    pub async fn claim_plan(
        &self,
        district: &DistrictId,
        run: RunId,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Option<i64>> {
        let operation = "claim a run for planning";
        let sql = "UPDATE run SET plan_lease_until = $4, plan_attempts = plan_attempts + 1 \
                   WHERE district = $1 AND id = $2 AND stage = 'plan' \
                   AND (plan_lease_until IS NULL OR plan_lease_until <= $3) RETURNING plan_attempts";
        let mut tx = self.begin(district, operation).await?;
        let row = tx.row(operation, sql, args![district, run, now, until]).await?;
        tx.commit(operation).await?;
        row.map(|row| row.get(0)).transpose()
    }

    /// Ends the lease of a planner that has made no plan, `until` being when it would have ended. Whether it failed or only met
    /// with what passes, `why` says.
    pub async fn give_planning_back(
        &self,
        district: &DistrictId,
        run: RunId,
        until: DateTime<Utc>,
        why: NoPlan,
    ) -> Result<()> {
        let sql = "UPDATE run SET plan_lease_until = NULL, plan_attempts = plan_attempts - $4 \
                   WHERE district = $1 AND id = $2 AND stage = 'plan' AND plan_lease_until = $3";
        let uncounted = i64::from(why == NoPlan::Hindered);
        let args = args![district, run, until, uncounted];
        self.move_run("give a run's planning back", district, sql, args).await.map(drop)
    }

    /// Ends a run of which no plan can be made; `own` is when the time of whoever gives it up would have ended, if they have it
    /// for planning. False, and nothing changes: it is planned, has ended, or somebody else plans it.
    pub async fn give_plan_up(
        &self,
        district: &DistrictId,
        run: RunId,
        reason: &str,
        (now, own): (DateTime<Utc>, Option<DateTime<Utc>>),
    ) -> Result<bool> {
        let sql = "UPDATE run SET state = 'failed', stage = 'closed', reason = $3, ended_at = $4, touched_at = $4 \
                   WHERE district = $1 AND id = $2 AND stage IN ('plan', 'recheck') \
                   AND (plan_lease_until IS NULL OR plan_lease_until <= $4 OR plan_lease_until = $5)";
        let ended = self.move_run("give a plan up", district, sql, args![district, run, reason, now, own]).await?;
        if ended {
            self.tell_if_ended(district, run).await;
        }
        Ok(ended)
    }

    /// Whether somebody has the run for planning, and their time is not over.
    pub async fn is_claimed_for_planning(&self, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<bool> {
        let operation = "look whether a run is being planned";
        let sql = "SELECT 1 FROM run WHERE district = $1 AND id = $2 AND stage = 'plan' AND plan_lease_until > $3";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, sql, args![district, run, now]).await?;
        tx.commit(operation).await?;
        Ok(row.is_some())
    }

    /// Another run of the district with released and unsettled events, which must settle before this one is planned:
    /// one made later too, where its pages were in sooner. Nobody waits for ever, since a released run waits for none.
    pub async fn unsettled_other(&self, district: &DistrictId, run: RunId) -> Result<Option<RunId>> {
        let operation = "look for an unsettled run";
        let sql = "SELECT id FROM run WHERE district = $1 AND stage = 'release' \
                   AND added + changed + removed > applied + parked + superseded \
                   AND id <> $2 ORDER BY seq LIMIT 1";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, sql, args![district, run]).await?;
        tx.commit(operation).await?;
        row.map(|row| Ok(RunId(row.get(0)?))).transpose()
    }

    /// Grows with every released plan that changes students.
    pub async fn roster_version(&self, district: &DistrictId) -> Result<i64> {
        let operation = "read the roster's version";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT roster_version FROM district WHERE district = $1";
        let row = tx.row(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        row.map_or_else(|| Err(StoreError::NoDistrict(district.clone())), |row| row.get(0))
    }

    /// Runs of the district at Plan, oldest first: what a settled run may have held up.
    pub async fn waiting_to_plan(&self, district: &DistrictId) -> Result<Vec<RunId>> {
        let operation = "list the runs that wait to plan";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT id FROM run WHERE district = $1 AND stage = 'plan' ORDER BY seq";
        let rows = tx.rows(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        rows.iter().map(|row| Ok(RunId(row.get(0)?))).collect()
    }

    /// One compare-and-set. True: it hit.
    async fn move_run(
        &self,
        operation: &'static str,
        district: &DistrictId,
        sql: &'static str,
        values: Vec<crate::sql::Arg>,
    ) -> Result<bool> {
        let mut tx = self.begin(district, operation).await?;
        let hit = tx.execute(operation, sql, values).await? > 0;
        tx.commit(operation).await?;
        Ok(hit)
    }
}

/// Makes a run without its pulls. Returns its id, and how many connections the district has. `None`: there is a scheduled
/// run of that date already.
pub(crate) async fn make(tx: &mut Tx, run: &NewRun, now: DateTime<Utc>) -> Result<Option<(RunId, u16)>> {
    let (seq, connections) = next_number(tx, &run.district).await?;
    let id = id_at(now);
    Ok(insert(tx, run, id, seq, now).await?.then_some((id, connections)))
}

/// Draws the district's next run number. Also says how many connections it has. Serialises the making of runs.
async fn next_number(tx: &mut Tx, district: &DistrictId) -> Result<(i64, u16)> {
    let sql = "UPDATE district SET run_seq = run_seq + 1 WHERE district = $1 AND removed_at IS NULL \
               RETURNING run_seq, config";
    let row = tx.row("draw a run number", sql, args![district]).await?;
    let row = row.ok_or_else(|| StoreError::NoDistrict(district.clone()))?;
    let connections = parse(&row.get::<String>(1)?)?.connections.len();
    Ok((row.get(0)?, u16::try_from(connections).unwrap_or(u16::MAX)))
}

/// False: there is a scheduled run of that date already.
async fn insert(tx: &mut Tx, run: &NewRun, id: RunId, seq: i64, now: DateTime<Utc>) -> Result<bool> {
    let values = args![
        &run.district,
        id,
        seq,
        run.as_of,
        trigger_text(run.trigger),
        run.plan_only,
        run.as_of_given,
        &run.requested_by,
        now,
        run.everything,
    ];
    Ok(tx.execute("make a run", INSERT, values).await? > 0)
}

/// Ends all runs of a district that have not released their plans, as [`Store::cancel_run`] does. Returns which.
pub(crate) async fn cancel_all(
    tx: &mut Tx,
    district: &DistrictId,
    actor: &str,
    now: DateTime<Utc>,
) -> Result<Vec<RunId>> {
    let sql = "UPDATE run SET state = 'cancelled', stage = 'closed', reason = $2, ended_at = $3, touched_at = $3 \
               WHERE district = $1 AND stage IN ('pull', 'plan', 'recheck', 'held') RETURNING id";
    let reason = format!("the district was removed by {actor}");
    let rows = tx.rows("cancel a district's runs", sql, args![district, reason, now]).await?;
    let cancelled = rows.iter().map(|row| Ok(RunId(row.get(0)?))).collect::<Result<Vec<_>>>()?;
    for run in &cancelled {
        pulls::forget_learned(tx, district, *run).await?;
        trail::write(tx, &entry(district, *run, "run.cancel", actor, "the district was removed".to_owned(), now))
            .await?;
    }
    Ok(cancelled)
}

/// A version 7 id whose time is `now`, so that ids sort as runs were made.
fn id_at(now: DateTime<Utc>) -> RunId {
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    RunId(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos())))
}

/// A run with its findings.
pub(crate) async fn load(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<Run> {
    let row = tx.row("read a run", ONE, args![district, run]).await?;
    let row = row.ok_or(StoreError::NoRun(run))?;
    with_findings(tx, read(&row)?).await
}

/// A run with its findings, locked until the transaction ends.
pub(crate) async fn load_locked(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<Run> {
    let sql = if tx.is_postgres() { ONE_LOCKED } else { ONE };
    let row = tx.row("read a run", sql, args![district, run]).await?;
    let row = row.ok_or(StoreError::NoRun(run))?;
    with_findings(tx, read(&row)?).await
}

async fn with_findings(tx: &mut Tx, run: Run) -> Result<Run> {
    let findings = findings::of_run(tx, &run.district, run.id).await?;
    Ok(Run { findings, ..run })
}

/// An audit entry about a run.
pub(crate) fn entry(
    district: &DistrictId,
    run: RunId,
    action: &str,
    actor: &str,
    detail: String,
    at: DateTime<Utc>,
) -> AuditEntry {
    AuditEntry::new(district, at, actor, action, detail).of(Some(run))
}

fn read(row: &Row) -> Result<Run> {
    Ok(Run {
        id: RunId(row.get(0)?),
        district: district_id(row, 1)?,
        seq: row.get(2)?,
        as_of: row.get::<NaiveDate>(3)?,
        trigger: trigger(&row.get::<String>(4)?)?,
        state: state(&row.get::<String>(5)?)?,
        stage: stage(&row.get::<String>(6)?)?,
        plan_only: row.get(7)?,
        as_of_given: row.get(8)?,
        counts: counts(row)?,
        reason: row.get(19)?,
        findings: Vec::new(),
        plan_hash: row.get(20)?,
        planned_roster_version: row.get(21)?,
        created_at: row.get(22)?,
        started_at: row.get(23)?,
        pulled_at: row.get(24)?,
        planned_at: row.get(25)?,
        released_at: row.get(26)?,
        ended_at: row.get(27)?,
        replay_of: row.get::<Option<Uuid>>(28)?.map(RunId),
        everything: row.get(29)?,
    })
}

fn counts(row: &Row) -> Result<Counts> {
    Ok(Counts {
        listed: row.get(9)?,
        missing: row.get(10)?,
        added: row.get(11)?,
        changed: row.get(12)?,
        removed: row.get(13)?,
        unchanged: row.get(14)?,
        skipped: row.get(15)?,
        applied: row.get(16)?,
        parked: row.get(17)?,
        superseded: row.get(18)?,
    })
}

fn open_run(row: &Row) -> Result<OpenRun> {
    Ok(OpenRun {
        district: district_id(row, 0)?,
        run: RunId(row.get(1)?),
        stage: stage(&row.get::<String>(2)?)?,
        as_of: row.get(3)?,
        touched_at: row.get(4)?,
    })
}

const fn trigger_text(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Scheduled => "scheduled",
        Trigger::Manual => "manual",
    }
}

fn trigger(text: &str) -> Result<Trigger> {
    match text {
        "scheduled" => Ok(Trigger::Scheduled),
        "manual" => Ok(Trigger::Manual),
        _ => Err(unknown("trigger of a run")),
    }
}

fn state(text: &str) -> Result<RunState> {
    use RunState as S;
    let all = [S::Queued, S::Running, S::Held, S::Succeeded, S::Partial, S::Failed, S::Cancelled, S::Discarded];
    all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| unknown("state of a run"))
}

fn stage(text: &str) -> Result<Stage> {
    Ok(match text {
        "pull" => Stage::Pull,
        "plan" => Stage::Plan,
        "recheck" => Stage::Recheck,
        "held" => Stage::Held,
        "release" => Stage::Release,
        "closed" => Stage::Closed,
        _ => return Err(unknown("stage of a run")),
    })
}

fn unknown(what: &'static str) -> StoreError {
    StoreError::Corrupt { what, detail: "a word that this program does not know".to_owned() }
}
