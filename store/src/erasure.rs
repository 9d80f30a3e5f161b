//! Erasing a district that has been removed: every row of it, and what is left to prove it.
//!
//! The one place where a student is deleted. Invariants: only a removed district none of whose runs is open; the schema's
//! owner does it, since a worker may not delete what history rests on; one transaction a table, so that a large district
//! holds no lock for long, and a call that breaks off is taken up again by the next; each holds the district's row, so that
//! none deletes from a district that was taken in again, and the last looks into every table once more, for what somebody wrote
//! meanwhile; what comes in later still, a further call erases; what remains in the store is one entry of the audit trail with the counts of all calls, out of which the certificate can be written again, and one for each
//! parked message that was thrown away later.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use rollcall_proto::{bus::Parked, id::DistrictId};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, SqlitePool};
use tokio::time::timeout;

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    districts,
    sql::{Engine, Row, Tx, args, fault},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

const OPERATION: &str = "erase a district";
const SWEEP: &str = "erase what came in after an erasure";
const LOOK: &str = "look how far an erasure is";
const SCRUB: &str = "clean up after an erasure";

/// Longest wait for PostgreSQL to clean its tables, and how often SQLite is asked while others write.
const LONGEST_SCRUB: Duration = Duration::from_mins(10);
const SCRUB_TRIES: u32 = 4;

/// The entries of the audit trail that count, table by table and message by message, and the one that stays.
const ERASING: &str = "district.erasing";
const DISCARDED: &str = "district.discarded";
const ERASED: &str = "district.erased";

/// A table, the statement that erases a district from it, what that is called, and the statement that does so where there is no
/// such district.
type Table = (&'static str, &'static str, &'static str, &'static str);

macro_rules! tables {
    ($($table:literal)*) => {
        [$((
            $table,
            concat!("DELETE FROM ", $table, " WHERE district = $1"),
            concat!("erase a district from ", $table),
            concat!(
                "DELETE FROM ", $table, " WHERE district = $1 AND NOT EXISTS (SELECT 1 FROM district WHERE district = $1)"
            ),
        )),*]
    };
}

/// Every tenant table but the audit trail and `district` itself; those that refer to others first, and what students can
/// still be written from before students. A test compares the list with the schema.
const TABLES: [Table; 36] = tables! {
    "integration_token" "integration" "document_view" "lti_user" "lti_key" "lti_ticket" "lti_login" "lti_deployment" "lti_registration"
    "flag_comparison" "flag_pending" "flag_program" "flag_sync" "cutover_flag" "cutover" "flag_ledger" "flag" "participation"
    "document_request" "document_content" "document_version" "document" "program"
    "parked_event" "plan_batch" "plan" "student_rekey" "history" "staff" "school" "enrollment" "contact" "student"
    "page" "pull" "finding"
};

/// After those: what they refer to.
const LAST: [Table; 4] = tables! { "baseline" "connection" "run" "district" };

/// SQLite has no rights: triggers guard what nobody deletes. Taken away and put back within each transaction, as the last
/// migration made them.
const GUARDS: [(&str, &str); 2] = [
    (
        "DROP TRIGGER IF EXISTS audit_is_not_deleted",
        "CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
WHEN OLD.at >= strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now', '-365 days')
BEGIN SELECT RAISE(ABORT, 'the audit trail of the last 365 days is not deleted'); END",
    ),
    (
        "DROP TRIGGER IF EXISTS document_view_is_not_deleted",
        "CREATE TRIGGER document_view_is_not_deleted BEFORE DELETE ON document_view
WHEN OLD.at >= strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now', '-365 days')
BEGIN SELECT RAISE(ABORT, 'the access log of the last 365 days is not deleted'); END",
    ),
];

/// What was erased, over all calls that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Its name. Versions before did not keep it.
    pub name: Option<String>,
    /// When it was removed. Versions before did not keep it.
    pub removed_at: Option<DateTime<Utc>>,
    /// When the last row was erased.
    pub erased_at: DateTime<Utc>,
    /// Who erased it.
    pub erased_by: String,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// Parked messages.
    pub messages: u64,
}

