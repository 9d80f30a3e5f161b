//! What both engines must do alike with pages that come back as an earlier run got them.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_proto::id::{ConnectionNo, DistrictId, ListingNo, PageNo, RunId};
use rollcall_store::{
    Earlier, Store, Unchanged,
    board::{Ask, Board},
    district::{ConnectionSecrets, SisKind},
    page::NewPage,
    replay::{PageReading, Replay, ReplayLook, ReplayPages, ReplayRefusal, StoredPage},
    run::Discovery,
};
use secrecy::SecretString;

use crate::{
    common::{Fixture, facts, later, new_key, now, page},
    support::secrets,
};

const FIRST: ConnectionNo = ConnectionNo(0);
const LISTING: ListingNo = ListingNo(0);

crate::on_both_engines! {
    an_unchanged_page_stands_on_the_earlier_one,
    only_the_last_pulled_run_is_looked_at,
    first_pages_are_those_of_each_listing,
    what_no_lane_hands_in_is_not_noted,
    an_earlier_page_that_is_gone_is_not_stood_on,
    an_unchanged_page_takes_the_place_of_a_stashed_one,
    a_page_that_did_not_decode_is_never_stood_on,
    content_is_kept_as_long_as_any_run_that_stands_on_it,
    a_replay_of_unchanged_pages_has_content_of_its_own,
    digests_tell_nothing_to_another_key_district_or_question,
    digests_of_secrets_and_ids_tell_nothing_to_another_key_or_district,
}

/// A run whose pull has begun.
async fn begun(f: &Fixture, id: &DistrictId) -> RunId {
    let run = f.run(id).await.id;
    let ask = Ask { resource: "one".to_owned(), ..Ask::default() };
    f.store.start_run(id, run, now()).await.unwrap();
    f.store.save_discovery(id, run, FIRST, &Discovery::default(), &Board::new(vec![ask], 1)).await.unwrap();
    run
}

/// Its pull ends, and so does it, `minutes` later.
async fn ended(f: &Fixture, id: &DistrictId, run: RunId, minutes: i64) {
    f.store.with_board(id, run, FIRST, |_| ((), true)).await.unwrap().unwrap();
    assert!(f.store.pulled(id, run, now()).await.unwrap());
    assert!(f.store.cancel_run(id, run, "test", later(minutes)).await.unwrap());
}

/// A run that pulled pages 1 to 3 and ended.
async fn first_night(f: &Fixture, id: &DistrictId) -> RunId {
    let run = begun(f, id).await;
    for number in 1..=3 {
        f.store.save_page(id, run, &page(0, number)).await.unwrap();
    }
    ended(f, id, run, 10).await;
    run
}

async fn earlier(store: &Store, id: &DistrictId, run: RunId) -> Earlier {
    store.earlier_pages(id, run, FIRST, LISTING, 1..4).await.unwrap()
}

/// The page as it came in: its digest is its number.
fn came(number: u32) -> Unchanged {
    Unchanged { page: PageNo(number), digest: [number as u8; 16], asked_at: later(30), took_ms: 7 }
}

async fn hand_in(store: &Store, id: &DistrictId, run: RunId, from: &Earlier, pages: &[Unchanged]) -> BTreeSet<PageNo> {
    let change = |_: &mut Board| Some(Vec::new());
    store.hand_in((id, run, FIRST), (LISTING, from, pages), later(31), change).await.unwrap().unwrap().kept
}

/// A later run whose three pages are those of the run before.
async fn same_night(f: &Fixture, id: &DistrictId, minutes: i64) -> RunId {
    let run = begun(f, id).await;
    let from = earlier(&f.store, id, run).await;
    assert_eq!(hand_in(&f.store, id, run, &from, &[came(1), came(2), came(3)]).await.len(), 3);
    ended(f, id, run, minutes).await;
    run
}

async fn assert_content(store: &Store, id: &DistrictId, run: RunId, pages: &[u32]) {
    let fragments = store.fragments(id, run).await.unwrap();
    let texts: Vec<String> = fragments.into_iter().map(|page| String::from_utf8(page.fragments).unwrap()).collect();
    assert_eq!(texts, pages.iter().map(|number| format!("fragments 0/{number}")).collect::<Vec<_>>());
    for number in pages {
        let raw = store.raw_page(id, run, FIRST, LISTING, PageNo(*number)).await.unwrap();
        assert_eq!(raw.unwrap(), format!("raw 0/{number}").into_bytes());
    }
}

