//! Pulls for changes alone, on both engines: what they build upon, and that they are whole by themselves.

use rollcall_proto::id::{ConnectionNo, DistrictId, ListingNo, PageNo, RunId};
use rollcall_store::{
    Lanes, Unchanged,
    board::{Ask, Board, Progress},
    delta::SavedOver,
    plan::{NewPlan, Verdict},
    run::{Baseline, Changes, Discovery, PullBase, PullScope, Snapshot, Stage},
};

use crate::common::{Fixture, day, empty_plan, later, now, page};

const FIRST: ConnectionNo = ConnectionNo(0);

crate::on_both_engines! {
    a_run_builds_upon_the_one_before_it_and_is_whole_by_itself,
    pages_that_stand_on_an_earlier_night_are_copied_with_their_content,
    only_a_run_that_succeeded_just_before_is_built_upon,
    what_is_not_whole_any_more_is_not_built_upon,
    everything_is_asked_for_after_all_once,
}

fn ask(resource: &str) -> Ask {
    Ask { resource: resource.to_owned(), essential: true, ..Ask::default() }
}

fn base(run: RunId) -> PullBase {
    let snapshot = Snapshot { at: now(), settings: "s".to_owned(), shape: ["users.email".to_owned()].into() };
    PullBase { run, full_on: day("2026-11-02"), before: Some(now()), snapshot }
}

/// A run that pulled two pages of users and one of orgs, and looked again; ended with nothing to change.
async fn night(f: &Fixture, id: &DistrictId) -> RunId {
    let (run, store) = (f.run(id).await.id, &f.store);
    store.start_run(id, run, now()).await.unwrap();
    let mut board = Board::new(vec![ask("users"), ask("orgs")], 1);
    for (listing, last) in board.listings.iter_mut().zip([2, 1]) {
        (listing.progress, listing.last_page) = (Progress::Fetched, Some(last));
    }
    assert!(board.add_recheck(vec![ask("users")]));
    (board.listings[2].progress, board.listings[2].last_page) = (Progress::Fetched, Some(1));
    store.save_discovery(id, run, FIRST, &Discovery::default(), &board).await.unwrap();
    // A page beyond the end is not the pull's.
    for (listing, number) in [(0, 1), (0, 2), (0, 3), (1, 1), (2, 1)] {
        store.save_page(id, run, &page(listing, number)).await.unwrap();
    }
    end(f, id, run).await;
    run
}

async fn end(f: &Fixture, id: &DistrictId, run: RunId) {
    let store = &f.store;
    store.with_board(id, run, FIRST, |_| ((), true)).await.unwrap().unwrap();
    assert!(store.pulled(id, run, now()).await.unwrap());
    let baseline = Baseline { base: Some(base(run)), ..Baseline::default() };
    let plan = NewPlan { baselines: vec![(0, baseline)], ..empty_plan(Verdict::Nothing) };
    assert!(store.save_plan(id, run, &plan, later(2)).await.unwrap());
}

/// A run that pulled two pages of users, both as the run before had them.
async fn night_alike(f: &Fixture, id: &DistrictId) -> RunId {
    let (run, store) = (f.run(id).await.id, &f.store);
    store.start_run(id, run, now()).await.unwrap();
    let mut board = Board::new(vec![ask("users")], 1);
    (board.listings[0].progress, board.listings[0].last_page) = (Progress::Fetched, Some(2));
    store.save_discovery(id, run, FIRST, &Discovery::default(), &board).await.unwrap();
    let earlier = store.earlier_pages(id, run, FIRST, ListingNo(0), 1..3).await.unwrap();
    let same =
        |(page, digest): (&PageNo, &[u8; 16])| Unchanged { page: *page, digest: *digest, asked_at: now(), took_ms: 1 };
    let unchanged: Vec<Unchanged> = earlier.digests.iter().map(same).collect();
    let pages = (ListingNo(0), &earlier, unchanged.as_slice());
    let handed = store.hand_in((id, run, FIRST), pages, now(), |_| Some(Vec::new())).await.unwrap().unwrap();
    assert_eq!(handed.kept.len(), 2);
    end(f, id, run).await;
    run
}

