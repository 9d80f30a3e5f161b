//! Connections that fail, are gone, or list the same students.

use rollcall_proto::id::StudentId;
use rollcall_store::run::FindingWeight;
use serde_json::json;

use super::{
    super::{plan as plan_of, *},
    codes, identity,
};
use crate::testing::{NAME, Roster, Sis, events};

#[test]
fn a_run_without_a_source_or_a_grant_fails_and_says_which() {
    let sis = Sis::with_students(2);
    let roster = Roster::of(&sis);
    let mut facts = sis.facts();
    facts.pulls[0].pull.state = PullState::Failed;
    facts.pulls[0].pull.reason = Some("host not found".to_owned());
    let failed = roster.plan(facts);
    assert_eq!(failed.verdict, Verdict::Fail("connection-failed: host not found".to_owned()));
    assert_eq!(failed.roster_version, 1, "by which it is known what the plan was made from");
    let mut facts = sis.facts();
    facts.pulls[0].pull.discovery.as_mut().unwrap().fatal = vec!["Student/Student.NameID".to_owned()];
    let Verdict::Fail(reason) = roster.plan(facts).verdict else { panic!("must fail") };
    assert!(reason.contains("Student/Student.NameID"), "{reason}");
}

/// The kinds of people and values that listings of OneRoster hold are counted of those alone.
#[test]
fn what_is_counted_of_oneroster_is_not_looked_for_elsewhere() {
    let mut facts = two_connections(&Sis::with_students(2), &Sis::with_students(2));
    let rows =
        |plan: &NewPlan| plan.baselines.iter().flat_map(|(_, last)| last.rows.clone().into_keys()).collect::<Vec<_>>();
    let plan = Roster::default().plan(two_connections(&Sis::with_students(2), &Sis::with_students(2)));
    assert!(!rows(&plan).is_empty() && rows(&plan).iter().all(|name| !name.starts_with("users")), "{:?}", rows(&plan));
    // One that failed has nothing to count: that it failed is all that is said of it.
    facts.district.connections[1].kind = SisKind::OneRoster;
    facts.pulls[1].pull.state = PullState::Failed;
    let baseline = Baseline { rows: [("users/students".to_owned(), 2)].into(), ..Baseline::default() };
    facts.pulls[1].baseline = Some(baseline);
    let plan = plan_of(facts, &mut Roster::default()).unwrap();
    assert_eq!(codes(&plan), ["connection-failed"]);
}

/// Two connections: the second one's students have a prefix.
fn two_connections(first: &Sis, second: &Sis) -> PlanFacts {
    let mut facts = first.facts();
    facts.add_connection(second.facts(), "B-");
    facts
}

#[test]
fn students_of_a_failed_connection_stay_and_the_others_go_on() {
    let (one, mut two) = (Sis::with_students(3), Sis::with_students(3));
    let mut roster = Roster::default();
    let first = roster.plan(two_connections(&one, &two));
    assert_eq!(first.counts.added, 6);
    roster.apply(&first);
    two.row(NAME, 2)["LastName"] = json!("Lopez");
    let mut facts = two_connections(&one, &two);
    facts.pulls[0].pull.state = PullState::Failed;
    let plan = roster.plan(facts);
    assert_eq!((plan.counts.unchanged, plan.counts.changed, plan.counts.removed), (5, 1, 0));
    assert_eq!(events(&plan)[0].student_id, StudentId("B-1".to_owned()));
    let failed = plan.findings.iter().find(|finding| finding.code == "connection-failed").unwrap();
    assert!(
        failed.message.starts_with("connection 1: not pulled"),
        "as `district test` counts them: {}",
        failed.message
    );
    assert!(identity(&plan.counts));
}

#[test]
fn a_grant_that_one_connection_lacks_fails_the_run_and_names_it_as_people_count() {
    let sis = Sis::with_students(2);
    let mut facts = two_connections(&sis, &sis);
    let second = &mut facts.pulls[1].pull;
    second.state = PullState::Failed;
    second.discovery.as_mut().unwrap().fatal = vec!["Student/Student.NameID".to_owned()];
    facts.pulls[1].board = None;
    let Verdict::Fail(reason) = Roster::default().plan(facts).verdict else { panic!("must fail") };
    assert!(reason.starts_with("grant-missing") && reason.contains("connection 2: Student/Student.NameID"), "{reason}");
}

#[test]
fn students_of_a_connection_that_is_gone_stay_and_are_told_of() {
    let mut roster = Roster::default();
    let first = roster.plan(two_connections(&Sis::with_students(3), &Sis::with_students(2)));
    roster.apply(&first);
    let plan = roster.plan(Sis::with_students(3).facts());
    assert_eq!((plan.counts.unchanged, plan.counts.removed), (5, 0));
    let said = plan.findings.iter().find(|finding| finding.code == "connection-removed").unwrap();
    assert_eq!((said.count, said.weight), (2, FindingWeight::Warning));
    assert!(!codes(&first).contains(&"connection-removed"));
}

#[test]
fn one_id_in_two_connections_is_counted_and_skipped() {
    let mut facts = two_connections(&Sis::with_students(2), &Sis::with_students(2));
    facts.district.connections[1].id_prefix = None;
    let plan = Roster::default().plan(facts);
    assert_eq!((plan.counts.listed, plan.counts.added, plan.counts.skipped), (4, 2, 2));
    assert!(plan.skips.iter().all(|skip| skip.reason == diff::DUPLICATE));
    let said = plan.findings.iter().find(|finding| finding.code == "students-withheld").unwrap();
    assert!(said.message.contains("id_prefix): students 1, 2"), "the mend is not in the SIS: {}", said.message);
}
