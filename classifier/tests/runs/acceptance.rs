//! Emptiness that a person accepts.

use rollcall_classifier::accept::{Accepted, NotEmpty};
use rollcall_proto::{id::ConnectionNo, message::Body, roster::Status};
use rollcall_store::run::{Discovery, RunState, Stage};
use serde_json::json;

use crate::night::{Night, Sis, sis};

/// Six students, each with a phone.
fn with_phones() -> Sis {
    let mut sis = sis(6);
    let phone = |id| json!({"NamePhoneID": id, "NameID": id, "PhoneNumber": "5550100", "Rank": 1});
    sis.insert("Demographics/NamePhone", (1..=6).map(phone).collect());
    sis
}

#[tokio::test]
async fn an_accepted_emptiness_is_planned_at_once() {
    let mut night = Night::new().await;
    let mut sis = with_phones();
    night.night(&sis).await;
    let phones = sis.insert("Demographics/NamePhone", Vec::new()).unwrap();
    let partial = night.night(&sis).await;
    assert_eq!((partial.state, partial.counts.changed), (RunState::Partial, 0), "{partial:?}");
    let stored = async |night: &Night| {
        night.context.store.student(&night.district, "2").await.unwrap().unwrap().record.person.phones.len()
    };
    assert_eq!(stored(&night).await, 1, "an empty listing changes nothing by itself");

    let refused = night.accept(&partial, "Student/Student").await.unwrap_err();
    assert_eq!(refused.to_string(), "Student/Student was not empty on that run: empty were Demographics/NamePhone");
    let Accepted::PlannedAgain(again) = night.accept(&partial, "Demographics/NamePhone").await.unwrap() else {
        panic!("the run was not planned again")
    };
    night.work(&sis).await;
    // All six change, which is above the limit: judged as any plan is.
    let again = night.run(again.id).await;
    assert_eq!((again.state, again.counts.changed), (RunState::Held, 6), "{again:?}");
    let stage = night.context.store.approve(&night.district, again.id, "ada", night.now()).await.unwrap().unwrap();
    assert_eq!(stage, Stage::Release);
    night.context.ask_to_release((&night.district, again.id), None).await.unwrap();
    night.work(&sis).await;
    assert_eq!(night.run(again.id).await.state, RunState::Succeeded);
    assert_eq!(stored(&night).await, 0);
    assert!(matches!(night.accept(&partial, "Demographics/NamePhone").await.unwrap(), Accepted::Next(_)));
    sis.insert("Demographics/NamePhone", phones);
    assert_eq!(night.night(&sis).await.counts.changed, 6);
}

/// As soon as its pages are in: nobody has to wait for a plan that would be held, or come to nothing.
#[tokio::test]
async fn an_emptiness_may_be_accepted_before_the_run_has_said_so() {
    let mut night = Night::new().await;
    let mut sis = with_phones();
    night.night(&sis).await;
    sis.insert("Demographics/NamePhone", Vec::new());
    let run = night.start(&sis).await;
    let to_plan = loop {
        let message = night.next().unwrap();
        if matches!(message.body, Body::Plan(_)) {
            break message;
        }
        night.handle(&sis, message).await;
    };
    let pulled = night.run(run).await;
    assert!(pulled.findings.is_empty(), "{pulled:?}");
    assert!(matches!(night.accept(&pulled, "Demographics/NamePhone").await, Ok(Accepted::Open)));
    night.handle(&sis, to_plan).await;
    night.work(&sis).await;
    let planned = night.run(run).await;
    assert_eq!((planned.state, planned.counts.changed), (RunState::Held, 6), "{planned:?}");
}

