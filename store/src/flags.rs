//! Participations, flags and their ledger.
//!
//! Invariants: nothing is deleted but marks of pending work; what a push came to is stored with its line in the ledger,
//! in one transaction; what flags are decided from is read as of one moment, and what that comes to is kept under the id that
//! a student has by then.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{DistrictId, StudentId};
use uuid::Uuid;

use crate::{
    Store, StoreError,
    districts::json_unreadable,
    documents,
    flag::{
        Failing, Flag, FlagFacts, FlagFilter, FlagProgram, FlagState, FlagStudent, LedgerEntry, Participation,
        PushedFlag,
    },
    flag_work, rekeyed,
    roster::load::{read_json, read_status},
    sql::{Arg, ManyRows, Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

const PARTICIPATIONS: &str = "\
SELECT participation, student_id, program, starts_on, ends_on, void_on, documents FROM participation
WHERE district = $1 AND (CAST($2 AS text) IS NULL OR student_id = $2)
ORDER BY student_id, program, starts_on, participation";

/// A student's id, given as a parameter, as it is by now: everybody may have been given another one since it was read.
macro_rules! today {
    ($parameter:literal) => {
        concat!(
            "coalesce((SELECT k.new_id FROM student_rekey k WHERE k.district = $1 AND k.old_id = ",
            $parameter,
            " AND NOT EXISTS (SELECT 1 FROM student s WHERE s.district = $1 AND s.student_id = ",
            $parameter,
            ")), ",
            $parameter,
            ")"
        )
    };
}

/// They share the district, and the time.
const SAVE_PARTICIPATIONS: ManyRows = ManyRows {
    table: "participation",
    columns: "district, updated_at, participation, student_id, program, starts_on, ends_on, void_on, documents",
    row: concat!("($1, $2, $3, ", today!("$4"), ", $5, $6, $7, $8, $9)"),
    conflict: " ON CONFLICT (district, participation) DO UPDATE SET \
               starts_on = excluded.starts_on, ends_on = excluded.ends_on, void_on = excluded.void_on, \
               documents = excluded.documents, updated_at = excluded.updated_at",
};

/// The columns that [`read_flag`] reads, in its order.
macro_rules! columns {
    () => {
        "flag, participation, student_id, program, sis_id, starts_on, ends_on, state, reason, due, why, \
         pushed_starts_on, pushed_ends_on, pushed_sis_id, program_sis_id, verified_at, refused, pushed_link, \
         failures, retry_at, failed_with"
    };
}

const FLAGS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM flag WHERE district = $1 AND (CAST($2 AS text) IS NULL OR student_id = $2) \
     AND (CAST($3 AS text) IS NULL OR program = $3) ORDER BY student_id, program, starts_on, flag"
);

const FLAGS_WITHIN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM flag WHERE district = $1 AND student_id > $2 AND student_id <= $3 \
     AND (CAST($4 AS text) IS NULL OR program = $4) ORDER BY student_id, program, starts_on, flag"
);

/// Those that people are shown: one that was never pushed and is not wanted any more is nobody's business.
const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM flag WHERE district = $1 AND (CAST($2 AS text) IS NULL OR student_id = $2) \
     AND (CAST($3 AS text) IS NULL OR program = $3) AND flag > $4 \
     AND (pushed_starts_on IS NOT NULL OR reason IS NULL OR reason <> 'withdrawn') ORDER BY flag LIMIT $5"
);

const ONE: &str = concat!("SELECT ", columns!(), " FROM flag WHERE district = $1 AND flag = $2");

/// Those that are to go by one of the SIS's ids, and those that it took by one.
const OF_PERSONS_POSTGRES: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM flag WHERE district = $1 AND sis_id = ANY($2) UNION SELECT ",
    columns!(),
    " FROM flag WHERE district = $1 AND pushed_sis_id = ANY($2)"
);

/// The same.
const OF_PERSONS_SQLITE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM flag WHERE district = $1 AND sis_id IN (SELECT value FROM json_each($2)) UNION SELECT ",
    columns!(),
    " FROM flag WHERE district = $1 AND pushed_sis_id IN (SELECT value FROM json_each($2))"
);

const DUE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM flag WHERE district = $1 AND due AND (retry_at IS NULL OR retry_at <= $2) \
         ORDER BY retry_at NULLS FIRST, student_id, flag LIMIT $3"
);

