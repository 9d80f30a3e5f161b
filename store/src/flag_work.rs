//! Whose flags are due, who is at it, and take-overs of existing flags.
//!
//! Invariants: one worker at a time has a district's flags, by a lease that outlives nobody for long, and what somebody found who
//! has lost it is not kept; the ids that a take-over ends are fixed when it is approved.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::id::{DistrictId, StudentId};
use uuid::Uuid;

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    districts::{self, district_id},
    flag::{
        AskedProgram, Cutover, CutoverFlag, Failing, FlagWork, LedgerEntry, OpenOldFlags, PendingStudent, TakeOverPlan,
    },
    flags::{note, read_failing},
    sql::{Arg, Row, Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

const WORK_PG: &str = "\
SELECT s.district, s.synced_at, s.stopped_at, s.pending_since, coalesce(u.at_once, false) OR c.district IS NOT NULL, s.retry_at,
       s.lease_until, s.asked_at, least(s.take_over_on, t.take_over_on), p.asked_at, d.due_at, u.due_at
FROM lookout_flag_syncs() s LEFT JOIN lookout_asked_programs() p ON p.district = s.district
LEFT JOIN lookout_pending_flags() d ON d.district = s.district
LEFT JOIN lookout_unfinished_flags() u ON u.district = s.district
LEFT JOIN lookout_ended_take_overs() t ON t.district = s.district
LEFT JOIN lookout_comparisons() c ON c.district = s.district ORDER BY s.district";
const WORK_LITE: &str = "\
SELECT s.district, s.synced_at,
       (SELECT max(coalesce(r.ended_at, r.touched_at)) FROM run r
        WHERE r.district = s.district AND r.stage IN ('held', 'closed')),
       (SELECT min(p.since) FROM flag_pending p WHERE p.district = s.district),
       EXISTS (SELECT 1 FROM flag f WHERE f.district = s.district AND f.due AND f.retry_at IS NULL)
       OR EXISTS (SELECT 1 FROM flag f WHERE f.district = s.district AND f.state = 'accepted')
       OR EXISTS (SELECT 1 FROM flag_comparison c WHERE c.district = s.district),
       s.retry_at, s.lease_until, s.asked_at,
       (SELECT min(c.cutover) FROM cutover c
        LEFT JOIN cutover_flag o ON o.district = c.district AND o.program = c.program AND o.done_at IS NULL
        WHERE c.district = s.district AND c.done_at IS NULL AND o.outcome IS NULL),
       (SELECT min(p.asked_at) FROM flag_program p WHERE p.district = s.district),
       (SELECT min(coalesce(p.retry_at, p.since)) FROM flag_pending p WHERE p.district = s.district),
       (SELECT min(w.retry_at) FROM
        (SELECT f.retry_at FROM flag f WHERE f.district = s.district AND f.due
         UNION ALL SELECT o.retry_at FROM cutover_flag o WHERE o.district = s.district AND o.done_at IS NULL) w)
FROM flag_sync s JOIN district d ON d.district = s.district
WHERE s.enabled AND d.removed_at IS NULL ORDER BY s.district";

const PENDING: &str = "\
SELECT student_id, since, mark, failures FROM flag_pending
WHERE district = $1 AND (CAST($2 AS timestamptz) IS NULL OR retry_at IS NULL OR retry_at <= $2)
ORDER BY coalesce(retry_at, since), student_id LIMIT $3";

/// The ledger keeps the id that a student had then.
const CUTOVER_FLAGS: &str = "\
SELECT c.flag, c.sis_id, c.done_at, c.outcome,
       (SELECT coalesce((SELECT k.new_id FROM student_rekey k WHERE k.district = l.district AND k.old_id = l.student_id
                         AND NOT EXISTS (SELECT 1 FROM student s
                                         WHERE s.district = l.district AND s.student_id = l.student_id)), l.student_id)
        FROM flag_ledger l WHERE l.district = c.district AND l.flag = c.flag AND l.action = 'approve'
        ORDER BY l.id DESC LIMIT 1),
       c.goes_on, c.program_sis_id, c.failures, c.retry_at, c.outcome
FROM cutover_flag c WHERE c.district = $1 AND c.program = $2 AND (NOT $3 OR c.done_at IS NULL) ORDER BY c.flag LIMIT $4";

const CLAIM: &str = "\
UPDATE flag_sync SET lease = $2, lease_until = $4
WHERE district = $1 AND enabled AND (lease IS NULL OR lease = $2 OR lease_until <= $3)
AND (retry_at IS NULL OR retry_at <= $3)";

impl Store {
    /// Every district whose flags are switched on, and how far they are.
    pub async fn flag_work(&self) -> Result<Vec<FlagWork>> {
        let operation = "look for flags that are due";
        let mut tx = self.lookout(operation).await?;
        let sql = if tx.is_postgres() { WORK_PG } else { WORK_LITE };
        let rows = tx.rows(operation, sql, args![]).await?;
        tx.commit(operation).await?;
        rows.iter().map(work).collect()
    }

    /// True for one caller in an interval: so that many reconcilers ask once.
    pub async fn claim_flag_ask(
        &self,
        district: &DistrictId,
        not_since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let sql = "UPDATE flag_sync SET asked_at = $3 WHERE district = $1 AND (asked_at IS NULL OR asked_at <= $2)";
        self.move_sync("claim the asking for flags", district, sql, args![district, not_since, now]).await
    }

    /// Takes the district's lease. False: somebody else has it, flags are off, or the SIS is to be left alone.
    pub async fn claim_flags(
        &self,
        district: &DistrictId,
        worker: Uuid,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<bool> {
        self.move_sync("claim a district's flags", district, CLAIM, args![district, worker, now, until]).await
    }

    /// Renews the lease. False: it is not this worker's any more, or flags were switched off.
    pub async fn renew_flags(&self, district: &DistrictId, worker: Uuid, until: DateTime<Utc>) -> Result<bool> {
        let sql = "UPDATE flag_sync SET lease_until = $3 WHERE district = $1 AND lease = $2 AND enabled";
        self.move_sync("renew the lease of a district's flags", district, sql, args![district, worker, until]).await
    }

    /// Whether the lease is this worker's, and flags are on.
    pub async fn holds_flags(&self, district: &DistrictId, worker: Uuid) -> Result<bool> {
        let operation = "read whose a district's flags are";
        let sql = "SELECT enabled FROM flag_sync WHERE district = $1 AND lease = $2";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, sql, args![district, worker]).await?;
        tx.commit(operation).await?;
        row.map_or(Ok(false), |row| row.get(0))
    }

    /// Takes the lease for a person's decision, whether or not the SIS is to be left alone. False: somebody has it.
    pub async fn reserve_flags(
        &self,
        district: &DistrictId,
        holder: Uuid,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<bool> {
        let sql = "UPDATE flag_sync SET lease = $2, lease_until = $4 \
                   WHERE district = $1 AND (lease IS NULL OR lease_until <= $3)";
        self.move_sync("reserve a district's flags", district, sql, args![district, holder, now, until]).await
    }

    /// Gives the lease back, if it is still this worker's.
    pub async fn release_flags(&self, district: &DistrictId, worker: Uuid) -> Result<()> {
        let sql = "UPDATE flag_sync SET lease = NULL, lease_until = NULL WHERE district = $1 AND lease = $2";
        self.move_sync("give a district's flags back", district, sql, args![district, worker]).await.map(drop)
    }

    /// When the facts of the last whole sync were read.
    pub async fn flags_synced_at(&self, district: &DistrictId) -> Result<Option<DateTime<Utc>>> {
        let operation = "read how far flags are";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, "SELECT synced_at FROM flag_sync WHERE district = $1", args![district]).await?;
        tx.commit(operation).await?;
        row.map_or(Ok(None), |row| row.get(0))
    }

    /// Which request for a whole sync was the last one: a person's, or that of another file of the district.
    pub async fn flags_asked(&self, district: &DistrictId) -> Result<Option<Uuid>> {
        let operation = "read which whole sync was asked for";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, "SELECT ask_mark FROM flag_sync WHERE district = $1", args![district]).await?;
        tx.commit(operation).await?;
        row.map_or(Ok(None), |row| row.get(0))
    }

    /// A whole sync has decided, from facts read at `read_at`. `asked`: the last request that it knew of; after another one
    /// the next whole sync is due all the same.
    pub async fn flags_synced(&self, district: &DistrictId, read_at: DateTime<Utc>, asked: Option<Uuid>) -> Result<()> {
        let sql = "UPDATE flag_sync SET synced_at = $2 WHERE district = $1 \
                   AND (synced_at IS NULL OR synced_at < $2) AND ask_mark IS NOT DISTINCT FROM $3";
        self.move_sync("note that flags are synced", district, sql, args![district, read_at, asked]).await.map(drop)
    }

    /// The SIS answers: nothing keeps anybody from trying.
    pub async fn flags_reachable(&self, district: &DistrictId) -> Result<()> {
        let sql = "UPDATE flag_sync SET retry_at = NULL, failures = 0, problem = NULL \
                   WHERE district = $1 AND (failures > 0 OR problem IS NOT NULL)";
        self.move_sync("note that the SIS answers", district, sql, args![district]).await.map(drop)
    }

    /// The SIS is away: how many times in a row by now. `problem` for people.
    pub async fn flags_unreachable(&self, district: &DistrictId, problem: &str) -> Result<i64> {
        let operation = "note that the SIS is away";
        let sql = "UPDATE flag_sync SET failures = failures + 1, problem = $2 WHERE district = $1 RETURNING failures";
        let mut tx = self.begin(district, operation).await?;
        let row = tx.row(operation, sql, args![district, problem]).await?;
        let failures = row.map_or(Ok(1), |row| row.get(0));
        tx.commit(operation).await?;
        failures
    }

    /// How many times in a row the SIS was away.
    pub async fn flags_failures(&self, district: &DistrictId) -> Result<i64> {
        let operation = "read how often the SIS was away";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, "SELECT failures FROM flag_sync WHERE district = $1", args![district]).await?;
        tx.commit(operation).await?;
        row.map_or(Ok(0), |row| row.get(0))
    }

    /// Nobody tries before `at`.
    pub async fn retry_flags_at(&self, district: &DistrictId, at: DateTime<Utc>) -> Result<()> {
        let sql = "UPDATE flag_sync SET retry_at = $2 WHERE district = $1";
        self.move_sync("put off a district's flags", district, sql, args![district, at]).await.map(drop)
    }

    /// A person wants it now: whatever put it off is forgotten, what the SIS refused or took and did not show is tried again, and
    /// the next sync is a whole one. Who asked is in the audit trail.
    pub async fn ask_for_flags(&self, district: &DistrictId, actor: &str, now: DateTime<Utc>) -> Result<()> {
        let operation = "ask for a district's flags";
        let mut tx = self.begin(district, operation).await?;
        let whole = "UPDATE flag_sync SET retry_at = NULL, synced_at = NULL, asked_at = NULL, ask_mark = $2 \
                     WHERE district = $1";
        tx.execute(operation, whole, args![district, Uuid::now_v7()]).await?;
        for sql in [
            "UPDATE flag SET refused = NULL WHERE district = $1 AND refused IS NOT NULL",
            "UPDATE flag SET reason = NULL WHERE district = $1 AND state = 'failed' \
             AND reason = 'not-read-back'",
            "UPDATE flag SET failures = 0, retry_at = NULL, failed_with = NULL WHERE district = $1 AND retry_at IS NOT NULL",
            "UPDATE cutover_flag SET outcome = NULL, failures = 0, retry_at = NULL WHERE district = $1 AND done_at IS NULL",
        ] {
            tx.execute(operation, sql, args![district]).await?;
        }
        trail::write(&mut tx, &pushed(district, "programs=all".to_owned(), actor, now)).await?;
        tx.commit(operation).await
    }

    /// The same for one program, whatever the others wait for. It is remembered until somebody has compared the program, so
    /// that the message that is sent with it may be lost; the next whole sync is due all the same.
    pub async fn ask_for_program_flags(
        &self,
        district: &DistrictId,
        program: &str,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let operation = "ask for a program's flags";
        let mut tx = self.begin(district, operation).await?;
        let at_once = "UPDATE flag_sync SET retry_at = NULL, asked_at = NULL WHERE district = $1";
        tx.execute(operation, at_once, args![district]).await?;
        let mark = "INSERT INTO flag_program (district, program, asked_at, asked_mark, updated_at) \
                    VALUES ($1, $2, $3, $4, $3) ON CONFLICT (district, program) DO UPDATE SET \
                    asked_at = excluded.asked_at, asked_mark = excluded.asked_mark";
        tx.execute(operation, mark, args![district, program, now, Uuid::now_v7()]).await?;
        for sql in [
            "UPDATE flag SET refused = NULL WHERE district = $1 AND program = $2 AND refused IS NOT NULL",
            "UPDATE flag SET reason = NULL WHERE district = $1 AND program = $2 AND state = 'failed' \
             AND reason = 'not-read-back'",
            "UPDATE flag SET failures = 0, retry_at = NULL, failed_with = NULL WHERE district = $1 AND program = $2 \
             AND retry_at IS NOT NULL",
            "UPDATE cutover_flag SET outcome = NULL, failures = 0, retry_at = NULL \
             WHERE district = $1 AND program = $2 AND done_at IS NULL",
        ] {
            tx.execute(operation, sql, args![district, program]).await?;
        }
        trail::write(&mut tx, &pushed(district, format!("program={program}"), actor, now)).await?;
        tx.commit(operation).await
    }

    /// Programs that a person asked for; nobody has compared them since.
    pub async fn asked_programs(&self, district: &DistrictId) -> Result<Vec<AskedProgram>> {
        let operation = "read which programs' flags were asked for";
        let sql = "SELECT program, asked_at, asked_mark FROM flag_program \
                   WHERE district = $1 AND asked_at IS NOT NULL ORDER BY program";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        let asked = |row: &Row| Ok(AskedProgram { program: row.get(0)?, asked_at: row.get(1)?, mark: row.get(2)? });
        rows.iter().map(asked).collect()
    }

    /// Programs that were compared: what was asked for since they were read stays, whatever the clock of who asked.
    pub async fn settle_programs(&self, district: &DistrictId, taken: &[AskedProgram]) -> Result<()> {
        if taken.is_empty() {
            return Ok(());
        }
        let operation = "settle which programs' flags were asked for";
        // A version before sets the time alone.
        let sql = "UPDATE flag_program SET asked_at = NULL, asked_mark = NULL WHERE district = $1 AND program = $2 \
                   AND asked_at = $3 AND asked_mark IS NOT DISTINCT FROM $4";
        let mut tx = self.begin(district, operation).await?;
        for one in taken {
            tx.execute(operation, sql, args![district, &one.program, one.asked_at, one.mark]).await?;
        }
        tx.commit(operation).await
    }

    /// What keeps the district's flags from the SIS, if something does.
    pub async fn flags_problem(&self, district: &DistrictId) -> Result<Option<String>> {
        let operation = "read what keeps flags back";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, "SELECT problem FROM flag_sync WHERE district = $1", args![district]).await?;
        tx.commit(operation).await?;
        row.map_or(Ok(None), |row| row.get(0))
    }

    /// Students whose documents changed; the longest waiting first, and those whom the SIS failed at by when they have a turn.
    pub async fn pending_students(&self, district: &DistrictId, most: i64) -> Result<Vec<PendingStudent>> {
        self.pending(district, None, most).await
    }

    /// The same without those who have no turn yet.
    pub async fn pending_students_due(
        &self,
        district: &DistrictId,
        now: DateTime<Utc>,
        most: i64,
    ) -> Result<Vec<PendingStudent>> {
        self.pending(district, Some(now), most).await
    }

    async fn pending(
        &self,
        district: &DistrictId,
        due_at: Option<DateTime<Utc>>,
        most: i64,
    ) -> Result<Vec<PendingStudent>> {
        let operation = "read whose flags are pending";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, PENDING, args![district, due_at, most]).await?;
        tx.commit(operation).await?;
        rows.iter().map(read_pending).collect()
    }

    /// Students whose flags were looked at: the marks set since these were read stay, whatever the clock of who set them.
    pub async fn settle_pending(&self, district: &DistrictId, taken: &[PendingStudent]) -> Result<()> {
        if taken.is_empty() {
            return Ok(());
        }
        let operation = "settle whose flags are pending";
        // A version before sets the time alone.
        let sql = "DELETE FROM flag_pending WHERE district = $1 AND student_id = $2 AND since = $3 \
                   AND mark IS NOT DISTINCT FROM $4";
        let mut tx = self.begin(district, operation).await?;
        for one in taken {
            tx.execute(operation, sql, args![district, &one.student, one.since, one.mark]).await?;
        }
        tx.commit(operation).await
    }

    /// The SIS failed at a student's list once more: nobody asks it for that before `retry_at`, but for another change. A mark set
    /// meanwhile stays as it is.
    pub async fn pending_waits(
        &self,
        district: &DistrictId,
        one: &PendingStudent,
        retry_at: DateTime<Utc>,
    ) -> Result<()> {
        let sql = "UPDATE flag_pending SET failures = failures + 1, retry_at = $5 WHERE district = $1 AND student_id = $2 \
                   AND since = $3 AND mark IS NOT DISTINCT FROM $4";
        let values = args![district, &one.student, one.since, one.mark, retry_at];
        self.move_sync("note that the SIS fails at a student", district, sql, values).await.map(drop)
    }

    /// Take-overs that were approved.
    pub async fn cutovers(&self, district: &DistrictId) -> Result<Vec<Cutover>> {
        let operation = "read the take-overs";
        let sql = "SELECT program, cutover, approved_by, approved_at, done_at, plan_hash FROM cutover WHERE district = $1 \
                   ORDER BY program";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        rows.iter().map(read_cutover).collect()
    }

    /// Approves take-overs, all or none: fixes the flags they end. Once for a day; for another day again, while no flag is
    /// done. Returns the program that was approved before, and stays as it was; none where all are approved now.
    pub async fn approve_cutovers(
        &self,
        district: &DistrictId,
        plans: &[TakeOverPlan],
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<String>> {
        let operation = "approve a take-over";
        let mut tx = self.begin(district, operation).await?;
        districts::lock(&mut tx, district).await?;
        for plan in plans {
            if !approve(&mut tx, district, plan, actor, now).await? {
                // What the transaction holds so far is dropped with it.
                return Ok(Some(plan.program.clone()));
            }
        }
        tx.commit(operation).await?;
        Ok(None)
    }

    /// A person was shown what these take-overs would do: what is approved without naming a plan is that.
    pub async fn plans_shown(&self, district: &DistrictId, plans: &[TakeOverPlan], now: DateTime<Utc>) -> Result<()> {
        let operation = "note that plans of take-overs were shown";
        let sql = "INSERT INTO flag_program (district, program, shown_plan, updated_at) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (district, program) DO UPDATE SET shown_plan = excluded.shown_plan";
        let mut tx = self.begin(district, operation).await?;
        for plan in plans {
            tx.execute(operation, sql, args![district, &plan.program, &plan.hash, now]).await?;
        }
        tx.commit(operation).await
    }

    /// Digests of the plans that a person was shown last, of any program.
    pub async fn shown_plans(&self, district: &DistrictId) -> Result<Vec<String>> {
        let operation = "read which plans of take-overs were shown";
        let sql = "SELECT shown_plan FROM flag_program WHERE district = $1 AND shown_plan IS NOT NULL";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Students of a connection by the SIS's id, in lower case.
    pub async fn students_by_sis_id(
        &self,
        district: &DistrictId,
        connection: u16,
    ) -> Result<BTreeMap<String, StudentId>> {
        let operation = "read whose ids the SIS names";
        let sql = "SELECT lower(sis_id), student_id FROM student \
                   WHERE district = $1 AND connection = $2 AND sis_id IS NOT NULL";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, sql, args![district, i64::from(connection)]).await?;
        tx.commit(operation).await?;
        rows.iter().map(|row| Ok((row.get(0)?, StudentId(row.get(1)?)))).collect()
    }

    /// Flags of a take-over; only those not done where asked for.
    pub async fn cutover_flags(
        &self,
        district: &DistrictId,
        program: &str,
        only_open: bool,
        most: i64,
    ) -> Result<Vec<CutoverFlag>> {
        let operation = "read the flags of a take-over";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, CUTOVER_FLAGS, args![district, program, only_open, most]).await?;
        tx.commit(operation).await?;
        rows.iter().map(read_cutover_flag).collect()
    }

    /// How many flags of take-overs that are not done stay open, by why.
    pub async fn open_old_flags(&self, district: &DistrictId) -> Result<Vec<OpenOldFlags>> {
        let operation = "count the flags that take-overs leave open";
        let sql = "SELECT program, outcome, count(*) FROM cutover_flag \
                   WHERE district = $1 AND done_at IS NULL AND outcome IS NOT NULL \
                   GROUP BY program, outcome ORDER BY program, outcome";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        let read = |row: &Row| Ok(OpenOldFlags { program: row.get(0)?, outcome: row.get(1)?, flags: row.get(2)? });
        rows.iter().map(read).collect()
    }

    /// One flag of a take-over is done with: read back as ended, or found gone or ended before. False: the district's flags are
    /// not this worker's any more, and nothing was written.
    pub async fn cutover_flag_done(
        &self,
        district: &DistrictId,
        worker: Uuid,
        flag: &CutoverFlag,
        entry: &LedgerEntry,
    ) -> Result<bool> {
        let operation = "note a flag of a take-over";
        let sql = "UPDATE cutover_flag SET done_at = $4, outcome = $5 WHERE district = $1 AND program = $2 AND flag = $3 \
                   AND done_at IS NULL";
        let mut tx = self.begin(district, operation).await?;
        let values = args![district, &entry.program, &flag.flag, entry.at, &entry.answer];
        if !holds(&mut tx, district, worker).await? {
            return Ok(false);
        }
        if tx.execute(operation, sql, values).await? > 0 {
            note(&mut tx, district, entry).await?;
        }
        tx.commit(operation).await?;
        Ok(true)
    }

    /// The SIS fails at ending a flag of a take-over: nobody tries it before its turn.
    pub async fn cutover_flag_fails(
        &self,
        district: &DistrictId,
        program: &str,
        flag: &str,
        failing: &Failing,
    ) -> Result<()> {
        let sql = "UPDATE cutover_flag SET failures = $4, retry_at = $5, outcome = $6 \
                   WHERE district = $1 AND program = $2 AND flag = $3 AND done_at IS NULL";
        let values = args![district, program, flag, failing.failures, failing.retry_at, &failing.answer];
        self.move_sync("note that the SIS fails at a flag of a take-over", district, sql, values).await.map(drop)
    }

    /// A flag of a take-over stays open for now, and why: reconcilers leave it to the next sync.
    pub async fn cutover_flag_waits(&self, district: &DistrictId, program: &str, flag: &str, why: &str) -> Result<()> {
        let sql = "UPDATE cutover_flag SET outcome = $4, failures = 0, retry_at = NULL \
                   WHERE district = $1 AND program = $2 AND flag = $3 AND done_at IS NULL";
        let operation = "note that a flag of a take-over waits";
        self.move_sync(operation, district, sql, args![district, program, flag, why]).await.map(drop)
    }

    /// The program is taken over, when none of its flags is left to do. True: it is.
    pub async fn finish_cutover(&self, district: &DistrictId, program: &str, now: DateTime<Utc>) -> Result<bool> {
        let sql = "UPDATE cutover SET done_at = coalesce(done_at, $3) WHERE district = $1 AND program = $2 \
                   AND NOT EXISTS (SELECT 1 FROM cutover_flag f WHERE f.district = $1 AND f.program = $2 \
                   AND f.done_at IS NULL)";
        self.move_sync("finish a take-over", district, sql, args![district, program, now]).await
    }

    /// When the district was first applied, and how many students have a completed document of a program that began before that.
    pub async fn flag_history(&self, district: &DistrictId, program: &str) -> Result<(DateTime<Utc>, usize)> {
        let operation = "read how long a district has documents";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, "SELECT created_at FROM district WHERE district = $1", args![district]).await?;
        let since: DateTime<Utc> = row.ok_or_else(|| StoreError::NoDistrict(district.clone()))?.get(0)?;
        let sql = "SELECT count(DISTINCT student_id) FROM document \
                   WHERE district = $1 AND program = $2 AND status = 'completed' AND starts_on < $3";
        let row = tx.row(operation, sql, args![district, program, since.date_naive()]).await?;
        tx.commit(operation).await?;
        let students: i64 = row.map_or(Ok(0), |row| row.get(0))?;
        Ok((since, usize::try_from(students).unwrap_or_default()))
    }

    async fn move_sync(
        &self,
        operation: &'static str,
        district: &DistrictId,
        sql: &'static str,
        values: Vec<Arg>,
    ) -> Result<bool> {
        let mut tx = self.begin(district, operation).await?;
        let hit = tx.execute(operation, sql, values).await? > 0;
        tx.commit(operation).await?;
        Ok(hit)
    }
}