async fn an_unchanged_page_stands_on_the_earlier_one(f: Fixture) {
    let id = f.district("a").await;
    let first = first_night(&f, &id).await;
    let second = begun(&f, &id).await;
    let from = earlier(&f.store, &id, second).await;
    assert_eq!(from.run, Some(first));
    assert!(from.is_same(PageNo(2), &[2; 16]) && !from.is_same(PageNo(2), &[1; 16]));
    assert_eq!(from.facts(PageNo(2), 1), Some(&facts(2)));
    assert_eq!(from.facts(PageNo(2), 2), None, "it was read in another way");

    let other = Unchanged { digest: [9; 16], ..came(3) };
    let kept = hand_in(&f.store, &id, second, &from, &[came(1), came(2), other]).await;
    assert_eq!(kept, BTreeSet::from([PageNo(1), PageNo(2)]), "a digest that differs is no unchanged page");
    let rows = f.store.pages(&id, second).await.unwrap();
    let before = f.store.pages(&id, first).await.unwrap();
    assert_eq!(rows.len(), 2);
    for (row, before) in rows.iter().zip(&before) {
        assert_eq!((row.rows, row.digest, row.claimed_total), (before.rows, before.digest, before.claimed_total));
        assert_eq!((row.status, row.error.as_ref()), (200, None));
        assert_eq!((row.asked_at, row.took_ms, row.collected_at), (later(30), 7, later(31)));
    }
    assert_content(&f.store, &id, second, &[1, 2]).await;

    let again = hand_in(&f.store, &id, second, &from, &[came(1)]).await;
    assert!(again.is_empty(), "it is in, and stays as it is");
    assert!(!f.store.save_page(&id, second, &NewPage { rows: 1, ..page(0, 1) }).await.unwrap());
    assert!(f.store.save_page(&id, second, &page(0, 3)).await.unwrap());
    ended(&f, &id, second, 20).await;

    let third = same_night(&f, &id, 30).await;
    assert_content(&f.store, &id, third, &[1, 2, 3]).await;
    let fourth = begun(&f, &id).await;
    let told = earlier(&f.store, &id, fourth).await.told;
    assert_eq!(told.len(), 3, "what the first night read of them is known for ever");
}

async fn only_the_last_pulled_run_is_looked_at(f: Fixture) {
    let id = f.district("a").await;
    let lone = begun(&f, &id).await;
    assert_eq!(earlier(&f.store, &id, lone).await, Earlier::default(), "there is no run before");
    f.store.save_page(&id, lone, &page(0, 1)).await.unwrap();
    f.store.cancel_run(&id, lone, "test", later(5)).await.unwrap();
    let next = begun(&f, &id).await;
    assert_eq!(earlier(&f.store, &id, next).await, Earlier::default(), "the run before was never pulled");
    let pulled = first_night(&f, &id).await;
    let last = begun(&f, &id).await;
    assert_eq!(earlier(&f.store, &id, last).await.run, Some(pulled));
    assert_eq!(earlier(&f.store, &id, next).await, Earlier::default(), "it is the younger one");
    let elsewhere = f.store.earlier_pages(&id, last, FIRST, ListingNo(1), 1..4).await.unwrap();
    assert_eq!(elsewhere, Earlier::default());
}

async fn first_pages_are_those_of_each_listing(f: Fixture) {
    let id = f.district("a").await;
    let first = begun(&f, &id).await;
    for (listing, number) in (0..4).flat_map(|listing| [(listing, 1), (listing, 2)]) {
        f.store.save_page(&id, first, &page(listing, number)).await.unwrap();
    }
    ended(&f, &id, first, 10).await;
    let next = begun(&f, &id).await;
    let found = f.store.earlier_first_pages(&id, next, FIRST, 1..3).await.unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), [&ListingNo(1), &ListingNo(2)]);
    for (listing, earlier) in found {
        assert_eq!(
            (earlier.run, earlier.digests.len(), earlier.told.len()),
            (Some(first), 1, 1),
            "page 2 is no first one"
        );
        assert_eq!(earlier, f.store.earlier_pages(&id, next, FIRST, listing, 1..2).await.unwrap());
    }
    assert!(f.store.earlier_first_pages(&id, first, FIRST, 0..64).await.unwrap().is_empty(), "there is no run before");
}

