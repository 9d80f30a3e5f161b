//! Nights of a district on Skyward's OneRoster, beside the same district on Infinite Campus.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;

use rollcall_e2e::{
    House, RunRow,
    house::{self, DISTRICT},
    roster::statuses,
};
use rollcall_sandbox::{Fault, FaultKind, OneRosterQuirks, PagingQuirks, Quirks, SandboxConfig};
use serde_json::Value;

fn district(students: u32) -> SandboxConfig {
    let today = house::today();
    SandboxConfig { students, seed: 11, today, change_percent: 12.0, contact_percent: 40, ..SandboxConfig::default() }
}

/// What stands before the number in a student's id.
const STUDENT: &str = "Student_";

/// The status in which this night leaves each student, by the roles served.
fn told(house: &House) -> BTreeMap<String, String> {
    let expected = house.sis.expected_skyward_oneroster(house.sis.night()).into_iter();
    expected.map(|(id, student)| (id, student.status.to_owned())).collect()
}

/// A night of what the sandbox serves then; one that is held is let through.
async fn night(house: &House, number: u32) -> RunRow {
    house.sis.set_night(number);
    let run = house.night().await;
    if run.state != "held" {
        return run;
    }
    house.rollcall(&["runs", "approve", &run.run, "--wait"]).await.expect_code(0);
    house.show(&run.run).await
}

/// How the last run asked its connection.
async fn scope(house: &House, run: &str) -> String {
    let shown = house.rollcall(&["runs", "show", run, "--format", "json"]).await.expect_code(0).json();
    shown[0]["pulls"][0]["scope"].as_str().unwrap_or_default().to_owned()
}

/// Statuses by the number that a student has in the SIS, whatever the id made of it.
fn by_number(statuses: BTreeMap<String, String>) -> BTreeMap<i64, String> {
    statuses.into_iter().map(|(id, status)| (id.strip_prefix(STUDENT).unwrap().parse().unwrap(), status)).collect()
}