/// Empty on Monday, and held rows on Tuesday: what is empty on Friday is another matter.
#[tokio::test]
async fn an_emptiness_of_long_ago_is_not_accepted_for_the_next_one() {
    let mut night = Night::new().await;
    let mut sis = with_phones();
    night.night(&sis).await;
    let phones = sis.insert("Demographics/NamePhone", Vec::new()).unwrap();
    let monday = night.night(&sis).await;
    sis.insert("Demographics/NamePhone", phones);
    let tuesday = night.night(&sis).await;
    let refused = night.accept(&monday, "Demographics/NamePhone").await.unwrap_err();
    let since = NotEmpty::HeldSince { resource: "Demographics/NamePhone".to_owned(), run: tuesday.id };
    assert_eq!(refused, since);
    assert!(refused.to_string().contains(&tuesday.id.to_string()), "{refused}");
    assert!(accepted(&night).await.is_empty());
    let trail = night.context.store.audit_trail(&night.district, 100).await.unwrap();
    assert!(trail.iter().all(|entry| entry.action != "baseline.accept-empty"), "{trail:?}");

    sis.insert("Demographics/NamePhone", Vec::new());
    let friday = night.night(&sis).await;
    assert_eq!((friday.state, friday.counts.changed), (RunState::Partial, 0), "{friday:?}");
    assert_eq!(night.accept(&monday, "Demographics/NamePhone").await.unwrap_err(), since, "whatever it is by now");
    assert!(matches!(night.accept(&friday, "Demographics/NamePhone").await, Ok(Accepted::PlannedAgain(_))));
}

/// Where no page is left, no listing is empty for that.
#[tokio::test]
async fn of_a_run_whose_pages_are_gone_is_accepted_what_it_said_itself() {
    let mut night = Night::new().await;
    let mut sis = with_phones();
    night.night(&sis).await;
    sis.insert("Demographics/NamePhone", Vec::new());
    let partial = night.night(&sis).await;
    let gone = partial.ended_at.unwrap() + chrono::TimeDelta::days(1);
    night.context.store.forget_pages(gone).await.unwrap();
    assert_eq!(night.pages_of(partial.id).await, 0);
    let refused = night.accept(&partial, "Student/Student").await.unwrap_err();
    let expected = NotEmpty::PagesGone { resource: "Student/Student".to_owned(), run: partial.id };
    assert_eq!(refused, expected);
    assert!(matches!(night.accept(&partial, "Demographics/NamePhone").await, Ok(Accepted::Next(_))));
}

/// A page that could not be read is no empty one, whether its rows count for statuses or not: nobody is asked to accept that, and
/// nobody can, as long as the pages are there and once they are gone.
#[tokio::test]
async fn what_could_not_be_read_is_not_to_be_accepted_as_empty() {
    let unread = r#"{"Paging": {}, "Objects": [{"NamePhoneID": {}, "WithdrawalCodeID": {}, "StudentID": {}}]}"#;
    for resource in ["Demographics/NamePhone", "Enrollment/WithdrawalCode", "Student/Student"] {
        let mut night = Night::new().await;
        let sis = with_phones();
        night.night(&sis).await;
        night.broken.insert(resource, unread);
        let partial = night.night(&sis).await;
        let codes: Vec<&str> = partial.findings.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!((partial.state, codes), (RunState::Partial, vec!["page-undecoded"]), "{partial:?}");
        assert_eq!((partial.counts.changed, partial.counts.removed), (0, 0));
        let refused = night.accept(&partial, resource).await.unwrap_err();
        assert!(matches!(refused, NotEmpty::HeldRows { .. }), "{refused}");
        let gone = partial.ended_at.unwrap() + chrono::TimeDelta::days(1);
        night.context.store.forget_pages(gone).await.unwrap();
        let refused = night.accept(&partial, resource).await.unwrap_err();
        assert_eq!(refused, NotEmpty::PagesGone { resource: resource.to_owned(), run: partial.id });
        assert!(accepted(&night).await.is_empty());
    }
}

