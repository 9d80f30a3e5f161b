//! What the tests of both buses share.

pub mod amqp;
pub mod amqp_only;
pub mod broker;
pub mod embedded;
pub mod embedded_only;
pub mod frames;
pub mod least_rights;
pub mod not_taken;
pub mod suite;
pub mod workers;

use std::time::Duration;

use rollcall_proto::{
    bus::{Delivery, SharedBus, Subscription},
    topology::Queue,
};
use tokio::time::{Instant, timeout};

/// Limit on anything that has to happen.
pub const LIMIT: Duration = Duration::from_mins(1);

/// Long enough for what must not happen to have happened.
pub const QUIET: Duration = Duration::from_millis(600);

/// A bus of its own for one test.
pub trait World: Send + Sync + Sized {
    async fn start() -> Self;
    fn bus(&self) -> SharedBus;
    /// Puts bytes that are no message into a queue, as a program of another version might.
    async fn inject(&self, queue: Queue, bytes: &[u8]);
    async fn stop(self);
}

/// The next delivery, within the limit.
pub async fn next(subscription: &mut Box<dyn Subscription>) -> Delivery {
    timeout(LIMIT, subscription.next()).await.expect("a delivery within the limit").expect("a live subscription")
}

/// Nothing comes.
pub async fn assert_quiet(subscription: &mut Box<dyn Subscription>) {
    assert!(timeout(QUIET, subscription.next()).await.is_err(), "a delivery came that should not");
}

/// Waits for a condition.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < limit, "waited {LIMIT:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Number of parked messages.
pub async fn parked_count(bus: &SharedBus, queue: Queue) -> u64 {
    let depths = bus.depths().await.expect("depths");
    depths.iter().find(|depth| depth.queue == queue).expect("every queue").parked
}

/// Number of waiting messages.
pub async fn waiting_count(bus: &SharedBus, queue: Queue) -> u64 {
    let depths = bus.depths().await.expect("depths");
    depths.iter().find(|depth| depth.queue == queue).expect("every queue").waiting
}

/// Log lines go to the test's output, where a failure shows them.
pub fn log() {
    let filter = "rollcall_proto=debug,lapin=warn,lapin::returned_messages=off";
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer();
    // A second test of the same process finds it set already.
    drop(subscriber.try_init());
}