/// Whether the district's flags are this worker's, who keeps them until the transaction ends: a lease that ran out is nobody else's
/// before that is taken.
pub(crate) async fn holds(tx: &mut Tx, district: &DistrictId, worker: Uuid) -> Result<bool> {
    // SQLite has one writer at a time as it is.
    let sql = if tx.is_postgres() {
        "SELECT 1::bigint FROM flag_sync WHERE district = $1 AND lease = $2 FOR SHARE"
    } else {
        "SELECT 1 FROM flag_sync WHERE district = $1 AND lease = $2"
    };
    Ok(tx.row("hold a district's flags", sql, args![district, worker]).await?.is_some())
}

/// False: it was approved before.
async fn approve(
    tx: &mut Tx,
    district: &DistrictId,
    plan: &TakeOverPlan,
    actor: &str,
    now: DateTime<Utc>,
) -> Result<bool> {
    let operation = "approve a take-over";
    let (program, cutover) = (&plan.program, plan.cutover);
    let insert = "INSERT INTO cutover (district, program, cutover, approved_by, approved_at, plan_hash) \
                  VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (district, program) DO UPDATE \
                  SET cutover = excluded.cutover, approved_by = excluded.approved_by, \
                  approved_at = excluded.approved_at, plan_hash = excluded.plan_hash, done_at = NULL \
                  WHERE cutover.cutover <> excluded.cutover AND NOT EXISTS (SELECT 1 FROM cutover_flag f \
                  WHERE f.district = $1 AND f.program = $2 AND f.done_at IS NOT NULL)";
    let values = args![district, program, cutover, actor, now, &plan.hash];
    if tx.execute(operation, insert, values).await? == 0 {
        return Ok(false);
    }
    let forget = "DELETE FROM cutover_flag WHERE district = $1 AND program = $2";
    tx.execute(operation, forget, args![district, program]).await?;
    let insert = "INSERT INTO cutover_flag (district, program, flag, sis_id, goes_on, program_sis_id) \
                  VALUES ($1, $2, $3, $4, $5, $6)";
    for flag in &plan.to_end {
        let values = args![district, program, &flag.flag, &flag.sis_id, flag.goes_on, flag.program_sis_id.clone()];
        tx.execute(operation, insert, values).await?;
        note(tx, district, &approval(program, cutover, flag, actor, now)).await?;
    }
    trail::write(tx, &audited(district, plan, actor, now)).await?;
    Ok(true)
}

