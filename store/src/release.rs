//! Releasing a plan: which batches to publish next, which have been, and what a release writes beside students.
//!
//! Invariant: at most a window of a run's events is published and unsettled, so that a huge district cannot starve a
//! small one; a batch larger than the window goes alone.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
};

use chrono::{DateTime, SubsecRound, Utc};
use rollcall_proto::{
    id::{DistrictId, RunId},
    roster::{School, Staff},
};

use crate::{
    Store, StoreError,
    apply::{
        bulk::{Bulk, Column, OnConflict, json},
        rows::{person_columns, run_column},
    },
    lti,
    plan::{BatchRow, PackedBatch, PersonMoved},
    planning::Side,
    roster::load::read_status,
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

const OPERATION: &str = "release a plan";

/// Most events of a run that are published and unsettled, unless the releaser asks for another number.
pub const RELEASE_WINDOW: i64 = 20_000;

impl Store {
    /// The next batches to publish, at most `window` unsettled events of the run in flight. Also those published before
    /// `again_before` and not settled.
    pub async fn batches_to_publish(
        &self,
        district: &DistrictId,
        run: RunId,
        window: i64,
        again_before: Option<DateTime<Utc>>,
    ) -> Result<Vec<PackedBatch>> {
        let mut tx = self.begin(district, OPERATION).await?;
        let Some(in_flight) = open_window(&mut tx, district, run, window).await? else {
            return Ok(Vec::new());
        };
        let mut batches = overdue(&mut tx, district, run, again_before).await?;
        if let Some(last) = last_that_fits(&mut tx, district, run, window, in_flight).await? {
            batches.extend(unpublished(&mut tx, district, run, last).await?);
        }
        tx.commit(OPERATION).await?;
        Ok(batches)
    }

    /// Notes that batches have been published (again).
    pub async fn batches_published(
        &self,
        district: &DistrictId,
        run: RunId,
        batches: &[u32],
        now: DateTime<Utc>,
    ) -> Result<()> {
        let batches: Vec<i64> = batches.iter().copied().map(i64::from).collect();
        // Forgotten, they are published again, and settled once all the same.
        let mut tx = self.begin_relaxed(district, OPERATION).await?;
        let Unnoted { batches, first, first_events } = unnoted(&mut tx, district, run, batches).await?;
        mark_published(&mut tx, district, run, batches, now.trunc_subsecs(6)).await?;
        let sql = "UPDATE plan SET published_batches = published_batches + $3, published_events = published_events + $4 \
                   WHERE district = $1 AND run = $2";
        tx.execute(OPERATION, sql, args![district, run, first, first_events]).await?;
        tx.commit(OPERATION).await
    }

    /// A run's batches and how far each is, in order.
    pub async fn batches(&self, district: &DistrictId, run: RunId) -> Result<Vec<BatchRow>> {
        let mut tx = self.read(district, "list batches").await?;
        let sql = "SELECT batch, status, events, published_at, settled_at, applied, superseded, parked FROM plan_batch \
                   WHERE district = $1 AND run = $2 ORDER BY batch";
        let rows = tx.rows("list batches", sql, args![district, run]).await?;
        rows.iter().map(read_batch).collect()
    }
}

impl Store {
    /// All schools, by code: for keeping what a pull could not tell of them.
    pub async fn schools(&self, district: &DistrictId) -> Result<Vec<School>> {
        let operation = "read the schools";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT code, name, state_id, grade_low, grade_high, phone FROM school WHERE district = $1";
        let rows = tx.rows(operation, sql, args![district]).await?;
        let mut schools = rows.iter().map(read_school).collect::<Result<Vec<School>>>()?;
        // Not as the database collates.
        schools.sort_by(|a, b| a.code.cmp(&b.code));
        Ok(schools)
    }
}

fn read_school(row: &Row) -> Result<School> {
    Ok(School {
        code: row.get(0)?,
        name: row.get(1)?,
        state_id: row.get(2)?,
        grade_low: row.get(3)?,
        grade_high: row.get(4)?,
        phone: row.get(5)?,
    })
}

fn read_batch(row: &Row) -> Result<BatchRow> {
    Ok(BatchRow {
        batch: row.get(0)?,
        status: read_status(row, 1)?,
        events: row.get(2)?,
        published_at: row.get(3)?,
        settled_at: row.get(4)?,
        applied: row.get(5)?,
        superseded: row.get(6)?,
        parked: row.get(7)?,
    })
}

/// Notes the window; returns how many events are published and unsettled. `None`: the run is not being released.
async fn open_window(tx: &mut Tx, district: &DistrictId, run: RunId, window: i64) -> Result<Option<i64>> {
    let sql = "UPDATE plan SET release_window = $3 WHERE district = $1 AND run = $2 AND EXISTS \
               (SELECT 1 FROM run r WHERE r.district = $1 AND r.id = $2 AND r.stage = 'release') \
               RETURNING published_events - settled_events";
    let row = tx.row(OPERATION, sql, args![district, run, window]).await?;
    row.map(|row| row.get(0)).transpose()
}

async fn overdue(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
    before: Option<DateTime<Utc>>,
) -> Result<Vec<PackedBatch>> {
    let Some(before) = before else {
        return Ok(Vec::new());
    };
    let sql = "SELECT batch, status, bytes FROM plan_batch WHERE district = $1 AND run = $2 AND settled_at IS NULL \
               AND published_at < $3 ORDER BY batch";
    packed(&tx.rows(OPERATION, sql, args![district, run, before]).await?)
}

/// The last of the unpublished batches that the window has room for.
async fn last_that_fits(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
    window: i64,
    mut in_flight: i64,
) -> Result<Option<i64>> {
    let sql = "SELECT batch, events FROM plan_batch \
               WHERE district = $1 AND run = $2 AND published_at IS NULL ORDER BY batch LIMIT $3";
    let mut last = None;
    // A batch holds one event at least, so no more than `window` batches can fit.
    for row in tx.rows(OPERATION, sql, args![district, run, window.max(1)]).await? {
        let events: i64 = row.get(1)?;
        if in_flight > 0 && in_flight + events > window {
            break;
        }
        in_flight += events;
        last = Some(row.get(0)?);
    }
    Ok(last)
}

async fn unpublished(tx: &mut Tx, district: &DistrictId, run: RunId, last: i64) -> Result<Vec<PackedBatch>> {
    let sql = "SELECT batch, status, bytes FROM plan_batch \
               WHERE district = $1 AND run = $2 AND published_at IS NULL AND batch <= $3 ORDER BY batch";
    packed(&tx.rows(OPERATION, sql, args![district, run, last]).await?)
}

fn packed(rows: &[Row]) -> Result<Vec<PackedBatch>> {
    let batch = |row: &Row| Ok(PackedBatch { batch: row.get(0)?, status: read_status(row, 1)?, bytes: row.get(2)? });
    rows.iter().map(batch).collect()
}

/// Batches to be noted as published.
#[derive(Default)]
struct Unnoted {
    batches: Vec<i64>,
    /// Those among them that were not published before.
    first: i64,
    /// Events in those.
    first_events: i64,
}

/// Locks the batches that are still to be noted. One that a writer has in hand is left out: the writer saw that it was
/// not noted and does it, and waiting for it would hold up the window.
async fn unnoted(tx: &mut Tx, district: &DistrictId, run: RunId, batches: Vec<i64>) -> Result<Unnoted> {
    let pg = "SELECT batch, events, published_at IS NULL FROM plan_batch WHERE district = $1 AND run = $2 \
              AND batch = ANY($3) AND settled_at IS NULL ORDER BY batch FOR UPDATE SKIP LOCKED";
    let lite = "SELECT batch, events, published_at IS NULL FROM plan_batch WHERE district = $1 AND run = $2 \
                AND batch IN (SELECT value FROM json_each($3)) AND settled_at IS NULL ORDER BY batch";
    let rows = tx.rows(OPERATION, if tx.is_postgres() { pg } else { lite }, args![district, run, batches]).await?;
    let mut unnoted = Unnoted::default();
    for row in rows {
        unnoted.batches.push(row.get(0)?);
        if row.get(2)? {
            unnoted.first += 1;
            unnoted.first_events += row.get::<i64>(1)?;
        }
    }
    Ok(unnoted)
}

async fn mark_published(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
    batches: Vec<i64>,
    now: DateTime<Utc>,
) -> Result<()> {
    let pg = "UPDATE plan_batch SET published_at = $4 WHERE district = $1 AND run = $2 AND batch = ANY($3)";
    let lite = "UPDATE plan_batch SET published_at = $4 WHERE district = $1 AND run = $2 \
                AND batch IN (SELECT value FROM json_each($3))";
    let args = args![district, run, batches, now];
    tx.execute(OPERATION, if tx.is_postgres() { pg } else { lite }, args).await.map(drop)
}

/// Writes the schools and staff of a saved plan: called where a plan is released, by verdict or by a person.
pub(crate) async fn write_side(tx: &mut Tx, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<()> {
    let Some(side) = Side::load(tx, district, run).await? else {
        return Ok(());
    };
    let directories = Directories {
        schools: &side.schools,
        staff: &side.staff,
        staff_whole: side.staff_whole,
        staff_whole_of: &side.staff_whole_of,
        staff_gone: &side.staff_gone,
        people_moved: &side.moves,
    };
    write_directories(tx, district, run, &directories, now).await
}

/// What a plan says of schools and staff.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directories<'a> {
    pub(crate) schools: &'a [School],
    pub(crate) staff: &'a [Staff],
    /// Staff who are not among these have left.
    pub(crate) staff_whole: bool,
    /// Staff of these connections who are not among them have left.
    pub(crate) staff_whole_of: &'a [u16],
    /// Staff of whom it is told that they have left.
    pub(crate) staff_gone: &'a [String],
    /// People under other ids.
    pub(crate) people_moved: &'a [PersonMoved],
}

/// Whether a run that was made after this one has been released meanwhile: what it says beside the students, whose versions
/// are guarded one by one, is newer.
pub(crate) async fn is_overtaken(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<bool> {
    let sql = "SELECT 1 FROM run newer WHERE newer.district = $1 AND newer.released_at IS NOT NULL AND newer.seq > \
               (SELECT seq FROM run WHERE district = $1 AND id = $2) LIMIT 1";
    Ok(tx.row(OPERATION, sql, args![district, run]).await?.is_some())
}

/// Writes schools and staff, unless a newer run has. One listed twice counts once, the last time.
pub(crate) async fn write_directories(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
    directories: &Directories<'_>,
    now: DateTime<Utc>,
) -> Result<()> {
    if is_overtaken(tx, district, run).await? {
        return Ok(());
    }
    let named = with_names(tx, district, directories.schools).await?;
    let schools = last_of_each(&named, |school| &school.code);
    for part in schools.chunks(SIDE_ROWS) {
        schools_bulk(district, run, part).write(tx, OnConflict::ReplaceChanged, OPERATION).await?;
    }
    if !says_less_of_staff(tx, district, directories.staff).await? {
        write_staff(tx, district, run, directories, now).await?;
    }
    lti::follow_people(tx, district, run, directories.people_moved, now).await
}

/// Whether a plan names staff and not whose they are, as a version before wrote it, where that is stored by now. Those who are
/// there then stay as they were: such a plan knows them by other ids, and would make them nobody's.
async fn says_less_of_staff(tx: &mut Tx, district: &DistrictId, staff: &[Staff]) -> Result<bool> {
    if staff.is_empty() || staff.iter().any(|member| member.connection.is_some()) {
        return Ok(false);
    }
    let sql = "SELECT staff_id FROM staff WHERE district = $1 AND connection IS NOT NULL LIMIT 1";
    Ok(tx.row(OPERATION, sql, args![district]).await?.is_some())
}

async fn write_staff(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
    directories: &Directories<'_>,
    now: DateTime<Utc>,
) -> Result<()> {
    let staff = last_of_each(directories.staff, |member| &member.id);
    for part in staff.chunks(SIDE_ROWS) {
        staff_bulk(district, run, part)?.write(tx, OnConflict::ReplaceChanged, OPERATION).await?;
    }
    let ids: Vec<&str> = staff.iter().map(|member| member.id.as_str()).collect();
    staff_here(tx, district, &ids).await?;
    if !ids.is_empty() && (directories.staff_whole || !directories.staff_whole_of.is_empty()) {
        let of = Some(directories.staff_whole_of).filter(|_| !directories.staff_whole);
        staff_left(tx, district, &ids, of, now).await?;
    }
    staff_gone(tx, district, directories.staff_gone, now).await?;
    let noted = staff.iter().filter(|member| member.connection.is_some());
    lti::staff::unprefixed_left(tx, district, noted, now).await
}

/// Whoever is listed again has come back.
async fn staff_here(tx: &mut Tx, district: &DistrictId, ids: &[&str]) -> Result<()> {
    let pg = "UPDATE staff SET left_at = NULL WHERE district = $1 AND left_at IS NOT NULL AND staff_id = ANY($2)";
    let lite = "UPDATE staff SET left_at = NULL WHERE district = $1 AND left_at IS NOT NULL \
                AND staff_id IN (SELECT value FROM json_each($2))";
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    tx.execute(OPERATION, if tx.is_postgres() { pg } else { lite }, args![district, ids]).await.map(drop)
}

/// Marks the others: who left the SIS sees nothing any more by the roster's word. Nobody is deleted. A connection that lists
/// nobody tells of nobody. `of`: only people of these connections; without it those of any, and those of whom it is not noted.
async fn staff_left(
    tx: &mut Tx,
    district: &DistrictId,
    ids: &[&str],
    of: Option<&[u16]>,
    now: DateTime<Utc>,
) -> Result<()> {
    let pg = "UPDATE staff SET left_at = $3 WHERE district = $1 AND left_at IS NULL AND NOT staff_id = ANY($2) \
              AND ($4 = 1 AND connection IS NULL OR ($4 = 1 OR connection = ANY($5)) AND connection IN \
                   (SELECT o.connection FROM staff o WHERE o.district = $1 AND o.staff_id = ANY($2)))";
    let lite = "UPDATE staff SET left_at = $3 WHERE district = $1 AND left_at IS NULL \
                AND staff_id NOT IN (SELECT value FROM json_each($2)) AND ($4 = 1 AND connection IS NULL OR \
                   ($4 = 1 OR connection IN (SELECT value FROM json_each($5))) AND connection IN \
                   (SELECT o.connection FROM staff o WHERE o.district = $1 \
                    AND o.staff_id IN (SELECT value FROM json_each($2))))";
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let connections: Vec<i64> = of.unwrap_or_default().iter().map(|connection| i64::from(*connection)).collect();
    let args = args![district, ids, now, i64::from(of.is_none()), connections];
    tx.execute(OPERATION, if tx.is_postgres() { pg } else { lite }, args).await.map(drop)
}

/// Of a plan that waits for a person: who has left sees nothing from now on, and not only from an approval on, which may be weeks away.
/// It gives nobody anything. Where more than a [`MOST_LEAVE`]th of a source's staff would have left, that is in doubt as the rest of the
/// plan is, and waits with it; so does all of it where somebody only wanted to see a plan.
pub(crate) async fn take_sight(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
    directories: &Directories<'_>,
    now: DateTime<Utc>,
) -> Result<()> {
    let sql = "SELECT 1 FROM run WHERE district = $1 AND id = $2 AND (plan_only OR as_of_given)";
    let is_look = tx.row(OPERATION, sql, args![district, run]).await?.is_some();
    if is_look || directories.staff.is_empty() || is_overtaken(tx, district, run).await? {
        return Ok(());
    }
    let listed: HashSet<&str> = directories.staff.iter().map(|member| member.id.as_str()).collect();
    let sql =
        "SELECT connection, staff_id FROM staff WHERE district = $1 AND left_at IS NULL AND connection IS NOT NULL";
    let mut sources: BTreeMap<u16, (usize, Vec<String>)> = BTreeMap::new();
    for row in tx.rows(OPERATION, sql, args![district]).await? {
        let (all, gone) = sources.entry(row.get(0)?).or_default();
        *all += 1;
        gone.extend(Some(row.get::<String>(1)?).filter(|id| !listed.contains(id.as_str())));
    }
    for (connection, (all, gone)) in sources {
        let tells = directories.staff_whole || directories.staff_whole_of.contains(&connection);
        if tells && gone.len() < all && gone.len() * MOST_LEAVE <= all {
            staff_gone(tx, district, &gone, now).await?;
        }
    }
    staff_gone(tx, district, directories.staff_gone, now).await
}

/// The schools, where a source tells no name any more with the one that is stored: every school has one.
async fn with_names<'a>(tx: &mut Tx, district: &DistrictId, schools: &'a [School]) -> Result<Cow<'a, [School]>> {
    if schools.iter().all(|school| school.name.is_some()) {
        return Ok(Cow::Borrowed(schools));
    }
    let sql = "SELECT code, name FROM school WHERE district = $1 AND name IS NOT NULL";
    let mut stored = HashMap::new();
    for row in tx.rows(OPERATION, sql, args![district]).await? {
        stored.insert(row.get::<String>(0)?, row.get::<String>(1)?);
    }
    let mut schools = schools.to_vec();
    for school in schools.iter_mut().filter(|school| school.name.is_none()) {
        school.name = stored.get(&school.code).cloned();
    }
    Ok(Cow::Owned(schools))
}

