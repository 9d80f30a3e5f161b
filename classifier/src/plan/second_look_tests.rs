//! What the second look of a OneRoster source is worth: who is asked for beside those who would leave, and rows that do not tell
//! what somebody is.
#![allow(clippy::unwrap_used, clippy::panic)]

use rollcall_proto::id::{ListingNo, PageNo, StudentId};
use rollcall_store::{board::Progress, district::SisKind, run::FindingWeight};
use serde_json::{Value, json};

use super::{
    oneroster_tests::{Campus, SCHOOL, role, student},
    *,
};
use crate::{diff::NOT_CONFIRMED, recheck, testing};

/// Students of these ids.
fn campus(ids: &[&str]) -> Campus {
    Campus::of(ids.iter().map(|id| student(id, "2025-08-13", None)).collect())
}

fn candidates_of(plan: &NewPlan) -> Candidates {
    let bytes = match (&plan.verdict, &plan.recheck_on_approval) {
        (Verdict::Recheck(bytes), _) | (_, Some(bytes)) => bytes,
        other => panic!("no candidates: {other:?}"),
    };
    Candidates::decode(bytes).unwrap()
}

fn said<'a>(plan: &'a NewPlan, code: &str) -> Option<&'a Finding> {
    plan.findings.iter().find(|finding| finding.code == code)
}

/// What the SIS says of an id that is asked for; 404 where nothing.
type Serve<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// The plan after the second look at those whom a first plan would take out.
fn second(campus: &Campus, approved: bool, serve: Serve<'_>) -> NewPlan {
    second_by_listing(campus, approved, |_, id| serve(id))
}

/// As [`second`], of a SIS that does not answer each listing alike: they are counted from 0.
fn second_by_listing(campus: &Campus, approved: bool, serve: impl Fn(usize, &str) -> Option<Value>) -> NewPlan {
    let candidates = candidates_of(&campus.plan());
    let mut facts = campus.facts();
    let connection = ConnectionNo(0);
    let pull = &mut facts.pulls[0];
    let board = pull.board.as_mut().unwrap();
    let spell = |id: &StudentId| Some(id.0.clone());
    let asks = recheck::asks(board, &candidates.sis_ids(connection, ""), &candidates.controls(connection, spell));
    let from = board.listings.len();
    assert!(board.add_recheck(asks));
    for (listing, number) in board.listings[from..].iter_mut().zip(from..) {
        (listing.last_page, listing.progress) = (Some(1), Progress::Fetched);
        let rows: Vec<Value> =
            listing.ask.ids.iter().flat_map(|filter| &filter.ids).filter_map(|id| serve(number - from, id)).collect();
        let place = (ListingNo(number as u32), PageNo(1));
        let (page, fragment) = testing::collected(SisKind::OneRoster, "users", place, &json!({ "users": rows }));
        facts.pages.push(page);
        pull.fragments.push(fragment);
    }
    facts.candidates = Some((candidates, approved));
    plan(facts, &mut campus.clone()).unwrap()
}

/// A view of a user that tells next to nothing.
fn lite(id: &str) -> Value {
    json!({"sourcedId": id, "status": "active", "givenName": "Ada", "familyName": "Li"})
}

fn with(id: &str, key: &str, value: Value) -> Value {
    let mut user = student(id, "2025-08-13", None);
    user[key] = value;
    user
}

