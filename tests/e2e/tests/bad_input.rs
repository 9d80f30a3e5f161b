//! What a SIS, a network or a person can get wrong: each ends in a clear message and the right state, and nobody is
//! wrongly made INACTIVE.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use rollcall_e2e::{
    House, Ledger,
    cases::{Case, case, check},
    house::{self, DISTRICT},
    roster::statuses,
    until_told,
};
use rollcall_sandbox::{
    AuthQuirks, DataQuirks, Drift, Fault, FaultKind, Grants, NextStyle, ObjectField, ObjectPage, PagingQuirks, Quirks,
    Sandbox, SandboxConfig,
};

fn district() -> SandboxConfig {
    SandboxConfig { students: 350, seed: 3, today: house::today(), contact_percent: 40, ..SandboxConfig::default() }
}

fn fault(kind: FaultKind, object: &str) -> Quirks {
    let fault = Fault { kind, object: Some(object.to_owned()), page: None, times: None };
    Quirks { faults: vec![fault], ..Quirks::default() }
}

fn paging(paging: PagingQuirks) -> Quirks {
    Quirks { paging, ..Quirks::default() }
}

fn auth(auth: AuthQuirks) -> Quirks {
    Quirks { auth, ..Quirks::default() }
}

fn empty(object: &str) -> Quirks {
    paging(PagingQuirks { empty: vec![object.to_owned()], ..PagingQuirks::default() })
}

/// Page 1, so that nothing tells the page size either.
fn hole(object: &str) -> Quirks {
    let hollow = vec![ObjectPage { object: object.to_owned(), page: 1 }];
    paging(PagingQuirks { hollow, ..PagingQuirks::default() })
}

fn drift(removed: usize, inserted: usize) -> Quirks {
    drift_of(&["Student", "EntryWithdrawal", "StudentEntityYear"], removed, inserted)
}

fn drift_of(objects: &[&str], removed: usize, inserted: usize) -> Quirks {
    let drift = |object: &&str| Drift { object: (*object).to_owned(), after_page: 1, removed, inserted };
    paging(PagingQuirks { drift: objects.iter().map(drift).collect(), ..PagingQuirks::default() })
}

fn denied_object(object: &str) -> Quirks {
    Quirks { grants: Grants { denied_objects: vec![object.to_owned()], ..Grants::default() }, ..Quirks::default() }
}

fn denied_field(object: &str, field: &str) -> Quirks {
    let denied_fields = vec![ObjectField { object: object.to_owned(), field: field.to_owned() }];
    Quirks { grants: Grants { denied_fields, ..Grants::default() }, ..Quirks::default() }
}

/// A student whose status the stories call this, the nth of them.
fn someone(house: &House, status: &str, nth: usize) -> i64 {
    let students = house.sis.expected_students(house.sis.night());
    let mut like = students.iter().filter(|(_, student)| student.status == status);
    *like.nth(nth).expect("the district has such a student").0
}

const ENDED_WELL: &[&str] = &["succeeded", "partial"];

/// Every attempt is used up before a listing is given up, which takes a while: one test each.
async fn spoiled(
    test: &str,
    what: &'static str,
    states: &'static [&'static str],
    kind: FaultKind,
    object: &'static str,
) {
    let mut ledger = Ledger::begin(test, what);
    let answers = matches!(kind, FaultKind::Html | FaultKind::TruncatedJson);
    let mut house = House::scaled_out(district()).await;
    house.start_workers(1);
    check(&mut house, vec![case(what, states, &[object], fault(kind, object))], &mut ledger).await;
    // The night before the last one.
    let run = house.runs().await[1]["run"].as_str().unwrap().to_owned();
    assert_eq!(kept_and_parked(&house, &run, answers).await, answers, "{what}");
    house.close().await;
    ledger.end();
}