async fn what_no_lane_hands_in_is_not_noted(f: Fixture) {
    let id = f.district("a").await;
    first_night(&f, &id).await;
    let run = begun(&f, &id).await;
    let from = earlier(&f.store, &id, run).await;
    let pages = [came(1)];
    let stale = |_: &mut Board| None;
    let handed = f.store.hand_in((&id, run, FIRST), (LISTING, &from, &pages), now(), stale).await.unwrap();
    assert_eq!(handed, None);
    f.store.cancel_run(&id, run, "test", later(20)).await.unwrap();
    let change = |_: &mut Board| Some(Vec::new());
    let handed = f.store.hand_in((&id, run, FIRST), (LISTING, &from, &pages), now(), change).await.unwrap();
    assert_eq!(handed, None, "the run has ended");
    assert!(f.store.pages(&id, run).await.unwrap().is_empty());
}

async fn an_earlier_page_that_is_gone_is_not_stood_on(f: Fixture) {
    let id = f.district("a").await;
    first_night(&f, &id).await;
    let run = begun(&f, &id).await;
    let from = earlier(&f.store, &id, run).await;
    assert_eq!(f.store.forget_pages(later(11)).await.unwrap(), 3);
    assert!(hand_in(&f.store, &id, run, &from, &[came(1)]).await.is_empty(), "the page is to be carried");
    assert!(f.store.pages(&id, run).await.unwrap().is_empty());
}

async fn an_unchanged_page_takes_the_place_of_a_stashed_one(f: Fixture) {
    let id = f.district("a").await;
    first_night(&f, &id).await;
    let run = begun(&f, &id).await;
    f.store.stash_raw(&id, run, FIRST, LISTING, PageNo(1), b"of a lane that was lost").await.unwrap();
    let from = earlier(&f.store, &id, run).await;
    assert_eq!(hand_in(&f.store, &id, run, &from, &[came(1)]).await.len(), 1);
    f.store.stash_raw(&id, run, FIRST, LISTING, PageNo(1), b"late").await.unwrap();
    assert_content(&f.store, &id, run, &[1]).await;
}

async fn a_page_that_did_not_decode_is_never_stood_on(f: Fixture) {
    let id = f.district("a").await;
    let first = begun(&f, &id).await;
    let broken = NewPage { error: Some("line 1, column 9".to_owned()), body_digest: None, ..page(0, 1) };
    f.store.save_page(&id, first, &broken).await.unwrap();
    ended(&f, &id, first, 10).await;
    let run = begun(&f, &id).await;
    assert_eq!(earlier(&f.store, &id, run).await, Earlier::default());
    // Not even where somebody thinks that he knows its digest.
    let from = Earlier { run: Some(first), digests: [(PageNo(1), [1; 16])].into(), ..Earlier::default() };
    assert!(hand_in(&f.store, &id, run, &from, &[came(1)]).await.is_empty());
}

async fn content_is_kept_as_long_as_any_run_that_stands_on_it(f: Fixture) {
    let id = f.district("a").await;
    let first = first_night(&f, &id).await;
    let second = begun(&f, &id).await;
    let from = earlier(&f.store, &id, second).await;
    assert_eq!(hand_in(&f.store, &id, second, &from, &[came(1), came(2)]).await.len(), 2);
    ended(&f, &id, second, 20).await;
    assert_eq!(f.store.forget_pages(later(15)).await.unwrap(), 1, "page 3, on which nothing stands");
    assert!(f.store.pages(&id, first).await.unwrap().is_empty(), "the rest is no page of its run any more");
    let refused = f.store.replay_run(&replay(&id, first), ReplayPages::Kept, later(16)).await.unwrap();
    assert_eq!(refused.unwrap_err(), ReplayRefusal::PagesGone);
    // A message of long ago does not change what younger runs stand on.
    f.store.save_page(&id, first, &NewPage { fragments: b"other".to_vec(), ..page(0, 1) }).await.unwrap();
    f.store.stash_raw(&id, first, FIRST, LISTING, PageNo(1), b"other").await.unwrap();
    assert_content(&f.store, &id, second, &[1, 2]).await;

    let third = begun(&f, &id).await;
    let from = earlier(&f.store, &id, third).await;
    assert_eq!(hand_in(&f.store, &id, third, &from, &[came(1)]).await.len(), 1);
    ended(&f, &id, third, 30).await;
    assert_eq!(f.store.forget_pages(later(25)).await.unwrap(), 3, "the second's two, and page 2 of the first");
    assert_content(&f.store, &id, third, &[1]).await;
    assert_eq!(f.store.forget_pages(later(31)).await.unwrap(), 2, "the third's, and what it stood on");
    assert_eq!(f.store.raw_page(&id, third, FIRST, LISTING, PageNo(1)).await.unwrap(), None);
}