/// Paging has lost C; by their ids the SIS shows A and B as they are, and C in each of these ways.
#[test]
fn a_row_that_does_not_tell_what_somebody_is_takes_nobody_out() {
    let mut district = campus(&["A", "B", "C"]);
    district.night();
    district.users.pop();
    let teaches = role("teacher", (SCHOOL, true, "2024-08-01", None));
    let without_word = json!({"roleType": "primary", "org": {"sourcedId": SCHOOL}});
    let of_11 = |word: Value| json!({"sourcedId": "C", "role": word, "orgs": [{"sourcedId": SCHOOL}]});
    let cases = [
        ("gone", None, 1),
        ("marked as deleted", Some(json!({"sourcedId": "C", "status": "tobedeleted"})), 1),
        ("marked as 1.0 does", Some(json!({"sourcedId": "C", "status": "inactive"})), 1),
        ("no student any more", Some(with("C", "roles", json!([teaches]))), 1),
        ("no student of 1.1 any more", Some(of_11(json!("guardian"))), 1),
        ("a student again", Some(student("C", "2025-08-13", None)), 0),
        ("no roles", Some(lite("C")), 0),
        ("an empty list of roles", Some(with("C", "roles", json!([]))), 0),
        ("roles that are null", Some(with("C", "roles", Value::Null)), 0),
        ("a role without a word", Some(with("C", "roles", json!([without_word]))), 0),
        ("1.1's role, blank", Some(of_11(json!(""))), 0),
    ];
    for (what, row, removed) in cases {
        let serve = |id: &str| if id == "C" { row.clone() } else { Some(student(id, "2025-08-13", None)) };
        let plan = second(&district, false, &serve);
        assert_eq!(plan.counts.removed, removed, "{what}: {:?}", plan.findings);
        assert_eq!(said(&plan, NOT_CONFIRMED).is_some(), removed == 0, "{what}");
    }
}