/// What a district's file says of flags, beside what it said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Programs {
    /// The same.
    AsBefore,
    /// Something else: what was left undone meanwhile is made up by a whole sync.
    Changed,
}

/// Whether any program of the district has flags: what reconcilers look for.
pub(crate) async fn enable(tx: &mut Tx, district: &DistrictId, enabled: bool, programs: Programs) -> Result<()> {
    let sql = "INSERT INTO flag_sync (district, enabled) VALUES ($1, $2) \
               ON CONFLICT (district) DO UPDATE SET enabled = excluded.enabled, retry_at = NULL, \
               synced_at = CASE WHEN $3 THEN NULL ELSE flag_sync.synced_at END, \
               ask_mark = CASE WHEN $3 THEN $4 ELSE flag_sync.ask_mark END";
    let values = args![district, enabled, programs == Programs::Changed, Uuid::now_v7()];
    tx.execute("switch a district's flags", sql, values).await.map(drop)
}

/// Nobody takes the district's flags any more, and whoever has them in hand stops.
pub(crate) async fn disable(tx: &mut Tx, district: &DistrictId) -> Result<()> {
    let sql = "UPDATE flag_sync SET enabled = false WHERE district = $1";
    tx.execute("switch a district's flags off", sql, args![district]).await.map(drop)
}