const ACCEPTED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM flag WHERE district = $1 AND state = 'accepted' AND NOT due ORDER BY flag LIMIT $2"
);

/// What is kept of a flag that is still to be pushed as before, and what becomes of it otherwise.
macro_rules! if_as_before {
    ($kept:literal, $otherwise:literal) => {
        concat!(
            "CASE WHEN excluded.due AND flag.starts_on = excluded.starts_on \
             AND flag.ends_on IS NOT DISTINCT FROM excluded.ends_on AND flag.sis_id IS NOT DISTINCT FROM excluded.sis_id THEN ",
            $kept,
            " ELSE ",
            $otherwise,
            " END"
        )
    };
}

/// They share the district, and the time.
const SAVE_FLAGS: ManyRows = ManyRows {
    table: "flag",
    columns: "district, updated_at, flag, participation, student_id, program, sis_id, starts_on, ends_on, state, reason, due, \
              why, pushed_starts_on, pushed_ends_on, pushed_sis_id, program_sis_id, verified_at, refused, pushed_link, pushed_at",
    row: concat!(
        "($1, $2, $3, $4, ",
        today!("$5"),
        ", $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, CASE WHEN $10 = 'accepted' THEN $2 END)"
    ),
    conflict: concat!(
        " ON CONFLICT (district, flag) DO UPDATE SET \
               sis_id = excluded.sis_id, starts_on = excluded.starts_on, ends_on = excluded.ends_on, state = excluded.state, \
               reason = excluded.reason, due = excluded.due, why = excluded.why, pushed_starts_on = excluded.pushed_starts_on, \
               pushed_ends_on = excluded.pushed_ends_on, pushed_sis_id = excluded.pushed_sis_id, \
               program_sis_id = excluded.program_sis_id, verified_at = excluded.verified_at, refused = excluded.refused, \
               pushed_link = excluded.pushed_link, pushed_at = coalesce(excluded.pushed_at, flag.pushed_at), \
               updated_at = excluded.updated_at",
        ", failures = ",
        if_as_before!("flag.failures", "0"),
        ", retry_at = ",
        if_as_before!("flag.retry_at", "NULL"),
        ", failed_with = ",
        if_as_before!("flag.failed_with", "NULL")
    ),
};

const NOTE: &str = "\
INSERT INTO flag_ledger (district, at, actor, flag, student_id, program, action, why, starts_on, ends_on, answer)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

/// Lines of a flag that are looked at for another of the same: more failures than differ from each other.
const RECENT: i64 = 20;

const LEDGER: &str = "\
SELECT at, actor, flag, student_id, program, action, why, starts_on, ends_on, answer FROM flag_ledger
WHERE district = $1 AND (CAST($2 AS text) IS NULL OR flag = $2) ORDER BY id DESC LIMIT $3";

/// Of completed documents' students too: what these come to may not be stored yet.
const STUDENTS: &str = "\
SELECT s.student_id, s.status, s.connection, s.sis_id FROM student s WHERE s.district = $1
AND (CAST($2 AS text) IS NULL OR s.student_id = $2)
AND (EXISTS (SELECT 1 FROM participation p WHERE p.district = s.district AND p.student_id = s.student_id)
     OR EXISTS (SELECT 1 FROM document d
                WHERE d.district = s.district AND d.student_id = s.student_id AND d.status = 'completed'))
ORDER BY s.student_id";

impl Store {
    /// What the wishes for flags follow from, as of one moment: a run that gives everybody other ids, or a document that
    /// completes, comes before all of it or after. Of one student, under whatever id, or of all; flags of one program where
    /// asked for.
    pub async fn flag_facts(
        &self,
        district: &DistrictId,
        student: Option<&StudentId>,
        program: Option<&str>,
    ) -> Result<FlagFacts> {
        let operation = "read what flags follow from";
        let mut tx = self.read_moment(district, operation).await?;
        let student = rekeyed::meant_of(&mut tx, district, student).await?;
        let of = student.as_ref();
        let facts = FlagFacts {
            documents: documents::completed(&mut tx, district, of).await?,
            participations: participations(&mut tx, district, of).await?,
            flags: flags(&mut tx, district, of, program).await?,
            students: students(&mut tx, district, of).await?,
        };
        tx.commit(operation).await?;
        Ok(facts)
    }

