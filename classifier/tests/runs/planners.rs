//! Planners that are hindered, stopped in the middle, or come late.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::mpsc,
    task::Poll,
    time::Duration,
};

use chrono::TimeDelta;
use rollcall_classifier::{claim::Planners, plan_handler::PlanHandler, reconcile};
use rollcall_proto::{
    handler::{Fate, Handler as _, Retry},
    id::RunId,
    message::{Body, Message},
    topology::ATTEMPTS,
};
use rollcall_store::run::{RunState, Stage};

use crate::{
    night::{Night, sis},
    nights::{all_but, half_approved},
};

/// Longer than any wait of these tests.
const LIMIT: Duration = Duration::from_mins(1);

/// A run that stands at its plan, and the message that asks for it.
async fn at_plan(night: &mut Night) -> (RunId, Message) {
    let sis = sis(4);
    let run = night.start(&sis).await;
    let plan = all_but(night, &sis, |body| matches!(body, Body::Plan(_))).await.remove(0);
    assert_eq!(night.run(run).await.stage, Stage::Plan);
    (run, plan)
}

/// The same, and whoever is to plan it as one of these.
async fn at_plan_of(planners: &Planners) -> (Night, RunId, Message, PlanHandler) {
    let mut night = Night::new().await;
    let (run, plan) = at_plan(&mut night).await;
    let handler = PlanHandler::new(night.context.clone(), planners.clone());
    (night, run, plan, handler)
}

fn retry(reason: &'static str) -> Retry {
    Retry { reason, detail: "it went wrong".to_owned(), after: Duration::ZERO, free: false }
}

/// Plans until the run is claimed, then calls `then` and stops or goes on as it says.
async fn once_claimed(
    night: &Night,
    handler: &PlanHandler,
    plan: &Message,
    then: impl AsyncFnOnce() -> bool,
) -> Option<Fate> {
    let mut database = night.database().await;
    let mut planning = pin!(handler.handle(plan.clone()));
    loop {
        let polled = poll_fn(|context| Poll::Ready(planning.as_mut().poll(context))).await;
        assert!(polled.is_pending(), "it planned before anybody saw that it had begun: {polled:?}");
        // Not by the store: what is not gone on with may keep its connections.
        let claimed = "SELECT count(*) FROM run WHERE stage = 'plan' AND plan_lease_until IS NOT NULL";
        if sqlx::query_scalar::<_, i64>(claimed).fetch_one(&mut database).await.unwrap() > 0 {
            break;
        }
    }
    if then().await { Some(planning.await) } else { None }
}

async fn gone(planners: &Planners) {
    let begun = tokio::time::Instant::now();
    planners.gone(LIMIT).await;
    assert!(begun.elapsed() < LIMIT, "a planner never gave its run back");
}

#[tokio::test]
async fn a_database_that_refuses_everybody_alike_ends_no_run() {
    let (mut night, run, plan, handler) = at_plan_of(&Planners::mortal()).await;
    night.execute("ALTER TABLE plan_batch RENAME TO elsewhere").await;
    let mut last = None;
    for attempt in 0..=ATTEMPTS {
        let Fate::Retry(again) = handler.handle(plan.clone()).await else { panic!("attempt {attempt}: no retry") };
        assert!(!again.free, "it is told of: {again:?}");
        last = Some(again);
    }
    assert_eq!(handler.exhausted(plan, last.unwrap()).await, Fate::Done, "neither parked nor ended");
    let open = night.run(run).await;
    assert_eq!((open.state, open.stage), (RunState::Running, Stage::Plan), "{open:?}");

    night.execute("ALTER TABLE elsewhere RENAME TO plan_batch").await;
    night.clock.advance(TimeDelta::minutes(2));
    assert_eq!(reconcile::tick(&night.context).await.unwrap().helped, 1, "somebody asks for the plan again");
    night.work(&sis(4)).await;
    assert_eq!(night.run(run).await.state, RunState::Succeeded);
}

