//! What a run pulls: discovery, the board, pages and their fragments.

use rollcall_proto::id::{ConnectionNo, ListingNo, PageNo};
use rollcall_store::{
    Store,
    board::Board,
    page::NewPage,
    run::{Discovery, Learned, PullState, Stage},
};

use crate::{
    common::{Fixture, district, later, now, page},
    support::{FIRST, board, discovery, secrets},
};

crate::on_both_engines! {
    discovery_is_saved_once,
    a_board_changed_by_many_at_once_loses_nothing,
    a_board_that_is_not_changed_stays,
    no_board_of_a_failed_pull_or_an_ended_run_is_changed,
    a_discovery_that_fails_late_fails_no_pull,
    what_was_learned_is_kept_until_a_discovery_is_over,
    what_is_learned_while_a_run_ends_does_not_outlive_it,
    a_page_is_kept_once_unless_it_decodes_at_last,
    a_large_page_waits_for_its_message,
    pages_and_fragments_come_in_order,
    pages_are_forgotten_after_their_run_has_ended,
    a_run_is_pulled_when_every_pull_is_through,
}

async fn discovery_is_saved_once(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    assert!(f.store.board(&id, run, FIRST).await.unwrap().is_none());
    assert!(f.store.with_board(&id, run, FIRST, |_| ((), false)).await.unwrap().is_none());
    assert!(f.store.save_discovery(&id, run, FIRST, &discovery(), &board(4)).await.unwrap());
    assert!(!f.store.save_discovery(&id, run, FIRST, &Discovery::default(), &board(1)).await.unwrap());
    let pulls = f.store.pulls(&id, run).await.unwrap();
    assert_eq!((pulls[0].state, pulls[0].discovery.as_ref()), (PullState::Fetching, Some(&discovery())));
    assert_eq!(f.store.board(&id, run, FIRST).await.unwrap(), Some(board(4)));
}

async fn a_board_changed_by_many_at_once_loses_nothing(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    f.store.save_discovery(&id, run, FIRST, &discovery(), &board(1)).await.unwrap();
    let other = f.again().await;
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let (store, id) = (if number % 2 == 0 { &f.store } else { &other }.clone(), id.clone());
            tokio::spawn(async move {
                let next = |board: &mut Board| {
                    board.lanes[0].generation += 1;
                    (board.lanes[0].generation, board.lanes[0].generation == 40)
                };
                store.with_board(&id, run, FIRST, next).await.unwrap().unwrap()
            })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=40).collect::<Vec<u64>>());
    assert_eq!(f.store.board(&id, run, FIRST).await.unwrap().unwrap().lanes[0].generation, 40);
    assert_eq!(f.store.pulls(&id, run).await.unwrap()[0].state, PullState::Fetched);
}

async fn a_board_that_is_not_changed_stays(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    f.store.save_discovery(&id, run, FIRST, &discovery(), &board(2)).await.unwrap();
    assert_eq!(f.store.with_board(&id, run, FIRST, |board| (board.lanes.len(), false)).await.unwrap(), Some(2));
    assert_eq!(f.store.board(&id, run, FIRST).await.unwrap(), Some(board(2)));
    // Fetched, and then a second look makes it fetch again.
    f.store.with_board(&id, run, FIRST, |_| ((), true)).await.unwrap();
    assert_eq!(f.store.pulls(&id, run).await.unwrap()[0].state, PullState::Fetched);
    f.store.with_board(&id, run, FIRST, |_| ((), false)).await.unwrap();
    assert_eq!(f.store.pulls(&id, run).await.unwrap()[0].state, PullState::Fetching);
}

async fn no_board_of_a_failed_pull_or_an_ended_run_is_changed(f: Fixture) {
    let id = f.district("a").await;
    let (failed, ended) = (f.run(&id).await.id, f.run(&id).await.id);
    for run in [failed, ended] {
        f.store.save_discovery(&id, run, FIRST, &discovery(), &board(2)).await.unwrap();
    }
    f.store.fail_pull(&id, failed, FIRST, "access refused").await.unwrap();
    f.store.fail_pull(&id, failed, FIRST, "and again").await.unwrap();
    f.store.cancel_run(&id, ended, "test", now()).await.unwrap();
    for run in [failed, ended] {
        assert!(f.store.with_board(&id, run, FIRST, |board| (board.lanes.clear(), true)).await.unwrap().is_none());
        assert_eq!(f.store.board(&id, run, FIRST).await.unwrap(), Some(board(2)));
    }
    let pull = f.store.pulls(&id, failed).await.unwrap().remove(0);
    assert_eq!((pull.state, pull.reason.as_deref()), (PullState::Failed, Some("access refused")));
}