    /// Inserts or replaces participations, under the ids that students have by now.
    pub async fn save_participations(
        &self,
        district: &DistrictId,
        changed: &[Participation],
        now: DateTime<Utc>,
    ) -> Result<()> {
        if changed.is_empty() {
            return Ok(());
        }
        let operation = "save participations";
        let mut tx = self.begin(district, operation).await?;
        let rows = changed.iter().map(|one| {
            let documents = serde_json::Value::from(one.documents.clone()).to_string();
            args![one.id, &one.student, &one.program, one.starts_on, one.ends_on, one.void_on, documents]
        });
        SAVE_PARTICIPATIONS.write(&mut tx, operation, args![district, now], rows.collect()).await?;
        tx.commit(operation).await
    }

    /// Flags by student, program, start; of one student or program where asked for.
    pub async fn flags(
        &self,
        district: &DistrictId,
        student: Option<&StudentId>,
        program: Option<&str>,
    ) -> Result<Vec<Flag>> {
        let operation = "list flags";
        let mut tx = self.read(district, operation).await?;
        let found = flags(&mut tx, district, student, program).await?;
        tx.commit(operation).await?;
        Ok(found)
    }

    /// Ids of all flags of a district, of whatever program.
    pub async fn flag_ids(&self, district: &DistrictId) -> Result<Vec<Uuid>> {
        let operation = "list the ids of flags";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, "SELECT flag FROM flag WHERE district = $1", args![district]).await?;
        tx.commit(operation).await?;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// A page of flags as people are shown them, by id.
    pub async fn flags_page(&self, district: &DistrictId, filter: &FlagFilter) -> Result<Vec<Flag>> {
        let operation = "list flags";
        let mut tx = self.read(district, operation).await?;
        let student = rekeyed::meant_of(&mut tx, district, filter.student.as_ref()).await?.map(|id| id.0);
        let after = filter.after.unwrap_or(Uuid::nil());
        let values = args![district, student, filter.program.clone(), after, filter.limit];
        let rows = tx.rows(operation, PAGE, values).await?;
        tx.commit(operation).await?;
        rows.iter().map(read_flag).collect()
    }

