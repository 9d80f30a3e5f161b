//! Plans: what they compare with, and how they are saved.
//!
//! Invariants: a plan is saved once, by compare-and-set on the run's stage, and only while the roster is the one it was
//! compared with; saving does all that its verdict says, or nothing. What is saved is never older than what is written.

use chrono::{DateTime, SubsecRound, Utc};
use rollcall_proto::{
    id::{ConnectionNo, DistrictId, RunId, StudentId},
    message::{Fingerprint, StudentEvent},
    roster::{School, Staff, Student},
};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    apply::{
        bulk::{Bulk, Column, OnConflict},
        rows::run_column,
    },
    closing,
    district::{Connection, District},
    districts, findings,
    plan::{EncodedBatch, NewPlan, PersonMoved, PlanLine, Skip, StoredStudent, Verdict, decode_batch, pack, unpack},
    release::{Directories, take_sight, write_directories},
    releasing, replaying,
    roster::load::{self, Intent, read_fingerprint, read_status},
    run::{Baseline, plan_hash_text},
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// What a statement is for, in errors.
const OPERATION: &str = "save a plan";

const STORED_LITE: &str = "SELECT student_id, connection, status, fingerprint FROM student WHERE district = $1";

/// A row for each connection and status, since a row for each student costs more than what is in it. The lists of a row are in one
/// order: that in which the rows were met.
const STORED_PG: &str = "\
SELECT connection, status, array_agg(student_id), string_agg(fingerprint, ''::bytea) FROM student WHERE district = $1
GROUP BY connection, status";

/// Students read back at a time.
const RECORDS: usize = 1_000;

impl Store {
    /// What the plan compares with: sorted by student id.
    pub async fn stored_students(&self, district: &DistrictId) -> Result<Vec<StoredStudent>> {
        let mut tx = self.read(district, "read what is stored").await?;
        let mut stored = Vec::new();
        if tx.is_postgres() {
            let take = |row: Row| read_stored_of(&row, &mut stored);
            tx.each("read what is stored", STORED_PG, args![district], take).await?;
        } else {
            let take = |row: Row| {
                stored.push(read_stored(&row)?);
                Ok(())
            };
            tx.each("read what is stored", STORED_LITE, args![district], take).await?;
        }
        // They come almost in order, which this sort makes use of; the database's own would spill to disk.
        stored.sort_by(|a: &StoredStudent, b| a.id.cmp(&b.id));
        Ok(stored)
    }

    /// Whole records, sorted by student id, for comparing field by field when something was not granted.
    pub async fn records(&self, district: &DistrictId, ids: &[StudentId]) -> Result<Vec<Student>> {
        let mut tx = self.read(district, "read records").await?;
        let mut ids: Vec<&StudentId> = ids.iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let mut records = Vec::with_capacity(ids.len());
        for part in ids.chunks(RECORDS) {
            let stored = load::load(&mut tx, district, part, Intent::Look).await?;
            records.extend(stored.into_iter().map(|stored| stored.record));
        }
        Ok(records)
    }

    /// Saves a plan and does what its verdict says, in one transaction, superseding every earlier held plan of the
    /// district.
    ///
    /// A run that a newer one has overtaken is thrown away instead: older pages must not overwrite newer ones.
    ///
    /// False: nothing was saved, because the run was not at Plan any more (cancelled, or planned by another), or the
    /// roster has changed since it was compared; in the latter case the run stays at Plan, and whoever has it for planning gives it
    /// back ([`Store::give_planning_back`]): by now that may be somebody else.
    pub async fn save_plan(
        &self,
        district: &DistrictId,
        run: RunId,
        plan: &NewPlan,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let now = now.trunc_subsecs(6);
        let mut tx = self.begin(district, OPERATION).await?;
        if lock_roster_version(&mut tx, district).await? != plan.roster_version {
            return Ok(false);
        }
        if let Some(newer) = replaying::overtaker(&mut tx, (district, run), &plan.verdict).await? {
            let void = void(&mut tx, district, run, newer, now).await?;
            tx.commit(OPERATION).await?;
            self.tell_if_ended(district, run).await;
            return Ok(void);
        }
        if !move_run(&mut tx, district, run, plan, now).await? {
            return Ok(false);
        }
        save_parts(&mut tx, district, run, plan).await?;
        let superseded = follow(&mut tx, district, run, plan, now).await?;
        tx.commit(OPERATION).await?;
        for ended in superseded.into_iter().chain([run]) {
            self.tell_if_ended(district, ended).await;
        }
        Ok(true)
    }