/// Two discover at once: one begins the pull, the other gives the connection up.
async fn a_discovery_that_fails_late_fails_no_pull(f: Fixture) {
    let id = f.district("a").await;
    let (begun, failed, ended) = (f.run(&id).await.id, f.run(&id).await.id, f.run(&id).await.id);
    assert!(f.store.save_discovery(&id, begun, FIRST, &discovery(), &board(2)).await.unwrap());
    assert!(!f.store.fail_discovery(&id, begun, FIRST, (None, "token-refused")).await.unwrap());
    let found = Discovery { fatal: vec!["Student/Student.NameID".to_owned()], ..Discovery::default() };
    assert!(f.store.fail_discovery(&id, failed, FIRST, (Some(&found), "not-granted")).await.unwrap());
    assert!(!f.store.fail_discovery(&id, failed, FIRST, (None, "and again")).await.unwrap());
    f.store.cancel_run(&id, ended, "test", now()).await.unwrap();
    assert!(!f.store.fail_discovery(&id, ended, FIRST, (None, "token-refused")).await.unwrap());
    f.store.fail_pull(&id, ended, FIRST, "not-json").await.unwrap();
    for (run, state, reason) in [
        (begun, PullState::Fetching, None),
        (failed, PullState::Failed, Some("not-granted")),
        (ended, PullState::Discovering, None),
    ] {
        let pull = f.store.pulls(&id, run).await.unwrap().remove(0);
        assert_eq!((pull.state, pull.reason.as_deref()), (state, reason));
        let found = pull.discovery.filter(|_| run == failed).map(|found| found.fatal);
        assert_eq!(found, (run == failed).then(|| vec!["Student/Student.NameID".to_owned()]), "what it lacked");
    }
}

fn learned(answer: i64) -> Learned {
    Learned {
        asked_by: "settings".to_owned(),
        answers: [("a question".to_owned(), serde_json::json!({"fields": ["A", null], "number": answer}))].into(),
    }
}

async fn what_was_learned_is_kept_until_a_discovery_is_over(f: Fixture) {
    let id = f.district("a").await;
    let mut runs = Vec::new();
    for _ in 0..6 {
        let run = f.run(&id).await.id;
        assert_eq!(f.store.learned(&id, run, FIRST).await.unwrap(), None);
        for answer in [1, 2] {
            f.store.keep_learned(&id, run, FIRST, &learned(answer)).await.unwrap();
            assert_eq!(f.again().await.learned(&id, run, FIRST).await.unwrap(), Some(learned(answer)));
        }
        runs.push(run);
    }
    let [begun, undiscovered, given_up, failed, cancelled, removed] = *runs else { panic!("{runs:?}") };
    assert!(f.store.save_discovery(&id, begun, FIRST, &discovery(), &board(2)).await.unwrap());
    assert!(f.store.fail_discovery(&id, undiscovered, FIRST, (None, "token-refused")).await.unwrap());
    f.store.fail_pull(&id, given_up, FIRST, "other-sis").await.unwrap();
    f.store.fail_run(&id, failed, "the SIS is gone", now()).await.unwrap();
    assert!(f.store.cancel_run(&id, cancelled, "test", now()).await.unwrap());
    for run in [begun, undiscovered, given_up, failed, cancelled] {
        f.store.keep_learned(&id, run, FIRST, &learned(3)).await.unwrap();
        assert_eq!(f.store.learned(&id, run, FIRST).await.unwrap(), None);
    }
    assert_eq!(
        f.store.learned(&id, removed, FIRST).await.unwrap(),
        Some(learned(2)),
        "what others do is nothing to it"
    );
    assert!(f.store.remove_district(&id, "test", now()).await.unwrap().cancelled.contains(&removed));
    assert_eq!(f.store.learned(&id, removed, FIRST).await.unwrap(), None);
}

async fn what_is_learned_while_a_run_ends_does_not_outlive_it(f: Fixture) {
    let id = f.district("a").await;
    let other = f.again().await;
    for _ in 0..25 {
        let run = f.run(&id).await.id;
        let (ends, keeps) = ((f.store.clone(), id.clone()), (other.clone(), id.clone()));
        let ended = tokio::spawn(async move { ends.0.cancel_run(&ends.1, run, "test", now()).await });
        let kept = tokio::spawn(async move { keeps.0.keep_learned(&keeps.1, run, FIRST, &learned(1)).await });
        assert!(ended.await.unwrap().unwrap());
        kept.await.unwrap().unwrap();
        assert_eq!(f.store.learned(&id, run, FIRST).await.unwrap(), None);
    }
}

async fn a_page_is_kept_once_unless_it_decodes_at_last(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    let broken = NewPage { error: Some("line 1, column 9".to_owned()), fragments: Vec::new(), rows: 0, ..page(0, 1) };
    assert!(f.store.save_page(&id, run, &broken).await.unwrap());
    assert!(!f.store.save_page(&id, run, &broken).await.unwrap());
    assert_eq!(f.store.pages(&id, run).await.unwrap()[0].error, broken.error);
    assert!(f.store.fragments(&id, run).await.unwrap().is_empty());
    // Decoded at last, out of the stored body.
    assert!(f.store.save_page(&id, run, &NewPage { raw: None, ..page(0, 1) }).await.unwrap());
    assert!(!f.store.save_page(&id, run, &broken).await.unwrap());
    assert!(!f.store.save_page(&id, run, &NewPage { rows: 1, ..page(0, 1) }).await.unwrap());
    let rows = f.store.pages(&id, run).await.unwrap();
    let wanted = page(0, 1);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].rows, rows[0].error.as_ref(), rows[0].digest), (500, None, wanted.digest));
    assert_eq!((rows[0].asked_at, rows[0].collected_at, rows[0].took_ms), (now(), later(1), 25));
    assert_eq!((rows[0].status, rows[0].claimed_total), (200, Some(1_000)));
    let raw = f.store.raw_page(&id, run, FIRST, ListingNo(0), PageNo(1)).await.unwrap();
    assert_eq!(raw, wanted.raw);
}

