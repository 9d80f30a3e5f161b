//! Metrics and health of a process that hosts services.
//!
//! Switched on by an address to listen on. A process with an address for these alone serves them from its very beginning,
//! by a thread of its own; where they share the site's address they come and go with it.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::Router;
use rollcall_proto::clock::{Clock as _, SystemClock};
use rollcall_telemetry::{endpoint, figures, health::Health, recorder::Metrics};

use crate::{context::Context, host::Services};

/// See the module.
#[derive(Debug)]
pub(crate) struct Watch {
    health: Health,
    metrics: Option<Metrics>,
    /// Also looks at runs and districts, over which one role keeps watch.
    runs: bool,
    /// Metrics are served at an address of their own.
    apart: bool,
}

impl Watch {
    /// Of a process of this role, within its runtime: from here on it is alive and not ready, whatever starting waits for. `own`: an address for metrics and health alone. `site`: they are served beside the site.
    pub(crate) fn start(role: &'static str, own: Option<SocketAddr>, site: bool) -> anyhow::Result<Self> {
        let metrics = if own.is_some() || site {
            Some(Metrics::install(role, SystemClock.now()).context("installing the metrics recorder")?)
        } else {
            None
        };
        let health = Health::new();
        tokio::spawn(health.clone().beat());
        if let Some(address) = own {
            let routes = endpoint::router(&health, metrics.clone());
            let address = endpoint::serve(address, routes)
                .with_context(|| format!("listening for metrics and health on {address}"))?;
            eprintln!("metrics and health are served on {address}");
        }
        Ok(Self { health, metrics, runs: matches!(role, "fetcher" | "serve"), apart: own.is_some() })
    }

    /// What the site serves of it.
    pub(crate) fn routes(&self) -> Router {
        endpoint::router(&self.health, self.metrics.clone().filter(|_| !self.apart))
    }

    /// Store and bus are open, and the services started.
    pub(crate) fn opened(&self, context: &Context, services: &Services) {
        self.health.opened(services.queues().to_vec());
        let Some(metrics) = self.metrics.clone() else { return };
        tokio::spawn(self.health.clone().watch(context.store.clone()));
        tokio::spawn(endpoint::upkeep(metrics));
        let (bus, clock) = (Arc::clone(&context.bus), Arc::clone(&context.clock));
        tokio::spawn(figures::watch_queues(bus, context.store.clone(), Arc::clone(&clock)));
        if self.runs {
            tokio::spawn(figures::watch_runs(context.store.clone(), clock));
        }
    }

    /// For who stops the process: from here on it is not ready.
    pub(crate) fn health(&self) -> Health {
        self.health.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Whatever starting waits for: a loop that turns is alive, minutes later too.
    #[tokio::test]
    async fn a_process_beats_from_its_beginning() {
        let begun = Instant::now();
        let watch = Watch::start("serve", None, false).unwrap();
        let beat = async {
            while watch.health().last_beat() <= begun + Duration::from_millis(1) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(10), beat).await.is_ok(), "it does not beat");
    }
}