/// Why a district is not erased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EraseRefusal {
    /// It is still served.
    #[error("it is still served: `rollcall district remove` it first")]
    NotRemoved,
    /// A run of it has not ended.
    #[error("{0} of its runs are being written: once they have ended (`rollcall runs list`), say it again")]
    OpenRuns(i64),
    /// It was applied while it was being erased.
    #[error(
        "it was taken in again meanwhile, and is served: what was erased until then is gone, and its next run adds the students \
         again that are missing"
    )]
    TakenInAgain,
}

/// How far a district's erasure is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasable {
    /// It is removed, and there.
    Removed {
        /// Its name.
        name: String,
        /// When it was removed.
        removed_at: DateTime<Utc>,
    },
    /// It was erased.
    Erased(Erasure),
}

/// What was done about the files that erased rows stood in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrubbed {
    /// SQLite's file was written anew, and its log emptied.
    WrittenAnew,
    /// PostgreSQL's tables were vacuumed.
    Vacuumed,
    /// PostgreSQL lets their owner alone vacuum them, and that is somebody else.
    NotTheirOwner,
}

/// The entry of the audit trail that counts a parked message, written before it is thrown away.
pub fn discarding(district: &DistrictId, message: &Parked, actor: &str, now: DateTime<Utc>) -> AuditEntry {
    let parked_at = message.parked_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let detail = format!("message {} of {}, parked {parked_at}", message.id, message.queue.name());
    AuditEntry::new(district, now, actor, DISCARDED, detail).of(message.run)
}

