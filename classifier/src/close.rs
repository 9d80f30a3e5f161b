//! Closing a run whose events are all settled, and waking who waited for it.

use async_trait::async_trait;
use rollcall_proto::{
    handler::{Fate, Handler},
    message::{Body, Message},
};

use crate::{context::Context, error::ClassifierError};

/// Handles the queue of applied runs.
#[derive(Debug)]
pub struct CloseHandler {
    context: Context,
}

impl CloseHandler {
    /// A handler.
    pub const fn new(context: Context) -> Self {
        Self { context }
    }

    async fn close(&self, message: &Message) -> Result<(), ClassifierError> {
        let store = &self.context.store;
        let closed = store.close_run(&message.district, message.run, self.context.clock.now()).await?;
        if let Some(run) = closed {
            tracing::info!(district = %run.district, run = %run.id, state = run.state.as_str(), "a run has ended");
        }
        self.context.ask_for_flags((&message.district, message.run), Some(message)).await?;
        for waiting in store.waiting_to_plan(&message.district).await? {
            self.context.ask_to_plan((&message.district, waiting), Some(message)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for CloseHandler {
    async fn handle(&self, message: Message) -> Fate {
        if !matches!(message.body, Body::Applied(_)) {
            return Fate::park("wrong-queue", "not an applied run");
        }
        match self.close(&message).await {
            Ok(()) => Fate::Done,
            Err(error) => error.fate(),
        }
    }
}
