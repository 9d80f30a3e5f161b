//! Bringing a database to the schema of this program, and telling whether it is there.
//!
//! **Two versions at work.** While workers are replaced, those of the version before go on with the schema of the new one, and
//! may be started again (PostgreSQL; an embedded store is one program's). So a migration only adds: a table, a column with a
//! default, a function. One that takes away or changes what the version before uses says so in its name
//! (`NNNN_breaking_….sql`), and programs older than it refuse the database from then on. `additive_tests` reads them for it.
//!
//! Deliberately absent: migrations outside a transaction (sqlx's `-- no-transaction`, for `CREATE INDEX CONCURRENTLY`). One that
//! stops half-way would have to be mended by hand.

use std::path::Path;

use secrecy::SecretString;
use sqlx::{
    Connection as _, Executor as _, PgConnection, Row as _, SqlSafeStr as _, SqlitePool,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{connect::open_as_owner, fault};
use crate::StoreError;

/// A migration, as `build.rs` has found it.
struct File {
    version: i64,
    description: &'static str,
    sql: &'static str,
}

const POSTGRES: &[File] = include!(concat!(env!("OUT_DIR"), "/postgres.rs"));
const SQLITE: &[File] = include!(concat!(env!("OUT_DIR"), "/sqlite.rs"));

/// The newest migration, and the newest that programs before it cannot live with.
const VERSION: &str = "SELECT coalesce(max(version), 0), \
                              coalesce(max(version) FILTER (WHERE description LIKE 'breaking %'), 0) \
                       FROM _sqlx_migrations WHERE success";

/// Where a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    /// Its newest migration; 0 without any.
    newest: i64,
    /// Its newest breaking one; 0 without any.
    breaking: i64,
}

/// Makes the roles, where they are not there: `rollcall_app`, which workers become, and `rollcall_lookout`, which owns
/// the functions that look across districts. The owner becomes a member of the first, so that its URL serves workers
/// too. Needs CREATEROLE, or an administrator who has made both roles and the owner a member of them. From version 16
/// on, whoever makes a role may not yet become it: hence the two questions.
const ROLES: &str = "
DO $$
DECLARE
    wanted text;
    member boolean;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['rollcall_app', 'rollcall_lookout'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
    IF current_setting('server_version_num')::integer >= 160000 THEN
        member := pg_has_role(current_user, 'rollcall_app', 'SET');
    ELSE
        member := pg_has_role(current_user, 'rollcall_app', 'MEMBER');
    END IF;
    IF NOT member THEN
        GRANT rollcall_app TO CURRENT_USER;
    END IF;
END $$";

/// A role that could look past row-level security, or that one could log in as, is not the one we made.
const UNTRUSTED: &str = "SELECT count(*) FROM pg_roles WHERE rolname IN ('rollcall_app', 'rollcall_lookout') \
                         AND (rolsuper OR rolbypassrls OR rolcanlogin OR rolcreaterole)";

/// Roles belong to the cluster: migrations of several of its databases at once may meet here.
const ROLE_ATTEMPTS: u32 = 10;

/// Applies what is missing, as the schema's owner. Returns what was applied.
pub(crate) async fn postgres(url: &SecretString) -> Result<Vec<String>, StoreError> {
    let mut connection = open_as_owner(url, "connect to the database as its owner").await?;
    roles(&mut connection).await?;
    let before = version_postgres(&mut connection).await?;
    apply(&mut connection).await?;
    connection.close().await.map_err(|error| fault("migrate the database", error))?;
    Ok(names_after(POSTGRES, before.newest))
}

async fn apply(connection: &mut PgConnection) -> Result<(), StoreError> {
    let (migrator, mut attempt) = (migrator(POSTGRES), 1);
    while let Err(error) = migrator.run_direct(None, connection, false).await {
        let passing = matches!(&error, MigrateError::ExecuteMigration(source, _) if met_another(source));
        if attempt == ROLE_ATTEMPTS || !passing {
            return Err(failed(error, needed(POSTGRES)));
        }
        attempt += 1;
    }
    Ok(())
}

async fn roles(connection: &mut PgConnection) -> Result<(), StoreError> {
    let operation = "make the database roles rollcall_app and rollcall_lookout";
    let mut attempt = 1;
    while let Err(error) = connection.execute(ROLES).await {
        if attempt == ROLE_ATTEMPTS || !met_another(&error) {
            return Err(fault(operation, error));
        }
        attempt += 1;
    }
    let untrusted: i64 =
        sqlx::query_scalar(UNTRUSTED).fetch_one(connection).await.map_err(|error| fault(operation, error))?;
    if untrusted > 0 {
        let class = "such a role is there, with LOGIN, CREATEROLE, SUPERUSER or BYPASSRLS".to_owned();
        return Err(StoreError::Refused { operation, class });
    }
    Ok(())
}

/// Another migration made the same role or the same grant at this moment.
fn met_another(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(&*code, "23505" | "42710" | "XX000" | "40001"))
}