/// Nights over both, side by side.
async fn ends_as_campus_does(mut skyward: House, mut campus: House) {
    skyward.move_to_skyward_oneroster().await;
    campus.move_to_campus().await;
    for number in [1, 2, 3, 5] {
        let (at_skyward, at_campus) = (night(&skyward, number).await, night(&campus, number).await);
        let outcome = |run: &RunRow| (run.state.clone(), run.added, run.removed);
        assert_eq!(outcome(&at_skyward), outcome(&at_campus), "night {number}: {at_skyward:#?} {at_campus:#?}");
        assert_eq!(at_skyward.state, "succeeded", "night {number}: {at_skyward:#?}");
        at_skyward.check_counts();
        let after = statuses(&skyward.students().await);
        assert_eq!(after, told(&skyward), "night {number}");
        let of_campus = statuses(&campus.students().await);
        let same: BTreeMap<String, String> =
            by_number(after).into_iter().map(|(number, status)| (campus.sis.campus_guid(number), status)).collect();
        assert_eq!(same, of_campus, "night {number}");
    }
    skyward.check_lanes();
    skyward.close().await;
    campus.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nights_over_skyward_end_where_nights_over_campus_end_embedded() {
    ends_as_campus_does(House::embedded(district(250)).await, House::embedded(district(250)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nights_over_skyward_end_where_nights_over_campus_end_scaled_out() {
    let mut skyward = House::scaled_out(district(250)).await;
    skyward.start_workers(1);
    ends_as_campus_does(skyward, House::embedded(district(250)).await).await;
}

fn oneroster(oneroster: OneRosterQuirks) -> Quirks {
    Quirks { oneroster, ..Quirks::default() }
}

/// Nobody has seen totals, links, or a filter by time at Skyward: the outcome is the same with and without.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_of_skyward_makes_no_difference() {
    // Everybody has an e-mail address and a phone, so that every sample of rows shows both.
    let mut house = House::embedded(SandboxConfig { contact_percent: 100, ..district(150) }).await;
    house.move_to_skyward_oneroster().await;
    let first = night(&house, 1).await;
    assert_eq!((first.state.as_str(), first.added), ("succeeded", told(&house).len() as u64), "{first:#?}");
    let clamped = PagingQuirks { max_page_size: Some(40), ..PagingQuirks::default() };
    let quirks = |skyward_counts, skyward_filters| OneRosterQuirks {
        skyward_counts,
        skyward_filters,
        ..OneRosterQuirks::default()
    };
    for (quirks, asked) in [
        (Quirks { paging: clamped, ..Quirks::default() }, "everything ("),
        // More rows on a page show more kinds of values.
        (oneroster(quirks(false, false)), "everything ("),
        (oneroster(quirks(true, false)), "everything (the server refuses a filter"),
        (oneroster(quirks(false, true)), "changes since"),
        (oneroster(quirks(true, true)), "changes since"),
    ] {
        house.sis.set_quirks(quirks.clone());
        let run = house.night().await;
        assert_eq!((run.state.as_str(), run.events()), ("succeeded", 0), "{quirks:?}: {run:#?}");
        let scope = scope(&house, &run.run).await;
        assert!(scope.starts_with(asked), "{quirks:?}: {scope}");
    }
    // People come, change and go, told by changes alone.
    let tombstones = OneRosterQuirks { to_be_deleted: true, ..quirks(true, true) };
    house.sis.set_quirks(oneroster(tombstones));
    let second = night(&house, 2).await;
    assert!(second.state == "succeeded" && second.removed > 0, "{second:#?}");
    let asked = scope(&house, &second.run).await;
    assert!(asked.starts_with("changes since"), "{asked}");
    assert_eq!(statuses(&house.students().await), told(&house));
    house.close().await;
}

/// Ids are the same in both versions: nobody is another person after a move from one to the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_version_12_is_nobodys_end_at_skyward() {
    let mut house = House::embedded(district(120)).await;
    house.move_to_skyward_oneroster().await;
    house.district.base_url = house.sis.skyward_oneroster_url_11();
    house.apply().await;
    let first = night(&house, 1).await;
    assert!(first.state == "succeeded" && first.added > 100, "{first:#?}");
    let attending = statuses(&house.students().await);
    house.district.base_url = house.sis.skyward_oneroster_url();
    house.apply().await;
    let run = night(&house, 1).await;
    assert_eq!((run.state.as_str(), run.removed), ("succeeded", 0), "{run:#?}");
    // 1.1 dates no role: whoever attends by it has been there, and a role that begins later is one more (rule 3).
    let kept = |(id, status): (String, String)| (id.clone(), attending.get(&id).cloned().unwrap_or(status));
    let expected: BTreeMap<String, String> = told(&house).into_iter().map(kept).collect();
    assert_eq!(statuses(&house.students().await), expected);
    house.close().await;
}

async fn student(house: &House, id: &str) -> Value {
    let answer = house.rollcall(&["students", "show", "--district", DISTRICT, id, "--format", "json"]).await;
    answer.expect_code(0).json()[0]["record"].clone()
}

/// Birth dates and school years are told by listings of their own. That one fails is no reason to let the others be.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_on_which_no_status_rests_fails_alone() {
    let mut house = House::embedded(district(120)).await;
    house.move_to_skyward_oneroster().await;
    assert_eq!(night(&house, 1).await.state, "succeeded");
    let before = told(&house);
    let (id, _) = before.iter().find(|(_, status)| *status == "ENROLLED").unwrap();
    let born = student(&house, id).await["birth_date"].clone();
    assert!(born.is_string(), "{born}");
    let html = |object: &str| Fault { kind: FaultKind::Html, object: Some(object.to_owned()), page: None, times: None };
    house.sis.set_quirks(Quirks { faults: vec![html("academicSessions")], ..Quirks::default() });
    let run = house.night().await;
    assert_eq!((run.state.as_str(), run.events()), ("succeeded", 0), "nothing rests on it: {run:#?}");
    house.sis.set_quirks(Quirks { faults: vec![html("demographics")], ..Quirks::default() });
    let run = night(&house, 2).await;
    assert_eq!((run.state.as_str(), run.removed), ("partial", 0), "{run:#?}");
    assert!(run.added > 0 && run.why().contains("demographics: could not be fetched"), "{run:#?}");
    assert!(run.why().contains("no student is taken out until it is whole"), "{}", run.why());
    assert_eq!(student(&house, id).await["birth_date"], born);
    house.sis.set_quirks(Quirks::default());
    let mended = night(&house, 2).await;
    assert!(mended.state == "succeeded" && mended.removed > 0, "{mended:#?}");
    assert_eq!(statuses(&house.students().await), told(&house));
    house.close().await;
}