/// Asks for changes over an earlier run, and returns the board.
async fn build_upon(f: &Fixture, id: &DistrictId, run: RunId, of: RunId) -> Board {
    f.store.start_run(id, run, now()).await.unwrap();
    let under = f.store.stored_listings(id, of, FIRST, &["users"]).await.unwrap().unwrap();
    let mut board = Board::new(vec![Ask { since: Some(now()), ..ask("users") }, ask("orgs")], 1);
    under.iter().rev().for_each(|listing| board.lay_under(listing.ask().clone(), listing.pages()));
    let scope =
        PullScope::Changes(Changes { since: now(), over: of, full_on: day("2026-11-02"), over_at: Some(now()) });
    let discovery = Discovery { scope, ..Discovery::default() };
    let place = (id, run, FIRST);
    let save = async || f.store.save_discovery_over(place, &discovery, &board, of, &under).await.unwrap();
    assert_eq!((save().await, save().await), (SavedOver::Saved, SavedOver::DoneBefore));
    assert_eq!(f.store.pulls(id, run).await.unwrap()[0].discovery.as_ref(), Some(&discovery));
    board
}

async fn a_run_builds_upon_the_one_before_it_and_is_whole_by_itself(f: Fixture) {
    let id = f.district("a").await;
    let first = night(&f, &id).await;
    let second = f.run(&id).await.id;
    assert_eq!(f.store.pull_base(&id, second, FIRST).await.unwrap().unwrap().0, base(first));
    let board = build_upon(&f, &id, second, first).await;
    let laid: Vec<_> = board.listings.iter().map(|listing| (listing.ask.stored, listing.progress.clone())).collect();
    assert_eq!(laid, [(Some(first), Progress::Fetched), (None, Progress::Waiting), (None, Progress::Waiting)]);
    assert!(board.missing(|listing, page| listing.0 == 0 && page.0 <= 2).is_empty());
    let fragments = f.store.fragments(&id, second).await.unwrap();
    let told: Vec<_> = fragments.iter().map(|page| (page.listing, page.page, page.fragments.as_slice())).collect();
    let (one, two) = (&b"fragments 0/1"[..], &b"fragments 0/2"[..]);
    assert_eq!(told, [(ListingNo(0), PageNo(1), one), (ListingNo(0), PageNo(2), two)]);
    assert_eq!(f.store.raw_page(&id, second, FIRST, ListingNo(0), PageNo(1)).await.unwrap(), None);

    // The next one lays both under itself, in order, and needs the first one no more.
    f.store.save_page(&id, second, &page(1, 1)).await.unwrap();
    let finish = |board: &mut Board| {
        for listing in board.listings.iter_mut().skip(1) {
            (listing.progress, listing.last_page) = (Progress::Fetched, Some(1));
        }
        ((), true)
    };
    f.store.with_board(&id, second, FIRST, finish).await.unwrap().unwrap();
    f.store.forget_pages(later(30)).await.unwrap();
    let third = f.run(&id).await.id;
    let under = f.store.stored_listings(&id, second, FIRST, &["users"]).await.unwrap().unwrap();
    assert_eq!((under.len(), under[0].pages(), under[0].ask().since), (1, 3, None));
    build_upon(&f, &id, third, second).await;
    let fragments = f.store.fragments(&id, third).await.unwrap();
    let told: Vec<_> = fragments.iter().map(|page| (page.page.0, page.fragments.as_slice())).collect();
    assert_eq!(told, [(1, one), (2, two), (3, &b"fragments 1/1"[..])]);
}

async fn pages_that_stand_on_an_earlier_night_are_copied_with_their_content(f: Fixture) {
    let id = f.district("a").await;
    night(&f, &id).await;
    let second = night_alike(&f, &id).await;
    let third = f.run(&id).await.id;
    build_upon(&f, &id, third, second).await;
    let copied = |fragments: Vec<rollcall_store::page::PageFragments>| -> Vec<Vec<u8>> {
        fragments.into_iter().map(|page| page.fragments).collect()
    };
    let expected = [b"fragments 0/1".to_vec(), b"fragments 0/2".to_vec()];
    assert_eq!(copied(f.store.fragments(&id, third).await.unwrap()), expected);
    // They are its own: neither gone with what they are copies of, nor told by digest as pages of their numbers.
    f.store.forget_pages(later(30)).await.unwrap();
    assert_eq!(copied(f.store.fragments(&id, third).await.unwrap()), expected);
    end(&f, &id, third).await;
    let fourth = f.run(&id).await.id;
    assert!(f.store.earlier_pages(&id, fourth, FIRST, ListingNo(0), 1..3).await.unwrap().digests.is_empty());
}

