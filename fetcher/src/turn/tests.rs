//! What counts as stored of a turn, whatever becomes of storing it.
#![allow(clippy::unwrap_used)]

use futures_util::{FutureExt as _, future::maybe_done, poll};
use rollcall_proto::{
    clock::ManualClock,
    id::{ConnectionNo, DistrictId, RunId},
};
use rollcall_store::{
    district::{ConnectionSecrets, District},
    run::{NewRun, Trigger},
    secret::Keyring,
};
use serde_json::json;

use super::*;

/// A discovery that has just begun.
struct Begun {
    store: Store,
    clock: ManualClock,
    district: DistrictId,
    run: RunId,
    _dir: tempfile::TempDir,
}

impl Begun {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Keyring::create_file(&dir.path().join("key")).unwrap();
        let store = Store::open_embedded(dir.path(), key).await.unwrap();
        let clock = ManualClock::new(DateTime::from_timestamp(1_792_000_000, 0).unwrap());
        let connection = json!({"kind": "oneroster", "base_url": "https://x.example", "client_id": "c"});
        let file = json!({"id": "d", "name": "D", "time_zone": "America/Chicago", "connection": [connection]});
        let district: District = serde_json::from_value(file).unwrap();
        store.apply_district(&district, &[ConnectionSecrets::default()], "test", clock.now()).await.unwrap();
        let new = NewRun {
            district: district.id.clone(),
            trigger: Trigger::Manual,
            as_of: clock.now().date_naive(),
            plan_only: false,
            as_of_given: false,
            everything: false,
            requested_by: "test".to_owned(),
        };
        let run = store.create_run(&new, clock.now()).await.unwrap().unwrap().id;
        Self { store, clock, district: district.id, run, _dir: dir }
    }

    async fn turn(&self) -> Turn<'_> {
        let place = (&self.district, self.run, ConnectionNo(0));
        Turn::begin(&self.store, place, "settings", &self.clock).await.unwrap()
    }

    /// Questions of which the answer is stored.
    async fn kept(&self) -> Vec<String> {
        let learned = self.store.learned(&self.district, self.run, ConnectionNo(0)).await.unwrap();
        learned.unwrap_or_default().answers.into_keys().collect()
    }
}

async fn learn(turn: &Turn<'_>, question: &str) {
    assert_eq!(turn.answer(question, async { Ok(1) }).await, Ok(1));
}

#[tokio::test]
async fn what_was_given_up_while_it_was_stored_is_stored_all_the_same() {
    let begun = Begun::new().await;
    let turn = begun.turn().await;
    // The store works on a thread of its own: now and then it has all it needs before it is given up.
    for number in 0..100 {
        let question = format!("{number:03}");
        learn(&turn, &question).await;
        let cut_off = turn.keep().now_or_never().is_none();
        if cut_off && !begun.kept().await.contains(&question) {
            turn.keep().await.unwrap();
            assert_eq!(begun.kept().await.last(), Some(&question));
            return;
        }
    }
    panic!("no storing of a hundred was cut off");
}

#[tokio::test]
async fn what_is_learned_while_the_rest_is_stored_is_stored_next() {
    let begun = Begun::new().await;
    let turn = begun.turn().await;
    learn(&turn, "a").await;
    let mut first = Box::pin(maybe_done(turn.keep()));
    _ = poll!(&mut first);
    learn(&turn, "b").await;
    // Begun later, and not to be overtaken by the first.
    let (second, ()) = tokio::join!(turn.keep(), &mut first);
    first.as_mut().take_output().unwrap().and(second).unwrap();
    assert_eq!(begun.kept().await, ["a", "b"]);
    turn.forget("a");
    turn.keep().await.unwrap();
    assert_eq!(begun.kept().await, ["b"]);
    assert_eq!(begun.turn().await.notes().answers.len(), 1, "where the next turn begins");
}

#[tokio::test]
async fn the_end_of_a_turn_cuts_the_first_question_off_too() {
    let begun = Begun::new().await;
    let mut turn = begun.turn().await;
    turn.bounds.as_mut().unwrap().ends_at = Instant::now();
    let answer = turn.answer::<u8>("a", std::future::pending()).await;
    assert_eq!(answer, Err(SisError::Unfinished { answered: 0 }));
    assert!(!turn.has_learned());
}

/// Who reads the database alone, and has a list of ids, learns of none of them that it is there.
#[tokio::test]
async fn ids_in_answers_are_digests_under_the_key_of_the_store() {
    let begun = Begun::new().await;
    let (turn, next, endless) = (begun.turn().await, begun.turn().await, Turn::endless());
    let of = |turn: &Turn<'_>| ["S-1", "S-2"].map(|id| turn.digest_of_id(id));
    assert_eq!(of(&turn), of(&next), "of every process");
    let plain = ["S-1", "S-2"].map(|id| {
        let hash = blake3::hash(id.as_bytes());
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap())
    });
    for [one, other] in [of(&turn), of(&endless)] {
        assert_ne!(one, other);
    }
    assert!(of(&turn).iter().all(|digest| !plain.contains(digest)));
}