    /// A flag by its id in the SIS: what a click on it leads to.
    pub async fn flag(&self, district: &DistrictId, id: Uuid) -> Result<Option<Flag>> {
        let operation = "find a flag";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, ONE, args![district, id]).await?;
        tx.commit(operation).await?;
        row.map(|row| read_flag(&row)).transpose()
    }

    /// Flags to be pushed, by student; those that were tried in vain come last, and those that have no turn yet not at all.
    pub async fn due_flags(&self, district: &DistrictId, now: DateTime<Utc>, most: i64) -> Result<Vec<Flag>> {
        self.some_flags("read the flags to push", DUE, district, args![district, now, most]).await
    }

    /// Flags of people by the ids that the SIS has for them: those that are to go by one of these, and those that it took by one. A
    /// person may be several students here. An id is found as it is given, and all in small or in capital letters (ASCII).
    pub async fn flags_of_persons(&self, district: &DistrictId, sis_ids: &[String]) -> Result<Vec<Flag>> {
        let operation = "find the flags of people by the SIS's ids";
        let mut tx = self.read(district, operation).await?;
        let spelled = |id: &String| [id.clone(), id.to_ascii_lowercase(), id.to_ascii_uppercase()];
        let spellings: Vec<String> = sis_ids.iter().flat_map(spelled).collect();
        let sql = if tx.is_postgres() { OF_PERSONS_POSTGRES } else { OF_PERSONS_SQLITE };
        let rows = tx.rows(operation, sql, args![district, spellings]).await?;
        tx.commit(operation).await?;
        rows.iter().map(read_flag).collect()
    }

    /// Flags that the SIS accepted and that were not read back yet.
    pub async fn accepted_flags(&self, district: &DistrictId, most: i64) -> Result<Vec<Flag>> {
        self.some_flags("read the flags to read back", ACCEPTED, district, args![district, most]).await
    }

    async fn some_flags(
        &self,
        operation: &'static str,
        sql: &'static str,
        district: &DistrictId,
        values: Vec<Arg>,
    ) -> Result<Vec<Flag>> {
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, sql, values).await?;
        tx.commit(operation).await?;
        rows.iter().map(read_flag).collect()
    }

    /// The SIS fails at a flag that is to be pushed: nobody tries it before its turn. Forgotten once it is not to be pushed any more.
    pub async fn flag_fails(&self, district: &DistrictId, flag: Uuid, failing: &Failing) -> Result<()> {
        let operation = "note that the SIS fails at a flag";
        let sql =
            "UPDATE flag SET failures = $3, retry_at = $4, failed_with = $5 WHERE district = $1 AND flag = $2 AND due";
        let mut tx = self.begin(district, operation).await?;
        let values = args![district, flag, failing.failures, failing.retry_at, &failing.answer];
        tx.execute(operation, sql, values).await?;
        tx.commit(operation).await
    }

    /// A flag that the SIS has not taken so far is about to be sent: whoever finds it due looks first whether it is there.
    pub async fn flag_is_sent(&self, district: &DistrictId, flag: Uuid, at: DateTime<Utc>) -> Result<()> {
        let operation = "note that a flag is sent";
        let sql = "UPDATE flag SET failures = 0, retry_at = $3 \
                   WHERE district = $1 AND flag = $2 AND due AND retry_at IS NULL";
        let mut tx = self.begin(district, operation).await?;
        tx.execute(operation, sql, args![district, flag, at]).await?;
        tx.commit(operation).await
    }

    /// Inserts or replaces flags, under the ids that students have by now, with lines for the ledger, all or none. False: the
    /// district's flags are not this worker's any more, and nothing was written.
    pub async fn save_flags(
        &self,
        district: &DistrictId,
        worker: Uuid,
        changed: &[Flag],
        ledger: &[LedgerEntry],
        now: DateTime<Utc>,
    ) -> Result<bool> {
        if changed.is_empty() && ledger.is_empty() {
            return Ok(true);
        }
        let operation = "save flags";
        let mut tx = self.begin(district, operation).await?;
        if !flag_work::holds(&mut tx, district, worker).await? {
            return Ok(false);
        }
        let rows = changed.iter().map(flag_values).collect::<Result<_>>()?;
        SAVE_FLAGS.write(&mut tx, operation, args![district, now], rows).await?;
        for entry in ledger {
            note(&mut tx, district, entry).await?;
        }
        tx.commit(operation).await?;
        Ok(true)
    }

    /// The SIS took a flag from somebody who had lost the district meanwhile: what whoever has it by now stored of it stays, but
    /// for what the SIS took last, and the student is compared again.
    pub async fn flag_overtook(
        &self,
        district: &DistrictId,
        flag: Uuid,
        sent: &PushedFlag,
        line: &LedgerEntry,
    ) -> Result<()> {
        let operation = "note that a flag was sent too late";
        let sql = "UPDATE flag SET pushed_starts_on = $3, pushed_ends_on = $4, pushed_sis_id = $5, program_sis_id = $6, \
                   pushed_link = $7, verified_at = NULL WHERE district = $1 AND flag = $2 RETURNING student_id";
        let mut tx = self.begin(district, operation).await?;
        let PushedFlag { starts_on, ends_on, sis_id, program_sis_id, link } = sent;
        let values = args![district, flag, *starts_on, *ends_on, sis_id, program_sis_id, link.clone()];
        if let Some(row) = tx.row(operation, sql, values).await? {
            documents::mark_due(&mut tx, district, &StudentId(row.get(0)?), line.at).await?;
            // A comparison under way may have read Campus before: it is no whole one any more.
            let anew = "UPDATE flag_sync SET synced_at = NULL, ask_mark = $2 WHERE district = $1";
            tx.execute(operation, anew, args![district, Uuid::now_v7()]).await?;
            note(&mut tx, district, line).await?;
        }
        tx.commit(operation).await
    }

    /// Adds a line about a try that failed, unless the flag's last lines, all of failed tries of the same, say so already.
    pub async fn note_failure(&self, district: &DistrictId, line: &LedgerEntry) -> Result<()> {
        let operation = "write the ledger of flags";
        let mut tx = self.begin(district, operation).await?;
        let rows = tx.rows(operation, LEDGER, args![district, Some(line.flag.clone()), RECENT]).await?;
        let recent = rows.iter().map(read_entry).collect::<Result<Vec<_>>>()?;
        let is_same = |one: &LedgerEntry| LedgerEntry { at: line.at, ..one.clone() } == *line;
        let mut same_try = recent.iter().take_while(|one| one.action == line.action);
        if !same_try.any(is_same) {
            note(&mut tx, district, line).await?;
        }
        tx.commit(operation).await
    }

    /// The ledger, newest first; of one flag where asked for.
    pub async fn flag_ledger(&self, district: &DistrictId, flag: Option<&str>, most: i64) -> Result<Vec<LedgerEntry>> {
        let operation = "read the ledger of flags";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, LEDGER, args![district, flag.map(str::to_owned), most]).await?;
        tx.commit(operation).await?;
        rows.iter().map(read_entry).collect()
    }

    /// Which line of the ledger tells of the last write of a flag of ours, whoever sent it; 0: none does.
    pub async fn last_flag_put(&self, district: &DistrictId) -> Result<i64> {
        let operation = "read which flag was written last";
        let sql = "SELECT id FROM flag_ledger WHERE district = $1 AND action = 'put' ORDER BY id DESC LIMIT 1";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        row.map_or(Ok(0), |row| row.get(0))
    }

    /// What flags need to know of students: all, or one, under whatever id.
    pub async fn flag_students(&self, district: &DistrictId, student: Option<&StudentId>) -> Result<Vec<FlagStudent>> {
        let operation = "read the students of flags";
        let mut tx = self.read(district, operation).await?;
        let student = rekeyed::meant_of(&mut tx, district, student).await?;
        let found = students(&mut tx, district, student.as_ref()).await?;
        tx.commit(operation).await?;
        Ok(found)
    }

    /// How programs stood in the SIS at the last sync.
    pub async fn flag_programs(&self, district: &DistrictId) -> Result<Vec<FlagProgram>> {
        let operation = "read the programs of flags";
        let sql = "SELECT program, problem, program_sis_id FROM flag_program WHERE district = $1 ORDER BY program";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        rows.iter()
            .map(|row| Ok(FlagProgram { program: row.get(0)?, problem: row.get(1)?, program_sis_id: row.get(2)? }))
            .collect()
    }

    /// Keeps how programs stand in the SIS.
    pub async fn save_flag_programs(
        &self,
        district: &DistrictId,
        programs: &[FlagProgram],
        now: DateTime<Utc>,
    ) -> Result<()> {
        let operation = "save the programs of flags";
        let sql = "INSERT INTO flag_program (district, program, problem, program_sis_id, updated_at) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (district, program) DO UPDATE SET \
                   problem = excluded.problem, program_sis_id = excluded.program_sis_id, \
                   updated_at = excluded.updated_at";
        let mut tx = self.begin(district, operation).await?;
        for one in programs {
            let values = args![district, &one.program, one.problem.clone(), one.program_sis_id.clone(), now];
            tx.execute(operation, sql, values).await?;
        }
        tx.commit(operation).await
    }
}

