//! Nights of a district on Infinite Campus, by OneRoster 1.2, against the roles that the sandbox serves.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;

use rollcall_e2e::{
    House, RunRow,
    house::{self, DISTRICT},
    roster::statuses,
};
use rollcall_sandbox::{
    BlankFilter, Booleans, ChangeFilter, ErrorShape, Fault, FaultKind, OneRosterQuirks, PagingQuirks, Quirks,
    SandboxConfig,
};
use serde_json::Value;

fn district(students: u32) -> SandboxConfig {
    let today = house::today();
    SandboxConfig { students, seed: 7, today, change_percent: 12.0, contact_percent: 40, ..SandboxConfig::default() }
}

async fn campus_scaled_out(students: u32) -> House {
    let mut house = House::scaled_out(district(students)).await;
    house.move_to_campus().await;
    house.start_workers(1);
    house
}

async fn campus_embedded(students: u32) -> House {
    let mut house = House::embedded(district(students)).await;
    house.move_to_campus().await;
    house
}

fn oneroster(oneroster: OneRosterQuirks) -> Quirks {
    Quirks { oneroster, ..Quirks::default() }
}

/// The status in which this night leaves each student, by the roles served.
fn told(house: &House) -> BTreeMap<String, String> {
    let expected = house.sis.expected_campus(house.sis.night()).into_iter();
    expected.map(|(id, student)| (id, student.status.to_owned())).collect()
}

#[track_caller]
fn check(run: &RunRow, state: &str) {
    assert_eq!(run.state, state, "{run:#?}");
    run.check_counts();
}

async fn check_roster(house: &House) {
    assert_eq!(statuses(&house.students().await), told(house));
}

async fn first_night(house: &House) {
    let run = house.night().await;
    check(&run, "succeeded");
    assert_eq!(run.added, told(house).len() as u64, "everyone listed is new: {run:#?}");
    check_roster(house).await;
    house.check_lanes();
}

async fn second_night(house: &House) {
    let before = told(house);
    house.sis.set_night(2);
    let run = house.night().await;
    check(&run, "succeeded");
    let after = told(house);
    let attends = |status: &String| status.ends_with("ENROLLED");
    let left = before.iter().filter(|(id, status)| attends(status) && after.get(*id).is_some_and(|now| !attends(now)));
    assert_eq!(run.removed, left.count() as u64, "{run:#?}");
    assert!(run.added > 0 && run.changed > 0 && run.removed > 0 && run.unchanged > run.changed, "{run:#?}");
    check_roster(house).await;
}

