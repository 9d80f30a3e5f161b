//! Nights of a district against the stories of the sandbox: what comes in, what changes, what is held.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeMap, time::Duration};

use rollcall_e2e::{
    House, Ledger, RunRow,
    house::{self, DISTRICT},
    pair::Twin,
    roster::{facts, rows_written, statuses, versions, versions_beside},
    waiting::until_told,
    watch::{Watch, statuses_of},
};
use rollcall_sandbox::{DataQuirks, DateStyle, PagingQuirks, Quirks, SKIPPED, SandboxConfig, Scenario, YearContext};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::faults::assert_one_for_each_date;

fn district(students: u32) -> SandboxConfig {
    let today = house::today();
    SandboxConfig { students, seed: 7, today, change_percent: 12.0, contact_percent: 40, ..SandboxConfig::default() }
}

/// The status in which this night leaves each student, by the stories alone.
fn told(house: &House) -> BTreeMap<String, &'static str> {
    house
        .sis
        .expected_students(house.sis.night())
        .into_iter()
        .map(|(id, student)| (id.to_string(), student.status))
        .collect()
}

fn is_in(status: Option<&&str>) -> bool {
    matches!(status, Some(&"ENROLLED" | &"PRE_ENROLLED"))
}

/// Students the stories take out between two nights.
fn taken_out(before: &BTreeMap<String, &'static str>, after: &BTreeMap<String, &'static str>) -> u64 {
    let gone = before.iter().filter(|(id, status)| is_in(Some(status)) && after.get(*id) == Some(&"INACTIVE"));
    gone.count() as u64
}

#[track_caller]
fn check(run: &RunRow, state: &str) {
    assert_eq!(run.state, state, "{run:#?}");
    run.check_counts();
}

async fn first_night(house: &House) {
    let run = house.night().await;
    check(&run, "succeeded");
    let expected = told(house).values().filter(|status| **status != SKIPPED).count() as u64;
    assert_eq!(run.added, expected, "everyone whom a rule admits is new: {run:#?}");
    house.check_roster().await;
    house.check_lanes();
}

async fn second_night(house: &House) {
    let before = told(house);
    house.sis.set_night(2);
    let run = house.night().await;
    check(&run, "succeeded");
    assert_eq!(run.removed, taken_out(&before, &told(house)), "{run:#?}");
    assert!(run.added > 0 && run.changed > 0 && run.unchanged > run.changed, "{run:#?}");
    house.check_roster().await;
}

