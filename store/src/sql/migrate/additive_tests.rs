//! A migration only adds, or says in its name that it does not: what a program of the version before would stumble over,
//! as far as words tell. What words cannot tell, a person has to ([`JUDGED`]).

use super::*;

/// Migrations that look as if they took away and were found not to, by whoever wrote down why.
const JUDGED: [(i64, &str); 2] = [
    (9, "page_same_as keeps a program before from deleting some pages; none was released before"),
    (
        59,
        "the key of lti_user is wider than before: no row that a program before writes is refused, and what it says only takes away",
    ),
];

/// Words with which something goes, or is another from now on.
const CHANGES: [&str; 12] = [
    "DROP TABLE",
    "DROP COLUMN",
    "DROP VIEW",
    "DROP FUNCTION",
    "DROP TYPE",
    "DROP POLICY",
    "DROP DEFAULT",
    "CREATE OR REPLACE FUNCTION",
    "CREATE OR REPLACE PROCEDURE",
    "ALTER POLICY",
    "RENAME ",
    "AS RESTRICTIVE",
];

/// What a row has to satisfy from now on, that is there already.
const DEMANDS: [&str; 6] =
    ["ADD CONSTRAINT ", "ADD CHECK", "ADD UNIQUE", "ADD PRIMARY KEY", "ADD FOREIGN KEY", "ADD EXCLUDE"];

/// The statements, in capitals, one blank between words, without comments.
fn statements(sql: &str) -> Vec<String> {
    let code: Vec<_> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let code = code.join(" ").to_uppercase();
    code.split(';').map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The first word after `start`, those left out that may stand before a name.
fn name_after<'a>(statement: &'a str, start: &str) -> Option<&'a str> {
    let (_, rest) = statement.split_once(start)?;
    let words = rest.split([' ', '(']).filter(|word| !["IF", "NOT", "EXISTS", "ONLY", ""].contains(word));
    words.map(|word| word.trim_start_matches("PUBLIC.")).next()
}

/// The table that a statement changes, if it is one that was there before.
fn changed_table<'a>(statement: &'a str, new: &[&str]) -> Option<&'a str> {
    let is_unique = statement.starts_with("CREATE UNIQUE INDEX");
    let is_trigger = statement.starts_with("CREATE TRIGGER") || statement.starts_with("CREATE CONSTRAINT TRIGGER");
    let start = if is_unique || is_trigger { " ON " } else { "ALTER TABLE " };
    name_after(statement, start).filter(|table| !new.contains(table))
}

/// Parts between commas that stand in no parentheses: `ALTER TABLE` may do several things at once.
fn clauses(statement: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let at_top = |letter: char| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    };
    statement.split(at_top).collect()
}

/// Whether what a program before writes into a table may be refused from now on.
fn demands(clause: &str) -> bool {
    let has = |word: &str| clause.contains(word);
    let is_given = has("DEFAULT") || has("GENERATED");
    let adds_column = has("ADD ") && !DEMANDS.iter().any(|demand| has(demand));
    let column = adds_column && (has("NOT NULL") && !is_given || has(" UNIQUE") || has("PRIMARY KEY"));
    column || has("SET NOT NULL") || has("ALTER COLUMN") && has(" TYPE ") || DEMANDS.iter().any(|demand| has(demand))
}

fn takes_away(sql: &str) -> bool {
    let statements = statements(sql);
    let new: Vec<&str> = statements.iter().filter_map(|statement| name_after(statement, "CREATE TABLE ")).collect();
    statements.iter().any(|statement| {
        let changes = CHANGES.iter().any(|words| statement.contains(words));
        let refuses = statement.contains("REVOKE ") && statement.contains("FROM ROLLCALL_APP");
        let binds = changed_table(statement, &new)
            .is_some_and(|_| !statement.contains("ALTER TABLE") || clauses(statement).into_iter().any(demands));
        changes || refuses || binds
    })
}

/// sqlx would leave the transaction out for a file that begins so; ours are all given to it as ones that have one.
fn wants_no_transaction(sql: &str) -> bool {
    sql.lines().any(|line| line.trim().to_lowercase().starts_with("-- no-transaction"))
        || sql.to_uppercase().contains(" CONCURRENTLY")
}