/// Half of the students vanish: held, and then let through by a person.
async fn third_night(house: &House) {
    let kept = statuses(&house.students().await);
    house.sis.set_night(3);
    let held = house.night().await;
    assert_eq!(held.state, "held", "{held:#?}");
    assert_eq!(statuses(&house.students().await), kept, "a held run changes nothing");
    house.rollcall(&["runs", "approve", &held.run, "--wait"]).await.expect_code(0);
    check(&house.show(&held.run).await, "succeeded");
    check_roster(house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_campus_nights_scaled_out_follow_the_roles() {
    let house = campus_scaled_out(500).await;
    first_night(&house).await;
    second_night(&house).await;
    third_night(&house).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_campus_nights_embedded_follow_the_roles() {
    let house = campus_embedded(500).await;
    first_night(&house).await;
    let again = house.night().await;
    assert_eq!((again.state.as_str(), again.events()), ("succeeded", 0), "an unchanged night: {again:#?}");
    second_night(&house).await;
    third_night(&house).await;
    house.close().await;
}

async fn student(house: &House, id: &str) -> Value {
    let answer = house.rollcall(&["students", "show", "--district", DISTRICT, id, "--format", "json"]).await;
    answer.expect_code(0).json()
}

/// A student with a guardian, by `sourcedId`.
async fn with_guardian(house: &House) -> (String, Value) {
    for row in house.students().await {
        let shown = student(house, &row.student_id).await;
        if shown.to_string().contains("families.example") {
            return (row.student_id, shown);
        }
    }
    panic!("no student has a guardian");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_leaves_out_the_roster_is_the_same() {
    let mut house = campus_embedded(150).await;
    house.district.connection.push_str("\nfull_every_days = 1");
    house.district.page_size = 50;
    house.apply().await;
    first_night(&house).await;
    let page_size = |most| PagingQuirks { max_page_size: Some(most), ..PagingQuirks::default() };
    let cases = [
        (
            "no total, no links",
            oneroster(OneRosterQuirks { no_total: true, no_link: true, ..OneRosterQuirks::default() }),
        ),
        ("no links", oneroster(OneRosterQuirks { no_link: true, ..OneRosterQuirks::default() })),
        ("clamped", Quirks { paging: page_size(40), ..Quirks::default() }),
        (
            "clamped, no total, no links",
            Quirks {
                paging: page_size(33),
                ..oneroster(OneRosterQuirks { no_total: true, no_link: true, ..OneRosterQuirks::default() })
            },
        ),
        (
            "a page that breaks off, no total",
            oneroster(OneRosterQuirks { breaks_at_row: Some(75), no_total: true, ..OneRosterQuirks::default() }),
        ),
        ("real booleans", oneroster(OneRosterQuirks { booleans: Booleans::Json, ..OneRosterQuirks::default() })),
        (
            "strict filter",
            oneroster(OneRosterQuirks { blank_filter: BlankFilter::Refused, ..OneRosterQuirks::default() }),
        ),
        ("links from the guardians", oneroster(OneRosterQuirks { back_links: true, ..OneRosterQuirks::default() })),
    ];
    for (what, quirks) in cases {
        house.sis.set_quirks(quirks);
        let run = house.night().await;
        assert_eq!((run.state.as_str(), run.events()), ("succeeded", 0), "{what}: {run:#?}");
    }
    // Another spelling of the ids is one change to what is kept for writing back, and nobody's end.
    house.sis.set_quirks(oneroster(OneRosterQuirks { capital_ids: true, ..OneRosterQuirks::default() }));
    let run = house.rollcall(&["run", DISTRICT, "--plan", "--wait", "--format", "json"]).await.expect_code(0).json();
    assert_eq!((&run[0]["removed"], &run[0]["added"]), (&0.into(), &0.into()), "{run:#}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guardians_and_fields_that_are_not_shared_any_more_stay_as_they_are() {
    let house = campus_embedded(150).await;
    first_night(&house).await;
    let (id, before) = with_guardian(&house).await;
    for (what, quirks) in [
        ("users/guardians", OneRosterQuirks { no_guardians: true, ..OneRosterQuirks::default() }),
        ("users.email", OneRosterQuirks { no_contact_data: true, ..OneRosterQuirks::default() }),
        ("demographics", OneRosterQuirks { no_demographics: true, ..OneRosterQuirks::default() }),
    ] {
        house.sis.set_quirks(oneroster(quirks));
        let run = house.night().await;
        check(&run, "partial");
        assert!(run.why().contains(what), "{what}: {}", run.why());
        assert_eq!(run.events(), 0, "{what}: {run:#?}");
        assert_eq!(student(&house, &id).await, before, "{what}");
    }
    house.sis.set_quirks(Quirks::default());
    assert_eq!(house.night().await.state, "succeeded");
    // A person says that there shall be none: the name that the run gave is taken, and contacts end.
    house.sis.set_quirks(oneroster(OneRosterQuirks { no_guardians: true, ..OneRosterQuirks::default() }));
    let run = house.night().await;
    check(&run, "partial");
    house.rollcall(&["runs", "approve", &run.run, "--accept-empty", "users/guardians", "--wait"]).await.expect_code(0);
    assert_eq!(student(&house, &id).await[0]["record"]["contacts"], serde_json::json!([]));
    house.close().await;
}

/// "Data to Share" is changed while users are listed: early pages have addresses and numbers, later ones do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_switched_off_under_way_stays_as_it_is() {
    let mut house = campus_embedded(150).await;
    house.district.connection.push_str("\nfull_every_days = 1");
    house.district.page_size = 40;
    house.apply().await;
    first_night(&house).await;
    let mut before = Vec::new();
    for row in house.students().await.iter().step_by(10) {
        before.push((row.student_id.clone(), plain(student(&house, &row.student_id).await)));
    }
    let until = |row| OneRosterQuirks { contact_data_until_row: Some(row), ..OneRosterQuirks::default() };
    let none = OneRosterQuirks { no_contact_data: true, ..OneRosterQuirks::default() };
    for (quirks, says) in [
        (until(80), "users/guardians.email: on whole pages nobody"),
        (none, "users.email: empty"),
        (until(40), "users/guardians.email"),
    ] {
        house.sis.set_quirks(oneroster(quirks));
        let run = house.night().await;
        check(&run, "partial");
        assert!(run.why().contains(says), "{says}: {}", run.why());
        assert_eq!(run.events(), 0, "{says}: {run:#?}");
        for (id, before) in &before {
            assert_eq!(&plain(student(&house, id).await), before, "{says}");
        }
    }
    house.sis.set_quirks(Quirks::default());
    let run = house.night().await;
    assert_eq!((run.state.as_str(), run.events()), ("succeeded", 0), "{run:#?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_takes_nobody_out() {
    let mut house = campus_embedded(150).await;
    house.district.page_size = 50;
    house.apply().await;
    first_night(&house).await;
    let kept = told(&house);
    let fault = |object: &str, kind| Fault { kind, object: Some(object.to_owned()), page: None, times: None };
    let faulty = |object: &str, kind| Quirks { faults: vec![fault(object, kind)], ..Quirks::default() };
    let paging = |paging| Quirks { paging, ..Quirks::default() };
    let empty = |object: &str| paging(PagingQuirks { empty: vec![object.to_owned()], ..PagingQuirks::default() });
    let cases = [
        ("users empty", empty("users"), "users", &["partial"][..]),
        ("orgs empty", empty("orgs"), "orgs", &["partial"]),
        ("demographics empty", empty("demographics"), "demographics", &["partial"]),
        ("users away", faulty("users", FaultKind::Status(404)), "404", &["failed"]),
        ("users are a web page", faulty("users", FaultKind::Html), "JSON", &["failed"]),
        ("demographics away", faulty("demographics", FaultKind::Status(404)), "demographics", &["partial"]),
        (
            "a total that disagrees",
            paging(PagingQuirks { total_off_by: 3, ..PagingQuirks::default() }),
            "total",
            &["partial", "failed"],
        ),
        (
            "a page that stays short, no total",
            oneroster(OneRosterQuirks {
                breaks_at_row: Some(75),
                gap_at_break: true,
                no_total: true,
                ..OneRosterQuirks::default()
            }),
            "fewer rows than were asked for",
            &["partial"],
        ),
        (
            "links to another host",
            oneroster(OneRosterQuirks { foreign_link: true, ..OneRosterQuirks::default() }),
            "another origin",
            &["failed"],
        ),
        (
            "errors wrapped",
            Quirks {
                faults: vec![fault("orgs", FaultKind::Status(400))],
                ..oneroster(OneRosterQuirks { errors: ErrorShape::Wrapped, ..OneRosterQuirks::default() })
            },
            "orgs",
            &["failed"],
        ),
    ];
    for (what, quirks, says, states) in cases {
        house.sis.set_quirks(quirks);
        let run = house.night().await;
        assert!(states.contains(&run.state.as_str()), "{what}: {run:#?}");
        assert!(run.why().contains(says), "{what}: {}", run.why());
        assert_eq!(statuses(&house.students().await), kept, "{what}");
    }
    house.sis.set_quirks(Quirks::default());
    let run = house.night().await;
    assert_eq!((run.state.as_str(), run.events()), ("succeeded", 0), "all is mended: {run:#?}");
    house.close().await;
}

/// A student as shown, without what differs from installation to installation.
fn plain(mut shown: Value) -> Value {
    let drop_runs = |value: &mut Value| {
        for key in ["run", "at"] {
            value.as_object_mut().map(|object| object.remove(key));
        }
    };
    drop_runs(&mut shown[0]);
    shown[0]["history"].as_array_mut().unwrap().iter_mut().for_each(drop_runs);
    shown
}

/// How the last run asked its connection.
async fn scope(house: &House, run: &str) -> String {
    let shown = house.rollcall(&["runs", "show", run, "--format", "json"]).await.expect_code(0).json();
    shown[0]["pulls"][0]["scope"].as_str().unwrap_or_default().to_owned()
}

/// Two districts alike, one asked for changes and one for everything every night: the same roster, and the same history.
#[tokio::test(flavor = "multi_thread")]
async fn nights_of_changes_end_where_nights_of_everything_end() {
    let tombstones = || oneroster(OneRosterQuirks { to_be_deleted: true, ..OneRosterQuirks::default() });
    let (mut by_changes, mut by_everything) = (campus_embedded(120).await, House::embedded(district(120)).await);
    by_everything.move_to_campus().await;
    by_everything.district.connection.push_str("\nfull_every_days = 1");
    by_everything.apply().await;
    let houses = [&by_changes, &by_everything];
    for night in [1, 2, 3, 5, 6, 7] {
        let mut outcomes = Vec::new();
        for (house, changes) in houses.iter().zip([true, false]) {
            house.sis.set_quirks(tombstones());
            house.sis.set_night(night);
            let mut run = house.night().await;
            let asked = scope(house, &run.run).await;
            // The night after one that a person had to let through is as good as any.
            let expected = if changes && night > 1 { "changes since" } else { "everything" };
            assert!(asked.starts_with(expected), "night {night}: {asked}");
            if run.state == "held" {
                house.rollcall(&["runs", "approve", &run.run, "--wait"]).await.expect_code(0);
                run = house.show(&run.run).await;
            }
            check(&run, "succeeded");
            outcomes.push((run.added, run.changed, run.removed, run.plan_hash.clone()));
        }
        assert_eq!(outcomes[0], outcomes[1], "night {night}");
    }
    let listed = by_changes.students().await;
    // The plans were equal event by event; some are looked at as a person sees them.
    for row in listed.iter().step_by(6) {
        let shown = student(&by_changes, &row.student_id).await;
        assert_eq!(plain(shown), plain(student(&by_everything, &row.student_id).await), "{}", row.student_id);
    }
    assert_eq!(listed.len(), by_everything.students().await.len());

    // Whatever makes changes doubtful, everything is asked for: the outcome is the same. Changes are more than one page.
    by_changes.district.page_size = 5;
    by_changes.apply().await;
    for (what, quirks) in [
        ("passes over", OneRosterQuirks { change_filter: ChangeFilter::Ignored, ..OneRosterQuirks::default() }),
        ("refuses", OneRosterQuirks { change_filter: ChangeFilter::Refused, ..OneRosterQuirks::default() }),
        ("no answer that can", OneRosterQuirks { change_filter: ChangeFilter::Failing, ..OneRosterQuirks::default() }),
        (
            "changes of users: could not be fetched (page",
            OneRosterQuirks { change_filter: ChangeFilter::FailingLater, ..OneRosterQuirks::default() },
        ),
        ("shows nothing", OneRosterQuirks { change_filter: ChangeFilter::Empty, ..OneRosterQuirks::default() }),
        ("not every row tells", OneRosterQuirks { undated_rows: true, ..OneRosterQuirks::default() }),
    ] {
        by_changes.sis.set_quirks(oneroster(OneRosterQuirks { to_be_deleted: true, ..quirks }));
        let run = by_changes.night().await;
        assert_eq!((run.state.as_str(), run.events()), ("succeeded", 0), "{what}: {run:#?}");
        let asked = scope(&by_changes, &run.run).await;
        assert!(asked.starts_with("everything (") && asked.contains(what), "{what}: {asked}");
    }
    by_changes.sis.set_quirks(tombstones());
    // After a night without dates there is nothing to build upon, and then there is again.
    assert!(scope(&by_changes, &by_changes.night().await.run).await.starts_with("everything ("));
    assert!(scope(&by_changes, &by_changes.night().await.run).await.starts_with("changes"));
    let full =
        by_changes.rollcall(&["run", DISTRICT, "--full", "--wait", "--format", "json"]).await.expect_code(0).json();
    assert!(scope(&by_changes, full[0]["run"].as_str().unwrap()).await.starts_with("everything ("));

    // Half of them go without a word: the count misses them, and everything is asked for in the same run.
    by_changes.sis.set_quirks(Quirks::default());
    by_changes.sis.set_night(3);
    let kept = statuses(&by_changes.students().await);
    let run = by_changes.night().await;
    let asked = scope(&by_changes, &run.run).await;
    assert!(asked.contains("the source counts"), "{asked}");
    assert_eq!(run.state, "held", "{run:#?}");
    assert_eq!(statuses(&by_changes.students().await), kept, "a held run changes nothing");
    let trace = by_changes.rollcall(&["runs", "trace", &run.run]).await.expect_code(0).stdout;
    assert!(trace.contains("set aside") && trace.contains("as it was"), "{trace}");
    by_changes.close().await;
    by_everything.close().await;
}

/// The district flips its year in summer: this year's roles are gone, next year's begin in some weeks.
#[tokio::test(flavor = "multi_thread")]
async fn a_student_stays_enrolled_over_the_summer() {
    let house = campus_embedded(200).await;
    first_night(&house).await;
    let before = told(&house);
    house.sis.set_quirks(oneroster(OneRosterQuirks { next_year: true, ..OneRosterQuirks::default() }));
    let run = house.night().await;
    assert_eq!(run.state, "held", "{run:#?}");
    assert!(run.why().contains("changed"), "everybody's roles are others: {}", run.why());
    assert_eq!(run.removed, 0, "{run:#?}");
    house.rollcall(&["runs", "approve", &run.run, "--wait"]).await.expect_code(0);
    assert_eq!(statuses(&house.students().await), before, "who was enrolled is, and who had left has");
    let again = house.night().await;
    assert_eq!((again.state.as_str(), again.events()), ("succeeded", 0), "and every night of it: {again:#?}");
    house.close().await;
}

/// From 1.1 to 1.2 every id changes: held, and then the same people under other ids.
async fn moves_to_12(mut house: House) {
    house.move_to_campus_11().await;
    check(&house.night().await, "succeeded");
    let before = statuses(&house.students().await);
    assert!(before.keys().all(|id| id.starts_with('s')), "{before:?}");

    house.move_to_campus().await;
    let run = house.night().await;
    assert_eq!(run.state, "held", "{run:#?}");
    assert!(run.why().contains("students-rekeyed"), "{}", run.why());
    assert_eq!(run.removed, 0, "{run:#?}");
    assert_eq!(statuses(&house.students().await), before, "a held run changes nothing");
    house.rollcall(&["runs", "approve", &run.run, "--wait"]).await.expect_code(0);
    check(&house.show(&run.run).await, "succeeded");

    let after = statuses(&house.students().await);
    for old in before.keys() {
        let number: i64 = old.trim_start_matches('s').parse().unwrap();
        let new = house.sis.campus_guid(number);
        assert!(after.contains_key(&new), "{old} is {new} now");
        assert!(!after.contains_key(old), "{old} stands no more under that id");
    }
    let old = before.keys().next().unwrap();
    let shown = student(&house, old).await;
    assert!(shown.to_string().contains(&house.sis.campus_guid(old[1..].parse().unwrap())), "{shown}");
    let again = house.night().await;
    assert_eq!((again.state.as_str(), again.events()), ("succeeded", 0), "once is enough: {again:#?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_version_12_rekeys_people_embedded() {
    moves_to_12(House::embedded(district(150)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_version_12_rekeys_people_scaled_out() {
    let mut house = House::scaled_out(district(150)).await;
    house.start_workers(1);
    moves_to_12(house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_tested_and_says_what_is_missing() {
    let house = campus_embedded(60).await;
    let steps = |answer: Value| -> BTreeMap<String, String> {
        let rows = answer.as_array().unwrap().clone().into_iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rows.map(|row| (text(&row["step"]), text(&row["outcome"]))).collect()
    };
    let good = steps(house.rollcall(&["district", "test", DISTRICT, "--format", "json"]).await.expect_code(0).json());
    for step in
        ["token", "listing orgs", "listing users", "guardians", "listing demographics", "listing academicSessions"]
    {
        assert_eq!(good.get(step).map(String::as_str), Some("ok"), "{step}: {good:?}");
    }
    let quirks = OneRosterQuirks { no_guardians: true, no_demographics: true, ..OneRosterQuirks::default() };
    house.sis.set_quirks(oneroster(quirks));
    let poor = steps(house.rollcall(&["district", "test", DISTRICT, "--format", "json"]).await.expect_code(0).json());
    for step in ["guardians", "listing demographics"] {
        assert_eq!(poor.get(step).map(String::as_str), Some("warn"), "{step}: {poor:?}");
    }
    house.close().await;
}
