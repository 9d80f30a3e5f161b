//! Making a run and sending its first messages.

use chrono::{DateTime, Utc};
use rollcall_proto::{
    bus::SharedBus,
    clock::Clock,
    message::{Body, Discover, Message},
};
use rollcall_store::{
    Store,
    run::{NewRun, PullState, Run},
};

use crate::error::FetchError;

/// Makes a run and starts it. `None`: that scheduled run exists already.
///
/// When publishing fails the run is made all the same, and the reconciler starts it later.
pub async fn launch(
    store: &Store,
    bus: &SharedBus,
    new: &NewRun,
    clock: &dyn Clock,
) -> Result<Option<Run>, FetchError> {
    if let Err(error) = bus.prepare().await {
        tracing::debug!(error = crate::chain(&error), "a run is made though nothing can be published yet");
    }
    let now = clock.now();
    let Some(run) = store.create_run(new, now).await? else { return Ok(None) };
    if let Err(error) = publish_start(store, bus, &run, now).await {
        let error = crate::chain(&error);
        tracing::warn!(run = %run.id, error, "a run's first messages could not be published; the reconciler will");
    }
    Ok(Some(run))
}

/// Publishes a discovery for each connection of a run that has none yet.
pub async fn publish_start(store: &Store, bus: &SharedBus, run: &Run, now: DateTime<Utc>) -> Result<(), FetchError> {
    let pulls = store.pulls(&run.district, run.id).await?;
    let waiting = pulls.iter().filter(|pull| pull.state == PullState::Discovering);
    let messages: Vec<Message> = waiting
        .map(|pull| Body::Discover(Discover { connection: pull.connection }))
        .map(|body| Message::new(run.district.clone(), run.id, now, body))
        .collect();
    if !messages.is_empty() {
        bus.publish(&messages).await?;
    }
    Ok(())
}
