//! Emptiness that a person accepts.

use rollcall_classifier::accept::Accepted;
use rollcall_proto::roster::Status;
use rollcall_store::run::{RunState, Stage};
use serde_json::json;

use crate::night::{Night, sis};

#[tokio::test]
async fn an_accepted_emptiness_is_planned_at_once() {
    let mut night = Night::new().await;
    let mut sis = sis(6);
    let phone = |id| json!({"NamePhoneID": id, "NameID": id, "PhoneNumber": "5550100", "Rank": 1});
    sis.insert("Demographics/NamePhone", (1..=6).map(phone).collect());
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