async fn a_large_page_waits_for_its_message(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    let large: Vec<u8> = (0..5_000_000_u32).map(|place| (place % 251) as u8).collect();
    let raw = async |store: &Store| store.raw_page(&id, run, FIRST, ListingNo(3), PageNo(2)).await.unwrap();
    f.store.stash_raw(&id, run, FIRST, ListingNo(3), PageNo(2), b"first try").await.unwrap();
    f.store.stash_raw(&id, run, FIRST, ListingNo(3), PageNo(2), &large).await.unwrap();
    assert!(f.store.pages(&id, run).await.unwrap().is_empty());
    assert_eq!(raw(&f.store).await.as_ref(), Some(&large));
    assert!(f.store.save_page(&id, run, &NewPage { raw: None, ..page(3, 2) }).await.unwrap());
    f.store.stash_raw(&id, run, FIRST, ListingNo(3), PageNo(2), b"late").await.unwrap();
    assert_eq!(raw(&f.store).await.as_ref(), Some(&large));
    assert_eq!(f.store.pages(&id, run).await.unwrap().len(), 1);
}

async fn pages_and_fragments_come_in_order(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    let order = [(1, 1), (0, 10), (0, 2), (2, 1), (0, 1)];
    for (listing, number) in order {
        f.store.save_page(&id, run, &page(listing, number)).await.unwrap();
    }
    let wanted = [(0, 1), (0, 2), (0, 10), (1, 1), (2, 1)];
    let pages = f.store.pages(&id, run).await.unwrap();
    assert_eq!(pages.iter().map(|page| (page.listing.0, page.page.0)).collect::<Vec<_>>(), wanted);
    let fragments = f.store.fragments(&id, run).await.unwrap();
    assert_eq!(fragments.iter().map(|page| (page.listing.0, page.page.0)).collect::<Vec<_>>(), wanted);
    assert_eq!(fragments[2].fragments, b"fragments 0/10");
}

async fn pages_are_forgotten_after_their_run_has_ended(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let (ended, open, fresh) = (f.run(&a).await.id, f.run(&a).await.id, f.run(&b).await.id);
    for (id, run) in [(&a, ended), (&a, open), (&b, fresh)] {
        f.store.save_page(id, run, &page(0, 1)).await.unwrap();
        f.store.save_page(id, run, &page(0, 2)).await.unwrap();
    }
    f.store.cancel_run(&a, ended, "test", later(10)).await.unwrap();
    f.store.cancel_run(&b, fresh, "test", later(20)).await.unwrap();
    assert_eq!(f.store.forget_pages(later(10)).await.unwrap(), 0);
    assert_eq!(f.store.forget_pages(later(11)).await.unwrap(), 2);
    assert!(f.store.pages(&a, ended).await.unwrap().is_empty());
    assert_eq!(f.store.pages(&a, open).await.unwrap().len(), 2);
    assert_eq!(f.store.pages(&b, fresh).await.unwrap().len(), 2);
}

async fn a_run_is_pulled_when_every_pull_is_through(f: Fixture) {
    let mut two = district("a");
    let second = two.connections[0].clone();
    two.connections.push(second);
    f.store.apply_district(&two, &[secrets(), secrets()], "test", now()).await.unwrap();
    let (id, store) = (two.id, &f.store);
    let run = f.run(&id).await.id;
    assert!(!store.pulled(&id, run, later(1)).await.unwrap());
    store.save_discovery(&id, run, FIRST, &discovery(), &board(1)).await.unwrap();
    store.with_board(&id, run, FIRST, |_| ((), true)).await.unwrap();
    assert!(!store.pulled(&id, run, later(2)).await.unwrap());
    store.fail_pull(&id, run, ConnectionNo(1), "gone").await.unwrap();
    assert!(store.waiting_to_plan(&id).await.unwrap().is_empty());
    assert!(store.pulled(&id, run, later(3)).await.unwrap());
    assert!(store.pulled(&id, run, later(4)).await.unwrap());
    assert_eq!(store.waiting_to_plan(&id).await.unwrap(), [run]);
    let pulled = store.run(&id, run).await.unwrap();
    assert_eq!((pulled.stage, pulled.pulled_at), (Stage::Plan, Some(later(3))));
    store.cancel_run(&id, run, "test", later(5)).await.unwrap();
    assert!(!store.pulled(&id, run, later(6)).await.unwrap());
}