/// As [`staff_left`], of those who are named.
async fn staff_gone(tx: &mut Tx, district: &DistrictId, gone: &[String], now: DateTime<Utc>) -> Result<()> {
    let pg = "UPDATE staff SET left_at = $3 WHERE district = $1 AND left_at IS NULL AND staff_id = ANY($2)";
    let lite = "UPDATE staff SET left_at = $3 WHERE district = $1 AND left_at IS NULL \
                AND staff_id IN (SELECT value FROM json_each($2))";
    if gone.is_empty() {
        return Ok(());
    }
    tx.execute(OPERATION, if tx.is_postgres() { pg } else { lite }, args![district, gone.to_vec(), now]).await.map(drop)
}

/// A source of which more than this part of the staff leaves in a night that is held is not believed: a quarter.
const MOST_LEAVE: usize = 4;

/// Schools or staff per statement.
const SIDE_ROWS: usize = 1_000;

fn last_of_each<'a, T>(rows: &'a [T], key: impl Fn(&'a T) -> &'a String) -> Vec<&'a T> {
    let by_key: BTreeMap<_, _> = rows.iter().map(|row| (key(row), row)).collect();
    by_key.into_values().collect()
}

fn schools_bulk<'a>(district: &'a DistrictId, run: RunId, rows: &[&'a School]) -> Bulk<'a> {
    let text = |get: fn(&School) -> Option<&str>| Column::Text(rows.iter().map(|row| get(row)).collect());
    let columns = vec![
        ("district", Column::SameText(Some(district.as_str()))),
        ("code", text(|row| Some(&row.code))),
        ("name", text(|row| row.name.as_deref())),
        ("state_id", text(|row| row.state_id.as_deref())),
        ("grade_low", text(|row| row.grade_low.as_deref())),
        ("grade_high", text(|row| row.grade_high.as_deref())),
        ("phone", text(|row| row.phone.as_deref())),
        run_column(run),
    ];
    Bulk { table: "school", key: &["district", "code"], rows: rows.len(), columns }
}

fn staff_bulk<'a>(district: &'a DistrictId, run: RunId, rows: &'a [&'a Staff]) -> Result<Bulk<'a>> {
    let entities = rows.iter().map(|row| json(&row.entities)).collect::<Result<_>>()?;
    let mut columns = vec![
        ("district", Column::SameText(Some(district.as_str()))),
        ("staff_id", Column::Text(rows.iter().map(|row| Some(row.id.as_str())).collect())),
        ("number", Column::Text(rows.iter().map(|row| row.number.as_deref()).collect())),
        ("connection", Column::Int(rows.iter().map(|row| row.connection.map(i32::from)).collect())),
        ("teacher", Column::Bool(rows.iter().map(|row| Some(row.teacher)).collect())),
        ("entities", Column::Json(entities)),
        run_column(run),
    ];
    columns.extend(person_columns(rows, |row| &row.person)?);
    Ok(Bulk { table: "staff", key: &["district", "staff_id"], rows: rows.len(), columns })
}