/// As where its process is told to stop, or the bus is lost while it plans.
#[tokio::test]
async fn a_planner_that_is_stopped_in_the_middle_uses_up_no_attempt() {
    let planners = Planners::new();
    let (mut night, run, plan, handler) = at_plan_of(&planners).await;
    for _ in 0..=ATTEMPTS {
        assert_eq!(once_claimed(&night, &handler, &plan, async || false).await, None);
        gone(&planners).await;
    }
    night.handle(&sis(4), plan).await;
    night.work(&sis(4)).await;
    assert_eq!(night.run(run).await.state, RunState::Succeeded);
}

/// A process with one thread for plans.
fn with_one_thread(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(test())));
    // Where the test has failed, a thread may still be at it.
    runtime.shutdown_background();
    ended.unwrap_or_else(|cause| resume_unwind(cause));
}

/// The one thread has something else to do until this is dropped, so that no plan is begun.
fn busy() -> mpsc::Sender<()> {
    let (busy, done) = mpsc::channel();
    tokio::task::spawn_blocking(move || done.recv());
    busy
}

/// Stops a planner whose thread has not ended; true where the run stays claimed.
async fn stopped_at_work(night: &Night, handler: &PlanHandler, plan: &Message) -> bool {
    let mut database = night.database().await;
    // Not by the store: what is not gone on with may keep its connections.
    let claimed = "SELECT count(*) FROM run WHERE stage = 'plan' AND plan_lease_until IS NOT NULL";
    let mut is_claimed = async || sqlx::query_scalar::<_, i64>(claimed).fetch_one(&mut database).await.unwrap() > 0;
    let (mut looks, begun) = (1, tokio::time::Instant::now());
    // Until it is at work: before, what was gathered is let go at once, and the run with it.
    while begun.elapsed() < LIMIT {
        {
            let mut planning = pin!(handler.handle(plan.clone()));
            for _ in 0..looks {
                let polled = poll_fn(|context| Poll::Ready(planning.as_mut().poll(context))).await;
                assert!(polled.is_pending(), "it planned without a thread: {polled:?}");
                is_claimed().await;
            }
        }
        let mut stays = is_claimed().await;
        for _ in 0..20 {
            stays = stays && is_claimed().await;
        }
        if stays {
            return true;
        }
        looks *= 2;
    }
    false
}

/// Its thread goes on with all it has in memory; another planner beside it would need as much again.
#[test]
fn a_run_is_of_one_planner_until_its_thread_has_ended() {
    with_one_thread(async || {
        let planners = Planners::new();
        let (night, run, plan, handler) = at_plan_of(&planners).await;
        let busy = busy();
        assert!(stopped_at_work(&night, &handler, &plan).await, "given back while its thread has it");
        drop(busy);
        gone(&planners).await;
        let now = night.now();
        let claimed = night.context.store.claim_plan(&night.district, run, now, now + TimeDelta::minutes(3)).await;
        assert_eq!(claimed.unwrap(), Some(1), "free once it has ended, and no attempt is used up");
    });
}

/// A signal to stop is heeded within ten seconds, whatever is planned; the thread ends with its process.
#[test]
fn a_process_that_ends_gives_back_what_its_threads_are_still_at() {
    with_one_thread(async || {
        let planners = Planners::new();
        let (night, run, plan, handler) = at_plan_of(&planners).await;
        let _busy = busy();
        assert!(stopped_at_work(&night, &handler, &plan).await);
        planners.gone(Duration::from_secs(2)).await;
        let now = night.now();
        let claimed = night.context.store.claim_plan(&night.district, run, now, now + TimeDelta::minutes(3)).await;
        assert_eq!(claimed.unwrap(), Some(1), "no attempt is used up");
    });
}

#[tokio::test]
async fn a_planner_that_cannot_reach_the_store_gives_back_later() {
    let planners = Planners::new();
    let (night, run, plan, handler) = at_plan_of(&planners).await;
    let away = async || {
        night.execute("ALTER TABLE run RENAME TO elsewhere").await;
        true
    };
    let fate = once_claimed(&night, &handler, &plan, away).await;
    assert!(matches!(fate, Some(Fate::Retry(_))), "{fate:?}");
    night.execute("ALTER TABLE elsewhere RENAME TO run").await;
    gone(&planners).await;
    let now = night.now();
    let claimed = night.context.store.claim_plan(&night.district, run, now, now + TimeDelta::minutes(3)).await;
    assert_eq!(claimed.unwrap(), Some(1), "free at once, and no attempt is used up");
}