async fn participations(tx: &mut Tx, district: &DistrictId, student: Option<&StudentId>) -> Result<Vec<Participation>> {
    let values = args![district, student.map(|id| id.0.clone())];
    let rows = tx.rows("read participations", PARTICIPATIONS, values).await?;
    rows.iter().map(read_participation).collect()
}

async fn flags(
    tx: &mut Tx,
    district: &DistrictId,
    student: Option<&StudentId>,
    program: Option<&str>,
) -> Result<Vec<Flag>> {
    let values = args![district, student.map(|id| id.0.clone()), program.map(str::to_owned)];
    let rows = tx.rows("list flags", FLAGS, values).await?;
    rows.iter().map(read_flag).collect()
}

/// Flags of students whose ids come after one, up to another; of one program where asked for.
pub(crate) async fn flags_within(
    tx: &mut Tx,
    district: &DistrictId,
    (after, last): (&str, &StudentId),
    program: Option<&str>,
) -> Result<Vec<Flag>> {
    let values = args![district, after, last, program.map(str::to_owned)];
    let rows = tx.rows("list flags", FLAGS_WITHIN, values).await?;
    rows.iter().map(read_flag).collect()
}

async fn students(tx: &mut Tx, district: &DistrictId, student: Option<&StudentId>) -> Result<Vec<FlagStudent>> {
    let values = args![district, student.map(|id| id.0.clone())];
    let rows = tx.rows("read the students of flags", STUDENTS, values).await?;
    rows.iter().map(read_student).collect()
}