#[tokio::test]
async fn an_accepted_emptiness_asks_the_sis_before_it_takes_anyone_out() {
    let mut night = Night::new().await;
    let whole = sis(6);
    night.night(&whole).await;
    let mut none = sis(6);
    none.insert("Enrollment/EntryWithdrawal", Vec::new());
    let partial = night.night(&none).await;
    assert_eq!((partial.state, partial.counts.removed), (RunState::Partial, 0), "{partial:?}");
    let Accepted::PlannedAgain(again) = night.accept(&partial, "Enrollment/EntryWithdrawal").await.unwrap() else {
        panic!("the run was not planned again")
    };
    night.work(&none).await;
    assert_eq!(night.run(again.id).await.state, RunState::Held, "all of them are above the limit");
    let stage = night.context.store.approve(&night.district, again.id, "ada", night.now()).await.unwrap().unwrap();
    assert_eq!(stage, Stage::Recheck);
    night.context.ask_to_plan((&night.district, again.id), None).await.unwrap();
    // By now the SIS lists them again: nobody is taken out.
    night.work(&whole).await;
    let again = night.run(again.id).await;
    assert!(night.fetched_again > 0);
    assert_eq!((again.counts.removed, night.status_of("3").await), (0, Some(Status::Enrolled)), "{again:?}");
}

/// Six students: two of them are another entity's.
fn two_entities() -> Sis {
    let mut sis = sis(6);
    sis.get_mut("District/Entity").unwrap().push(json!({"EntityID": 2, "SchoolYearIDCurrent": 9}));
    for spell in &mut sis.get_mut("Enrollment/EntryWithdrawal").unwrap()[4..] {
        spell["EntityID"] = json!(2);
    }
    sis
}

async fn accepted(night: &Night) -> Vec<String> {
    let baseline = night.context.store.baseline(&night.district, ConnectionNo(0)).await.unwrap().unwrap();
    baseline.accepted_empty.into_iter().collect()
}

#[tokio::test]
async fn an_entity_taken_out_of_the_file_is_let_go_by_a_person_alone() {
    let mut night = Night::new().await;
    let sis = two_entities();
    night.entities = vec![1, 2];
    assert_eq!(night.night(&sis).await.counts.added, 6);
    night.entities = vec![1];
    for _ in 0..2 {
        let partial = night.night(&sis).await;
        assert_eq!((partial.state, partial.counts.removed), (RunState::Partial, 0), "{partial:?}");
        assert_eq!(partial.findings[0].code, "entity-removed");
    }
    let partial = night.night(&sis).await;
    let refused = night.accept(&partial, "entity 1").await.unwrap_err();
    assert_eq!(refused, NotEmpty::HeldRows { resource: "entity 1".to_owned(), empty: vec!["entity 2".to_owned()] });
    let Accepted::PlannedAgain(again) = night.accept(&partial, "entity 2").await.unwrap() else {
        panic!("the run was not planned again")
    };
    night.work(&sis).await;
    let again = night.run(again.id).await;
    assert_eq!((again.state, again.counts.removed), (RunState::Succeeded, 2), "{again:?}");
    assert_eq!(night.status_of("6").await, Some(Status::Inactive));
    assert_eq!(night.night(&sis).await.state, RunState::Succeeded);
    assert_eq!(accepted(&night).await, ["entity 2"]);
    // Put back, and taken out again: nothing is accepted any more.
    night.entities = vec![1, 2];
    night.night(&sis).await;
    assert_eq!(night.status_of("6").await, Some(Status::Enrolled));
    assert!(accepted(&night).await.is_empty());
    night.entities = vec![1];
    let partial = night.night(&sis).await;
    assert_eq!((partial.state, partial.counts.removed), (RunState::Partial, 0), "{partial:?}");
}

