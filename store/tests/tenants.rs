//! Another district's rows cannot be reached, whatever a worker's connection asks: generated probes of every table and
//! view, by every kind of statement, against a victim that has a row in each.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{Database, Fixture};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};

const OWN: &str = "tenant-a";
const VICTIM: &str = "tenant-b";

/// Probes in the everyday run, and with `./test --full`.
const PROBES: [usize; 2] = [8_000, 100_000];

/// SQLSTATE of a right that is missing, and of a row that row-level security does not let in.
const NOT_PERMITTED: &str = "42501";

/// What a connection may have named as its district, the victim apart.
const NAMED: [Option<&str>; 8] = [
    Some(OWN),
    Some(OWN),
    None,
    Some(""),
    Some("TENANT-B"),
    Some("tenant-b "),
    Some("tenant-%"),
    Some("tenant-a'' OR district = ''tenant-b"),
];

struct Relation {
    name: String,
    is_view: bool,
    /// A row of the victim's, as `INSERT` takes it; nothing for a view.
    columns: String,
    values: String,
}

async fn relations(owner: &mut PgConnection) -> Vec<Relation> {
    let sql = "SELECT t.table_name::text, t.table_type = 'VIEW' FROM information_schema.tables t
               JOIN information_schema.columns c USING (table_schema, table_name)
               WHERE t.table_schema = 'public' AND c.column_name = 'district' ORDER BY 1";
    let mut relations = Vec::new();
    for row in owner.fetch_all(sql).await.unwrap() {
        let (name, is_view): (String, bool) = (row.get(0), row.get(1));
        let sql = format!(
            "SELECT column_name::text, data_type::text FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name = '{name}' AND is_identity = 'NO' ORDER BY ordinal_position"
        );
        let columns = owner.fetch_all(AssertSqlSafe(sql)).await.unwrap();
        let pair = |row: &sqlx::postgres::PgRow| {
            let (column, kind): (String, String) = (row.get(0), row.get(1));
            let value = if column == "district" { "'{district}'".to_owned() } else { a_value(&kind) };
            (column, value)
        };
        let (names, values): (Vec<_>, Vec<_>) = columns.iter().map(pair).unzip();
        relations.push(Relation { name, is_view, columns: names.join(", "), values: values.join(", ") });
    }
    relations
}

fn a_value(kind: &str) -> String {
    match kind {
        "text" => "md5(random()::text)",
        "uuid" => "gen_random_uuid()",
        "boolean" => "false",
        "date" => "current_date",
        "bytea" => "'\\x00'::bytea",
        "ARRAY" => "'{}'",
        // Views take lists apart.
        "jsonb" => "'[{}]'",
        "timestamp with time zone" => "now()",
        "integer" | "bigint" | "smallint" | "double precision" | "numeric" => "1",
        other => panic!("say what a value of {other} is"),
    }
    .to_owned()
}