    /// The candidates that a `Verdict::Recheck` saved, and whether a person approved them already.
    pub async fn candidates(&self, district: &DistrictId, run: RunId) -> Result<Option<(Vec<u8>, bool)>> {
        let mut tx = self.read(district, "read candidates").await?;
        let sql = "SELECT candidates, approved FROM plan \
                   WHERE district = $1 AND run = $2 AND candidates IS NOT NULL";
        let row = tx.row("read candidates", sql, args![district, run]).await?;
        row.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
    }

    /// The plan line by line, by student id.
    pub async fn plan_lines(&self, district: &DistrictId, run: RunId) -> Result<Vec<PlanLine>> {
        let mut tx = self.read(district, "read a plan").await?;
        let sql = "SELECT bytes FROM plan_batch WHERE district = $1 AND run = $2 ORDER BY batch";
        let mut lines = Vec::new();
        let take = |row: Row| {
            lines.extend(decode_batch(&row.get::<Vec<u8>>(0)?)?.events.into_iter().map(line));
            Ok(())
        };
        tx.each("read a plan", sql, args![district, run], take).await?;
        lines.sort_by(|a: &PlanLine, b| a.student_id.cmp(&b.student_id));
        Ok(lines)
    }

    /// Students that the plan neither changes nor leaves unchanged, as the planner ordered them.
    pub async fn skips(&self, district: &DistrictId, run: RunId) -> Result<Vec<Skip>> {
        let mut tx = self.read(district, "read a plan").await?;
        Ok(Side::load(&mut tx, district, run).await?.map(|side| side.skips).unwrap_or_default())
    }
}

