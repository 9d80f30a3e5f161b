//! What only PostgreSQL has: row-level security, roles, migrations by an owner, connections that break.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
mod roster_support;

use common::{Database, Fixture, district, later, manual, new_key, now, page, ring, scheduled};
use rollcall_store::{Store, StoreError, TurnedAway, district::ConnectionSecrets, erasure::EraseRefusal};
use roster_support::{added, alter, applied, at, new_district, released, student};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

/// Tables that belong to no district. Whoever adds one explains it here.
/// `_sqlx_migrations`: which migrations were applied. `chore`: names of ours, and when somebody last took one on.
const NOT_TENANT: [&str; 2] = ["_sqlx_migrations", "chore"];

async fn texts(connection: &mut PgConnection, sql: &'static str) -> Vec<String> {
    let rows = connection.fetch_all(sql).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// A worker's connection that has named a district, or none.
async fn worker(database: &Database, district: Option<&str>) -> PgConnection {
    let mut connection = database.connect().await;
    connection.execute("SET ROLE rollcall_app").await.unwrap();
    if let Some(district) = district {
        let sql = format!("SELECT set_config('rollcall.district', '{district}', false)");
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    connection
}

const TABLES: &str = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace \
                      AND relkind IN ('r', 'p') ORDER BY relname";

#[tokio::test]
async fn every_table_forces_row_level_security_by_district() {
    let f = Fixture::postgres().await;
    let mut owner = f.database().connect().await;
    let tables = texts(&mut owner, TABLES).await;
    assert!(tables.len() > 10, "{tables:?}");
    let forced = texts(
        &mut owner,
        "SELECT c.relname::text FROM pg_class c
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'district' AND a.attnotnull
         JOIN pg_policy p ON p.polrelid = c.oid AND p.polname = 'tenant' AND p.polpermissive AND p.polcmd = '*'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relrowsecurity AND c.relforcerowsecurity
         AND pg_get_expr(p.polqual, p.polrelid) = '(district = current_setting(''rollcall.district''::text, true))'
         AND pg_get_expr(p.polwithcheck, p.polrelid) = pg_get_expr(p.polqual, p.polrelid)",
    )
    .await;
    let missing: Vec<_> = tables.iter().filter(|name| !forced.contains(name)).collect();
    assert_eq!(missing, NOT_TENANT.iter().collect::<Vec<_>>(), "end its migration with rollcall_tenant_table");
}

#[tokio::test]
async fn other_policies_are_for_looking_across_districts_only() {
    let f = Fixture::postgres().await;
    let mut owner = f.database().connect().await;
    let others = texts(
        &mut owner,
        "SELECT p.polname || ' ' || p.polrelid::regclass::text || ' ' || p.polcmd::text || ' ' ||
                (SELECT string_agg(r.rolname, ',') FROM pg_roles r WHERE r.oid = ANY (p.polroles))
         FROM pg_policy p WHERE p.polname <> 'tenant' ORDER BY 1",
    )
    .await;
    let wanted = [
        "cutover",
        "cutover_flag",
        "district",
        "flag",
        "flag_comparison",
        "flag_pending",
        "flag_program",
        "flag_sync",
        "lti_deployment",
        "page",
        "parked_event",
        "run",
    ]
    .map(|table| format!("lookout {table} r rollcall_lookout"));
    assert_eq!(others, wanted);
    // What that role may read: ids, dates and states.
    let columns = texts(
        &mut owner,
        "SELECT table_name || '.' || column_name FROM information_schema.column_privileges
         WHERE grantee = 'rollcall_lookout' AND table_schema = 'public' ORDER BY 1",
    )
    .await;
    let secret = |name: &String| {
        ["config", "secrets", "raw", "fragments", "board", "reason", "name"].iter().any(|word| name.ends_with(word))
    };
    assert!(!columns.is_empty() && !columns.iter().any(secret), "{columns:?}");
    let tables = texts(
        &mut owner,
        "SELECT DISTINCT table_name::text FROM information_schema.table_privileges WHERE grantee = 'rollcall_lookout'",
    )
    .await;
    assert!(tables.is_empty(), "{tables:?}");
}

#[tokio::test]
async fn views_judge_their_reader_and_functions_are_the_known_ones() {
    let f = Fixture::postgres().await;
    let mut owner = f.database().connect().await;
    let unsafe_views = texts(
        &mut owner,
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')
         AND NOT coalesce(reloptions @> ARRAY['security_invoker=true'], false)",
    )
    .await;
    assert!(unsafe_views.is_empty(), "{unsafe_views:?}");
    let definers = texts(
        &mut owner,
        "SELECT p.proname || ' ' || r.rolname FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
         WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef ORDER BY 1",
    )
    .await;
    let wanted = [
        "lookout_asked_programs",
        "lookout_comparisons",
        "lookout_districts",
        "lookout_ended_take_overs",
        "lookout_figures",
        "lookout_flag_syncs",
        "lookout_lti_deployment",
        "lookout_open_runs",
        "lookout_pending_flags",
        "lookout_run",
        "lookout_runs",
        "lookout_schedules",
        "lookout_unfinished_flags",
    ];
    let (own, looking): (Vec<_>, Vec<_>) = definers.into_iter().partition(|name| !name.starts_with("lookout_"));
    assert_eq!(looking, wanted.map(|name| format!("{name} rollcall_lookout")));
    let owner_name = texts(&mut owner, "SELECT current_user::text").await.remove(0);
    assert_eq!(own, [format!("rollcall_forget_trail {owner_name}")], "it deletes what no worker may");
    let public = texts(
        &mut owner,
        "SELECT p.proname::text FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) grants
         WHERE p.pronamespace = 'public'::regnamespace AND grants.grantee = 0",
    )
    .await;
    assert!(public.is_empty(), "anybody may call {public:?}");
}

/// Two districts with a row in each table that this crate's core fills.
async fn two_districts(f: &Fixture) {
    for id in ["a", "b"] {
        let id = f.district(id).await;
        let run = f.store.create_run(&scheduled(&id, "2026-10-05"), now()).await.unwrap().unwrap().id;
        f.store.save_page(&id, run, &page(0, 1)).await.unwrap();
        let staff = [(rollcall_proto::id::ConnectionNo(0), "staff").into()];
        f.store.accept_empty((&id, run), &staff, "test", now()).await.unwrap().unwrap();
        let finding = rollcall_store::run::Finding {
            weight: rollcall_store::run::FindingWeight::Warning,
            code: "code".to_owned(),
            message: "message".to_owned(),
            count: 1,
        };
        f.store.add_finding(&id, run, &finding).await.unwrap();
    }
}

const FILLED: [&str; 9] =
    ["audit", "baseline", "connection", "district", "finding", "flag_sync", "page", "pull", "run"];

#[tokio::test]
async fn a_worker_sees_nothing_of_another_district() {
    let f = Fixture::postgres().await;
    two_districts(&f).await;
    let mut owner = f.database().connect().await;
    let tables = texts(&mut owner, TABLES).await;
    let tenants = tables.iter().filter(|name| !NOT_TENANT.contains(&name.as_str()));
    let mut of_a = worker(f.database(), Some("a")).await;
    let mut of_none = worker(f.database(), None).await;
    for table in tenants {
        let count = format!("SELECT count(*) FILTER (WHERE district = 'a'), count(*) FROM {table}");
        let row = of_a.fetch_one(AssertSqlSafe(count.clone())).await.unwrap();
        let (own, all): (i64, i64) = (row.get(0), row.get(1));
        assert_eq!(own, all, "{table}");
        assert_eq!(own > 0, FILLED.contains(&table.as_str()), "{table}");
        let all: i64 = of_none.fetch_one(AssertSqlSafe(count)).await.unwrap().get(1);
        assert_eq!(all, 0, "{table}");
    }
}

#[tokio::test]
async fn a_worker_writes_nothing_of_another_district() {
    let f = Fixture::postgres().await;
    two_districts(&f).await;
    let mut of_a = worker(f.database(), Some("a")).await;
    // Rows of b are not there to be changed or deleted, and none can be made.
    for sql in [
        "UPDATE run SET reason = 'x' WHERE district = 'b'",
        "UPDATE pull SET reason = 'x' WHERE district = 'b'",
        "UPDATE district SET name = 'x' WHERE district = 'b'",
        "DELETE FROM page WHERE district = 'b'",
        "DELETE FROM connection WHERE district = 'b'",
    ] {
        assert_eq!(of_a.execute(sql).await.unwrap().rows_affected(), 0, "{sql}");
    }
    for sql in [
        "INSERT INTO audit (district, at, actor, action, detail) VALUES ('b', now(), 'x', 'x', 'x')",
        "INSERT INTO baseline VALUES ('b', 7, '{}', now())",
        "UPDATE baseline SET district = 'b'",
    ] {
        let error = of_a.execute(sql).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{sql}");
    }
    // Nor does anybody edit what is to stay.
    for sql in ["UPDATE audit SET actor = 'x'", "DELETE FROM audit", "DELETE FROM run", "DELETE FROM district"] {
        let error = of_a.execute(sql).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{sql}");
    }
}

#[tokio::test]
async fn a_worker_owns_nothing_and_cannot_bypass() {
    let f = Fixture::postgres().await;
    let mut owner = f.database().connect().await;
    let roles = texts(
        &mut owner,
        "SELECT rolname::text FROM pg_roles WHERE rolname IN ('rollcall_app', 'rollcall_lookout') AND NOT rolsuper
         AND NOT rolbypassrls AND NOT rolcanlogin AND NOT rolcreaterole AND NOT rolcreatedb ORDER BY 1",
    )
    .await;
    assert_eq!(roles, ["rollcall_app", "rollcall_lookout"]);
    let relations = texts(
        &mut owner,
        "SELECT relname::text FROM pg_class WHERE relowner IN
         (SELECT oid FROM pg_roles WHERE rolname IN ('rollcall_app', 'rollcall_lookout'))",
    )
    .await;
    assert!(relations.is_empty(), "{relations:?}");
    let mut of_a = worker(f.database(), Some("a")).await;
    for sql in [
        "CREATE TABLE mine (district text)",
        "ALTER TABLE run DISABLE ROW LEVEL SECURITY",
        "SELECT rollcall_tenant_table('run')",
        "SET ROLE rollcall_lookout",
    ] {
        // The test's login is a superuser, who may become anybody; a worker's login is a member of rollcall_app only.
        if sql.starts_with("SET ROLE") {
            let member: bool = owner
                .fetch_one("SELECT pg_has_role('rollcall_app', 'rollcall_lookout', 'MEMBER')")
                .await
                .unwrap()
                .get(0);
            assert!(!member);
        } else {
            assert!(of_a.execute(sql).await.is_err(), "{sql}");
        }
    }
}

/// An owner of a database who is no superuser, gone at the end.
struct Owner {
    database: Database,
    name: String,
}

impl Owner {
    async fn create() -> Self {
        let database = Database::create().await;
        let name = format!("owner_{}", uuid::Uuid::new_v4().simple());
        database.admin_execute(format!("CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'pass'")).await;
        database.admin_execute(format!("ALTER DATABASE {} OWNER TO {name}", database.name())).await;
        Self { database, name }
    }

    fn url(&self) -> SecretString {
        let mut url: url::Url = self.database.url_as(Some(&self.name)).expose_secret().parse().unwrap();
        url.set_password(Some("pass")).unwrap();
        SecretString::from(url.to_string())
    }

    async fn drop(self) {
        let mut owned = self.database.connect().await;
        owned.execute(AssertSqlSafe(format!("DROP OWNED BY {} CASCADE", self.name))).await.unwrap();
        let admin = self.database.name().to_owned();
        drop(owned);
        self.database.admin_execute(format!("ALTER DATABASE {admin} OWNER TO CURRENT_USER")).await;
        self.database.admin_execute(format!("DROP ROLE {}", self.name)).await;
    }
}

#[tokio::test]
async fn an_owner_without_superuser_migrates_and_works() {
    let owner = Owner::create().await;
    let applied = Store::migrate(&owner.url()).await.unwrap();
    assert_eq!(applied.first().map(String::as_str), Some("0001 core"));
    assert!(Store::migrate(&owner.url()).await.unwrap().is_empty());
    {
        let store = Store::connect(&owner.url(), ring(&new_key()), 2).await.unwrap();
        let (a, b) = (district("a"), district("b"));
        for each in [&a, &b] {
            store.apply_district(each, &[ConnectionSecrets::default()], "test", now()).await.unwrap();
        }
        let run = store.create_run(&manual(&a.id), now()).await.unwrap().unwrap().id;
        assert!(store.save_page(&a.id, run, &page(0, 1)).await.unwrap());
        assert_eq!(store.districts().await.unwrap(), [a.id.clone(), b.id.clone()]);
        assert_eq!(store.district_of(run).await.unwrap(), a.id);
        assert_eq!(store.open_runs().await.unwrap()[0].touched_at, later(1));
        assert_eq!(store.runs(None, 5).await.unwrap().len(), 1);
        assert_eq!(store.schedules().await.unwrap().len(), 2);
        assert!(matches!(store.run(&b.id, run).await, Err(StoreError::NoRun(_))));
    }
    // Row-level security binds the owner too.
    let mut plain = PgConnection::connect(owner.url().expose_secret()).await.unwrap();
    let seen: i64 = plain.fetch_one("SELECT count(*) FROM district").await.unwrap().get(0);
    assert_eq!(seen, 0);
    let granted = "SELECT m.roleid::regrole::text FROM pg_auth_members m WHERE m.member = current_user::regrole";
    assert_eq!(texts(&mut plain, granted).await, ["rollcall_app"]);
    plain.close().await.unwrap();
    owner.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_migrations_at_once_end_with_one_schema() {
    let (one, two) = (Database::create().await, Database::create().await);
    let urls = [one.url(), one.url(), one.url(), two.url(), two.url()];
    let tasks = urls.map(|url| tokio::spawn(async move { Store::migrate(&url).await.unwrap() }));
    for task in tasks {
        task.await.unwrap();
    }
    for database in [one, two] {
        Store::connect(&database.url(), ring(&new_key()), 1).await.unwrap().check().await.unwrap();
    }
}

/// Notes a migration that this program does not know.
async fn note_migration(owner: &mut PgConnection, version: i64, description: &str) {
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
               VALUES ($1, $2, true, '', 0)";
    sqlx::query(sql).bind(version).bind(description).execute(owner).await.unwrap();
}

#[tokio::test]
async fn an_older_schema_is_refused_and_a_newer_one_once_it_breaks_older_programs() {
    let database = Database::create().await;
    let connect = async || Store::connect(&database.url(), ring(&new_key()), 1).await;
    assert!(matches!(connect().await, Err(StoreError::Schema { found: 0, .. })));
    Store::migrate(&database.url()).await.unwrap();
    let store = connect().await.unwrap();
    let mut owner = database.connect().await;

    // What a newer program has added is none of our business: we go on, and may be started again.
    note_migration(&mut owner, 9_998, "later").await;
    store.check().await.unwrap();
    connect().await.unwrap().check().await.unwrap();
    // But we are not the one who migrates it.
    assert!(matches!(Store::migrate(&database.url()).await, Err(StoreError::TooOld { found: 9_998, .. })));

    note_migration(&mut owner, 9_999, "breaking later").await;
    assert!(matches!(store.check().await, Err(StoreError::TooOld { found: 9_999, .. })));
    assert!(matches!(connect().await, Err(StoreError::TooOld { found: 9_999, .. })));
}

#[tokio::test]
async fn a_connection_that_broke_is_replaced() {
    let f = Fixture::postgres().await;
    let id = f.district("a").await;
    let mut owner = f.database().connect().await;
    owner
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'rollcall'",
        )
        .await
        .unwrap();
    // Each broken connection costs the transaction that finds it a retry, and no more.
    for _ in 0..10 {
        match f.store.district(&id).await {
            Ok(found) => return assert_eq!(found.id, id),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    panic!("the store did not recover");
}

#[tokio::test]
async fn an_unreachable_or_malformed_address_is_told_without_repeating_it() {
    let url = |text: &str| SecretString::from(text.to_owned());
    let away = Store::connect(&url("postgres://u:hunter2@127.0.0.1:1/x"), ring(&new_key()), 1).await.unwrap_err();
    assert!(away.is_transient(), "{away}");
    let malformed = Store::connect(&url("hunter2"), ring(&new_key()), 1).await.unwrap_err();
    assert!(!malformed.is_transient());
    for error in [away, malformed] {
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let f = Fixture::postgres().await;
    let mut owner = f.database().connect().await;
    let row = owner
        .fetch_one("SELECT split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port')")
        .await
        .unwrap();
    let (directory, port): (String, String) = (row.get(0), row.get(1));
    let mut url: url::Url = f.database().url().expose_secret().parse().unwrap();
    url.set_host(Some("localhost")).unwrap();
    url.query_pairs_mut().append_pair("host", directory.trim()).append_pair("port", &port);
    let store = Store::connect(&SecretString::from(url.to_string()), ring(&f.key), 1).await.unwrap();
    store.check().await.unwrap();
}

const VIEWS: [&str; 7] = [
    "current_student",
    "current_contact",
    "current_enrollment",
    "person",
    "person_phone",
    "person_email",
    "person_address",
];

/// Two districts with a student each, who has all that a view could show.
async fn two_rosters(f: &Fixture) {
    for name in ["a", "b"] {
        let district = new_district(&f.store, name).await;
        let mut record = student(name);
        record.person.addresses.push(rollcall_proto::roster::Address::default());
        applied(&f.store, &district, 1, vec![added(record)]).await;
    }
}

#[tokio::test]
async fn views_show_a_worker_the_rows_of_its_district_only() {
    let f = Fixture::postgres().await;
    two_rosters(&f).await;
    let mut owner = f.database().connect().await;
    let views = texts(&mut owner, "SELECT viewname::text FROM pg_views WHERE schemaname = 'public' ORDER BY 1").await;
    assert_eq!(views.len(), VIEWS.len(), "a new view belongs in this test: {views:?}");
    for view in VIEWS {
        let seen = || AssertSqlSafe(format!("SELECT DISTINCT district FROM {view} ORDER BY 1"));
        let mut both: Vec<String> = Vec::new();
        for district in ["a", "b"] {
            let mut connection = worker(f.database(), Some(district)).await;
            let rows = connection.fetch_all(seen()).await.unwrap();
            both.extend(rows.iter().map(|row| row.get::<String, _>(0)));
        }
        assert_eq!(both, ["a", "b"], "{view} shows each its own");
        let mut nobody = worker(f.database(), None).await;
        assert!(nobody.fetch_all(seen()).await.unwrap().is_empty(), "{view} without a district");
    }
}

/// SQLite's side of this is beside the query.
#[tokio::test]
async fn a_student_is_found_by_index() {
    let f = Fixture::postgres().await;
    two_rosters(&f).await;
    // A table as small as this one would be read from end to end, whatever its indexes.
    let name = f.database().name();
    f.database().admin_execute(format!("ALTER DATABASE {name} SET enable_seqscan = off")).await;
    let store = f.again().await;
    for key in ["La", "Sa", "a"] {
        assert_eq!(store.student(&"a".parse().unwrap(), key).await.unwrap().unwrap().row.student_id.0, "a");
    }
    let mut owner = f.database().connect().await;
    let unused = "SELECT indexrelname::text FROM pg_stat_user_indexes
                  WHERE indexrelname IN ('student_by_local_id', 'student_by_state_id', 'student_pkey') AND idx_scan = 0";
    // The server tells a second or so after a backend has been at rest.
    for _ in 0..200 {
        if texts(&mut owner, unused).await.is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        store.student(&"a".parse().unwrap(), "La").await.unwrap();
    }
    panic!("not used: {:?}", texts(&mut owner, unused).await);
}

/// A trigger of somebody's raises an error of its own for one student at once, and for another at the commit.
#[tokio::test]
async fn students_whom_the_database_refuses_by_any_code_are_parked_alone() {
    let f = Fixture::postgres().await;
    let district = new_district(&f.store, "triggers").await;
    alter(
        &f,
        "CREATE FUNCTION unlucky() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
         CREATE TRIGGER at_once BEFORE INSERT ON student FOR EACH ROW WHEN (NEW.student_id = 's03')
             EXECUTE FUNCTION unlucky();
         CREATE CONSTRAINT TRIGGER at_the_commit AFTER INSERT ON student DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.student_id = 's11') EXECUTE FUNCTION unlucky()",
    )
    .await;
    let events = (0..20).map(|number| added(student(&format!("s{number:02}")))).collect();
    let (run, batches) = released(&f.store, &district, 1, vec![events]).await;
    let failed = f.store.apply_batch(&district, run.id, &batches[0], at(2)).await.unwrap_err();
    assert!(!failed.is_of_the_database(), "{failed}");

    // A right that is missing is nobody's fault.
    alter(&f, "REVOKE INSERT ON student FROM rollcall_app").await;
    let refused = f.store.apply_blaming(&district, run.id, &batches[0], at(2)).await.unwrap_err();
    assert!(refused.is_of_the_database(), "{refused}");
    assert_eq!(f.store.run(&district, run.id).await.unwrap().counts.parked, 0);
    alter(&f, "GRANT INSERT ON student TO rollcall_app").await;

    let outcome = f.store.apply_blaming(&district, run.id, &batches[0], at(2)).await.unwrap();
    assert_eq!((outcome.applied, outcome.parked.len(), outcome.run_settled), (18, 2, true));
    let whom: Vec<_> = outcome.parked.iter().map(|parked| parked.student_id.0.as_str()).collect();
    assert_eq!(whom, ["s03", "s11"]);
    for parked in &outcome.parked {
        assert_eq!((parked.reason.as_str(), parked.detail.as_str()), ("database-refused", "code P0001"));
    }
    assert_eq!(f.store.stored_students(&district).await.unwrap().len(), 18);
}

/// Somebody's trigger raises an error of its own whoever is to be written; of a constraint, each is refused for what it holds.
#[tokio::test]
async fn what_refuses_a_whole_batch_alike_parks_nobody() {
    let f = Fixture::postgres().await;
    let district = new_district(&f.store, "alike").await;
    alter(
        &f,
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$;
         CREATE TRIGGER broken BEFORE INSERT ON student FOR EACH ROW EXECUTE FUNCTION broken()",
    )
    .await;
    let some = |from: u32, to: u32| (from..to).map(|number| added(student(&format!("s{number:02}")))).collect();
    let (run, batches) = released(&f.store, &district, 1, vec![some(0, 20), some(20, 25), some(25, 45)]).await;
    let apply = async |batch: usize| f.store.apply_blaming(&district, run.id, &batches[batch], at(2)).await;
    let refused = apply(0).await.unwrap_err();
    assert!(refused.is_of_the_database() && !refused.is_transient(), "{refused}");
    assert!(refused.to_string().ends_with("for each of its 20 students alike (P0001)"), "{refused}");
    assert_eq!(f.store.run(&district, run.id).await.unwrap().counts.parked, 0);
    // A few may have something in common.
    assert_eq!(apply(1).await.unwrap().parked.len(), 5);
    alter(&f, "DROP TRIGGER broken ON student").await;
    let outcome = apply(0).await.unwrap();
    assert_eq!((outcome.applied, outcome.parked.len()), (20, 0));
    alter(&f, "ALTER TABLE student ADD CONSTRAINT picky CHECK (student_id < 's25')").await;
    assert_eq!(apply(2).await.unwrap().parked.len(), 20);
}

/// What to do about it differs, so that a command tells these apart; the driver's text names user or database, and no password.
#[tokio::test]
async fn a_database_that_turns_a_login_away_says_so_and_no_password_is_told() {
    let f = Fixture::postgres().await;
    let mut url = f.database().url_as(Some("nobody_of_that_name")).expose_secret().parse::<url::Url>().unwrap();
    url.set_password(Some("pa55word-of-nobody")).unwrap();
    let mut nowhere = f.database().url_as(None).expose_secret().parse::<url::Url>().unwrap();
    nowhere.set_path("no_such_one");
    for (url, expected) in [(url, TurnedAway::Login), (nowhere, TurnedAway::NoDatabase)] {
        let failed = Store::connect(&SecretString::from(url.to_string()), ring(&new_key()), 2).await.unwrap_err();
        assert_eq!(failed.turned_away(), Some(expected), "{failed}");
        assert!(failed.is_transient(), "workers wait until it is mended: {failed}");
        assert!(!format!("{failed:?}").contains("pa55word"), "{failed:?}");
    }
}

/// As a failover that is not done leaves it. Connections that were opened meanwhile would stay read-only.
#[tokio::test]
async fn a_database_that_takes_no_writes_is_away_until_it_does() {
    let f = Fixture::postgres().await;
    let id = f.district("a").await;
    let mut owner = f.database().connect().await;
    let mut set = async |value: &str| {
        let name = f.database().name();
        let sql = format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = {value};
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'rollcall' AND '{value}' = 'on'"
        );
        owner.execute(AssertSqlSafe(sql)).await.unwrap();
    };
    set("on").await;
    // Broken connections cost the transactions that find them a retry.
    let mut told = None;
    for _ in 0..10 {
        let error = f.store.create_run(&manual(&id), now()).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        told = Some(error);
    }
    assert!(matches!(told, Some(StoreError::ReadOnly { .. })), "{told:?}");
    let check = f.store.check().await.unwrap_err();
    assert!(
        matches!(check, StoreError::ReadOnly { .. }) && check.turned_away() == Some(TurnedAway::ReadOnly),
        "{check}"
    );
    set("off").await;
    f.store.create_run(&manual(&id), now()).await.unwrap().unwrap();
    f.store.check().await.unwrap();
}

/// Until a transaction waits for a row that another holds.
async fn somebody_waits(f: &Fixture) {
    let mut looker = f.database().connect().await;
    let blocked =
        "SELECT pid::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let waits = async {
        while texts(&mut looker, blocked).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waits).await.expect("nobody waits");
}

#[tokio::test]
async fn an_erasure_stops_where_the_district_is_taken_in_again_and_finds_what_comes_in_after_its_end() {
    let f = Fixture::postgres().await;
    let id = f.district("leaver-isd").await;
    let late = "INSERT INTO school (district, code, run) VALUES ('leaver-isd', 'late', gen_random_uuid())";
    let schools = async || texts(&mut f.database().connect().await, "SELECT code FROM school").await.len();
    let mut other = f.database().connect().await;
    other.execute(late).await.unwrap();
    let remove = async || f.store.remove_district(&id, "test", now()).await.unwrap();
    let erase = async || f.store.erase_district(&id, "test", now()).await.unwrap();

    // Somebody applies it; the erasure has begun, and waits for them.
    remove().await;
    other.execute("BEGIN").await.unwrap();
    other.execute("UPDATE district SET removed_at = NULL").await.unwrap();
    let store = f.store.clone();
    let waiting = tokio::spawn({
        let id = id.clone();
        async move { store.erase_district(&id, "test", now()).await.unwrap() }
    });
    somebody_waits(&f).await;
    other.execute("COMMIT").await.unwrap();
    assert_eq!(waiting.await.unwrap(), Err(EraseRefusal::TakenInAgain));
    assert_eq!((f.store.districts().await.unwrap(), schools().await), (vec![id.clone()], 1));

    remove().await;
    assert_eq!(erase().await.unwrap().rows["school"], 1);
    other.execute(late).await.unwrap();
    assert_eq!((erase().await.unwrap().rows["school"], schools().await), (2, 0));
    // It holds nothing of a district that is there.
    f.district("leaver-isd").await;
    other.execute(late).await.unwrap();
    assert_eq!((erase().await, schools().await), (Err(EraseRefusal::NotRemoved), 1));
}

/// A replay has the district's row for itself while it copies a run's pages, some at a time.
#[tokio::test]
async fn pages_are_not_forgotten_while_a_replay_copies_them() {
    let f = Fixture::postgres().await;
    nights_of_one_page(&f, 1).await;
    let mut replay = f.database().connect().await;
    replay.execute("BEGIN").await.unwrap();
    replay.execute("SELECT 1 FROM district FOR UPDATE").await.unwrap();
    let store = f.store.clone();
    let forgetting = tokio::spawn(async move { store.forget_pages(later(20)).await.unwrap() });
    somebody_waits(&f).await;
    replay.execute("COMMIT").await.unwrap();
    assert_eq!(forgetting.await.unwrap(), 1);
}

/// The district's row is free after each night, however many are forgotten.
#[tokio::test]
async fn pages_are_forgotten_run_by_run() {
    let f = Fixture::postgres().await;
    nights_of_one_page(&f, 2).await;
    let (mut older, mut looker) = (f.database().connect().await, f.database().connect().await);
    older.execute("BEGIN").await.unwrap();
    let first = "SELECT 1 FROM page WHERE run = (SELECT id FROM run ORDER BY seq LIMIT 1) FOR UPDATE";
    older.execute(first).await.unwrap();
    let store = f.store.clone();
    let forgetting = tokio::spawn(async move { store.forget_pages(later(20)).await.unwrap() });
    somebody_waits(&f).await;
    let left = texts(&mut looker, "SELECT r.seq::text FROM page JOIN run r ON r.id = page.run").await;
    assert_eq!(left, ["1"], "the younger one's are gone");
    older.execute("COMMIT").await.unwrap();
    assert_eq!(forgetting.await.unwrap(), 2);
}

async fn nights_of_one_page(f: &Fixture, nights: usize) {
    let id = f.district("a").await;
    for _ in 0..nights {
        let run = f.run(&id).await.id;
        f.store.save_page(&id, run, &page(0, 1)).await.unwrap();
        f.store.cancel_run(&id, run, "test", later(10)).await.unwrap();
    }
}
