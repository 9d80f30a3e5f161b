//! Pages and plans that have been kept long enough.

use chrono::TimeDelta;
use rollcall_classifier::{reconcile, retention};
use rollcall_proto::id::RunId;
use rollcall_store::run::RunState;

use crate::night::{Night, sis};

#[tokio::test]
async fn pages_and_plans_age_out_by_the_hour() {
    let mut night = Night::new().await;
    let whole = sis(5);
    let run = night.night(&whole).await;
    let lines = async |night: &Night| night.context.store.plan_lines(&night.district, run.id).await.unwrap().len();

    let due = retention::tidy(&night.context, night.now()).await;
    assert_eq!(due, night.now() + TimeDelta::hours(1));
    night.clock.advance(TimeDelta::days(7));
    retention::tidy(&night.context, night.now()).await;
    assert_eq!(night.pages_of(run.id).await, 6, "seven days are not over before they are over");
    night.clock.advance(TimeDelta::minutes(59));
    let later = night.now() + TimeDelta::minutes(1);
    assert_eq!(retention::tidy(&night.context, later).await, later, "it is not time to look");
    assert_eq!(retention::tidy(&night.context, night.now()).await, night.now() + TimeDelta::hours(1));
    assert_eq!(night.pages_of(run.id).await, 6, "a process that has just started finds that another has looked");
    night.clock.advance(TimeDelta::minutes(1));
    retention::tidy(&night.context, night.now()).await;
    assert_eq!(night.pages_of(run.id).await, 0);
    assert_eq!(lines(&night).await, 5);
    night.clock.advance(TimeDelta::days(83));
    retention::tidy(&night.context, night.now()).await;
    assert_eq!(lines(&night).await, 0);
    let kept = night.run(run.id).await;
    assert_eq!((kept.state, kept.counts), (RunState::Succeeded, run.counts));
}

#[tokio::test]
async fn the_reconciler_tidies_when_it_starts_and_every_hour() {
    let mut night = Night::new().await;
    let whole = sis(5);
    let first = night.night(&whole).await;
    night.clock.advance(TimeDelta::days(8));
    let mut context = night.context.clone();
    context.config.reconcile_every = std::time::Duration::from_millis(5);
    let shutdown = tokio_util::sync::CancellationToken::new();
    let reconciler = tokio::spawn(reconcile::run(context, shutdown.clone()));
    until_no_pages(&night, first.id).await;
    let second = night.night(&whole).await;
    assert_eq!(night.pages_of(second.id).await, 6);
    night.clock.advance(TimeDelta::days(8));
    until_no_pages(&night, second.id).await;
    shutdown.cancel();
    reconciler.await.unwrap();
}

async fn until_no_pages(night: &Night, run: RunId) {
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while night.pages_of(run).await > 0 {
        assert!(tokio::time::Instant::now() < limit, "the pages are still there");
        tokio::task::yield_now().await;
    }
}