#[tokio::test]
async fn that_the_current_year_is_granted_no_more_may_be_accepted_until_it_is() {
    const YEAR: &str = "District/Entity.SchoolYearIDCurrent";
    let mut night = Night::new().await;
    let mut sis = sis(6);
    let mut poor = sis.clone();
    poor.insert("District/Entity", vec![json!({"EntityID": 1})]);
    let granted = |fields: &[&str]| {
        [("District/Entity".to_owned(), fields.iter().map(|field| (*field).to_owned()).collect())].into()
    };
    let whole = Discovery { granted: granted(&["EntityID", "SchoolYearIDCurrent"]), ..Discovery::default() };
    let less = Discovery { granted: granted(&["EntityID"]), current_years: [(9, 2026)].into(), ..Discovery::default() };
    night.discovery = whole.clone();
    night.night(&sis).await;
    for sis in [&mut sis, &mut poor] {
        let left = &mut sis.get_mut("Enrollment/EntryWithdrawal").unwrap()[2];
        (left["EndDate"], left["WithdrawalCodeID"]) = (json!("2025-10-01"), json!(7));
    }
    night.discovery = less.clone();
    night.night(&poor).await;
    let partial = night.night(&poor).await;
    assert_eq!((partial.state, partial.counts.removed), (RunState::Partial, 0), "{partial:?}");
    let Accepted::PlannedAgain(again) = night.accept(&partial, YEAR).await.unwrap() else {
        panic!("the run was not planned again")
    };
    night.work(&poor).await;
    let again = night.run(again.id).await;
    assert_eq!((again.state, again.counts.removed), (RunState::Partial, 1), "told once more: {again:?}");
    assert_eq!(night.night(&poor).await.state, RunState::Succeeded);
    assert_eq!(accepted(&night).await, [YEAR]);
    night.discovery = whole;
    night.night(&sis).await;
    assert!(accepted(&night).await.is_empty());
    night.discovery = less;
    assert_eq!(night.night(&poor).await.findings[0].code, "grant-lost");
    let audit = night.context.store.baseline(&night.district, ConnectionNo(0)).await.unwrap().unwrap();
    assert!(audit.lost.is_empty() && audit.granted["District/Entity"].len() == 2, "a torn night keeps the measure");
}

/// Much is kept of a run that is held, which has left no baseline yet.
#[tokio::test]
async fn what_a_held_run_says_of_missing_rows_may_be_typed() {
    let mut night = Night::new().await;
    let whole = sis(60);
    night.night(&whole).await;
    let mut less = whole.clone();
    less.get_mut("Demographics/Name").unwrap().retain(|name| name["NameID"].as_i64() > Some(20));
    for left in &mut less.get_mut("Enrollment/EntryWithdrawal").unwrap()[20..] {
        (left["EndDate"], left["WithdrawalCodeID"]) = (json!("2025-10-01"), json!(7));
    }
    let held = night.night(&less).await;
    assert_eq!((held.state, held.counts.removed, held.counts.changed), (RunState::Held, 40, 0), "{held:?}");
    let said = held.findings.iter().find(|finding| finding.code == "row-missing").unwrap();
    let (_, typed) = said.message.split_once("--accept-empty '").unwrap();
    let Ok(Accepted::PlannedAgain(again)) = night.accept(&held, typed.trim_end_matches("'`")).await else {
        panic!("it is refused: {typed}")
    };
    night.work(&less).await;
    let again = night.run(again.id).await;
    assert_eq!((again.state, again.counts.removed, again.counts.changed), (RunState::Held, 40, 20), "{again:?}");
    let codes: Vec<_> = again.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["key-dangling"]);
    night.context.store.approve(&night.district, again.id, "ada", night.now()).await.unwrap().unwrap();
    night.context.ask_to_plan((&night.district, again.id), None).await.unwrap();
    night.work(&less).await;
    assert_eq!(night.run(again.id).await.state, RunState::Succeeded);
    let student = night.context.store.student(&night.district, "3").await.unwrap().unwrap();
    assert_eq!(student.record.person.last_name, None);
    assert!(accepted(&night).await.is_empty(), "it is over");
}