#[test]
fn what_a_version_before_would_stumble_over_is_known() {
    for sql in [
        "DROP TABLE chore;",
        "alter table run drop column reason",
        "ALTER TABLE run RENAME COLUMN reason TO why;",
        "ALTER TABLE run ADD COLUMN why text NOT NULL;",
        "ALTER TABLE run ADD why text NOT NULL;",
        "ALTER TABLE run ADD COLUMN who text DEFAULT '', ADD COLUMN why text NOT NULL;",
        "ALTER TABLE run ADD COLUMN why text\n    NOT NULL,\n ADD COLUMN who numeric(3, 1) NOT NULL DEFAULT 0;",
        "ALTER TABLE run ADD COLUMN why text UNIQUE;",
        "ALTER TABLE run ALTER COLUMN reason SET NOT NULL",
        "ALTER TABLE run ALTER COLUMN trigger DROP DEFAULT",
        "ALTER TABLE run ALTER COLUMN reason TYPE uuid USING reason::uuid;",
        "ALTER TABLE run ADD CONSTRAINT told CHECK (reason <> '');",
        "ALTER TABLE ONLY public.run ADD CHECK (reason <> '') NOT VALID;",
        "ALTER TABLE run ADD FOREIGN KEY (district) REFERENCES district (id);",
        "ALTER TABLE run ADD COLUMN why text, ADD CONSTRAINT one UNIQUE (district, why);",
        "CREATE UNIQUE INDEX one_reason ON run (district, reason);",
        "create unique index if not exists one_reason\n  on public.run (district, reason) where reason is not null;",
        "CREATE TABLE more (id text); CREATE UNIQUE INDEX one_reason ON run (reason);",
        "CREATE TRIGGER judge BEFORE INSERT ON run FOR EACH ROW EXECUTE FUNCTION judge();",
        "CREATE OR REPLACE FUNCTION lookout_figures(timestamptz) RETURNS bigint LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION lookout_figures(timestamptz); CREATE FUNCTION lookout_figures(timestamptz) RETURNS text",
        "DROP POLICY tenant ON run;",
        "CREATE POLICY fewer ON run AS RESTRICTIVE USING (false);",
        "REVOKE SELECT ON run FROM rollcall_app;",
    ] {
        assert!(takes_away(sql), "{sql}");
    }
    for sql in [
        "-- DROP TABLE run;\nCREATE TABLE more (id text NOT NULL);",
        "CREATE TABLE more (id text NOT NULL UNIQUE, CONSTRAINT told CHECK (id <> ''));",
        "CREATE TABLE IF NOT EXISTS more (id text); CREATE UNIQUE INDEX one ON more (id);",
        "CREATE TABLE more(id text); ALTER TABLE more ADD CONSTRAINT told CHECK (id <> '');",
        "ALTER TABLE run ADD COLUMN why text;",
        "ALTER TABLE run ADD COLUMN why text NOT NULL DEFAULT '', ADD COLUMN who text;",
        "ALTER TABLE run ADD COLUMN why integer NOT NULL GENERATED ALWAYS AS IDENTITY;",
        "ALTER TABLE run ALTER COLUMN reason DROP NOT NULL, DROP CONSTRAINT told;",
        "ALTER TABLE run ALTER COLUMN reason SET STORAGE EXTERNAL;",
        "CREATE INDEX by_reason ON run (district, reason); DROP INDEX by_reason;",
        "CREATE FUNCTION lookout_more(timestamptz) RETURNS text; GRANT SELECT (state) ON run TO rollcall_lookout;",
        // PostgreSQL itself lets a view that is there only get further columns.
        "CREATE OR REPLACE VIEW current_student AS SELECT * FROM student;",
        "CREATE POLICY lookout ON run FOR SELECT TO rollcall_lookout USING (true);",
    ] {
        assert!(!takes_away(sql), "{sql}");
    }
}

#[test]
fn a_migration_that_takes_away_says_so_in_its_name() {
    for migration in POSTGRES {
        let is_named = migration.description.starts_with("breaking ");
        let is_judged = JUDGED.iter().any(|(version, _)| *version == migration.version);
        let takes_away = takes_away(migration.sql);
        assert!(is_named || is_judged || !takes_away, "{:04} {}", migration.version, migration.description);
        assert!(!is_judged || takes_away, "{:04} needs no judgement", migration.version);
    }
}

#[test]
fn no_migration_does_without_a_transaction() {
    for sql in [
        "-- no-transaction\nCREATE INDEX more ON run (reason);",
        "-- Why.\n  -- No-Transaction",
        "create index concurrently more on run (reason);",
        "DROP INDEX CONCURRENTLY more;",
    ] {
        assert!(wants_no_transaction(sql), "{sql}");
    }
    assert!(!wants_no_transaction("-- Two transactions may do this at once.\nCREATE INDEX more ON run (reason);"));
    for migration in POSTGRES.iter().chain(SQLITE) {
        assert!(
            !wants_no_transaction(migration.sql),
            "{:04} {}: each migration is one transaction, and `-- no-transaction` is not supported",
            migration.version,
            migration.description
        );
    }
}