/// The baselines that the run's plan asked to keep when the run closes.
pub(crate) async fn kept_baselines(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<Vec<(u16, Baseline)>> {
    Ok(Side::load(tx, district, run).await?.map(|side| side.baselines).unwrap_or_default())
}

/// What newer runs that have ended have found by their plans, oldest first; of plans that have aged out, nothing.
pub(crate) async fn baselines_since(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
) -> Result<Vec<(RunId, Vec<(u16, Baseline)>)>> {
    let operation = "read what newer runs found";
    let sql = "SELECT r.id, p.side FROM run r JOIN plan p ON p.district = r.district AND p.run = r.id \
               WHERE r.district = $1 AND r.state IN ('succeeded', 'partial') \
               AND r.seq > (SELECT seq FROM run WHERE district = $1 AND id = $2) ORDER BY r.seq";
    let mut found = Vec::new();
    let take = |row: Row| {
        found.push((RunId(row.get(0)?), unpack::<Side>(&row.get::<Vec<u8>>(1)?)?.baselines));
        Ok(())
    };
    tx.each(operation, sql, args![district, run], take).await?;
    Ok(found)
}

/// Notes a person's approval of candidates that have to be looked at first. False: there are none.
pub(crate) async fn approve_candidates(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<bool> {
    let sql = "UPDATE plan SET approved = $3, recheck_on_approval = $4 \
               WHERE district = $1 AND run = $2 AND recheck_on_approval";
    Ok(tx.execute("approve a plan", sql, args![district, run, true, false]).await? == 1)
}

fn read_stored(row: &Row) -> Result<StoredStudent> {
    Ok(StoredStudent {
        id: StudentId(row.get(0)?),
        connection: row.get(1)?,
        status: read_status(row, 2)?,
        fingerprint: read_fingerprint(row, 3)?,
    })
}

/// A row of [`STORED_PG`].
fn read_stored_of(row: &Row, stored: &mut Vec<StoredStudent>) -> Result<()> {
    let (connection, status) = (row.get(0)?, read_status(row, 1)?);
    let (ids, fingerprints) = (row.get::<Vec<String>>(2)?, row.get::<Vec<u8>>(3)?);
    let (fingerprints, rest) = fingerprints.as_chunks();
    if fingerprints.len() != ids.len() || !rest.is_empty() {
        return Err(StoreError::Corrupt { what: "fingerprint", detail: "not as long as they all are".to_owned() });
    }
    stored.extend(ids.into_iter().zip(fingerprints).map(|(id, fingerprint)| StoredStudent {
        id: StudentId(id),
        connection,
        status,
        fingerprint: Fingerprint(*fingerprint),
    }));
    Ok(())
}

fn line(event: StudentEvent) -> PlanLine {
    PlanLine {
        student_id: event.student_id,
        change: event.change.as_str().to_owned(),
        from: event.from,
        to: event.to,
        rule: event.rule,
        enrollments: event.enrollments,
    }
}

/// What a plan says beside its events.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Side {
    pub(crate) skips: Vec<Skip>,
    pub(crate) schools: Vec<School>,
    pub(crate) staff: Vec<Staff>,
    #[serde(default)]
    pub(crate) staff_whole: bool,
    #[serde(default)]
    pub(crate) staff_whole_of: Vec<u16>,
    #[serde(default)]
    pub(crate) staff_gone: Vec<String>,
    /// As a version before wrote them, which did not note whose ids they are.
    #[serde(default)]
    people_moved: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) moves: Vec<PersonMoved>,
    pub(crate) baselines: Vec<(u16, Baseline)>,
}

/// [`Side`], borrowed for writing.
#[derive(Serialize)]
struct SideRef<'a> {
    skips: &'a [Skip],
    schools: &'a [School],
    staff: &'a [Staff],
    staff_whole: bool,
    staff_whole_of: &'a [u16],
    staff_gone: &'a [String],
    moves: &'a [PersonMoved],
    baselines: &'a [(u16, Baseline)],
}

