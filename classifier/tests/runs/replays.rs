//! Runs made again out of what the store kept of an earlier one.

use rollcall_classifier::replay::ReplayFrom;
use rollcall_proto::{
    bus::Bus as _,
    id::{ConnectionNo, ListingNo, PageNo},
    roster::Status,
    topology::Queue,
};
use rollcall_store::{
    page::NewPage,
    replay::ReplayRefusal,
    run::{Run, RunState, Stage},
};
use serde_json::json;

use crate::night::{Night, Sis, sis};

/// A night whose page of enrollments a program of long ago could not read, although the body is sound.
async fn misread(night: &mut Night, sis: &Sis) -> Run {
    let run = night.start(sis).await;
    let store = night.context.store.clone();
    // The page is collected as unreadable before its message is.
    let listing = sis.keys().position(|resource| *resource == "Enrollment/EntryWithdrawal").unwrap();
    let body = json!({"Objects": sis["Enrollment/EntryWithdrawal"]}).to_string();
    let page = NewPage {
        connection: ConnectionNo(0),
        listing: ListingNo(listing as u32),
        page: PageNo(1),
        status: 200,
        raw: Some(zstd::bulk::compress(body.as_bytes(), 1).unwrap()),
        fragments: Vec::new(),
        rows: 0,
        digest: [1; 16],
        body_digest: None,
        told: None,
        claimed_total: None,
        error: Some("this program does not read this listing".to_owned()),
        asked_at: night.now(),
        took_ms: 1,
        collected_at: night.now(),
    };
    night.broken.insert("Enrollment/EntryWithdrawal", "<html>");
    assert!(store.save_page(&night.district, run, &page).await.unwrap());
    night.work(sis).await;
    night.broken.clear();
    night.parked.clear();
    night.run(run).await
}

#[tokio::test]
async fn a_partial_run_is_read_again_and_planned_anew() {
    let mut night = Night::new().await;
    let mut sis = sis(8);
    night.night(&sis).await;
    for row in sis.get_mut("Enrollment/EntryWithdrawal").unwrap().iter_mut().take(2) {
        row["EndDate"] = json!("2025-10-01");
    }
    sis.get_mut("Demographics/Name").unwrap()[4]["LastName"] = json!("Lopez");
    let partial = misread(&mut night, &sis).await;
    assert_eq!((partial.state, partial.counts.removed), (RunState::Partial, 0), "{partial:?}");

    // Planned again from what was read: as partial as before.
    let same = night.replay(partial.id, ReplayFrom::Plan).await.unwrap();
    night.work(&sis).await;
    let same = night.run(same.id).await;
    assert_eq!((same.state, same.counts.removed), (RunState::Partial, 0), "{same:?}");
    // Read again: whole, but nobody was asked a second time about those two.
    let fetched = night.fetched_again;
    let whole = night.replay(same.id, ReplayFrom::Collect).await.unwrap();
    night.work(&sis).await;
    let whole = night.run(whole.id).await;
    assert_eq!((whole.state, whole.counts.removed, whole.counts.skipped), (RunState::Partial, 0, 2), "{whole:?}");
    assert!(whole.findings.iter().all(|finding| finding.code == "not-confirmed"), "{:?}", whole.findings);
    assert_eq!(night.fetched_again, fetched, "a replay asks the SIS nothing");
    assert_eq!(night.status_of("1").await, Some(Status::Enrolled));
    let name = night.context.store.student(&night.district, "5").await.unwrap().unwrap().record.person.last_name;
    assert_eq!(name.as_deref(), Some("Lopez"));
    assert_eq!(night.replay(partial.id, ReplayFrom::Plan).await, Err(ReplayRefusal::NewerRun(whole.id.to_string())));
    assert_eq!(night.run(partial.id).await, partial, "an ended run stays as it ended");
}

#[tokio::test]
async fn a_replay_takes_out_whom_the_stored_second_look_confirms() {
    let mut night = Night::new().await;
    let mut sis = sis(8);
    night.night(&sis).await;
    sis.get_mut("Enrollment/EntryWithdrawal").unwrap()[2]["EndDate"] = json!("2025-10-01");
    let run = night.start(&sis).await;
    // Everything up to the second plan, whose message is lost; then a person ends the run.
    while let Some(message) = night.next() {
        let stage = night.run(run).await.stage;
        if stage == Stage::Plan && night.fetched_again > 0 {
            break;
        }
        night.handle(&sis, message).await;
    }
    night.kept.purge(Queue::Plan).await.unwrap();
    assert_eq!(night.run(run).await.stage, Stage::Plan);
    assert!(night.context.store.cancel_run(&night.district, run, "ada", night.now()).await.unwrap());

    let fetched = night.fetched_again;
    let again = night.replay(run, ReplayFrom::Plan).await.unwrap();
    night.work(&sis).await;
    let again = night.run(again.id).await;
    assert_eq!((again.state, again.counts.removed), (RunState::Succeeded, 1), "{again:?}");
    assert_eq!(night.fetched_again, fetched);
    assert_eq!(night.status_of("3").await, Some(Status::Inactive));
}

#[tokio::test]
async fn a_held_plan_is_made_again_and_the_old_one_is_void() {
    let mut night = Night::new().await;
    night.night(&sis(10)).await;
    let half = sis(4);
    let held = night.night(&half).await;
    assert_eq!(held.state, RunState::Held);
    let again = night.replay(held.id, ReplayFrom::Plan).await.unwrap();
    night.work(&half).await;
    let again = night.run(again.id).await;
    assert_eq!((again.state, again.plan_hash == held.plan_hash), (RunState::Held, true), "equal input, equal plan");
    let void = night.run(held.id).await;
    assert_eq!((void.state, void.reason), (RunState::Discarded, Some(format!("superseded-by {}", again.id))));
}