fn pushed(district: &DistrictId, detail: String, actor: &str, at: DateTime<Utc>) -> AuditEntry {
    AuditEntry::new(district, at, actor, "flags.push", detail)
}

fn audited(district: &DistrictId, plan: &TakeOverPlan, actor: &str, at: DateTime<Utc>) -> AuditEntry {
    let detail =
        format!("program={} cutover={} to_end={} plan={}", plan.program, plan.cutover, plan.to_end.len(), plan.hash);
    AuditEntry {
        at,
        actor: actor.to_owned(),
        action: "flags.approve".to_owned(),
        run: None,
        detail,
        district: district.clone(),
    }
}

fn approval(program: &str, cutover: NaiveDate, flag: &CutoverFlag, actor: &str, at: DateTime<Utc>) -> LedgerEntry {
    LedgerEntry {
        at,
        actor: actor.to_owned(),
        flag: flag.flag.clone(),
        student: flag.student.clone(),
        program: program.to_owned(),
        action: "approve".to_owned(),
        why: format!("take-over on {cutover}"),
        starts_on: None,
        ends_on: cutover.pred_opt(),
        answer: "approved".to_owned(),
    }
}

fn work(row: &Row) -> Result<FlagWork> {
    Ok(FlagWork {
        district: district_id(row, 0)?,
        synced_at: row.get(1)?,
        stopped_at: row.get(2)?,
        pending_since: row.get(3)?,
        unfinished: row.get(4)?,
        retry_at: row.get(5)?,
        lease_until: row.get(6)?,
        asked_at: row.get(7)?,
        take_over_on: row.get(8)?,
        program_asked_at: row.get(9)?,
        pending_due_at: row.get(10)?,
        failing_due_at: row.get(11)?,
    })
}

pub(crate) fn read_pending(row: &Row) -> Result<PendingStudent> {
    let student = StudentId(row.get(0)?);
    Ok(PendingStudent { student, since: row.get(1)?, mark: row.get(2)?, failures: row.get(3)? })
}

fn read_cutover(row: &Row) -> Result<Cutover> {
    Ok(Cutover {
        program: row.get(0)?,
        cutover: row.get(1)?,
        approved_by: row.get(2)?,
        approved_at: row.get(3)?,
        done_at: row.get(4)?,
        plan_hash: row.get(5)?,
    })
}

fn read_cutover_flag(row: &Row) -> Result<CutoverFlag> {
    Ok(CutoverFlag {
        flag: row.get(0)?,
        sis_id: row.get(1)?,
        student: row.get::<Option<String>>(4)?.map(StudentId),
        goes_on: row.get(5)?,
        program_sis_id: row.get(6)?,
        done_at: row.get(2)?,
        outcome: row.get(3)?,
        failing: read_failing(row, 7)?,
    })
}
