//! Judging a held plan: approved, or thrown away.
//!
//! Invariant: an approval is checked and done in one transaction, under the locks of the district's and the run's rows;
//! so of two plans against the same roster only one is ever released. Lock order: the district's row, then the run's.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{DistrictId, RunId};

use crate::{
    Store, StoreError, districts,
    plan::ApproveRefusal,
    planning, release,
    run::{Run, RunState, Stage},
    runs,
    sql::{Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

const RELEASE: &str = "\
UPDATE run SET state = 'running', stage = 'release', reason = NULL, released_at = $3, touched_at = $3,
               approved_by = coalesce($4, approved_by)
WHERE district = $1 AND id = $2";

/// What a statement is for, in errors.
const CHECK: &str = "check a plan";

const LOOK_AGAIN: &str = "\
UPDATE run SET state = 'running', stage = 'recheck', reason = NULL, plan_lease_until = NULL, touched_at = $3,
               approved_by = $4
WHERE district = $1 AND id = $2";

/// One that failed has no plan; what it would have superseded waits on.
const NEWER: &str = "\
SELECT id, state FROM run WHERE district = $1 AND seq > $2 AND planned_at IS NOT NULL AND NOT as_of_given
AND state NOT IN ('failed', 'cancelled', 'discarded')
ORDER BY seq DESC LIMIT 1";

/// What the reason of a run begins with whose plan another one took the place of; that run's id follows.
pub(crate) const SUPERSEDED_BY: &str = "superseded-by ";

impl Store {
    /// Held → Release (or to Recheck where candidates have to be looked at first), checked in one transaction.
    pub async fn approve(
        &self,
        district: &DistrictId,
        run: RunId,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<Stage, ApproveRefusal>> {
        let operation = "approve a plan";
        let mut tx = self.begin(district, operation).await?;
        districts::lock(&mut tx, district).await?;
        let held = runs::load_locked(&mut tx, district, run).await?;
        if let Some(refusal) = refusal(&mut tx, &held).await? {
            return Ok(Err(refusal));
        }
        let stage = if planning::approve_candidates(&mut tx, district, run).await? {
            tx.execute(operation, LOOK_AGAIN, args![district, run, now, actor]).await?;
            Stage::Recheck
        } else {
            release_in(&mut tx, district, run, Some(actor), now).await?;
            release::write_side(&mut tx, district, run, now).await?;
            Stage::Release
        };
        let detail = format!("plan={}", held.plan_hash.unwrap_or_default());
        trail::write(&mut tx, &runs::entry(district, run, "run.approve", actor, detail, now)).await?;
        tx.commit(operation).await?;
        Ok(Ok(stage))
    }

    /// Throws a held plan away. False: the run is not held.
    pub async fn discard(
        &self,
        district: &DistrictId,
        run: RunId,
        actor: &str,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let operation = "discard a plan";
        let sql = "UPDATE run SET state = 'discarded', stage = 'closed', reason = $3, ended_at = $4, touched_at = $4 \
                   WHERE district = $1 AND id = $2 AND stage = 'held'";
        let mut tx = self.begin(district, operation).await?;
        if tx.execute(operation, sql, args![district, run, reason, now]).await? == 0 {
            return Ok(false);
        }
        trail::write(&mut tx, &runs::entry(district, run, "run.discard", actor, reason.to_owned(), now)).await?;
        tx.commit(operation).await?;
        self.tell_if_ended(district, run).await;
        Ok(true)
    }
}

/// Moves a run to Release. The roster's version grows where the plan changes students: from here on, no other plan that
/// was compared with the roster as it was can be released.
pub(crate) async fn release_in(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
    approved_by: Option<&str>,
    now: DateTime<Utc>,
) -> Result<()> {
    let operation = "release a plan";
    let grow = "UPDATE district SET roster_version = roster_version + 1 WHERE district = $1 AND EXISTS \
                (SELECT 1 FROM run r WHERE r.district = $1 AND r.id = $2 AND r.added + r.changed + r.removed > 0)";
    tx.execute(operation, grow, args![district, run]).await?;
    tx.execute(operation, RELEASE, args![district, run, now, approved_by]).await.map(drop)
}

/// Why a plan cannot be approved, if it cannot.
async fn refusal(tx: &mut Tx, held: &Run) -> Result<Option<ApproveRefusal>> {
    if held.state != RunState::Held || held.stage != Stage::Held {
        let not_held = ApproveRefusal::NotHeld(held.state.as_str().to_owned());
        return Ok(Some(superseded(tx, held).await?.unwrap_or(not_held)));
    }
    if held.as_of_given {
        return Ok(Some(ApproveRefusal::AsOfGiven));
    }
    if let Some(newer) = newer(tx, held).await? {
        return Ok(Some(newer));
    }
    let version = "SELECT roster_version FROM district WHERE district = $1";
    let version = tx.row(CHECK, version, args![&held.district]).await?;
    let current = version.map(|row| row.get::<i64>(0)).transpose()?;
    Ok((current != held.planned_roster_version).then_some(ApproveRefusal::RosterChanged))
}

/// The run whose plan counts in place of this one's.
async fn newer(tx: &mut Tx, held: &Run) -> Result<Option<ApproveRefusal>> {
    let Some(row) = tx.row(CHECK, NEWER, args![&held.district, held.seq]).await? else { return Ok(None) };
    let (run, state) = (RunId(row.get(0)?).to_string(), row.get::<String>(1)?);
    let waits = state == RunState::Held.as_str();
    Ok(Some(if waits { ApproveRefusal::NewerRun(run) } else { ApproveRefusal::Superseded { run, state } }))
}

/// The run that took the place of a plan that is discarded: the newest one that counts, else the one that did it.
async fn superseded(tx: &mut Tx, discarded: &Run) -> Result<Option<ApproveRefusal>> {
    let by = discarded.reason.as_deref().and_then(|reason| reason.strip_prefix(SUPERSEDED_BY));
    let Some(by) = by.filter(|_| discarded.state == RunState::Discarded) else { return Ok(None) };
    if let Some(newer) = newer(tx, discarded).await? {
        return Ok(Some(newer));
    }
    let Ok(id) = by.parse::<RunId>() else { return Ok(None) };
    let sql = "SELECT state, as_of_given FROM run WHERE district = $1 AND id = $2";
    let Some(row) = tx.row(CHECK, sql, args![&discarded.district, id]).await? else { return Ok(None) };
    let (state, only_looked) = (row.get::<String>(0)?, row.get::<bool>(1)?);
    let run = by.to_owned();
    Ok(Some(if only_looked { ApproveRefusal::OnlyLooked(run) } else { ApproveRefusal::Superseded { run, state } }))
}