/// Applies what is missing to the embedded store; one process at a time, by a lock on `dir/store.lock`.
pub(super) async fn sqlite(writer: &SqlitePool, dir: &Path) -> Result<(), StoreError> {
    if version_sqlite(writer).await?.newest == needed(SQLITE) {
        return Ok(());
    }
    let path = dir.join("store.lock");
    let lock = tokio::task::spawn_blocking(move || {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    });
    let io = |error: std::io::Error| fault("lock the embedded store for migrating", error.into());
    let held = lock.await.map_err(|error| io(error.into()))?.map_err(io)?;
    let done = migrator(SQLITE).run(writer).await.map_err(|error| failed(error, needed(SQLITE)));
    drop(held);
    done
}

/// Is the schema one that this program can work with: its own, or a later one that it may live with?
pub(super) async fn check_postgres(connection: &mut PgConnection) -> Result<(), StoreError> {
    judge(version_postgres(connection).await?, needed(POSTGRES))
}

/// Is the schema the one that this program was built for? A later one may have tables that it does not know.
pub(super) async fn check_own(connection: &mut PgConnection) -> Result<(), StoreError> {
    let found = version_postgres(connection).await?;
    judge(Version { breaking: found.newest, ..found }, needed(POSTGRES))
}

/// Is the schema the one that this program was built for?
pub(super) async fn check_sqlite(readers: &SqlitePool) -> Result<(), StoreError> {
    let found = version_sqlite(readers).await?;
    judge(Version { breaking: found.newest, ..found }, needed(SQLITE))
}

const fn judge(found: Version, needed: i64) -> Result<(), StoreError> {
    if found.newest < needed {
        Err(StoreError::Schema { found: found.newest, needed })
    } else if found.breaking > needed {
        Err(StoreError::TooOld { found: found.newest, needed })
    } else {
        Ok(())
    }
}

fn migrator(files: &[File]) -> Migrator {
    let migrations = files.iter().map(|file| {
        let (description, sql) = (file.description.into(), file.sql.into_sql_str());
        Migration::new(file.version, description, MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

fn needed(files: &[File]) -> i64 {
    files.iter().map(|file| file.version).max().unwrap_or_default()
}

fn names_after(files: &[File], version: i64) -> Vec<String> {
    let new = files.iter().filter(|file| file.version > version);
    new.map(|file| format!("{:04} {}", file.version, file.description)).collect()
}

async fn version_postgres(connection: &mut PgConnection) -> Result<Version, StoreError> {
    let row = connection.fetch_one(VERSION).await;
    read_version(row.and_then(|row| Ok(Version { newest: row.try_get(0)?, breaking: row.try_get(1)? })))
}

async fn version_sqlite(pool: &SqlitePool) -> Result<Version, StoreError> {
    let row = pool.fetch_one(VERSION).await;
    read_version(row.and_then(|row| Ok(Version { newest: row.try_get(0)?, breaking: row.try_get(1)? })))
}

/// A database without our table is at version 0. Without the right to read it, it is somebody else's.
fn read_version(version: Result<Version, sqlx::Error>) -> Result<Version, StoreError> {
    version.or_else(|error| {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        // PostgreSQL: undefined table. SQLite: 1, an error in the statement.
        if code.is_some_and(|code| matches!(&*code, "42P01" | "1")) {
            Ok(Version { newest: 0, breaking: 0 })
        } else {
            Err(fault("read the schema's version", error))
        }
    })
}

fn failed(error: MigrateError, needed: i64) -> StoreError {
    match error {
        // What was applied and is none of ours comes from a newer program.
        MigrateError::VersionMissing(found) => StoreError::TooOld { found, needed },
        MigrateError::ExecuteMigration(source, version) => {
            StoreError::Migrate { step: format!("migration {version}"), source }
        }
        MigrateError::Execute(source) => StoreError::Migrate { step: "the list of migrations".to_owned(), source },
        other => StoreError::Migrate {
            step: "comparing what was applied before".to_owned(),
            source: sqlx::Error::Migrate(Box::new(other)),
        },
    }
}

#[cfg(test)]
mod additive_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_schema_serves_older_programs_until_one_breaks() {
        let at = |newest, breaking| judge(Version { newest, breaking }, 41);
        assert!(at(41, 0).is_ok() && at(41, 41).is_ok() && at(43, 0).is_ok() && at(43, 41).is_ok());
        assert!(matches!(at(40, 0), Err(StoreError::Schema { found: 40, needed: 41 })));
        assert!(matches!(at(43, 42), Err(StoreError::TooOld { found: 43, needed: 41 })));
    }
}