fn replay(id: &DistrictId, of: RunId) -> Replay {
    Replay { district: id.clone(), of, look: ReplayLook::Stored, actor: "ann".to_owned() }
}

async fn a_replay_of_unchanged_pages_has_content_of_its_own(f: Fixture) {
    let id = f.district("a").await;
    first_night(&f, &id).await;
    let second = same_night(&f, &id, 20).await;
    let kept = f.store.replay_run(&replay(&id, second), ReplayPages::Kept, later(21)).await.unwrap().unwrap().id;
    assert_content(&f.store, &id, kept, &[1, 2, 3]).await;
    assert!(f.store.cancel_run(&id, kept, "ann", later(40)).await.unwrap());
    assert_eq!(f.store.forget_pages(later(30)).await.unwrap(), 6, "both nights, and nothing of the replay");
    assert_content(&f.store, &id, kept, &[1, 2, 3]).await;
    let next = begun(&f, &id).await;
    assert_eq!(earlier(&f.store, &id, next).await.run, Some(kept), "a later night stands on the replay's pages");
    assert!(f.store.cancel_run(&id, next, "ann", later(40)).await.unwrap());

    let read = |page: &StoredPage<'_>| PageReading {
        fragments: page.raw.to_vec(),
        rows: 1,
        digest: [9; 16],
        claimed_total: None,
        error: None,
    };
    let again = f.store.replay_run(&replay(&id, kept), ReplayPages::Read(&read), later(41)).await.unwrap().unwrap().id;
    assert_eq!(f.store.fragments(&id, again).await.unwrap()[2].fragments, b"raw 0/3");
    assert!(f.store.cancel_run(&id, again, "ann", later(42)).await.unwrap());
    let next = begun(&f, &id).await;
    assert_eq!(earlier(&f.store, &id, next).await, Earlier::default(), "read by whatever the replay was read by");
}

async fn digests_tell_nothing_to_another_key_district_or_question(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let of = |store: &Store, id: &DistrictId, resource: &str, body: &[u8]| {
        store.page_digester(id).of(SisKind::SkywardQmlativ, (resource, &[]), body)
    };
    let digest = of(&f.store, &a, "Student/Student", b"body");
    assert_eq!(of(&f.again().await, &a, "Student/Student", b"body"), digest, "every process takes the same");
    let rotated = f.opened_with(&new_key()).await;
    for other in [
        of(&rotated, &a, "Student/Student", b"body"),
        of(&f.store, &b, "Student/Student", b"body"),
        of(&f.store, &a, "Demographics/Name", b"body"),
        of(&f.store, &a, "Student/Student", b"Body"),
        f.store.page_digester(&a).of(SisKind::OneRoster, ("Student/Student", &[]), b"body"),
        f.store.page_digester(&a).of(SisKind::SkywardQmlativ, ("Student/Student", &["NameID".to_owned()]), b"body"),
    ] {
        assert_ne!(other, digest);
    }
}

async fn digests_of_secrets_and_ids_tell_nothing_to_another_key_or_district(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let rotated = f.opened_with(&new_key()).await;
    let of = |store: &Store, district: &DistrictId, what: &str, id: &str| {
        store.page_digester(district).of_other(what, id.as_bytes())
    };
    let id = of(&f.store, &a, "id", "S-1");
    assert_eq!(of(&f.again().await, &a, "id", "S-1"), id, "every process takes the same");
    let others = [
        of(&rotated, &a, "id", "S-1"),
        of(&f.store, &b, "id", "S-1"),
        of(&f.store, &a, "name", "S-1"),
        of(&f.store, &a, "id", "S-2"),
    ];
    assert!(!others.contains(&id));
    let digest = |store: &Store, district: &DistrictId, secrets| store.secrets_digest(district, &secrets).unwrap();
    let same = digest(&f.store, &a, secrets());
    assert_eq!(digest(&f.again().await, &a, secrets()), same);
    let header = |value: &str| BTreeMap::from([("x-key".to_owned(), SecretString::from(value.to_owned()))]);
    let others = [
        digest(&rotated, &a, secrets()),
        digest(&f.store, &b, secrets()),
        digest(&f.store, &a, ConnectionSecrets { client_secret: "another".into(), ..secrets() }),
        digest(&f.store, &a, ConnectionSecrets { vendor_secret: None, ..secrets() }),
        digest(&f.store, &a, ConnectionSecrets { token_secret_parameters: BTreeMap::new(), ..secrets() }),
        digest(&f.store, &a, ConnectionSecrets { secret_headers: header("another"), ..secrets() }),
    ];
    assert!(!others.contains(&same));
}
