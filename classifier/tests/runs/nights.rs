//! From the first page to the end of the run, whatever is lost or broken on the way.

use std::{fmt::Write as _, time::Duration};

use chrono::TimeDelta;
use rollcall_classifier::{
    claim::Planners,
    collect::CollectHandler,
    plan_handler::PlanHandler,
    reconcile::{self, Owed},
    replay::ReplayFrom,
    second_look,
};
use rollcall_proto::{
    handler::{Fate, Handler as _, Retry},
    id::{ConnectionNo, ListingNo, PageNo, RunId},
    message::{Body, Message},
    roster::Status,
    topology::ATTEMPTS,
};
use rollcall_store::run::{RunState, Stage};
use serde_json::json;

use crate::night::{Night, Sis, sis};

#[tokio::test]
async fn a_first_night_then_an_unchanged_one() {
    let mut night = Night::new().await;
    let sis = sis(300);
    let first = night.night(&sis).await;
    assert_eq!((first.state, first.counts.added, first.counts.applied), (RunState::Succeeded, 300, 300), "{first:?}");
    assert_eq!(night.status_of("17").await, Some(Status::Enrolled));
    let second = night.night(&sis).await;
    assert_eq!((second.state, second.counts.unchanged, second.counts.applied), (RunState::Succeeded, 300, 0));
    assert!(night.parked.is_empty());
}

#[tokio::test]
async fn whoever_left_is_looked_at_again_and_taken_out() {
    let mut night = Night::new().await;
    let mut sis = sis(10);
    night.night(&sis).await;
    let spells = sis.get_mut("Enrollment/EntryWithdrawal").unwrap();
    spells[3]["EndDate"] = json!("2025-10-01");
    spells[3]["WithdrawalCodeID"] = json!(7);
    for rows in sis.values_mut() {
        rows.retain(|row| row["StudentID"] != json!(9));
    }
    let second = night.night(&sis).await;
    assert_eq!((second.state, second.counts.removed, second.counts.missing), (RunState::Succeeded, 2, 1), "{second:?}");
    assert_eq!(night.fetched_again, 2, "one list of ids for each of two listings");
    assert_eq!(night.status_of("4").await, Some(Status::Inactive));
    assert_eq!(night.status_of("9").await, Some(Status::Inactive));
    let third = night.night(&sis).await;
    assert_eq!((third.counts.unchanged, third.counts.applied), (10, 0));
}

#[tokio::test]
async fn a_page_that_does_not_decode_is_parked_and_the_run_goes_on() {
    let mut night = Night::new().await;
    let mut sis = sis(5);
    night.night(&sis).await;
    for row in sis.get_mut("Enrollment/EntryWithdrawal").unwrap() {
        row["EndDate"] = json!("2025-10-01");
    }
    night.broken.insert("Enrollment/EntryWithdrawal", "{\"Objects\":[\n{\"EntryWithdrawalID\":1,");
    let run = night.night(&sis).await;
    assert_eq!((run.state, run.counts.removed), (RunState::Partial, 0), "{run:?}");
    assert_eq!(night.status_of("3").await, Some(Status::Enrolled));
    let (reason, detail) = &night.parked[0];
    assert_eq!(*reason, "page-undecodable");
    assert!(detail.contains("line 2"), "{detail}");
}

#[tokio::test]
async fn too_many_removals_wait_for_a_person_and_are_looked_at_then() {
    let mut night = Night::new().await;
    let whole = sis(10);
    night.night(&whole).await;
    let half = sis(4);
    let held = night.night(&half).await;
    assert_eq!((held.state, held.counts.removed), (RunState::Held, 6), "{held:?}");
    assert_eq!(night.fetched_again, 0);
    let store = night.context.store.clone();
    let stage = store.approve(&night.district, held.id, "ada", night.now()).await.unwrap().unwrap();
    assert_eq!(stage, Stage::Recheck);
    night.context.ask_to_plan((&night.district, held.id), None).await.unwrap();
    night.work(&half).await;
    let run = night.run(held.id).await;
    assert_eq!((run.state, run.counts.removed, run.counts.applied), (RunState::Succeeded, 6, 6), "{run:?}");
    assert!(night.fetched_again > 0);
}