/// One row of each district in every table. Which values make sense is not the point: what checks them is taken away.
async fn fill(owner: &mut PgConnection, relations: &[Relation]) {
    let drop_checks = "DO $$ DECLARE c record; BEGIN
        FOR c IN SELECT conrelid::regclass AS held, conname FROM pg_constraint
                 WHERE contype = 'c' AND connamespace = 'public'::regnamespace LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.held, c.conname);
        END LOOP; END $$";
    owner.execute(drop_checks).await.unwrap();
    owner.execute("SET session_replication_role = replica").await.unwrap();
    for relation in relations.iter().filter(|relation| !relation.is_view) {
        for district in [OWN, VICTIM] {
            let (name, columns) = (&relation.name, &relation.columns);
            let values = relation.values.replace("{district}", district);
            let sql = format!("INSERT INTO {name} ({columns}) VALUES ({values})");
            owner.execute(AssertSqlSafe(sql)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

/// What may come of a probe.
enum Allowed {
    /// A count of nothing.
    Zero,
    /// No row touched, or not permitted.
    Untouched,
    /// Not permitted.
    Refused,
}

fn probe(random: &mut fastrand::Rng, relation: &Relation, named: Option<&str>) -> (String, Allowed) {
    let name = &relation.name;
    let kinds = if relation.is_view { 4 } else { 9 };
    match random.u8(0..kinds) {
        0 => (format!("SELECT count(*) FROM {name} WHERE district = '{VICTIM}'"), Allowed::Zero),
        1 => (format!("SELECT count(*) FILTER (WHERE district = '{VICTIM}') FROM {name}"), Allowed::Zero),
        2 => (
            format!(
                "SELECT count(*) FROM {name} WHERE true OR district = '{VICTIM}' HAVING bool_or(district <> '{OWN}')"
            ),
            Allowed::Zero,
        ),
        3 => {
            let sql = format!(
                "SELECT count(*) FROM (SELECT x.district FROM {name} x LEFT JOIN {name} y ON true
                 UNION ALL SELECT district FROM {name}) all_of WHERE district LIKE '%b'"
            );
            (sql, Allowed::Zero)
        }
        4 => (format!("UPDATE {name} SET district = district WHERE district = '{VICTIM}'"), Allowed::Untouched),
        5 => (format!("DELETE FROM {name} WHERE district = '{VICTIM}'"), Allowed::Untouched),
        6 => (format!("DELETE FROM {name} WHERE district <> '{OWN}'"), Allowed::Untouched),
        7 if named == Some(OWN) => (format!("UPDATE {name} SET district = '{VICTIM}'"), Allowed::Refused),
        _ => {
            let (columns, values) = (&relation.columns, relation.values.replace("{district}", VICTIM));
            (format!("INSERT INTO {name} ({columns}) VALUES ({values})"), Allowed::Refused)
        }
    }
}

async fn check(worker: &mut PgConnection, sql: &str, allowed: &Allowed) -> Result<(), String> {
    if matches!(allowed, Allowed::Zero) {
        return match worker.fetch_all(AssertSqlSafe(sql)).await {
            Ok(rows) if rows.iter().all(|row| row.get::<i64, _>(0) == 0) => Ok(()),
            Ok(rows) => Err(format!("{} rows with something in them", rows.len())),
            Err(error) => refused(&error),
        };
    }
    match (worker.execute(AssertSqlSafe(sql)).await, allowed) {
        (Ok(done), Allowed::Untouched) if done.rows_affected() == 0 => Ok(()),
        (Ok(done), _) => Err(format!("{} rows touched", done.rows_affected())),
        (Err(error), _) => refused(&error),
    }
}

fn refused(error: &sqlx::Error) -> Result<(), String> {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.as_deref() == Some(NOT_PERMITTED) { Ok(()) } else { Err(format!("another error than a refusal: {error}")) }
}

async fn name(worker: &mut PgConnection, district: Option<&str>) {
    let sql = match district {
        Some(district) => format!("SELECT set_config('rollcall.district', '{district}', false)"),
        None => "RESET rollcall.district".to_owned(),
    };
    worker.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// How many of its rows a district has, table by table.
async fn counts(connection: &mut PgConnection, relations: &[Relation], district: &str) -> Vec<i64> {
    let mut counts = Vec::new();
    for relation in relations.iter().filter(|relation| !relation.is_view) {
        let sql = format!("SELECT count(*) FROM {} WHERE district = '{district}'", relation.name);
        counts.push(connection.fetch_one(AssertSqlSafe(sql)).await.unwrap().get(0));
    }
    counts
}

async fn worker(database: &Database) -> PgConnection {
    let mut worker = database.connect().await;
    worker.execute("SET ROLE rollcall_app").await.unwrap();
    worker
}

#[expect(clippy::disallowed_methods, reason = "the tests' own setting")]
fn is_full() -> bool {
    std::env::var_os("ROLLCALL_TEST_FULL").is_some()
}

#[tokio::test]
async fn generated_probes_reach_no_row_of_another_district() {
    let fixture = Fixture::postgres().await;
    let mut owner = fixture.database().connect().await;
    let relations = relations(&mut owner).await;
    fill(&mut owner, &relations).await;
    let mut worker = worker(fixture.database()).await;
    // The victim itself sees what the probes must not see.
    name(&mut worker, Some(VICTIM)).await;
    let seen = counts(&mut worker, &relations, VICTIM).await;
    assert!(seen.len() > 30 && seen.iter().all(|rows| *rows == 1), "{seen:?}");

    let mut random = fastrand::Rng::with_seed(7);
    let mut named = None;
    for number in 0..PROBES[usize::from(is_full())] {
        if number % 10 == 0 {
            named = NAMED[random.usize(..NAMED.len())];
            name(&mut worker, named).await;
        }
        let relation = &relations[random.usize(..relations.len())];
        let (sql, allowed) = probe(&mut random, relation, named);
        if let Err(what) = check(&mut worker, &sql, &allowed).await {
            panic!("probe {number} as {named:?}: {what}\n{sql}");
        }
    }
    for district in [OWN, VICTIM] {
        assert!(counts(&mut owner, &relations, district).await.iter().all(|rows| *rows == 1), "{district}");
    }
}