/// Whether a run's unreadable answer is kept sealed, and its message parked with where it could not be read.
async fn kept_and_parked(house: &House, run: &str, expected: bool) -> bool {
    let parked = || async {
        let rows = house.rollcall(&["queues", "parked", "collect", "--format", "json"]).await.expect_code(0).json();
        rows.as_array().unwrap().iter().find(|row| row["run"] == run).cloned()
    };
    let parked = if expected {
        until_told("the page to be parked", Duration::from_secs(30), parked).await
    } else if let Some(parked) = parked().await {
        parked
    } else {
        return false;
    };
    assert_eq!(parked["reason"], "page-undecodable", "{parked}");
    let detail = parked["detail"].as_str().unwrap();
    assert!(detail.contains("line ") && detail.contains("column ") && detail.contains("page 1"), "{detail}");
    let sql = "SELECT raw, error FROM page WHERE run = $1::uuid AND error IS NOT NULL";
    let kept: Vec<(Option<Vec<u8>>, String)> =
        sqlx::query_as(sql).bind(run).fetch_all(&house.services().database).await.unwrap();
    let (raw, _) = kept.into_iter().find(|(_, error)| detail.ends_with(error)).expect("it is kept");
    let raw = raw.expect("with what the SIS answered");
    let zstd = [0x28, 0xb5, 0x2f, 0xfd];
    assert!(raw.len() > 40 && !raw.windows(4).any(|bytes| bytes == zstd), "sealed");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maintenance_page_with_status_200_leaves_everybody_in_place() {
    let test = "a_maintenance_page_with_status_200_leaves_everybody_in_place";
    spoiled(test, "HTML with status 200", &["failed", "partial"], FaultKind::Html, "Student").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_students_leave_everybody_in_place() {
    let test = "truncated_students_leave_everybody_in_place";
    spoiled(test, "truncated students", &["failed", "partial"], FaultKind::TruncatedJson, "Student").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_enrollments_leave_everybody_in_place() {
    let test = "truncated_enrollments_leave_everybody_in_place";
    spoiled(test, "truncated enrollments", &["failed", "partial"], FaultKind::TruncatedJson, "EntryWithdrawal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_guardians_leave_everybody_in_place() {
    let test = "truncated_guardians_leave_everybody_in_place";
    spoiled(test, "truncated guardians", ENDED_WELL, FaultKind::TruncatedJson, "StudentGuardian").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_is_refused_for_good_leaves_everybody_in_place() {
    let test = "a_listing_that_is_refused_for_good_leaves_everybody_in_place";
    spoiled(test, "a refused listing", &["failed", "partial"], FaultKind::Status(400), "EntryWithdrawal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_school_years_leave_everybody_in_place() {
    let test = "no_school_years_leave_everybody_in_place";
    spoiled(test, "no school years", &["failed", "partial"], FaultKind::NoRows, "SchoolYear").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_fault_is_got_over() {
    let test = "a_passing_fault_is_got_over";
    let mut ledger = Ledger::begin(test, "connections broken and server errors that pass");
    let mut house = House::scaled_out(district()).await;
    house.start_workers(1);
    let passing = |kind| Quirks {
        faults: vec![Fault { kind, object: Some("Student".to_owned()), page: None, times: Some(2) }],
        ..Quirks::default()
    };
    // To discovery's question alone: the pull itself would show them.
    let no_years =
        Fault { kind: FaultKind::NoRows, object: Some("SchoolYear".to_owned()), page: Some(1), times: Some(1) };
    let cases = vec![
        case("no school years at first", &["succeeded"], &[], Quirks { faults: vec![no_years], ..Quirks::default() }),
        case("two connections broken", &["succeeded"], &[], passing(FaultKind::ConnectionReset)),
        case("two server errors", &["succeeded"], &[], passing(FaultKind::Status(502))),
    ];
    check(&mut house, cases, &mut ledger).await;
    house.close().await;
    ledger.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_shrink_or_repeat_take_nobody_out() {
    let test = "listings_that_shrink_or_repeat_take_nobody_out";
    let mut ledger =
        Ledger::begin(test, "listings that are empty, repeat, shrink or grow while paging, or have a wrong total");
    let mut house = House::scaled_out(district()).await;
    house.start_workers(1);
    let repeat = vec![ObjectPage { object: "Student".to_owned(), page: 2 }];
    let total = PagingQuirks { total_key: Some("TotalCount".to_owned()), total_off_by: 40, ..PagingQuirks::default() };
    let cases = vec![
        case("no students", &["partial", "failed"], &["Student", "empty"], empty("Student")),
        case("no enrollments", &["partial", "failed"], &["EntryWithdrawal", "empty"], empty("EntryWithdrawal")),
        case("no withdrawal codes", &["partial"], &["WithdrawalCode"], empty("WithdrawalCode")),
        case("no guardians", ENDED_WELL, &["StudentGuardian"], empty("StudentGuardian")),
        case(
            "a page for ever",
            &["partial", "failed"],
            &["Student"],
            paging(PagingQuirks { repeat, ..PagingQuirks::default() }),
        ),
        Case { retold: true, ..case("rows that go while paging", ENDED_WELL, &[], drift(7, 0)) },
        case("rows that come while paging", ENDED_WELL, &[], drift(0, 7)),
        case("a total that disagrees", &["partial"], &["total"], paging(total)),
        // What is behind the empty page came in, and was not ended.
        case(
            "a hole in the guardians",
            &["partial"],
            &["StudentGuardian", "page 1 holds nothing, and announces more"],
            hole("StudentGuardian"),
        ),
        case("a hole in the students", &["partial"], &["Student/Student", "page 1 holds nothing"], hole("Student")),
        case(
            "next links for ever",
            &["succeeded"],
            &[],
            paging(PagingQuirks { next: NextStyle::Always, ..PagingQuirks::default() }),
        ),
        case(
            "no next links",
            &["succeeded"],
            &[],
            paging(PagingQuirks { next: NextStyle::Absent, ..PagingQuirks::default() }),
        ),
        case(
            "a last page that points to itself",
            &["succeeded"],
            &[],
            paging(PagingQuirks { next: NextStyle::SelfOnLast, ..PagingQuirks::default() }),
        ),
    ];
    check(&mut house, cases, &mut ledger).await;
    house.close().await;
    ledger.end();
}

/// Rows of names and addresses that go while they are listed: those behind them move up, and some are told on no page. What they
/// told stays that very night, and not only once a good night has told it again.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_keys_lead_to_and_that_move_while_paging_end_no_values() {
    let mut house = House::embedded(district()).await;
    // So small that addresses have several pages too.
    house.district.page_size = 20;
    house.apply().await;
    assert_eq!(house.night().await.state, "succeeded");
    let before = house.facts().await;
    for (objects, tables) in [
        (&["Name"][..], &["Demographics/Name: "][..]),
        (&["Address"], &["Demographics/Address: "]),
        (&["Name", "Address", "StudentEntityYear"], &["Demographics/Name: ", "Enrollment/StudentEntityYear: "]),
    ] {
        house.sis.set_quirks(drift_of(objects, 7, 0));
        let run = house.night().await;
        assert_eq!((run.state.as_str(), run.changed, run.removed), ("partial", 0, 0), "{objects:?}: {run:#?}");
        assert!(tables.iter().all(|table| run.why().contains(table)), "{objects:?}: {}", run.why());
        assert!(house.facts().await == before, "{objects:?}: what is stored is as it was");
    }
    house.sis.set_quirks(Quirks::default());
    assert_eq!(house.night().await.state, "succeeded");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_make_no_sense_touch_nobody_else() {
    let test = "rows_that_make_no_sense_touch_nobody_else";
    let mut ledger =
        Ledger::begin(test, "rows that make no sense: repeated, no dates, unknown codes, ends before starts, a NUL");
    let mut house = House::scaled_out(district()).await;
    house.start_workers(1);
    let (one, other, third) =
        (someone(&house, "ENROLLED", 3), someone(&house, "ENROLLED", 30), someone(&house, "ENROLLED", 60));
    let data = |data| Quirks { data, ..Quirks::default() };
    let withheld = |what, reason, quirks, student| {
        let says =
            vec!["withheld", "rollcall runs plan RUN --skipped", reason, ", enrollment ", "correct it in the SIS"];
        Case { names: Some(student), says, ..case(what, ENDED_WELL, &[], data(quirks)) }
    };
    let cases = vec![
        // Both rows say the same, so nobody is told of wrongly, and one of them is too many.
        Case {
            names: Some(one),
            ..case(
                "a student twice",
                &["succeeded"],
                &["student-repeated", "merge or delete one in the SIS"],
                data(DataQuirks { duplicate_student: Some(one), ..DataQuirks::default() }),
            )
        },
        withheld(
            "a date that is none",
            "date-unreadable",
            DataQuirks { garbage_date_student: Some(one), ..DataQuirks::default() },
            one,
        ),
        withheld(
            "a code in no table",
            "code-unresolved",
            DataQuirks { unknown_code_student: Some(third), ..DataQuirks::default() },
            third,
        ),
        // An enrollment that was never in force is none: this is the one student whom the source itself takes out.
        Case {
            touched: vec![other],
            ..case(
                "an end before its start",
                ENDED_WELL,
                &["withdrawal-before-entry"],
                data(DataQuirks { ends_before_start_student: Some(other), ..DataQuirks::default() }),
            )
        },
        case(
            "a NUL in a name",
            ENDED_WELL,
            &["control-characters", "Demographics/Name: ", "correct it in the SIS: NameID "],
            data(DataQuirks { nul_name_student: Some(other), ..DataQuirks::default() }),
        ),
        case(
            "booleans as text",
            &["succeeded"],
            &[],
            data(DataQuirks { booleans_as_strings: true, ..DataQuirks::default() }),
        ),
    ];
    check(&mut house, cases, &mut ledger).await;
    house.close().await;
    ledger.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_that_is_refused_fails_the_run_and_names_the_mend() {
    let test = "an_access_that_is_refused_fails_the_run_and_names_the_mend";
    let mut ledger = Ledger::begin(test, "a wrong secret, an expired access, grants taken away");
    let mut house = House::scaled_out(district()).await;
    house.start_workers(1);
    let cases = vec![
        case(
            "a wrong secret",
            &["failed"],
            &["secret"],
            auth(AuthQuirks { wrong_secret: true, ..AuthQuirks::default() }),
        ),
        case(
            "an expired access",
            &["failed"],
            &["access"],
            auth(AuthQuirks { access_expired: true, ..AuthQuirks::default() }),
        ),
        case(
            "tokens that end early",
            &["succeeded"],
            &[],
            auth(AuthQuirks { token_expires_after_requests: Some(5), ..AuthQuirks::default() }),
        ),
        case(
            "an essential field not granted",
            &["failed"],
            &["StartDate"],
            denied_field("EntryWithdrawal", "StartDate"),
        ),
        case("a field no longer granted", &["partial"], &["BirthDate"], denied_field("Name", "BirthDate")),
        case("entities no longer granted", &["partial"], &["District/Entity"], denied_object("Entity")),
    ];
    check(&mut house, cases, &mut ledger).await;
    house.close().await;
    ledger.end();
}

/// The run fails as it does with one connection, whatever the other one brings: nobody of either is touched.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_grant_of_one_of_two_connections_fails_the_run() {
    let mut house = House::embedded(district()).await;
    let second = Sandbox::start(SandboxConfig { students: 40, seed: 5, ..district() }).await.unwrap();
    house.district.add_source(&second.base_url(), second.client_id());
    house.apply().await;
    assert_eq!(house.night().await.state, "succeeded");
    let before = house.facts().await;
    let kept = statuses(&house.students().await);
    assert!(kept.keys().any(|id| id.starts_with("b-")) && kept.keys().any(|id| !id.starts_with("b-")), "{kept:?}");
    house.sis.set_night(2);
    second.set_quirks(denied_field("EntryWithdrawal", "StartDate"));
    let run = house.night().await;
    assert_eq!((run.state.as_str(), run.changed), ("failed", 0), "{run:#?}");
    let why = run.why();
    assert!(why.contains("grant-missing") && why.contains("connection 2: "), "{why}");
    assert!(why.contains("Enrollment/EntryWithdrawal.StartDate"), "{why}");
    assert_eq!(house.facts().await, before, "nobody of either connection is touched");
    second.set_quirks(Quirks::default());
    assert_eq!(house.night().await.state, "succeeded");
    house.close().await;
}

/// The address is the district's own: applied anew for each case.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_be_reached_fails_the_run_and_is_named() {
    let mut house = House::scaled_out(district()).await;
    house.start_workers(1);
    assert_eq!(house.night().await.state, "succeeded");
    let before = statuses(&house.students().await);
    let good = house.district.base_url.clone();
    // Nobody listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tls = good.replacen("http://", "https://", 1);
    for (what, base_url) in [("nobody listens", format!("http://{free}/API")), ("no TLS there", tls)] {
        house.district.base_url = base_url;
        house.apply().await;
        let test = house.rollcall(&["district", "test", DISTRICT]).await.expect_code(1);
        assert!(test.text().contains("127.0.0.1"), "{what}: the address is named: {}", test.text());
        let run = house.night().await;
        assert_eq!(run.state, "failed", "{what}: {run:#?}");
        assert!(run.why().contains("127.0.0.1"), "{what}: the address is named: {}", run.why());
        assert_eq!(statuses(&house.students().await), before, "{what}");
    }
    house.district.base_url = good;
    house.apply().await;
    assert_eq!(house.night().await.state, "succeeded");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_district_file_with_a_mistake_is_refused_with_its_place() {
    let mut house = House::embedded(district()).await;
    let good = house.district.clone();
    let mistakes = [
        ("an unknown key", "pagesize = 3\n", "", "pagesize"),
        ("an unknown table", "", "[holds]\npreview = true\n", "holds"),
        ("a percentage beyond 100", "", "[hold]\nmax_removed_percent = 101\n", "max_removed_percent"),
        ("a broken line", "lanes 4\n", "", "line"),
    ];
    for (what, connection, tables, named) in mistakes {
        house.district = good.clone();
        house.district.connection = connection.to_owned();
        house.district.tables = tables.to_owned();
        let answer = house.try_apply().await;
        assert_ne!(answer.code, 0, "{what}");
        assert!(answer.stderr.contains(named), "{what}: {named} is named: {}", answer.stderr);
        assert!(!answer.text().contains(house.sis.client_secret()), "{what}: no secret is repeated");
    }
    house.close().await;
}

/// Names come in every script, and are kept as they are.
#[tokio::test(flavor = "multi_thread")]
async fn names_in_any_script_are_kept() {
    let house = House::embedded(SandboxConfig { students: 1500, ..district() }).await;
    assert_eq!(house.night().await.state, "succeeded");
    let names: Vec<_> = house.students().await.into_iter().filter_map(|student| student.last_name).collect();
    let has = |what: fn(char) -> bool| names.iter().any(|name| name.chars().any(what));
    assert!(has(|c| ('\u{0400}'..'\u{0500}').contains(&c)), "Cyrillic");
    assert!(has(|c| ('\u{4e00}'..'\u{a000}').contains(&c)), "Han");
    assert!(has(|c| ('\u{0600}'..'\u{0700}').contains(&c)), "Arabic");
    assert!(has(|c| c == '\''), "an apostrophe");
    house.close().await;
}