#[tokio::test]
async fn with_every_message_lost_at_every_step_the_run_still_ends_right() {
    let mut night = Night::new().await;
    let mut sis = sis(6);
    night.night(&sis).await;
    sis.get_mut("Demographics/Name").unwrap()[2]["LastName"] = json!("Lopez");
    for rows in sis.values_mut() {
        rows.retain(|row| row["StudentID"] != json!(5));
    }
    let run = night.start(&sis).await;
    let mut ended = false;
    for _ in 0..60 {
        // The classifier's own messages are lost; the fetcher's lanes and pages, and the writer's batches get through
        // once.
        while let Some(message) = night.next() {
            if !matches!(message.body, Body::Plan(_) | Body::Release(_) | Body::Applied(_)) {
                night.handle(&sis, message).await;
            }
        }
        if night.run(run).await.state.is_end() {
            ended = true;
            break;
        }
        night.clock.advance(TimeDelta::minutes(2));
        reconcile::tick(&night.context).await.unwrap();
        // What the reconciler publishes gets through, what follows from it does not.
        let owed: Vec<Message> = night.kept.0.lock().unwrap().drain(..).collect();
        for message in owed {
            night.handle(&sis, message).await;
        }
    }
    assert!(ended, "the run did not end: {:?}", night.run(run).await);
    let run = night.run(run).await;
    assert_eq!((run.state, run.counts.changed, run.counts.removed), (RunState::Succeeded, 1, 1));
}

/// What a run is owed when nothing has moved for an hour.
async fn owed(night: &Night, run: RunId) -> Owed {
    let open = night.context.store.open_runs().await.unwrap();
    let open = open.into_iter().find(|open| open.run == run).expect("the run is open");
    let (later, quiet) = (night.now() + TimeDelta::hours(1), TimeDelta::minutes(1));
    reconcile::owed_now(&night.context, &open, later, quiet).await.unwrap()
}

/// Handles what is on the bus, but for what `keep` says, which it returns.
pub(crate) async fn all_but(night: &mut Night, sis: &Sis, keep: fn(&Body) -> bool) -> Vec<Message> {
    let mut kept = Vec::new();
    while let Some(message) = night.next() {
        if keep(&message.body) {
            kept.push(message);
        } else {
            night.handle(sis, message).await;
        }
    }
    kept
}

/// A night that lost most of the students, held and approved: its second look is to come.
pub(crate) async fn half_approved(night: &mut Night) -> (Sis, RunId) {
    night.night(&sis(10)).await;
    let half = sis(4);
    let run = night.night(&half).await.id;
    night.context.store.approve(&night.district, run, "ada", night.now()).await.unwrap().unwrap();
    (half, run)
}

#[tokio::test]
async fn a_second_look_at_a_slow_sis_is_owed_no_plan() {
    let mut night = Night::new().await;
    let (half, run) = half_approved(&mut night).await;
    assert_eq!(owed(&night, run).await, Owed::Plan, "nobody has asked for the second look");
    night.context.ask_to_plan((&night.district, run), None).await.unwrap();
    let fetches = all_but(&mut night, &half, |body| matches!(body, Body::Fetch(_))).await;
    assert!(!fetches.is_empty());
    assert_eq!(owed(&night, run).await, Owed::Nothing, "the SIS has not answered yet");
    for message in fetches {
        night.handle(&half, message).await;
    }
    all_but(&mut night, &half, |body| matches!(body, Body::Plan(_))).await;
    assert_eq!(owed(&night, run).await, Owed::Plan, "all is in, and nobody plans it");
}