impl Store {
    /// Erases a removed district; of one that was erased, says what was. Needs the rights of the schema's owner: on PostgreSQL
    /// the URL must be the owner's.
    pub async fn erase_district(
        &self,
        id: &DistrictId,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<Erasure, EraseRefusal>> {
        let (name, removed_at) = match self.erasable(id).await? {
            Ok(Erasable::Removed { name, removed_at }) => (name, removed_at),
            Ok(Erasable::Erased(erasure)) => return self.sweep(id, erasure, actor, now).await.map(Ok),
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(refusal) = self.erase_tables(id, actor, now).await? {
            return Ok(Err(refusal));
        }
        let erasure = Erasure {
            name: Some(name),
            removed_at: Some(removed_at),
            erased_at: now,
            erased_by: actor.to_owned(),
            rows: BTreeMap::new(),
            messages: 0,
        };
        self.erase_last(id, erasure).await
    }

    /// Every table but the last, each by itself.
    async fn erase_tables(
        &self,
        id: &DistrictId,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<(), EraseRefusal>> {
        for (table, sql, operation, _) in TABLES {
            let mut tx = self.as_owner(id, operation).await?;
            if let Err(refusal) = hold_removed(&mut tx, id).await? {
                return Ok(Err(refusal));
            }
            let rows = tx.execute(operation, sql, args![id]).await?;
            if rows > 0 {
                note(&mut tx, id, actor, now, ERASING, format!("{table}={rows}")).await?;
            }
            commit_as_owner(tx, operation).await?;
        }
        Ok(Ok(()))
    }

    /// What came in after the erasure, from somebody who was at it when the district went. Counted with the rest.
    async fn sweep(&self, id: &DistrictId, erased_before: Erasure, actor: &str, now: DateTime<Utc>) -> Result<Erasure> {
        let mut tx = self.as_owner(id, SWEEP).await?;
        let mut swept = 0;
        for (table, _, _, sql) in TABLES.iter().chain(&LAST) {
            let rows = tx.execute(SWEEP, sql, args![id]).await?;
            if rows > 0 {
                note(&mut tx, id, actor, now, ERASING, format!("{table}={rows}")).await?;
            }
            swept += rows;
        }
        if swept == 0 {
            return Ok(erased_before);
        }
        let erasure = erased(&mut tx, id).await?;
        commit_as_owner(tx, SWEEP).await?;
        Ok(erasure.unwrap_or(erased_before))
    }

    /// Whether [`Store::erase_district`] would, or has. Changes nothing.
    pub async fn erasable(&self, id: &DistrictId) -> Result<std::result::Result<Erasable, EraseRefusal>> {
        // A later version may keep more of a district than the tables that are known here.
        self.engine.check_own().await?;
        let mut tx = self.read(id, LOOK).await?;
        let sql = "SELECT name, removed_at FROM district WHERE district = $1";
        let Some(row) = tx.row(LOOK, sql, args![id]).await? else {
            let erased = erased(&mut tx, id).await?.ok_or_else(|| StoreError::NoDistrict(id.clone()))?;
            tx.commit(LOOK).await?;
            return Ok(Ok(Erasable::Erased(erased)));
        };
        let (name, removed_at) = (row.get(0)?, row.get::<Option<DateTime<Utc>>>(1)?);
        let sql = "SELECT count(*) FROM run WHERE district = $1 AND ended_at IS NULL";
        let open = tx.row(LOOK, sql, args![id]).await?.map_or(Ok(0), |row| row.get::<i64>(0))?;
        tx.commit(LOOK).await?;
        Ok(match (removed_at, open) {
            (None, _) => Err(EraseRefusal::NotRemoved),
            (Some(removed_at), 0) => Ok(Erasable::Removed { name, removed_at }),
            (Some(_), open) => Err(EraseRefusal::OpenRuns(open)),
        })
    }

    /// Has nothing of what was deleted left in the database's own files, as far as that is this program's to do. For after an
    /// erasure: it takes as long as writing the tables once.
    pub async fn scrub(&self) -> Result<Scrubbed> {
        match &self.engine {
            Engine::Lite { writer, .. } => write_anew(writer).await.map(|()| Scrubbed::WrittenAnew),
            Engine::Pg(pool) => vacuum(pool).await,
        }
    }

    /// The rest, and the counts of all: in one transaction, so that the entry that stays is there when the district is not.
    async fn erase_last(
        &self,
        id: &DistrictId,
        erasure: Erasure,
    ) -> Result<std::result::Result<Erasure, EraseRefusal>> {
        let mut tx = self.as_owner(id, OPERATION).await?;
        if let Err(refusal) = hold_removed(&mut tx, id).await? {
            return Ok(Err(refusal));
        }
        let mut rows = BTreeMap::new();
        for (table, sql, ..) in TABLES.iter().chain(&LAST) {
            let erased = tx.execute(OPERATION, sql, args![id]).await?;
            rows.insert((*table).to_owned(), erased);
        }
        add_counted(&mut tx, id, None, &mut rows).await?;
        let before = last_erased(&mut tx, id).await?;
        let messages = discarded_after(&mut tx, id, before).await?;
        // What is left of an erasure before, of a district that came again under its id, stays.
        let sql = "DELETE FROM audit WHERE district = $1 AND action <> $2";
        let erased = tx.execute(OPERATION, sql, args![id, ERASED]).await?;
        rows.insert("audit".to_owned(), erased);
        rows.retain(|_, erased| *erased > 0);
        let erasure = Erasure { rows, messages, ..erasure };
        note(&mut tx, id, &erasure.erased_by, erasure.erased_at, ERASED, erasure.detail()).await?;
        commit_as_owner(tx, OPERATION).await?;
        Ok(Ok(erasure))
    }

    /// A transaction with the rights of who logged in, not of a worker.
    async fn as_owner(&self, id: &DistrictId, operation: &'static str) -> Result<Tx> {
        let mut tx = self.begin(id, operation).await?;
        if tx.is_postgres() {
            tx.execute(operation, "SET LOCAL ROLE NONE", args![]).await?;
            return Ok(tx);
        }
        for (take_away, _) in GUARDS {
            tx.execute(operation, take_away, args![]).await?;
        }
        Ok(tx)
    }
}

/// Keys of the entry that stays, beside the tables.
const REMOVED_AT: &str = "removed_at";
const MESSAGES: &str = "parked_messages";

/// Before the name, which may hold anything and comes last.
const NAME: &str = " name=";

impl Erasure {
    /// As the entry that stays has it.
    fn detail(&self) -> String {
        let removed_at = self.removed_at.iter().map(|at| format!("{REMOVED_AT}={}", at.to_rfc3339()));
        let messages = [format!("{MESSAGES}={}", self.messages)];
        let rows = self.rows.iter().map(|(table, rows)| format!("{table}={rows}"));
        let counts: Vec<String> = removed_at.chain(messages).chain(rows).collect();
        let name = self.name.iter().map(|name| format!("{NAME}{name}"));
        std::iter::once(counts.join(" ")).chain(name).collect()
    }

    /// Out of an entry's time, actor and detail.
    fn of(row: &Row) -> Result<Self> {
        let detail: String = row.get(2)?;
        let (counts, name) =
            detail.split_once(NAME).map_or((detail.as_str(), None), |(counts, name)| (counts, Some(name)));
        let mut erasure = Self {
            name: name.map(str::to_owned),
            removed_at: None,
            erased_at: row.get(0)?,
            erased_by: row.get(1)?,
            rows: BTreeMap::new(),
            messages: 0,
        };
        for (key, value) in counts.split(' ').filter_map(|count| count.split_once('=')) {
            match key {
                REMOVED_AT => erasure.removed_at = value.parse().ok(),
                MESSAGES => erasure.messages = value.parse().unwrap_or_default(),
                table => drop(erasure.rows.insert(table.to_owned(), value.parse().unwrap_or_default())),
            }
        }
        Ok(erasure)
    }
}

/// What the audit trail says of a district that was erased.
async fn erased(tx: &mut Tx, id: &DistrictId) -> Result<Option<Erasure>> {
    let Some(last) = last_erased(tx, id).await? else { return Ok(None) };
    let sql = "SELECT at, actor, detail FROM audit WHERE district = $1 AND id = $2";
    let Some(row) = tx.row(OPERATION, sql, args![id, last]).await? else { return Ok(None) };
    let mut erasure = Erasure::of(&row)?;
    erasure.messages += discarded_after(tx, id, Some(last)).await?;
    add_counted(tx, id, Some(last), &mut erasure.rows).await?;
    Ok(Some(erasure))
}

/// Holds a removed district's row until the transaction ends: nobody takes it in again before.
async fn hold_removed(tx: &mut Tx, id: &DistrictId) -> Result<std::result::Result<(), EraseRefusal>> {
    districts::lock(tx, id).await?;
    let sql = "SELECT removed_at IS NOT NULL FROM district WHERE district = $1";
    let row = tx.row(OPERATION, sql, args![id]).await?.ok_or_else(|| StoreError::NoDistrict(id.clone()))?;
    Ok(if row.get(0)? { Ok(()) } else { Err(EraseRefusal::TakenInAgain) })
}

/// Adds what was counted table by table since an entry of the audit trail.
async fn add_counted(tx: &mut Tx, id: &DistrictId, since: Option<i64>, rows: &mut BTreeMap<String, u64>) -> Result<()> {
    let sql = "SELECT detail FROM audit WHERE district = $1 AND action = $2 AND id > $3";
    for row in tx.rows(OPERATION, sql, args![id, ERASING, since.unwrap_or(-1)]).await? {
        let detail: String = row.get(0)?;
        if let Some((table, erased)) = detail.split_once('=') {
            *rows.entry(table.to_owned()).or_default() += erased.parse::<u64>().unwrap_or_default();
        }
    }
    Ok(())
}

/// The entry of the district's last erasure.
async fn last_erased(tx: &mut Tx, id: &DistrictId) -> Result<Option<i64>> {
    let sql = "SELECT id FROM audit WHERE district = $1 AND action = $2 ORDER BY id DESC LIMIT 1";
    tx.row(OPERATION, sql, args![id, ERASED]).await?.map(|row| row.get(0)).transpose()
}

/// Parked messages thrown away since then.
async fn discarded_after(tx: &mut Tx, id: &DistrictId, since: Option<i64>) -> Result<u64> {
    let sql = "SELECT count(*) FROM audit WHERE district = $1 AND action = $2 AND id > $3";
    let row = tx.row(OPERATION, sql, args![id, DISCARDED, since.unwrap_or(-1)]).await?;
    row.map_or(Ok(0), |row| Ok(row.get::<i64>(0)?.unsigned_abs()))
}

/// Without what was ever deleted from the file: of versions before, too, which left it in free pages. Others may be at work
/// meanwhile; each waits for the other a while.
async fn write_anew(writer: &SqlitePool) -> Result<()> {
    let mut connection = writer.acquire().await.map_err(|error| fault(SCRUB, error))?;
    let mut tries = 1;
    loop {
        let vacuumed = connection.execute("VACUUM").await.map_err(|error| fault(SCRUB, error));
        match vacuumed {
            Err(error) if error.is_transient() && tries < SCRUB_TRIES => tries += 1,
            vacuumed => break vacuumed.map(drop)?,
        }
    }
    let checkpoint =
        connection.fetch_one("PRAGMA wal_checkpoint(TRUNCATE)").await.map_err(|error| fault(SCRUB, error))?;
    match Row::Lite(checkpoint).get::<i64>(0)? {
        0 => Ok(()),
        _ => Err(fault(SCRUB, sqlx::Error::Io(std::io::Error::other("another process reads what was there before")))),
    }
}

/// As who logged in, on a connection of its own.
async fn vacuum(pool: &PgPool) -> Result<Scrubbed> {
    let connecting = PgConnection::connect_with(&pool.connect_options()).await;
    let mut connection = connecting.map_err(|error| fault(SCRUB, error))?;
    let tables: Vec<&str> = TABLES.iter().chain(&LAST).map(|(table, ..)| *table).chain(["audit"]).collect();
    let sql = "SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class WHERE oid = ANY($1::text[]::regclass[])";
    let may = sqlx::query_scalar::<_, Option<bool>>(sql).bind(&tables).fetch_one(&mut connection).await;
    if may.map_err(|error| fault(SCRUB, error))? != Some(true) {
        return Ok(Scrubbed::NotTheirOwner);
    }
    let vacuum = AssertSqlSafe(format!("VACUUM {}", tables.join(", ")));
    let vacuumed = timeout(LONGEST_SCRUB, connection.execute(sqlx::raw_sql(vacuum))).await;
    let late = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    vacuumed.unwrap_or_else(late).map_err(|error| fault(SCRUB, error))?;
    connection.close().await.map_err(|error| fault(SCRUB, error))?;
    Ok(Scrubbed::Vacuumed)
}

async fn commit_as_owner(mut tx: Tx, operation: &'static str) -> Result<()> {
    if !tx.is_postgres() {
        for (_, put_back) in GUARDS {
            tx.execute(operation, put_back, args![]).await?;
        }
    }
    tx.commit(operation).await
}

async fn note(
    tx: &mut Tx,
    district: &DistrictId,
    actor: &str,
    at: DateTime<Utc>,
    action: &str,
    detail: String,
) -> Result<()> {
    trail::write(tx, &AuditEntry::new(district, at, actor, action, detail)).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::secret::Keyring;

    async fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let key = Keyring::from_base64(&Keyring::generate().unwrap().into()).unwrap();
        let store = Store::open_embedded(dir.path(), key).await.unwrap();
        (dir, store)
    }

    async fn texts(store: &Store, sql: &'static str) -> BTreeSet<String> {
        let mut tx = store.lookout("look at the schema").await.unwrap();
        let rows = tx.rows("look at the schema", sql, args![]).await.unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }

    #[tokio::test]
    async fn the_guards_are_put_back_as_they_were() {
        let (_dir, store) = store().await;
        let made =
            texts(&store, "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%_is_not_deleted'")
                .await;
        assert_eq!(made, GUARDS.into_iter().map(|(_, put_back)| put_back.to_owned()).collect());
    }

    #[tokio::test]
    async fn no_table_is_forgotten() {
        let (_dir, store) = store().await;
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_sqlx%'";
        let tables = texts(&store, sql).await;
        let erased = TABLES.into_iter().chain(LAST).map(|(table, ..)| table.to_owned());
        // The trail is dealt with by itself, and a chore is no district's.
        let erased: BTreeSet<String> = erased.chain(["audit".to_owned(), "chore".to_owned()]).collect();
        assert_eq!(tables, erased, "a new table belongs in TABLES, before what it refers to");
    }

    fn district(id: &str, host: &str) -> crate::district::District {
        let file = serde_json::json!({
            "id": id, "name": "Erased & Sons = ISD", "time_zone": "America/Chicago",
            "connection": [{"kind": "skyward-qmlativ", "base_url": format!("https://{host}/API"), "client_id": "id"}],
        });
        serde_json::from_value(file).unwrap()
    }

    fn is_in_files(dir: &std::path::Path, text: &str) -> bool {
        let files = rollcall_proto::private::database_files(&dir.join("store.db"));
        let files = files.into_iter().filter_map(|path| std::fs::read(path).ok());
        files.into_iter().any(|file| file.windows(text.len()).any(|window| window == text.as_bytes()))
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[tokio::test]
    async fn what_was_erased_is_told_again_and_is_in_no_file() {
        let (dir, store) = store().await;
        let (gone, kept) = (district("gone-isd", "gone.example"), district("kept-isd", "kept.example"));
        let apply = async |district| {
            let secrets = [crate::district::ConnectionSecrets::default()];
            store.apply_district(district, &secrets, "ana", now()).await.unwrap();
        };
        for district in [&gone, &kept] {
            apply(district).await;
        }
        let id = &gone.id;
        assert!(matches!(store.erasable(&"nobody".parse().unwrap()).await, Err(StoreError::NoDistrict(_))));
        assert_eq!(store.erasable(id).await.unwrap(), Err(EraseRefusal::NotRemoved));
        store.remove_district(id, "ana", now()).await.unwrap();
        let parked = Parked {
            id: uuid::Uuid::now_v7(),
            queue: rollcall_proto::topology::Queue::Write,
            kind: "student.events".to_owned(),
            reason: "write-failed".to_owned(),
            detail: String::new(),
            district: Some(id.clone()),
            run: None,
            parked_at: now(),
        };
        // Noted twice by a call that broke off in between, and one more after the end.
        let entry = || discarding(id, &parked, "ana", now());
        for _ in 0..2 {
            store.audit_once(&[entry()]).await.unwrap();
        }
        let erased = store.erase_district(id, "ben", now()).await.unwrap().unwrap();
        assert_eq!((erased.messages, erased.rows["district"], erased.rows["connection"]), (1, 1, 1));
        assert_eq!((erased.name.as_deref(), erased.removed_at), (Some("Erased & Sons = ISD"), Some(now())));
        let again = || async { store.erase_district(id, "another", DateTime::UNIX_EPOCH).await.unwrap().unwrap() };
        assert_eq!(again().await, erased);
        store
            .audit_once(&[discarding(id, &Parked { id: uuid::Uuid::now_v7(), ..parked.clone() }, "ana", now())])
            .await
            .unwrap();
        assert_eq!(again().await, Erasure { messages: 2, ..erased });
        apply(&gone).await;
        store.remove_district(id, "ana", now()).await.unwrap();
        let second = store.erase_district(id, "ben", now()).await.unwrap().unwrap();
        assert_eq!(second.messages, 1, "what was thrown away since the first time");
        let entries = store.audit_trail(id, 10).await.unwrap();
        let erasures = entries.iter().filter(|entry| entry.action == ERASED).count();
        assert_eq!((erasures, entries.len()), (2, 2), "each stays, and nothing else: {entries:?}");
        assert_eq!(store.scrub().await.unwrap(), Scrubbed::WrittenAnew);
        assert!(!is_in_files(dir.path(), "gone.example") && is_in_files(dir.path(), "kept.example"));
    }

    async fn served(store: &Store) -> DistrictId {
        let district = district("gone-isd", "gone.example");
        let secrets = [crate::district::ConnectionSecrets::default()];
        store.apply_district(&district, &secrets, "ana", now()).await.unwrap();
        district.id
    }

    /// As a worker does who is still at the district.
    async fn write_late(store: &Store, id: &DistrictId) {
        let mut tx = store.begin(id, "write what is late").await.unwrap();
        let sql = "INSERT INTO school (district, code, run) VALUES ($1, 'late', $2)";
        tx.execute("write what is late", sql, args![id, vec![0_u8; 16]]).await.unwrap();
        tx.commit("write what is late").await.unwrap();
    }

    fn nothing_yet() -> Erasure {
        let rows = BTreeMap::new();
        Erasure { name: None, removed_at: None, erased_at: now(), erased_by: "ben".to_owned(), rows, messages: 0 }
    }

    async fn is_late_there(store: &Store) -> bool {
        !texts(store, "SELECT code FROM school").await.is_empty()
    }

    #[tokio::test]
    async fn what_is_written_during_an_erasure_or_after_it_is_erased_too() {
        let (_dir, store) = store().await;
        let id = served(&store).await;
        store.remove_district(&id, "ana", now()).await.unwrap();
        assert_eq!(store.erase_tables(&id, "ben", now()).await.unwrap(), Ok(()));
        write_late(&store, &id).await;
        let erased = store.erase_last(&id, nothing_yet()).await.unwrap().unwrap();
        assert_eq!((erased.rows["school"], is_late_there(&store).await), (1, false));
        write_late(&store, &id).await;
        let again = store.erase_district(&id, "another", DateTime::UNIX_EPOCH).await.unwrap().unwrap();
        assert_eq!((again.rows["school"], is_late_there(&store).await), (2, false));
        assert_eq!((again.erased_at, &again.erased_by), (now(), &erased.erased_by));
        assert_eq!(store.erasable(&id).await.unwrap(), Ok(Erasable::Erased(again)), "the certificate says so too");
    }

    #[tokio::test]
    async fn a_district_that_is_taken_in_again_is_erased_no_further() {
        let (_dir, store) = store().await;
        let id = served(&store).await;
        store.remove_district(&id, "ana", now()).await.unwrap();
        assert_eq!(store.erase_tables(&id, "ben", now()).await.unwrap(), Ok(()));
        served(&store).await;
        write_late(&store, &id).await;
        assert_eq!(store.erase_tables(&id, "ben", now()).await.unwrap(), Err(EraseRefusal::TakenInAgain));
        assert_eq!(store.erase_last(&id, nothing_yet()).await.unwrap(), Err(EraseRefusal::TakenInAgain));
        assert!(is_late_there(&store).await);
        store.sweep(&id, nothing_yet(), "ben", now()).await.unwrap();
        assert!(is_late_there(&store).await, "what came in after an erasure is what is there without a district");
        assert_eq!(store.districts().await.unwrap(), [id]);
    }

    #[tokio::test]
    async fn what_is_deleted_is_written_over() {
        let (_dir, store) = store().await;
        let Engine::Lite { writer, .. } = &store.engine else { panic!("it is SQLite") };
        let row = writer.acquire().await.unwrap().fetch_one("PRAGMA secure_delete").await.unwrap();
        assert_eq!(Row::Lite(row).get::<i64>(0).unwrap(), 1);
    }
}
