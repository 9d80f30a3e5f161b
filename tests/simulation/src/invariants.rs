//! What must hold at any moment, and what must hold at the end. Read past the product, in plain SQL, so that a mistake in
//! its queries cannot hide one in its writes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use sqlx::{Row as _, SqlitePool};

use crate::house::House;

/// Runs that ended, with how.
#[derive(Debug, Default)]
pub(crate) struct Ends(BTreeMap<Vec<u8>, String>);

/// Who may be taken out of school, by the story.
pub(crate) struct MayLeave<'a> {
    /// Those who never left: enrolled, or about to be, on each day so far.
    pub(crate) never_out: &'a BTreeSet<i64>,
    /// Of those, whom the story itself has made one who is about to come again.
    pub(crate) ever_back: &'a BTreeSet<i64>,
}

/// Statuses as they were when they were last looked at, by student, of each district.
#[derive(Debug, Default)]
pub(crate) struct Statuses(BTreeMap<String, BTreeMap<String, String>>);

impl Statuses {
    /// Nobody who never left is out, or has gone from ENROLLED to PRE_ENROLLED; and no row is gone, whoever left: all of that is a
    /// removal.
    pub(crate) async fn look(&mut self, house: &House, district: &str, may: &MayLeave<'_>) -> anyhow::Result<()> {
        let stored = "SELECT student_id, status FROM student WHERE district = $1";
        let mut now = BTreeMap::new();
        for row in sqlx::query(stored).bind(district).fetch_all(&house.sql).await? {
            now.insert(row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?);
        }
        let before = self.0.entry(district.to_owned()).or_default();
        if let Some(gone) = before.keys().find(|id| !now.contains_key(*id)) {
            bail!("the row of student {gone} of {district} is gone");
        }
        for (id, status) in &now {
            let number = id.parse().with_context(|| format!("student id {id}"))?;
            let (never_out, ever_back) = (may.never_out.contains(&number), may.ever_back.contains(&number));
            let is_out = ["INACTIVE", "GRADUATED"].contains(&status.as_str());
            ensure!(!(never_out && is_out), "student {id} of {district} was taken out and never left");
            let was = before.get(id).map_or("", String::as_str);
            let is_back = (was, status.as_str()) == ("ENROLLED", "PRE_ENROLLED");
            ensure!(!never_out || ever_back || !is_back, "student {id} of {district} was {was} and is {status}");
        }
        *before = now;
        Ok(())
    }
}

impl Ends {
    /// Every run has one end, which stays, and says why where that is not success; and its counts add up.
    pub(crate) async fn look(&mut self, sql: &SqlitePool) -> anyhow::Result<()> {
        let ended = "SELECT id, state, reason, planned_at IS NOT NULL, listed, missing, added, changed, removed, unchanged, \
                     skipped, applied, parked, superseded, (SELECT count(*) FROM history h \
                     WHERE h.district = r.district AND h.run = r.id) FROM run r WHERE stage = 'closed'";
        for row in sqlx::query(ended).fetch_all(sql).await? {
            let (id, state): (Vec<u8>, String) = (row.try_get(0)?, row.try_get(1)?);
            let reason: Option<String> = row.try_get(2)?;
            let name = uuid::Uuid::from_slice(&id)?;
            let known = self.0.entry(id).or_insert_with(|| state.clone());
            ensure!(*known == state, "run {name} ended as {known} and is {state} now");
            let ends = ["succeeded", "partial", "failed", "cancelled", "discarded"];
            ensure!(ends.contains(&state.as_str()), "run {name} is closed and {state}");
            let says_why = reason.is_some_and(|reason| !reason.trim().is_empty());
            ensure!(state == "succeeded" || says_why, "run {name} is {state} and does not say why");
            if row.try_get::<bool, _>(3)? && ["succeeded", "partial"].contains(&state.as_str()) {
                check_counts(&name.to_string(), &counts(&row)?)?;
            }
        }
        Ok(())
    }
}

/// listed, missing, added, changed, removed, unchanged, skipped, applied, parked, superseded, entries of history.
fn counts(row: &sqlx::sqlite::SqliteRow) -> anyhow::Result<[i64; 11]> {
    let mut counts = [0; 11];
    for (place, count) in counts.iter_mut().enumerate() {
        *count = row.try_get(4 + place)?;
    }
    Ok(counts)
}

fn check_counts(run: &str, counts: &[i64; 11]) -> anyhow::Result<()> {
    let [listed, missing, added, changed, removed, unchanged, skipped, applied, parked, superseded, history] = *counts;
    let (seen, told) = (listed + missing, added + changed + removed + unchanged + skipped);
    ensure!(seen == told, "run {run}: {seen} students, {told} accounted for: {counts:?}");
    let (planned, settled) = (added + changed + removed, applied + parked + superseded);
    ensure!(planned == settled, "run {run}: {planned} events planned, {settled} settled: {counts:?}");
    ensure!(applied == history, "run {run}: {applied} events applied, {history} entries of history");
    Ok(())
}

/// Each local date has one scheduled run of a district, and `date` has one.
pub(crate) async fn one_run_a_date(house: &House, district: &str, date: &str) -> anyhow::Result<()> {
    let runs = "SELECT as_of, count(*) FROM run WHERE district = $1 AND \"trigger\" = 'scheduled' GROUP BY as_of";
    let mut found = false;
    for row in sqlx::query(runs).bind(district).fetch_all(&house.sql).await? {
        let (as_of, count): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(count == 1, "{district} has {count} scheduled runs for {as_of}");
        found |= as_of.starts_with(date);
    }
    ensure!(found, "{district} has no scheduled run for {date}");
    Ok(())
}

/// Each entry of a student's history goes on from where the one before ended, and says something.
pub(crate) async fn history_is_a_chain(house: &House, district: &str) -> anyhow::Result<()> {
    let entries = "SELECT student_id, run_seq, change, from_status, to_status, parts FROM history WHERE district = $1 \
                   ORDER BY student_id, run_seq";
    let mut before: Option<(String, String)> = None;
    for row in sqlx::query(entries).bind(district).fetch_all(&house.sql).await? {
        let (student, run_seq): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let (from, to): (Option<String>, String) = (row.try_get(3)?, row.try_get(4)?);
        let earlier = before.take().filter(|(of, _)| *of == student).map(|(_, status)| status);
        ensure!(from == earlier, "{district}, student {student}, run {run_seq}: from {from:?}, but was {earlier:?}");
        before = Some((student, to));
    }
    Ok(())
}