/// One run at a time has a connection's lanes: never more requests at once than it has.
#[tokio::test]
async fn a_second_look_waits_until_no_other_run_of_the_district_asks() {
    let mut night = Night::new().await;
    let (half, run) = half_approved(&mut night).await;
    let other = night.start(&half).await;
    let fetches = all_but(&mut night, &half, |_| true).await;
    let handler = PlanHandler::new(night.context.clone(), Planners::mortal());
    night.context.ask_to_plan((&night.district, run), None).await.unwrap();
    let plan = night.next().unwrap();
    assert_eq!(handler.handle(plan.clone()).await, Fate::Done);
    assert!(night.next().is_none(), "nothing is asked for");
    let key = (&night.district, run);
    assert_eq!(second_look::waits_for(&night.context, key).await.unwrap(), Some(other));
    assert_eq!(owed(&night, run).await, Owed::Nothing, "it waits");
    for message in fetches {
        night.handle(&half, message).await;
    }
    all_but(&mut night, &half, |body| matches!(body, Body::Plan(_))).await;
    assert_eq!(night.fetched_again, 0);
    assert_eq!(owed(&night, run).await, Owed::Plan, "the other one has all its pages");
    assert_eq!(handler.handle(plan).await, Fate::Done);
    let plans = all_but(&mut night, &half, |body| matches!(body, Body::Plan(_))).await;
    assert!(night.fetched_again > 0 && !plans.is_empty());
    // Whatever others have begun by then: all that it asked for is in.
    night.start(&half).await;
    let of_third = all_but(&mut night, &half, |_| true).await;
    for message in plans {
        night.handle(&half, message).await;
    }
    night.work(&half).await;
    let run = night.run(run).await;
    assert_eq!((run.state, run.counts.removed), (RunState::Succeeded, 6), "{run:?}");
    assert!(!of_third.is_empty());
}

#[tokio::test]
async fn a_run_that_waits_behind_another_is_owed_no_plan() {
    let mut night = Night::new().await;
    let (ten, eleven) = (sis(10), sis(11));
    let earlier = night.start(&ten).await;
    let batches = all_but(&mut night, &ten, |body| matches!(body, Body::Students(_))).await;
    let later = night.start(&eleven).await;
    all_but(&mut night, &eleven, |body| matches!(body, Body::Plan(_))).await;
    assert_eq!(night.run(later).await.stage, Stage::Plan);
    assert_eq!((owed(&night, earlier).await, owed(&night, later).await), (Owed::Release, Owed::Nothing));
    for message in batches {
        night.handle(&ten, message).await;
    }
    assert_eq!(owed(&night, later).await, Owed::Plan, "what it waited for is written");
    let until = night.now() + TimeDelta::hours(2);
    assert!(night.context.store.claim_plan(&night.district, later, night.now(), until).await.unwrap().is_some());
    assert_eq!(owed(&night, later).await, Owed::Nothing, "somebody plans it");
}

/// Whatever went wrong with it, each time.
#[tokio::test]
async fn a_page_that_cannot_be_collected_for_good_is_no_longer_waited_for() {
    let mut night = Night::new().await;
    let sis = sis(4);
    assert_eq!(night.night(&sis).await.state, RunState::Succeeded);
    let run = night.start(&sis).await;
    let mut pages = all_but(&mut night, &sis, |body| matches!(body, Body::Page(_))).await;
    let lost = pages.pop().unwrap();
    for page in pages {
        night.handle(&sis, page).await;
    }
    night.work(&sis).await;
    assert_eq!(night.run(run).await.stage, Stage::Pull, "one is missing");
    let handler = CollectHandler::new(night.context.clone());
    let retry = || Retry { reason: "panic", detail: "it panicked".to_owned(), after: Duration::ZERO, free: false };
    let fate = handler.exhausted(lost.clone(), retry()).await;
    assert_eq!(fate, Fate::park("panic", "it panicked"));
    assert_eq!(handler.exhausted(lost, retry()).await, Fate::Done, "one message of it is parked");
    night.work(&sis).await;
    let ended = night.run(run).await;
    assert!(matches!(ended.state, RunState::Partial | RunState::Failed), "{ended:?}");
    assert_eq!(ended.counts.removed, 0);
    let pages = night.context.store.pages(&night.district, run).await.unwrap();
    let errors: Vec<_> = pages.iter().filter_map(|page| page.error.as_deref()).collect();
    assert_eq!(errors, ["panic: it panicked"]);
}

