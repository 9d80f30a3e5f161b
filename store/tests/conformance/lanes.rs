//! Whose a connection's lanes are.

use rollcall_proto::id::{ConnectionNo, DistrictId, RunId};
use rollcall_store::{Claim, Lanes, Wait, run::PullState};

use crate::{
    common::{Fixture, district, now},
    roster_support::change,
    support::{FIRST, board, discovery, secrets},
};

crate::on_both_engines! {
    runs_take_a_connections_lanes_in_the_order_in_which_they_were_made,
    lanes_are_free_when_a_pull_or_its_run_is_over,
    a_fetched_board_asks_again_when_no_other_run_asks,
    one_of_many_that_want_the_same_lanes_gets_them,
    who_was_sent_away_is_asked_again_once,
    a_board_that_nobody_can_read_keeps_no_other_run_waiting,
    each_connection_has_lanes_of_its_own,
}

async fn claim(f: &Fixture, id: &DistrictId, run: RunId) -> Claim {
    let claim = f.store.take_lanes(id, run, FIRST, now()).await.unwrap();
    if claim != Claim::Over {
        let looked = f.store.lanes_taken_by(id, run, FIRST).await.unwrap();
        assert_eq!(looked.map_or(Claim::Own, Claim::Taken), claim, "who only looks sees the same");
    }
    claim
}

async fn wait(f: &Fixture, id: &DistrictId, run: RunId) -> Wait {
    f.store.wait_for_lanes(id, run, FIRST).await.unwrap()
}

/// As a second look does.
async fn asks_again(f: &Fixture, id: &DistrictId, run: RunId) -> Lanes<Option<()>> {
    f.store.with_lanes(id, run, FIRST, |_| ((), false)).await.unwrap()
}

async fn discovered(f: &Fixture, id: &DistrictId, run: RunId) {
    assert!(f.store.save_discovery(id, run, FIRST, &discovery(), &board(1)).await.unwrap());
}

async fn fetched(f: &Fixture, id: &DistrictId, run: RunId) {
    f.store.with_board(id, run, FIRST, |_| ((), true)).await.unwrap().unwrap();
}

async fn runs_take_a_connections_lanes_in_the_order_in_which_they_were_made(f: Fixture) {
    let (id, elsewhere) = (f.district("a").await, f.district("b").await);
    let (first, second) = (f.run(&id).await.id, f.run(&id).await.id);
    let of_another_district = f.run(&elsewhere).await.id;
    assert_eq!(claim(&f, &id, second).await, Claim::Taken(first), "its turn comes first, although it has not begun");
    assert_eq!(claim(&f, &id, first).await, Claim::Own);
    assert_eq!(claim(&f, &id, first).await, Claim::Own, "the discovery goes on in another turn");
    assert_eq!(claim(&f, &id, second).await, Claim::Taken(first));
    discovered(&f, &id, first).await;
    assert_eq!(claim(&f, &id, second).await, Claim::Taken(first), "it fetches");
    assert_eq!(claim(&f, &elsewhere, of_another_district).await, Claim::Own, "each district for itself");
    fetched(&f, &id, first).await;
    assert_eq!(claim(&f, &id, second).await, Claim::Own);
    let third = f.run(&id).await.id;
    assert_eq!(claim(&f, &id, third).await, Claim::Taken(second));
}

async fn lanes_are_free_when_a_pull_or_its_run_is_over(f: Fixture) {
    let id = f.district("a").await;
    let (first, second) = (f.run(&id).await.id, f.run(&id).await.id);
    assert_eq!(claim(&f, &id, first).await, Claim::Own);
    assert!(f.store.cancel_run(&id, first, "test", now()).await.unwrap());
    assert_eq!(claim(&f, &id, second).await, Claim::Own, "the run was cancelled");
    assert_eq!(claim(&f, &id, first).await, Claim::Over, "there is nothing to discover");
    discovered(&f, &id, second).await;
    assert_eq!(claim(&f, &id, second).await, Claim::Over, "it is discovered");
    let third = f.run(&id).await.id;
    assert_eq!(claim(&f, &id, third).await, Claim::Taken(second));
    f.store.fail_pull(&id, second, FIRST, "why").await.unwrap();
    assert_eq!(claim(&f, &id, third).await, Claim::Own, "the pull was given up");
}

async fn a_fetched_board_asks_again_when_no_other_run_asks(f: Fixture) {
    let id = f.district("a").await;
    let first = f.run(&id).await.id;
    discovered(&f, &id, first).await;
    assert_eq!(asks_again(&f, &id, first).await, Lanes::Free(Some(())), "it has the lanes");
    fetched(&f, &id, first).await;
    let second = f.run(&id).await.id;
    assert_eq!(asks_again(&f, &id, first).await, Lanes::Free(Some(())), "the other one has not begun");
    assert_eq!(claim(&f, &id, second).await, Claim::Taken(first));
    fetched(&f, &id, first).await;
    assert_eq!(claim(&f, &id, second).await, Claim::Own);
    let place = (&id, first, FIRST);
    for what in ["it discovers", "it fetches"] {
        assert_eq!(asks_again(&f, &id, first).await, Lanes::Taken(second), "{what}");
        let own = f.store.pulls(&id, first).await.unwrap().remove(0);
        assert_eq!(own.state, PullState::Fetched, "{what}: nothing was changed");
        let everything = f.store.ask_everything(place, "why", now()).await.unwrap();
        assert_eq!(everything, Lanes::Taken(second), "{what}");
        if what == "it discovers" {
            discovered(&f, &id, second).await;
        }
    }
    fetched(&f, &id, second).await;
    assert_eq!(asks_again(&f, &id, first).await, Lanes::Free(Some(())));
}