#[tokio::test]
async fn a_message_that_fails_for_good_ends_no_run_that_somebody_plans() {
    let (night, run, plan, handler) = at_plan_of(&Planners::mortal()).await;
    let until = night.now() + TimeDelta::minutes(3);
    assert!(night.context.store.claim_plan(&night.district, run, night.now(), until).await.unwrap().is_some());
    assert_eq!(handler.exhausted(plan.clone(), retry("too-long")).await, Fate::Done);
    assert_eq!(night.run(run).await.stage, Stage::Plan);
    night.clock.advance(TimeDelta::minutes(3));
    assert_eq!(handler.exhausted(plan, retry("too-long")).await, Fate::Done);
    assert_eq!(night.run(run).await.state, RunState::Failed, "their time is over");
}

#[tokio::test]
async fn a_message_that_fails_for_good_ends_no_second_look_under_way() {
    let mut night = Night::new().await;
    let (half, run) = half_approved(&mut night).await;
    night.context.ask_to_plan((&night.district, run), None).await.unwrap();
    let plan = night.next().unwrap();
    night.handle(&half, plan.clone()).await;
    assert_eq!(night.run(run).await.stage, Stage::Recheck);
    let handler = PlanHandler::new(night.context.clone(), Planners::mortal());
    assert_eq!(handler.exhausted(plan, retry("bus-refused")).await, Fate::Done);
    night.work(&half).await;
    assert_eq!(night.run(run).await.state, RunState::Succeeded);
}

/// As where the fetcher's reconciler takes a lost page back in the moment in which the run is noted as pulled.
#[tokio::test]
async fn a_run_at_its_plan_without_one_of_its_pages_goes_back_to_its_pull() {
    let mut night = Night::new().await;
    let (run, plan) = at_plan(&mut night).await;
    night.execute("CREATE TABLE lost AS SELECT * FROM page LIMIT 1").await;
    night.execute("DELETE FROM page WHERE (listing, page) IN (SELECT listing, page FROM lost)").await;
    night.handle(&sis(4), plan).await;
    assert_eq!(night.run(run).await.stage, Stage::Pull, "where its pages are looked after");
    night.execute("INSERT INTO page SELECT * FROM lost").await;
    night.execute("DROP TABLE lost").await;
    let key = (&night.district, run);
    assert!(night.context.advance(key).await.unwrap());
    night.context.ask_to_plan(key, None).await.unwrap();
    night.work(&sis(4)).await;
    assert_eq!(night.run(run).await.state, RunState::Succeeded);
}

/// A planner whose time is over gives nothing back that somebody else has by then.
#[tokio::test]
async fn a_plan_that_the_roster_changed_under_frees_the_run_where_it_is_still_its_planners() {
    let roster = "UPDATE district SET roster_version = roster_version + 1";
    let taken = "UPDATE run SET plan_lease_until = '2999-01-01T00:00:00+00:00', plan_attempts = 5";
    for (meanwhile, expected) in [(&[roster][..], (0, true)), (&[roster, taken], (5, false))] {
        let (night, run, plan, handler) = at_plan_of(&Planners::mortal()).await;
        let change = async || {
            for sql in meanwhile {
                night.execute(sql).await;
            }
            true
        };
        let fate = once_claimed(&night, &handler, &plan, change).await;
        assert!(matches!(&fate, Some(Fate::Retry(again)) if again.reason == "roster-changed"), "{fate:?}");
        assert_eq!(night.run(run).await.stage, Stage::Plan);
        let left = "SELECT plan_attempts, plan_lease_until IS NULL FROM run";
        let left = sqlx::query_as::<_, (i64, bool)>(left).fetch_one(&mut night.database().await).await.unwrap();
        assert_eq!(left, expected, "{meanwhile:?}");
    }
}