#[tokio::test]
async fn a_run_over_which_its_planners_die_ends_failed() {
    let mut night = Night::new().await;
    let sis = sis(4);
    let run = night.start(&sis).await;
    let plans = all_but(&mut night, &sis, |body| matches!(body, Body::Plan(_))).await;
    for attempt in 1..=i64::from(ATTEMPTS) {
        let claimed = night.context.store.claim_plan(&night.district, run, night.now(), night.now()).await.unwrap();
        assert_eq!(claimed, Some(attempt), "whose time is over at once");
    }
    night.handle(&sis, plans[0].clone()).await;
    let ended = night.run(run).await;
    assert_eq!(ended.state, RunState::Failed);
    let mend = format!("rollcall runs replay {run} --from plan");
    let why = ended.reason.unwrap();
    assert!(why.starts_with("planner-died: ") && why.contains(&mend), "{why}");
    let again = night.replay(run, ReplayFrom::Plan).await.unwrap();
    night.work(&sis).await;
    assert_eq!(night.run(again.id).await.state, RunState::Succeeded);
}

#[tokio::test]
async fn a_run_that_cannot_be_planned_for_good_ends_failed_once() {
    let mut night = Night::new().await;
    let sis = sis(4);
    let run = night.start(&sis).await;
    let plans = all_but(&mut night, &sis, |body| matches!(body, Body::Plan(_))).await;
    let handler = PlanHandler::new(night.context.clone(), Planners::mortal());
    let retry = || Retry { reason: "too-long", detail: "it took long".to_owned(), after: Duration::ZERO, free: false };
    assert_eq!(handler.exhausted(plans[0].clone(), retry()).await, Fate::Done);
    let ended = night.run(run).await;
    assert_eq!(ended.state, RunState::Failed);
    assert!(ended.reason.unwrap().starts_with("too-long: it took long"));
    assert_eq!(handler.exhausted(plans[0].clone(), retry()).await, Fate::Done, "nobody waits for it any more");
    let pulled = night.start(&Sis::new()).await;
    let parked = handler.exhausted(Message { run: pulled, ..plans[0].clone() }, retry()).await;
    assert_eq!(parked, Fate::park("too-long", "it took long"), "it is not where plans are made");
    assert_eq!(night.run(pulled).await.state, RunState::Running);
}

#[tokio::test]
async fn a_page_too_large_for_a_message_is_read_out_of_the_store() {
    let mut night = Night::new().await;
    night.stashed = true;
    // Texts that do not compress, so that the names' page is above what a message carries.
    let mut random = blake3::Hasher::new().update(b"names").finalize_xof();
    let mut sis = sis(40);
    for row in sis.get_mut("Demographics/Name").unwrap() {
        let mut noise = vec![0_u8; 80_000];
        random.fill(&mut noise);
        let mut name = String::new();
        for byte in noise {
            write!(name, "{byte:02x}").unwrap();
        }
        row["MiddleName"] = json!(name);
    }
    let run = night.night(&sis).await;
    assert_eq!((run.state, run.counts.added), (RunState::Succeeded, 40), "{run:?}");
    let names = (0..6).map(ListingNo);
    let mut largest = 0;
    for listing in names {
        let first = PageNo(1);
        let raw = night.context.store.raw_page(&night.district, run.id, ConnectionNo(0), listing, first).await.unwrap();
        largest = largest.max(raw.unwrap().len());
    }
    assert!(largest > 3 << 20, "{largest} bytes");
    let student = night.context.store.student(&night.district, "7").await.unwrap().unwrap();
    assert_eq!(student.record.person.middle_name.unwrap().len(), 160_000);
}