impl Side {
    /// What the run's plan said. `None`: it has none.
    pub(crate) async fn load(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<Option<Self>> {
        let sql = "SELECT side FROM plan WHERE district = $1 AND run = $2";
        let row = tx.row("read a plan", sql, args![district, run]).await?;
        let Some(row) = row else { return Ok(None) };
        let mut side: Self = unpack(&row.get::<Vec<u8>>(0)?)?;
        if !side.people_moved.is_empty() {
            let config = districts::config(tx, district, "read a plan").await?;
            let before = std::mem::take(&mut side.people_moved);
            side.moves.extend(before.into_iter().flat_map(|pair| moves_of(config.as_ref(), pair)));
        }
        Ok(Some(side))
    }
}

/// A move that does not say whose ids it is about: the source's whose prefix the old one has, and what was said of the same id
/// when nobody noted whose it is.
fn moves_of(config: Option<&District>, (old, new): (String, String)) -> Vec<PersonMoved> {
    let prefixes = config.into_iter().flat_map(|one| one.connections.iter().map(Connection::prefix));
    let numbered = (0_u16..).map(ConnectionNo).zip(prefixes);
    let own = numbered.clone().filter(|(_, prefix)| old.starts_with(&prefix.to_lowercase()));
    let own = own.max_by_key(|(_, prefix)| prefix.len()).or_else(|| numbered.clone().next());
    let of = own.map(|(number, _)| Some(number)).into_iter().chain([None]);
    of.map(|of| PersonMoved { of, old: old.clone(), new: new.clone() }).collect()
}

/// The district's roster version, locked: approvals and other plans of the district wait.
async fn lock_roster_version(tx: &mut Tx, district: &DistrictId) -> Result<i64> {
    let pg = "SELECT roster_version FROM district WHERE district = $1 FOR UPDATE";
    let lite = "SELECT roster_version FROM district WHERE district = $1";
    let row = tx.row(OPERATION, if tx.is_postgres() { pg } else { lite }, args![district]).await?;
    row.ok_or_else(|| StoreError::NoDistrict(district.clone()))?.get(0)
}

/// Stage, state and reason that a verdict leads to. A plan with nothing to change is released, and settled at once.
fn destination(verdict: &Verdict) -> (&'static str, &'static str, Option<&str>) {
    match verdict {
        Verdict::Release | Verdict::Nothing => ("release", "running", None),
        Verdict::Hold(reason) => ("held", "held", Some(reason)),
        Verdict::Recheck(_) => ("recheck", "running", None),
        Verdict::Fail(reason) => ("closed", "failed", Some(reason)),
    }
}

/// Moves the run on from Plan, with its counts. False: it was not at Plan.
async fn move_run(tx: &mut Tx, district: &DistrictId, run: RunId, plan: &NewPlan, now: DateTime<Utc>) -> Result<bool> {
    let sql = "UPDATE run SET stage = $3, state = $4, reason = $5, listed = $6, missing = $7, added = $8, \
               changed = $9, removed = $10, unchanged = $11, skipped = $12, plan_hash = $13, \
               planned_roster_version = $14, planned_at = $15, touched_at = $15, released_at = $16, ended_at = $17, \
               plan_lease_until = NULL WHERE district = $1 AND id = $2 AND stage = 'plan'";
    let (stage, run_state, reason) = destination(&plan.verdict);
    let counts = &plan.counts;
    let released = (stage == "release").then_some(now);
    let ended = (stage == "closed").then_some(now);
    let args = args![
        district,
        run,
        stage,
        run_state,
        reason,
        counts.listed,
        counts.missing,
        counts.added,
        counts.changed,
        counts.removed,
        counts.unchanged,
        counts.skipped,
        // One that failed is no plan: two of them are not the same.
        ended.is_none().then(|| plan_hash_text(plan.hash)),
        plan.roster_version,
        now,
        released,
        ended,
    ];
    Ok(tx.execute(OPERATION, sql, args).await? == 1)
}

/// Saves what the plan consists of, in place of what an earlier planning of the run saved.
async fn save_parts(tx: &mut Tx, district: &DistrictId, run: RunId, plan: &NewPlan) -> Result<()> {
    save_head(tx, district, run, plan).await?;
    let sql = "DELETE FROM plan_batch WHERE district = $1 AND run = $2";
    tx.execute(OPERATION, sql, args![district, run]).await?;
    for batches in plan.batches.chunks(64) {
        batches_bulk(district, run, batches).write(tx, OnConflict::Refuse, OPERATION).await?;
    }
    findings::replace_planned(tx, district, run, &plan.findings).await
}

async fn save_head(tx: &mut Tx, district: &DistrictId, run: RunId, plan: &NewPlan) -> Result<()> {
    let sql = "INSERT INTO plan (district, run, candidates, recheck_on_approval, side, batches, events) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (district, run) DO UPDATE SET \
               candidates = COALESCE(excluded.candidates, plan.candidates), \
               recheck_on_approval = excluded.recheck_on_approval, side = excluded.side, \
               batches = excluded.batches, events = excluded.events";
    let candidates = match &plan.verdict {
        Verdict::Recheck(candidates) => Some(candidates.clone()),
        Verdict::Hold(_) => plan.recheck_on_approval.clone(),
        _ => None,
    };
    let recheck_on_approval = matches!(plan.verdict, Verdict::Hold(_)) && plan.recheck_on_approval.is_some();
    let side = pack(&SideRef {
        skips: &plan.skips,
        schools: &plan.schools,
        staff: &plan.staff,
        staff_whole: plan.staff_whole,
        staff_whole_of: &plan.staff_whole_of,
        staff_gone: &plan.staff_gone,
        moves: &plan.people_moved,
        baselines: &plan.baselines,
    })?;
    let batches = plan.batches.len() as i64;
    let events: i64 = plan.batches.iter().map(|batch| i64::from(batch.events)).sum();
    let args = args![district, run, candidates, recheck_on_approval, side, batches, events];
    tx.execute(OPERATION, sql, args).await.map(drop)
}

fn batches_bulk<'a>(district: &'a DistrictId, run: RunId, batches: &'a [EncodedBatch]) -> Bulk<'a> {
    let columns = vec![
        ("district", Column::SameText(Some(district.as_str()))),
        run_column(run),
        ("batch", Column::Big(batches.iter().map(|batch| i64::from(batch.batch)).collect())),
        ("status", Column::Text(batches.iter().map(|batch| Some(batch.status.as_str())).collect())),
        ("events", Column::Big(batches.iter().map(|batch| i64::from(batch.events)).collect())),
        ("bytes", Column::Bytes(batches.iter().map(|batch| batch.bytes.as_slice()).collect())),
    ];
    Bulk { table: "plan_batch", key: &["district", "run", "batch"], rows: batches.len(), columns }
}

fn directories(plan: &NewPlan) -> Directories<'_> {
    Directories {
        schools: &plan.schools,
        staff: &plan.staff,
        staff_whole: plan.staff_whole,
        staff_whole_of: &plan.staff_whole_of,
        staff_gone: &plan.staff_gone,
        people_moved: &plan.people_moved,
    }
}