/// Those who are asked for beside them have to be shown as what they are.
#[test]
fn a_view_without_roles_is_no_sign_that_the_sis_answers() {
    let mut district = campus(&["A", "B", "C"]);
    district.night();
    district.users.pop();
    let teaches = json!([role("teacher", (SCHOOL, true, "2024-08-01", None))]);
    let whole = |id: &str| student(id, "2025-08-13", None);
    let cases: [(&str, Serve<'_>, i64); 6] = [
        ("whole", &|id| (id != "C").then(|| whole(id)), 1),
        ("one of them whole", &|id| (id != "C").then(|| if id == "A" { whole(id) } else { lite(id) }), 1),
        ("lite", &|id| (id != "C").then(|| lite(id)), 0),
        ("no students any more", &|id| (id != "C").then(|| with(id, "roles", teaches.clone())), 0),
        ("marked as deleted", &|id| (id != "C").then(|| with(id, "status", json!("tobedeleted"))), 0),
        ("nothing", &|_| None, 0),
    ];
    for (what, serve, removed) in cases {
        assert_eq!(second(&district, false, serve).counts.removed, removed, "{what}");
    }
}

/// That one listing shows those who are asked for beside the ones who would leave proves nothing of another one's answer.
#[test]
fn each_listing_of_the_second_look_has_to_show_somebody_itself() {
    // A listing asks for 25.
    let leaving: Vec<String> = (0..26).map(|number| format!("x{number}")).collect();
    let ids: Vec<&str> = ["A", "B"].into_iter().chain(leaving.iter().map(String::as_str)).collect();
    let mut district = campus(&ids);
    district.night();
    district.users.truncate(2);
    let serve = |listing: usize, id: &str, mute: Option<usize>| {
        (id.len() == 1 && mute != Some(listing)).then(|| student(id, "2025-08-13", None))
    };
    for (mute, removed) in [(None, 26), (Some(0), 1), (Some(1), 25)] {
        let plan = second_by_listing(&district, false, |listing, id| serve(listing, id, mute));
        assert_eq!(plan.counts.removed, removed, "{mute:?}");
    }
}

/// Of a source that shows nobody who is stored nobody can be asked for beside those who would leave.
#[test]
fn where_nobody_is_left_to_be_asked_for_a_person_has_to_approve() {
    let mut district = campus(&["A", "B"]);
    district.night();
    district.users = vec![student("C", "2025-08-13", None)];
    let code = "second-look-unproved";
    let plan = second(&district, false, &|_| None);
    assert_eq!((plan.counts.removed, plan.counts.added, plan.counts.skipped), (0, 1, 2));
    let found = said(&plan, code).unwrap();
    assert_eq!((found.weight, found.count), (FindingWeight::Partial, 2));
    assert!(found.message.starts_with("connection 1: its SIS does not show 2 students"), "{}", found.message);
    assert!(said(&plan, NOT_CONFIRMED).is_some());
    let approved = second(&district, true, &|_| None);
    assert_eq!((approved.counts.removed, said(&approved, code)), (2, None));
    // An answer that is not whole is worth nothing in any case, and one that shows them says more.
    let shown = second(&district, true, &|id| Some(student(id, "2025-08-13", None)));
    assert_eq!((shown.counts.removed, said(&shown, code)), (0, None));
    let open = second(&district, true, &|id| Some(lite(id)));
    assert_eq!(
        (open.counts.removed, said(&open, code)),
        (2, None),
        "a row that tells nothing waits for a person, not for ever"
    );
    let open = second(&district, false, &|id| (id == "A").then(|| lite(id)));
    assert_eq!(said(&open, code).map(|found| found.count), Some(1));
    // The next night who came is stored.
    let mut applied = district.clone();
    applied.users.extend([student("A", "2025-08-13", None), student("B", "2025-08-13", None)]);
    applied.night();
    applied.users.truncate(1);
    let serve = |id: &str| (id == "C").then(|| student(id, "2025-08-13", None));
    let plan = second(&applied, false, &serve);
    assert_eq!((plan.counts.removed, said(&plan, code)), (2, None));
}

/// Somebody who leaves by a role that has ended is there himself.
#[test]
fn who_leaves_by_the_rules_is_somebody_to_be_asked_for() {
    let mut district = campus(&["A", "B"]);
    district.night();
    district.users = vec![student("A", "2025-08-13", Some("2025-10-01"))];
    let serve = |id: &str| (id == "A").then(|| student("A", "2025-08-13", Some("2025-10-01")));
    let plan = second(&district, false, &serve);
    assert_eq!((plan.counts.removed, said(&plan, "second-look-unproved")), (2, None));
}

const UUIDS: [&str; 5] = [
    "0f6b1c2d-ab12-4cde-8f00-0123456789a1",
    "0f6b1c2d-ab12-4cde-8f00-0123456789a2",
    "0f6b1c2d-ab12-4cde-8f00-0123456789a3",
    "0f6b1c2d-ab12-4cde-8f00-0123456789a4",
    "0f6b1c2d-ab12-4cde-8f00-0123456789a5",
];
const LETTERED: [&str; 5] = ["s1", "s2", "s34", "s4", "s567890"];

/// Why the plan waits where students of the ids before are stored and those of the ids after are listed, in a district that
/// lets everything through.
fn held(before: &[&str], after: &[&str]) -> Option<String> {
    let mut district = campus(before);
    district.night();
    district.users = after.iter().map(|id| student(id, "2025-08-13", None)).collect();
    match district.plan().verdict {
        Verdict::Hold(reason) => Some(reason),
        _ => None,
    }
}

/// From 1.1 to 1.2 or back, with few who come, as where the source is told to serve fewer schools that same night.
#[test]
fn a_single_id_of_another_form_tells_that_all_are_others() {
    let reason = |lost, new| {
        let people = "most likely the same people under other ids; nothing links them";
        Some(format!("students-unlinked: {lost} students would be taken out and {new} added, {people}"))
    };
    assert_eq!(held(&LETTERED, &UUIDS[..1]), reason(5, 1));
    assert_eq!(held(&UUIDS, &LETTERED[..2]), reason(5, 2));
    // Three of five are most of them, two of four are not.
    assert_eq!(held(&LETTERED, &["s1", "s2", UUIDS[0]]), reason(3, 1));
    assert_eq!(held(&LETTERED[..4], &["s1", "s2", UUIDS[0]]), None);
    // Of those who are lost most have a form.
    assert_eq!(held(&[&LETTERED[..2], &["x", "y"]].concat(), &UUIDS[..1]), None);
    assert_eq!(held(&[&LETTERED[..3], &["x", "y"]].concat(), &UUIDS[..1]), reason(5, 1));
    // Some who come have the form of before, too.
    assert_eq!(held(&LETTERED, &["s6", UUIDS[0]]), reason(5, 2));
}

/// As few come as ever, and their ids say nothing; half as many as there were are too few, and one more is a sign.
#[test]
fn ids_of_the_same_form_or_of_none_are_a_sign_where_they_are_many() {
    for few in [&["s6", "s7"][..], &["12", "34"], &["s", "ss1"], &["s1a", "1s"], &["é1", "s1-2"], &[]] {
        assert_eq!(held(&LETTERED, few), None, "{few:?}");
    }
    assert_eq!(held(&LETTERED[..4], &["s6", "s7"]), None);
    assert!(held(&LETTERED[..4], &["s6", "s7", "s8"]).is_some());
    assert_eq!(held(&["a1b", "a2b", "a3b"], &UUIDS[..1]), None);
}
