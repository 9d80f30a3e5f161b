//! Runs made of an earlier one's pages.

use rollcall_proto::id::{ListingNo, PageNo, RunId};
use rollcall_store::{
    board::{Ask, Board},
    district::{Connection, SisKind},
    plan::Verdict,
    replay::{PageReading, Replay, ReplayLook, ReplayPages, ReplayRefusal, StoredPage},
    run::{Discovery, FindingWeight, RunState, Stage, Trigger},
};

use crate::{
    common::{Fixture, district, empty_plan, later, now, page},
    support::{FIRST, discovery, finding, secrets},
};

crate::on_both_engines! {
    a_replay_is_a_run_of_its_own_from_the_same_pages,
    a_replay_reads_pages_again_where_asked,
    a_replay_is_refused_with_a_reason,
    pages_of_another_sis_are_not_replayed,
    a_replay_that_a_newer_run_has_overtaken_is_void,
}

/// A run with two listings of a page each, pulled, and ended without a plan; its second look has one listing more.
async fn pulled_and_cancelled(f: &Fixture, id: &rollcall_proto::id::DistrictId) -> RunId {
    let (run, store) = (f.run(id).await.id, &f.store);
    let ask = |resource: &str| Ask { resource: resource.to_owned(), ..Ask::default() };
    let mut board = Board::new(vec![ask("one"), ask("two")], 1);
    assert!(board.add_recheck(vec![ask("one")]));
    store.start_run(id, run, now()).await.unwrap();
    let origin = store.district(id).await.unwrap().connections.first().map(Connection::origin);
    store.save_discovery(id, run, FIRST, &Discovery { origin, ..discovery() }, &board).await.unwrap();
    for (listing, number) in [(0, 1), (0, 2), (1, 1), (2, 1)] {
        store.save_page(id, run, &page(listing, number)).await.unwrap();
    }
    store.with_board(id, run, FIRST, |_| ((), true)).await.unwrap().unwrap();
    store.add_finding(id, run, &finding(FindingWeight::Warning, "code", "of the pull", 1)).await.unwrap();
    assert!(store.pulled(id, run, now()).await.unwrap());
    assert!(store.cancel_run(id, run, "ann", later(2)).await.unwrap());
    run
}

fn replay(id: &rollcall_proto::id::DistrictId, of: RunId, look: ReplayLook) -> Replay {
    Replay { district: id.clone(), of, look, actor: "ann".to_owned() }
}

async fn a_replay_is_a_run_of_its_own_from_the_same_pages(f: Fixture) {
    let id = f.district("a").await;
    let old = pulled_and_cancelled(&f, &id).await;
    let before = f.store.run(&id, old).await.unwrap();
    for (look, recheck_from, pages) in [(ReplayLook::Stored, Some(2), 4), (ReplayLook::Asked, None, 3)] {
        let new = f.store.replay_run(&replay(&id, old, look), ReplayPages::Kept, later(5)).await.unwrap().unwrap();
        assert_ne!(new.id, old);
        assert_eq!((new.state, new.stage, new.trigger), (RunState::Running, Stage::Plan, Trigger::Manual));
        assert_eq!((new.as_of, new.replay_of, new.pulled_at), (before.as_of, Some(old), Some(later(5))));
        assert!(new.seq > before.seq);
        assert_eq!(new.findings, before.findings);
        let (of_old, of_new) = (f.store.pages(&id, old).await.unwrap(), f.store.pages(&id, new.id).await.unwrap());
        assert_eq!(of_new, of_old[..pages]);
        let fragments = f.store.fragments(&id, new.id).await.unwrap();
        assert_eq!((fragments.len(), fragments[1].fragments.as_slice()), (pages, &b"fragments 0/2"[..]));
        let raw = f.store.raw_page(&id, new.id, FIRST, ListingNo(0), PageNo(2)).await.unwrap();
        assert_eq!(raw.as_deref(), Some(&b"raw 0/2"[..]));
        let board = f.store.board(&id, new.id, FIRST).await.unwrap().unwrap();
        assert_eq!((board.recheck_from, board.listings.len()), (recheck_from, pages - 1));
        assert_eq!(f.store.pulls(&id, new.id).await.unwrap(), f.store.pulls(&id, old).await.unwrap());
        assert_eq!(f.store.run(&id, old).await.unwrap(), before, "the earlier run stays as it ended");
        let entry = f.store.audit_trail(&id, 1).await.unwrap().remove(0);
        assert_eq!(
            (entry.action.as_str(), entry.run, entry.detail),
            ("run.replay", Some(old), format!("as={}", new.id))
        );
        assert!(f.store.cancel_run(&id, new.id, "ann", later(6)).await.unwrap());
    }
}