/// Half of the students vanish: held, and then let through by a person.
async fn third_night(house: &House) {
    let kept = statuses(&house.students().await);
    house.sis.set_night(3);
    let held = house.night().await;
    assert_eq!(held.state, "held", "{held:#?}");
    assert!(held.why().contains("removed"), "the reason names the limit: {}", held.why());
    assert_eq!(statuses(&house.students().await), kept, "a held run changes nothing");

    let answer = house.rollcall(&["runs", "approve", &held.run, "--wait"]).await.expect_code(0);
    let run = house.show(&held.run).await;
    check(&run, "succeeded");
    assert!(run.removed > 0, "{answer:#?}");
    house.check_roster().await;
    assert_eq!(house.students().await.len(), kept.len(), "removal is a status, never a delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nights_scaled_out_follow_the_stories() {
    let mut house = House::scaled_out(district(800)).await;
    house.start_workers(2);
    first_night(&house).await;
    second_night(&house).await;
    third_night(&house).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nights_embedded_follow_the_stories() {
    let house = House::embedded(district(800)).await;
    first_night(&house).await;
    second_night(&house).await;
    third_night(&house).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nights_beside_a_server_follow_the_stories() {
    let house = House::embedded(district(400)).await;
    let mut server = house.start("serve", &["-v", "serve"]);
    first_night(&house).await;
    second_night(&house).await;
    third_night(&house).await;
    let status = server.terminate(Duration::from_secs(30)).await;
    assert!(status.success(), "a server told to stop ends in order: {status}");
    house.close().await;
}

/// The dates stand in a field of the state's, which the district's file names, in another case.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_left_by_a_named_withdrawal_date_is_taken_out() {
    let mut house = House::embedded(district(400)).await;
    let data = DataQuirks { ends_in_state_field: true, ..DataQuirks::default() };
    house.sis.set_quirks(Quirks { data, ..Quirks::default() });
    house.district.connection = "withdrawal_date_field = \"lastDayTX\"".to_owned();
    house.apply().await;
    first_night(&house).await;
    second_night(&house).await;
    house.close().await;
}

/// Dates are spelled in every way that servers have been feared to, another one each night, and the same days are read.
#[tokio::test(flavor = "multi_thread")]
async fn dates_of_every_spelling_are_the_same_days() {
    let house = House::embedded(district(200)).await;
    let spell = |dates| {
        house.sis.set_quirks(Quirks { data: DataQuirks { dates, ..DataQuirks::default() }, ..Quirks::default() });
    };
    spell(DateStyle::Space);
    first_night(&house).await;
    for style in [DateStyle::UnitedStates, DateStyle::Iso, DateStyle::IsoZulu] {
        spell(style);
        let run = house.night().await;
        check(&run, "succeeded");
        assert_eq!((run.added, run.changed, run.removed), (0, 0, 0), "{style:?}: {run:#?}");
    }
    spell(DateStyle::UnitedStates);
    second_night(&house).await;
    house.close().await;
}

/// What a listing shows of other school years than the one asked for makes no difference.
#[tokio::test(flavor = "multi_thread")]
async fn listings_that_heed_no_school_year_follow_the_stories() {
    let house = House::embedded(district(200)).await;
    let heed = |year_context| {
        let paging = PagingQuirks { year_context, ..PagingQuirks::default() };
        house.sis.set_quirks(Quirks { paging, ..Quirks::default() });
    };
    heed(YearContext::Ignored);
    first_night(&house).await;
    heed(YearContext::WhenGiven);
    let run = house.night().await;
    check(&run, "succeeded");
    assert_eq!((run.added, run.changed, run.removed), (0, 0, 0), "{run:#?}");
    heed(YearContext::Ignored);
    second_night(&house).await;
    house.close().await;
}

/// Whoever enters next school year is taken in where the district says so.
#[tokio::test(flavor = "multi_thread")]
async fn upcoming_enrollments_of_the_next_year_count_where_admitted() {
    let mut house = House::embedded(district(300)).await;
    house.district.tables = "[status]\nschool_years = \"current-and-next\"\n".to_owned();
    house.apply().await;
    let run = house.night().await;
    check(&run, "succeeded");
    let kept = statuses(&house.students().await);
    let stories = house.sis.expected_students(1);
    assert!(stories.values().any(|student| student.scenario == Scenario::NextYearOnly));
    for (id, student) in stories {
        let expected = if student.scenario == Scenario::NextYearOnly { "PRE_ENROLLED" } else { student.status };
        let status = kept.get(&id.to_string()).map_or(SKIPPED, String::as_str);
        assert_eq!(status, expected, "student {id}, whose story is {student:?}");
    }
    house.close().await;
}

/// Of the staff, by id: whether they teach.
async fn staff(house: &House) -> BTreeMap<String, bool> {
    let store = SqliteConnectOptions::new().filename(house.folder().join("data/store.db"));
    let mut store = SqliteConnection::connect_with(&store).await.unwrap();
    let sql = "SELECT staff_id, teacher FROM staff WHERE left_at IS NULL";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&mut store).await.unwrap();
    store.close().await.unwrap();
    rows.into_iter().map(|(id, teaches)| (id, teaches == 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_are_those_who_teach_where_the_district_wants_these_alone() {
    let mut house = House::embedded(district(200)).await;
    let mut kept = Vec::new();
    for wanted in ["active", "teachers"] {
        house.district.connection = format!("staff = {wanted:?}");
        house.apply().await;
        check(&house.night().await, "succeeded");
        kept.push(staff(&house).await);
    }
    let [active, teachers] = kept.try_into().unwrap();
    assert!(active.values().any(|teaches| !teaches) && active.values().any(|teaches| *teaches), "{active:?}");
    let expected: BTreeMap<String, bool> = active.into_iter().filter(|(_, teaches)| *teaches).collect();
    assert_eq!(teachers, expected);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_keeps_the_schedule() {
    let mut house = House::embedded(district(100)).await;
    house.district.schedule = "at = \"00:00\"\nweekends = true".to_owned();
    house.apply().await;
    // The schedule counts from when the district was taken in; this one has been there for long.
    let store = SqliteConnectOptions::new().filename(house.folder().join("data/store.db"));
    let mut store = SqliteConnection::connect_with(&store).await.unwrap();
    let earlier = "UPDATE district SET schedule_since = strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now', '-3 days')";
    assert_eq!(sqlx::query(earlier).execute(&mut store).await.unwrap().rows_affected(), 1);
    store.close().await.unwrap();
    let mut server = house.start("serve", &["serve"]);
    let run = until_told("a scheduled run", Duration::from_mins(2), || async {
        let run = house.runs().await.first().cloned();
        run.map(|run| run["run"].as_str().unwrap().to_owned())
    })
    .await;
    let run = house.ended(&run).await;
    check(&run, "succeeded");
    assert_eq!(run.trigger, "scheduled");
    assert_one_for_each_date(&house).await;
    assert!(server.terminate(Duration::from_secs(30)).await.success());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_night_writes_nothing_to_the_roster() {
    let mut house = House::scaled_out(district(600)).await;
    house.start_workers(1);
    first_night(&house).await;
    let database = house.services().database.clone();
    let (before, beside) = (versions(&database).await, versions_beside(&database).await);
    let run = house.night().await;
    check(&run, "succeeded");
    assert_eq!(run.events(), 0, "{run:#?}");
    assert_eq!(versions(&database).await, before, "no row has a new version");
    // Beside the roster: its pages, a plan without a batch, itself. This is what the benchmark reports of each night.
    let written = rows_written(&beside, &versions_beside(&database).await);
    let sql = "SELECT count(*) FROM page WHERE run = $1::uuid";
    let pages: i64 = sqlx::query_scalar(sql).bind(&run.run).fetch_one(&database).await.unwrap();
    let night = [("page", pages as usize), ("plan", 1), ("plan_batch", 0), ("run", 1)];
    assert!(pages > 10 && written[..4] == night.map(|(table, rows)| (table.to_owned(), rows)), "{written:?}");
    // No page was carried or stored again, and the run can be replayed all the same.
    let stored: i64 = sqlx::query_scalar("SELECT count(raw) FROM page WHERE run = $1::uuid")
        .bind(&run.run)
        .fetch_one(&house.services().database)
        .await
        .unwrap();
    assert_eq!(stored, 0);
    let mut of = run.run.clone();
    for from in ["plan", "collect"] {
        let answer = house.rollcall(&["runs", "replay", &of, "--from", from, "--wait", "--format", "json"]).await;
        let again = house.show(answer.expect_code(0).json()[0]["run"].as_str().unwrap()).await;
        assert_eq!((&again.plan_hash, again.unchanged), (&run.plan_hash, run.unchanged));
        of = again.run;
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_writes_nothing_and_equal_input_gives_an_equal_hash() {
    let mut house = House::scaled_out(district(300)).await;
    house.start_workers(1);
    let mut hashes = Vec::new();
    let mut last = String::new();
    for _ in 0..2 {
        let answer = house.rollcall(&["run", DISTRICT, "--plan", "--wait", "--format", "json"]).await.expect_code(0);
        last = answer.json()[0]["run"].as_str().unwrap().to_owned();
        let run = house.show(&last).await;
        assert_eq!((run.state.as_str(), run.reason.as_deref()), ("held", Some("preview")), "{run:#?}");
        hashes.push(run.plan_hash.expect("a plan has a hash"));
    }
    assert_eq!(hashes[0], hashes[1], "equal input, equal plan");
    assert_eq!(house.students().await, [], "a preview writes nothing");

    let plan = house.rollcall(&["runs", "plan", &last, "--format", "json"]).await.expect_code(0).json();
    assert!(plan.as_array().unwrap().iter().all(|line| line["change"] == "added"), "{plan}");
    house.rollcall(&["runs", "approve", &last, "--wait"]).await.expect_code(0);
    house.check_roster().await;
    let nights: Vec<_> = house.runs().await.into_iter().map(|run| run["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(nights, ["succeeded", "discarded"], "a newer plan supersedes an older one");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_run_never_blocks_the_next_night_and_is_void_after_it() {
    let test = "a_held_run_never_blocks_the_next_night_and_is_void_after_it";
    let mut ledger = Ledger::begin(test, "a night in which half of the district is gone");
    let mut house = House::scaled_out(district(400)).await;
    let twin = Twin::beside(&house, district(400)).await;
    house.start_workers(1);
    first_night(&house).await;
    second_night(&house).await;
    twin.night(&house, 1).await;
    let undisturbed = twin.night(&house, 2).await;
    // Nobody leaves, whatever the nights to come show.
    let watch = Watch::begin(&house.services().database, DISTRICT, statuses_of(&house.sis, &[2]));
    house.sis.set_night(3);
    let beside = twin.begin(&house);
    let held = house.night().await;
    assert_eq!(held.state, "held", "{held:#?}");
    beside.check(&house, test).await;
    ledger.faults(1);
    house.sis.set_night(4);
    let next = house.night().await;
    check(&next, "succeeded");
    assert_eq!(next.events(), 0, "the SIS has found its students again: {next:#?}");
    ledger.run(test, &watch.end().await);
    ledger.compare(test, &undisturbed, &house.facts().await);

    let void = house.show(&held.run).await;
    assert_eq!(void.state, "discarded");
    assert!(void.why().contains(&next.run), "the reason names the run that took its place: {}", void.why());
    house.rollcall(&["runs", "approve", &held.run]).await.expect_code(1);
    house.check_roster().await;
    twin.end().await;
    house.close().await;
    ledger.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_are_served_one_after_the_other() {
    let mut house = House::scaled_out(district(500)).await;
    house.start_workers(2);
    let (first, second) = (house.begin().await, house.begin().await);
    let (first, second) = (house.ended(&first).await, house.ended(&second).await);
    check(&second, "succeeded");
    // The later one may be the first to have its pages in. Then what the earlier one has pulled is older than what is written.
    if first.state == "discarded" {
        assert_eq!(first.reason, Some(format!("superseded-by {}", second.run)));
    } else {
        check(&first, "succeeded");
    }
    let added = told(&house).values().filter(|status| **status != SKIPPED).count() as u64;
    assert_eq!(first.added + second.added, added, "nobody is added twice: {first:#?} {second:#?}");
    assert_eq!(first.events() + second.events(), added, "one of them has nothing left to do");
    house.check_roster().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_and_scaled_out_keep_the_same_roster() {
    let mut scaled = House::scaled_out(district(300)).await;
    scaled.start_workers(1);
    let embedded = House::embedded(district(300)).await;
    for night in [1, 2] {
        scaled.sis.set_night(night);
        embedded.sis.set_night(night);
        let (one, other) = (scaled.night().await, embedded.night().await);
        assert_eq!(one.plan_hash, other.plan_hash, "night {night}");
    }
    let (one, other) = (scaled.students().await, embedded.students().await);
    assert_eq!(one, other);
    assert!(facts(&scaled.services().database).await["student"].starts_with(&format!("{} rows", one.len())));
    scaled.close().await;
    embedded.close().await;
}

/// Gives a person so many e-mail addresses of so many characters, which do not compress well.
async fn write_emails(house: &House, name_id: i64, count: usize, length: usize) {
    let (base, client) = (house.sis.base_url(), reqwest::Client::new());
    let grant = [("grant_type", "client_credentials")];
    let token = client.post(format!("{base}/oauth/token")).form(&grant);
    let token = token.basic_auth(house.sis.client_id(), Some(house.sis.client_secret())).send().await.unwrap();
    let token: serde_json::Value = token.json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    let mut random = fastrand::Rng::with_seed(4);
    for rank in 0..count {
        let noise: String = std::iter::repeat_with(|| random.alphanumeric()).take(length).collect();
        let row = serde_json::json!({ "DataObject": {
            "NameID": name_id, "EmailTypeID": 51, "Rank": rank + 10, "EmailAddress": format!("{noise}@mail.example"),
        } });
        let url = format!("{base}/Custom/1/Demographics/NameEmail?searchFields[0]=NameEmailID");
        let answer = client.put(url).bearer_auth(token).json(&row).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_too_large_for_a_message_goes_by_the_store() {
    let mut house = House::scaled_out(district(60)).await;
    house.district.page_size = 500;
    house.apply().await;
    house.start_workers(1);
    first_night(&house).await;
    let someone = house.students().await.into_iter().find(|student| student.status == "ENROLLED").unwrap().student_id;
    let show = async || {
        let shown = house.rollcall(&["students", "show", "--district", DISTRICT, &someone, "--format", "json"]).await;
        shown.expect_code(0).json()[0]["record"].clone()
    };
    let name_id = show().await["person"]["name_id"].as_str().unwrap().parse().unwrap();
    write_emails(&house, name_id, 40, 190_000).await;
    let run = house.night().await;
    check(&run, "succeeded");
    assert_eq!(run.changed, 1, "{run:#?}");
    let longest: i32 = sqlx::query_scalar("SELECT max(length(raw)) FROM page WHERE run = $1::uuid")
        .bind(&run.run)
        .fetch_one(&house.services().database)
        .await
        .unwrap();
    assert!(longest > 4 << 20, "{longest} bytes, sealed");
    let emails = show().await["person"]["emails"].as_array().unwrap().len();
    assert!(emails >= 40, "{emails}");
    house.close().await;
}
