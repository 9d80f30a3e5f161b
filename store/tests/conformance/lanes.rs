//! Whose a connection's lanes are.

use rollcall_proto::id::{DistrictId, RunId};
use rollcall_store::{Lanes, run::PullState};

use crate::{
    common::{Fixture, now},
    support::{FIRST, board, discovery},
};

crate::on_both_engines! {
    runs_take_a_connections_lanes_in_the_order_in_which_they_were_made,
    lanes_are_free_when_a_pull_or_its_run_is_over,
    a_fetched_board_asks_again_when_no_other_run_asks,
    one_of_many_that_want_the_same_lanes_gets_them,
}

async fn taken(f: &Fixture, id: &DistrictId, run: RunId) -> Lanes<()> {
    let taken = f.store.take_lanes(id, run, FIRST, now()).await.unwrap();
    let looked = f.store.lanes_taken_by(id, run, FIRST).await.unwrap();
    assert_eq!(looked.map_or(Lanes::Free(()), Lanes::Taken), taken, "who only looks sees the same");
    taken
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
    assert_eq!(taken(&f, &id, second).await, Lanes::Taken(first), "its turn comes first, although it has not begun");
    assert_eq!(taken(&f, &id, first).await, Lanes::Free(()));
    assert_eq!(taken(&f, &id, first).await, Lanes::Free(()), "the discovery goes on in another turn");
    assert_eq!(taken(&f, &id, second).await, Lanes::Taken(first));
    discovered(&f, &id, first).await;
    assert_eq!(taken(&f, &id, second).await, Lanes::Taken(first), "it fetches");
    assert_eq!(taken(&f, &elsewhere, of_another_district).await, Lanes::Free(()), "each district for itself");
    fetched(&f, &id, first).await;
    assert_eq!(taken(&f, &id, second).await, Lanes::Free(()));
    let third = f.run(&id).await.id;
    assert_eq!(taken(&f, &id, third).await, Lanes::Taken(second));
}

async fn lanes_are_free_when_a_pull_or_its_run_is_over(f: Fixture) {
    let id = f.district("a").await;
    let (first, second) = (f.run(&id).await.id, f.run(&id).await.id);
    assert_eq!(taken(&f, &id, first).await, Lanes::Free(()));
    assert!(f.store.cancel_run(&id, first, "test", now()).await.unwrap());
    assert_eq!(taken(&f, &id, second).await, Lanes::Free(()), "the run was cancelled");
    assert_eq!(taken(&f, &id, first).await, Lanes::Free(()), "a run that has ended waits for nobody");
    discovered(&f, &id, second).await;
    let third = f.run(&id).await.id;
    assert_eq!(taken(&f, &id, third).await, Lanes::Taken(second));
    f.store.fail_pull(&id, second, FIRST, "why").await.unwrap();
    assert_eq!(taken(&f, &id, third).await, Lanes::Free(()), "the pull was given up");
}

async fn a_fetched_board_asks_again_when_no_other_run_asks(f: Fixture) {
    let id = f.district("a").await;
    let first = f.run(&id).await.id;
    discovered(&f, &id, first).await;
    assert_eq!(asks_again(&f, &id, first).await, Lanes::Free(Some(())), "it has the lanes");
    fetched(&f, &id, first).await;
    let second = f.run(&id).await.id;
    assert_eq!(asks_again(&f, &id, first).await, Lanes::Free(Some(())), "the other one has not begun");
    assert_eq!(taken(&f, &id, second).await, Lanes::Taken(first));
    fetched(&f, &id, first).await;
    assert_eq!(taken(&f, &id, second).await, Lanes::Free(()));
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
                        store.take_lanes(&id, run, FIRST, now()).await.unwrap() == Lanes::Free(())
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