/// What a verdict means beyond the run itself. Returns the held runs that it ends.
async fn follow(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
    plan: &NewPlan,
    now: DateTime<Utc>,
) -> Result<Vec<RunId>> {
    if matches!(plan.verdict, Verdict::Recheck(_) | Verdict::Fail(_)) {
        // Not a plan yet, and none at all: what is held stays held.
        return Ok(Vec::new());
    }
    let superseded = supersede(tx, district, run, now).await?;
    match plan.verdict {
        Verdict::Release => {
            releasing::release_in(tx, district, run, None, now).await?;
            write_directories(tx, district, run, &directories(plan), now).await?;
        }
        Verdict::Nothing => {
            write_directories(tx, district, run, &directories(plan), now).await?;
            closing::close_in(tx, district, run, now).await?;
        }
        Verdict::Hold(_) => take_sight(tx, district, run, &directories(plan), now).await?,
        Verdict::Recheck(_) | Verdict::Fail(_) => {}
    }
    Ok(superseded)
}

/// Ends a run whose plan came too late. False: it was not at Plan.
async fn void(tx: &mut Tx, district: &DistrictId, run: RunId, newer: RunId, now: DateTime<Utc>) -> Result<bool> {
    let sql = "UPDATE run SET stage = 'closed', state = 'discarded', reason = $3, ended_at = $4, touched_at = $4 \
               WHERE district = $1 AND id = $2 AND stage = 'plan'";
    let reason = format!("{}{newer}", releasing::SUPERSEDED_BY);
    Ok(tx.execute(OPERATION, sql, args![district, run, reason, now]).await? == 1)
}

/// Throws away every earlier plan of the district that waits for a person. Returns whose.
async fn supersede(tx: &mut Tx, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<Vec<RunId>> {
    let sql = "UPDATE run SET stage = 'closed', state = 'discarded', reason = $3, ended_at = $4, touched_at = $4 \
               WHERE district = $1 AND stage = 'held' \
               AND seq < (SELECT seq FROM run WHERE district = $1 AND id = $2) RETURNING id";
    let reason = format!("{}{run}", releasing::SUPERSEDED_BY);
    let rows = tx.rows(OPERATION, sql, args![district, run, reason, now]).await?;
    rows.iter().map(|row| Ok(RunId(row.get(0)?))).collect()
}