async fn one_of_many_that_want_the_same_lanes_gets_them(f: Fixture) {
    let id = f.district("a").await;
    let other = f.again().await;
    // Two that are fetched and want to ask again, and two that have yet to begin.
    let mut runs = Vec::new();
    for number in 0..4 {
        let run = f.run(&id).await.id;
        if number < 2 {
            discovered(&f, &id, run).await;
            fetched(&f, &id, run).await;
        }
        runs.push(run);
    }
    for round in 0..10 {
        let tasks: Vec<_> = runs
            .iter()
            .enumerate()
            .map(|(number, run)| {
                let (store, id, run) = (if number % 2 == 0 { &f.store } else { &other }.clone(), id.clone(), *run);
                tokio::spawn(async move {
                    let free = if number < 2 {
                        store.with_lanes(&id, run, FIRST, |_| ((), false)).await.unwrap() == Lanes::Free(Some(()))
                    } else {
                        store.take_lanes(&id, run, FIRST, now()).await.unwrap() == Claim::Own
                    };
                    (run, free)
                })
            })
            .collect();
        let mut got = Vec::new();
        for task in tasks {
            got.extend(Some(task.await.unwrap()).filter(|(_, free)| *free));
        }
        assert_eq!(got.len(), 1, "round {round}: {got:?}");
        let Some(fetches) = runs.iter().take(2).find(|run| **run == got[0].0) else { break };
        fetched(&f, &id, *fetches).await;
    }
}

async fn who_was_sent_away_is_asked_again_once(f: Fixture) {
    let id = f.district("a").await;
    let (first, second) = (f.run(&id).await.id, f.run(&id).await.id);
    assert_eq!(wait(&f, &id, first).await, Wait::None);
    assert_eq!(wait(&f, &id, second).await, Wait::For(first), "its message is on its way");
    assert_eq!(claim(&f, &id, first).await, Claim::Own);
    discovered(&f, &id, first).await;
    assert_eq!(claim(&f, &id, second).await, Claim::Taken(first));
    fetched(&f, &id, first).await;
    assert_eq!(wait(&f, &id, second).await, Wait::Over);
    let end = async || f.store.end_wait_for_lanes(&id, second, FIRST).await.unwrap();
    assert_eq!((end().await, end().await), (true, false));
    assert_eq!(wait(&f, &id, second).await, Wait::None);
    assert_eq!(claim(&f, &id, second).await, Claim::Own);
}

async fn a_board_that_nobody_can_read_keeps_no_other_run_waiting(f: Fixture) {
    let id = f.district("a").await;
    for column in ["board", "discovery"] {
        let (first, second) = (f.run(&id).await.id, f.run(&id).await.id);
        discovered(&f, &id, first).await;
        assert_eq!(claim(&f, &id, second).await, Claim::Taken(first), "{column}");
        let damage = if f.dir().is_some() { "x'00'" } else { "'\\x00'" };
        let sql = format!("UPDATE pull SET {column} = {damage} WHERE district = $1 AND state = 'fetching'");
        change(&f, &id, &sql).await;
        let read = (f.store.board(&id, first, FIRST).await, f.store.pulls(&id, first).await);
        assert!(read.0.is_err() || read.1.is_err(), "{column}");
        assert_eq!(claim(&f, &id, second).await, Claim::Own, "{column}");
        for run in [first, second] {
            f.store.cancel_run(&id, run, "test", now()).await.unwrap();
        }
    }
}

async fn each_connection_has_lanes_of_its_own(f: Fixture) {
    let mut district = district("a");
    district.connections.push(district.connections[0].clone());
    district.connections[0].id_prefix = Some("a-".to_owned());
    district.connections[1].id_prefix = Some("b-".to_owned());
    let (id, second) = (district.id.clone(), ConnectionNo(1));
    f.store.apply_district(&district, &[secrets(), secrets()], "test", now()).await.unwrap();
    let (older, younger) = (f.run(&id).await.id, f.run(&id).await.id);
    let claim = async |run, connection| f.store.take_lanes(&id, run, connection, now()).await.unwrap();
    assert_eq!(claim(older, FIRST).await, Claim::Own);
    assert_eq!(claim(older, second).await, Claim::Own);
    f.store.fail_pull(&id, older, second, "why").await.unwrap();
    assert_eq!(claim(younger, second).await, Claim::Own);
    assert_eq!(claim(younger, FIRST).await, Claim::Taken(older));
}