async fn only_a_run_that_succeeded_just_before_is_built_upon(f: Fixture) {
    let id = f.district("a").await;
    let early = f.run(&id).await.id;
    assert_eq!(f.store.pull_base(&id, early, FIRST).await.unwrap(), None, "the first night");
    assert!(f.store.cancel_run(&id, early, "ann", later(1)).await.unwrap());
    night(&f, &id).await;
    let next = f.run(&id).await.id;
    assert!(f.store.pull_base(&id, next, FIRST).await.unwrap().is_some());
    let after = f.run(&id).await.id;
    assert_eq!(f.store.pull_base(&id, after, FIRST).await.unwrap(), None, "another run came in between");
    assert!(f.store.cancel_run(&id, next, "ann", later(3)).await.unwrap());
    assert_eq!(f.store.pull_base(&id, after, FIRST).await.unwrap(), None, "and was cancelled");
    assert!(f.store.cancel_run(&id, after, "ann", later(3)).await.unwrap());
    night(&f, &id).await;
    let last = f.run(&id).await.id;
    assert!(f.store.pull_base(&id, last, FIRST).await.unwrap().is_some());
    assert_eq!(f.store.full_nights(&id).await.unwrap(), [(FIRST, day("2026-11-02"))]);
}

async fn what_is_not_whole_any_more_is_not_built_upon(f: Fixture) {
    let id = f.district("a").await;
    let first = night(&f, &id).await;
    assert!(f.store.stored_listings(&id, first, FIRST, &["users", "orgs"]).await.unwrap().is_some());
    assert!(f.store.stored_listings(&id, first, FIRST, &["demographics"]).await.unwrap().is_none(), "never pulled");
    let under = f.store.stored_listings(&id, first, FIRST, &["users"]).await.unwrap().unwrap();
    f.store.forget_pages(later(30)).await.unwrap();
    assert!(f.store.stored_listings(&id, first, FIRST, &["users"]).await.unwrap().is_none(), "aged out");
    let second = f.run(&id).await.id;
    f.store.start_run(&id, second, now()).await.unwrap();
    let mut board = Board::new(vec![ask("users")], 1);
    board.lay_under(under[0].ask().clone(), under[0].pages());
    let place = (&id, second, FIRST);
    let saved = f.store.save_discovery_over(place, &Discovery::default(), &board, first, &under).await.unwrap();
    assert_eq!(saved, SavedOver::PagesGone);
    assert!(f.store.board(&id, second, FIRST).await.unwrap().is_none(), "nothing of it is saved");
    let everything = Board::new(vec![ask("users")], 1);
    assert!(f.store.save_discovery(&id, second, FIRST, &Discovery::default(), &everything).await.unwrap());
    assert_eq!(f.store.full_nights(&id).await.unwrap().len(), 1, "what it was to build upon is still known");
}

async fn everything_is_asked_for_after_all_once(f: Fixture) {
    let id = f.district("a").await;
    let first = night(&f, &id).await;
    let second = f.run(&id).await.id;
    build_upon(&f, &id, second, first).await;
    let place = (&id, second, FIRST);
    let none = Lanes::Free(Vec::new());
    assert_eq!(f.store.ask_everything(place, "why", now()).await.unwrap(), none, "it is not pulled yet");
    let finish = |board: &mut Board| {
        for listing in &mut board.listings {
            (listing.progress, listing.last_page) = (Progress::Fetched, listing.last_page.or(Some(1)));
        }
        ((), true)
    };
    f.store.with_board(&id, second, FIRST, finish).await.unwrap().unwrap();
    assert!(f.store.pulled(&id, second, now()).await.unwrap());
    assert!(f.store.claim_plan(&id, second, now(), later(5)).await.unwrap().is_some());
    let moves = f.store.ask_everything(place, "the source counts 3", now()).await.unwrap();
    assert!(matches!(&moves, Lanes::Free(moves) if moves.len() == 1), "{moves:?}");
    assert_eq!(f.store.ask_everything(place, "again", now()).await.unwrap(), none, "once");
    assert_eq!(f.store.run(&id, second).await.unwrap().stage, Stage::Pull);
    let board = f.store.board(&id, second, FIRST).await.unwrap().unwrap();
    let aside: Vec<bool> = board.listings.iter().map(|listing| listing.aside).collect();
    assert_eq!(aside, [true, true, false, false]);
    assert_eq!(board.listings[3].ask, ask("users"));
    let scope = f.store.pulls(&id, second).await.unwrap().remove(0).discovery.unwrap().scope;
    assert_eq!(scope, PullScope::Everything(Some("the source counts 3".to_owned())));
    // Its last page leads back to planning, whose lease is free.
    f.store.with_board(&id, second, FIRST, finish).await.unwrap().unwrap();
    assert!(f.store.pulled(&id, second, now()).await.unwrap());
    assert!(f.store.claim_plan(&id, second, now(), later(5)).await.unwrap().is_some());
    let under = f.store.stored_listings(&id, second, FIRST, &["users"]).await.unwrap();
    assert!(under.is_none(), "what was set aside is not built upon");
}