async fn a_replay_reads_pages_again_where_asked(f: Fixture) {
    let id = f.district("a").await;
    let old = pulled_and_cancelled(&f, &id).await;
    let read = |page: &StoredPage<'_>| PageReading {
        fragments: [page.resource.as_bytes(), page.raw].concat(),
        rows: i64::from(page.status),
        digest: [9; 16],
        claimed_total: None,
        error: (page.raw == b"raw 1/1").then(|| "line 3, column 1".to_owned()),
    };
    let wanted = replay(&id, old, ReplayLook::Stored);
    let new = f.store.replay_run(&wanted, ReplayPages::Read(&read), later(5)).await.unwrap().unwrap();
    let pages = f.store.pages(&id, new.id).await.unwrap();
    assert_eq!((pages[0].rows, pages[0].digest, pages[0].claimed_total), (200, [9; 16], None));
    assert_eq!(pages[2].error.as_deref(), Some("line 3, column 1"));
    let fragments = f.store.fragments(&id, new.id).await.unwrap();
    let texts: Vec<_> = fragments.iter().map(|page| page.fragments.as_slice()).collect();
    assert_eq!(texts, [&b"oneraw 0/1"[..], b"oneraw 0/2", b"oneraw 2/1"]);
}

async fn a_replay_is_refused_with_a_reason(f: Fixture) {
    let id = f.district("a").await;
    let refused = async |of: RunId| {
        let wanted = replay(&id, of, ReplayLook::Stored);
        f.store.replay_run(&wanted, ReplayPages::Kept, later(5)).await.unwrap().unwrap_err()
    };
    let open = f.run(&id).await.id;
    assert_eq!(refused(open).await, ReplayRefusal::Open("queued".to_owned()));
    f.store.cancel_run(&id, open, "ann", later(1)).await.unwrap();
    assert_eq!(refused(open).await, ReplayRefusal::NotPulled);

    let old = pulled_and_cancelled(&f, &id).await;
    let newer = f.run(&id).await.id;
    assert_eq!(refused(old).await, ReplayRefusal::NewerRun(newer.to_string()), "it is at work");
    f.store.fail_run(&id, newer, "no", later(3)).await.unwrap();
    let planned = f.run_at_plan(&id).await.id;
    assert!(f.store.save_plan(&id, planned, &empty_plan(Verdict::Nothing), later(3)).await.unwrap());
    assert_eq!(refused(old).await, ReplayRefusal::NewerRun(planned.to_string()), "it has planned");

    let aged = pulled_and_cancelled(&f, &id).await;
    let mut two = district("a");
    two.connections.push(two.connections[0].clone());
    f.store.apply_district(&two, &[secrets(), secrets()], "test", now()).await.unwrap();
    assert_eq!(refused(aged).await, ReplayRefusal::ConnectionsChanged);
    f.district("a").await;
    f.store.forget_pages(later(60)).await.unwrap();
    assert_eq!(refused(aged).await, ReplayRefusal::PagesGone);
    let made = f.store.runs(Some(&id), 100).await.unwrap();
    assert!(made.iter().all(|run| run.replay_of.is_none()), "a refusal leaves nothing behind");
}

async fn pages_of_another_sis_are_not_replayed(f: Fixture) {
    let id = f.district("a").await;
    let old = pulled_and_cancelled(&f, &id).await;
    let url = |text: &str| text.parse::<url::Url>().unwrap();
    let replayed_with = async |change: &dyn Fn(&mut Connection)| {
        let mut file = district("a");
        change(&mut file.connections[0]);
        f.store.apply_district(&file, &[secrets()], "test", now()).await.unwrap();
        f.store.replay_run(&replay(&id, old, ReplayLook::Stored), ReplayPages::Kept, later(5)).await.unwrap()
    };
    let others: [&dyn Fn(&mut Connection); 4] = [
        &|sis| sis.kind = SisKind::OneRoster,
        &|sis| sis.base_url = url("https://sis.example/OtherAPI"),
        &|sis| sis.token_url = Some(url("https://elsewhere.example/token")),
        &|sis| sis.id_prefix = Some("b-".to_owned()),
    ];
    for (number, other) in others.into_iter().enumerate() {
        assert_eq!(replayed_with(other).await.unwrap_err(), ReplayRefusal::OtherSis(FIRST), "change {number}");
    }
    assert!(f.store.runs(Some(&id), 100).await.unwrap().iter().all(|run| run.replay_of.is_none()));
    let same = |sis: &mut Connection| {
        sis.base_url = url("https://sis.example/API/");
        "another".clone_into(&mut sis.client_id);
        (sis.page_size, sis.lanes) = (100, 1);
    };
    assert_eq!(replayed_with(&same).await.unwrap().replay_of, Some(old));
}

async fn a_replay_that_a_newer_run_has_overtaken_is_void(f: Fixture) {
    let id = f.district("a").await;
    let old = pulled_and_cancelled(&f, &id).await;
    let wanted = replay(&id, old, ReplayLook::Stored);
    let slow = f.store.replay_run(&wanted, ReplayPages::Kept, later(3)).await.unwrap().unwrap().id;
    let night = f.run_at_plan(&id).await.id;
    assert!(f.store.save_plan(&id, night, &empty_plan(Verdict::Nothing), later(4)).await.unwrap());
    assert!(f.store.save_plan(&id, slow, &empty_plan(Verdict::Release), later(5)).await.unwrap());
    let void = f.store.run(&id, slow).await.unwrap();
    assert_eq!((void.state, void.stage, void.ended_at), (RunState::Discarded, Stage::Closed, Some(later(5))));
    assert_eq!(void.reason, Some(format!("superseded-by {night}")));
    assert!(!f.store.save_plan(&id, slow, &empty_plan(Verdict::Release), later(6)).await.unwrap());
}
