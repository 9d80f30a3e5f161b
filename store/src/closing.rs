//! Ending a run whose events are all settled.
//!
//! Its pages stay for a while, for replay; [`Store::forget_pages`] deletes them.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, RunId};

use crate::{
    Store, StoreError, baselines, districts, planning, release,
    run::{Counts, FindingWeight, Run, RunState, Stage},
    runs,
    sql::{Tx, args},
    telling,
};

type Result<T> = std::result::Result<T, StoreError>;

const CLOSE: &str = "\
UPDATE run SET state = $3, stage = 'closed', reason = $4, ended_at = $5, touched_at = $5
WHERE district = $1 AND id = $2";

const FAILED_PULLS: &str = "\
SELECT connection, reason FROM pull WHERE district = $1 AND run = $2 AND state = 'failed' ORDER BY connection";

impl Store {
    /// Ends a run whose events are all settled: succeeded or partial; keeps baselines. Returns the ended run.
    pub async fn close_run(&self, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<Option<Run>> {
        let operation = "close a run";
        let mut tx = self.begin(district, operation).await?;
        let closed = close_in(&mut tx, district, run, now).await?;
        tx.commit(operation).await?;
        closed.iter().for_each(telling::tell);
        Ok(closed)
    }
}

/// [`Store::close_run`], within a transaction.
pub(crate) async fn close_in(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
    now: DateTime<Utc>,
) -> Result<Option<Run>> {
    let operation = "close a run";
    districts::lock(tx, district).await?;
    let open = runs::load_locked(tx, district, run).await?;
    if open.stage != Stage::Release || !settled(&open.counts) {
        return Ok(None);
    }
    let overtaken = release::is_overtaken(tx, district, run).await?;
    for (connection, baseline) in planning::kept_baselines(tx, district, run).await?.into_iter().filter(|_| !overtaken)
    {
        baselines::keep(tx, district, ConnectionNo(connection), &baseline, now).await?;
    }
    let (state, reason) = outcome(tx, &open).await?;
    tx.execute(operation, CLOSE, args![district, run, state, reason, now]).await?;
    runs::load(tx, district, run).await.map(Some)
}

/// Says anew how a run has ended, after a parked event of it was written: nothing may be left to complain of. A run that
/// has not ended yet says it when it does.
pub(crate) async fn restate(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<()> {
    let closed = runs::load_locked(tx, district, run).await?;
    if closed.state != RunState::Partial {
        return Ok(());
    }
    let (state, reason) = outcome(tx, &closed).await?;
    let sql = "UPDATE run SET state = $3, reason = $4 WHERE district = $1 AND id = $2";
    tx.execute("correct a run's outcome", sql, args![district, run, state, reason]).await.map(drop)
}

/// The state in which a settled run ends, and why.
async fn outcome(tx: &mut Tx, run: &Run) -> Result<(&'static str, Option<String>)> {
    let reasons = why_partial(run, &failed_pulls(tx, &run.district, run.id).await?);
    Ok(if reasons.is_empty() { ("succeeded", None) } else { ("partial", Some(reasons.join("; "))) })
}

const fn settled(counts: &Counts) -> bool {
    counts.added + counts.changed + counts.removed <= counts.applied + counts.parked + counts.superseded
}

async fn failed_pulls(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<Vec<String>> {
    let rows = tx.rows("read a run's pulls", FAILED_PULLS, args![district, run]).await?;
    let text = |connection: u16, reason: Option<String>| {
        let connection = ConnectionNo(connection);
        format!("connection {connection} failed: {}", reason.unwrap_or_else(|| "no reason given".to_owned()))
    };
    rows.iter().map(|row| Ok(text(row.get(0)?, row.get(1)?))).collect()
}

/// So many findings are said in a run's outcome. All of them are beside it.
const SAID: usize = 3;

fn why_partial(run: &Run, failed_pulls: &[String]) -> Vec<String> {
    let mut complaints: Vec<String> = Vec::new();
    for finding in run.findings.iter().filter(|finding| finding.weight == FindingWeight::Partial) {
        if !failed_pulls.contains(&finding.message) && !complaints.contains(&finding.message) {
            complaints.push(finding.message.clone());
        }
    }
    let mut reasons = failed_pulls.to_vec();
    let more = complaints.len().saturating_sub(SAID);
    reasons.extend(complaints.into_iter().take(SAID));
    if more > 0 {
        reasons.push(format!("{more} more of this kind: `rollcall runs show {}` has them all", run.id));
    }
    if run.counts.parked > 0 {
        let shown = format!("`rollcall queues parked write --run {}` shows them", run.id);
        reasons.push(format!("{} students parked; {shown}", run.counts.parked));
    }
    reasons
}