/// A flag's own values, as [`SAVE_FLAGS`] has them.
fn flag_values(flag: &Flag) -> Result<Vec<Arg>> {
    let pushed = flag.pushed.as_ref();
    let refused = flag.refused.as_ref().map(serde_json::to_string).transpose();
    let refused = refused.map_err(|error| json_unreadable("refused flag", &error))?;
    Ok(args![
        flag.id,
        flag.participation,
        &flag.student,
        &flag.program,
        flag.sis_id.clone(),
        flag.starts_on,
        flag.ends_on,
        flag.state.as_str(),
        flag.reason.clone(),
        flag.due,
        flag.why.clone(),
        pushed.map(|pushed| pushed.starts_on),
        pushed.and_then(|pushed| pushed.ends_on),
        pushed.map(|pushed| pushed.sis_id.clone()),
        pushed.map(|pushed| pushed.program_sis_id.clone()),
        flag.verified_at,
        refused,
        pushed.and_then(|pushed| pushed.link.clone()),
    ])
}

/// Adds a line to the ledger.
pub(crate) async fn note(tx: &mut Tx, district: &DistrictId, entry: &LedgerEntry) -> Result<()> {
    let values = args![
        district,
        entry.at,
        &entry.actor,
        &entry.flag,
        entry.student.as_ref().map(|id| id.0.clone()),
        &entry.program,
        &entry.action,
        &entry.why,
        entry.starts_on,
        entry.ends_on,
        &entry.answer,
    ];
    tx.execute("write the ledger of flags", NOTE, values).await.map(drop)
}

pub(crate) fn read_participation(row: &Row) -> Result<Participation> {
    Ok(Participation {
        id: row.get(0)?,
        student: StudentId(row.get(1)?),
        program: row.get(2)?,
        starts_on: row.get(3)?,
        ends_on: row.get(4)?,
        void_on: row.get(5)?,
        documents: read_json(row, 6)?,
    })
}

fn read_flag(row: &Row) -> Result<Flag> {
    let state = FlagState::parse(&row.get::<String>(7)?).ok_or_else(|| StoreError::Corrupt {
        what: "state of a flag",
        detail: "a word that this program does not know".to_owned(),
    })?;
    Ok(Flag {
        id: row.get(0)?,
        participation: row.get(1)?,
        student: StudentId(row.get(2)?),
        program: row.get(3)?,
        sis_id: row.get(4)?,
        starts_on: row.get(5)?,
        ends_on: row.get(6)?,
        state,
        reason: row.get(8)?,
        due: row.get(9)?,
        why: row.get(10)?,
        pushed: read_pushed(row)?,
        verified_at: row.get(15)?,
        refused: row
            .get::<Option<String>>(16)?
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| json_unreadable("refused flag", &error))?,
        failing: read_failing(row, 18)?,
    })
}

/// How often, when it has its turn, and what it came to, in columns from `first` on.
pub(crate) fn read_failing(row: &Row, first: usize) -> Result<Option<Failing>> {
    let Some(retry_at) = row.get(first + 1)? else { return Ok(None) };
    let answer = row.get::<Option<String>>(first + 2)?.unwrap_or_default();
    Ok(Some(Failing { failures: row.get(first)?, retry_at, answer }))
}

fn read_pushed(row: &Row) -> Result<Option<PushedFlag>> {
    let Some(starts_on) = row.get(11)? else { return Ok(None) };
    let text = |index| Ok::<_, StoreError>(row.get::<Option<String>>(index)?.unwrap_or_default());
    let (sis_id, program_sis_id) = (text(13)?, text(14)?);
    Ok(Some(PushedFlag { starts_on, ends_on: row.get(12)?, sis_id, program_sis_id, link: row.get(17)? }))
}

fn read_entry(row: &Row) -> Result<LedgerEntry> {
    Ok(LedgerEntry {
        at: row.get(0)?,
        actor: row.get(1)?,
        flag: row.get(2)?,
        student: row.get::<Option<String>>(3)?.map(StudentId),
        program: row.get(4)?,
        action: row.get(5)?,
        why: row.get(6)?,
        starts_on: row.get(7)?,
        ends_on: row.get(8)?,
        answer: row.get(9)?,
    })
}

pub(crate) fn read_student(row: &Row) -> Result<FlagStudent> {
    Ok(FlagStudent {
        student: StudentId(row.get(0)?),
        status: read_status(row, 1)?,
        connection: row.get(2)?,
        sis_id: row.get(3)?,
    })
}
