//! A Campus as one process reaches it.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use futures_util::{FutureExt as _, future::BoxFuture};
use reqwest::{Method, Request};
use rollcall_http::{
    error::SisError,
    net::{Reply, Transport},
};
use rollcall_proto::clock::Clock as _;

use super::{answer, campus::Campus};
use crate::{dice::Dice, life::Life, turn::Turns};

/// The product's own limit of a request.
const TIME_OUT: TimeDelta = TimeDelta::seconds(20);

/// The product's lease of a district's flags.
const LEASE: TimeDelta = TimeDelta::minutes(1);

/// What a worker still gets done that has lost its district while it stood still: the loss is told by the store before Campus
/// answers anything more, and the work is dropped where it stands, as if it were killed there.
const AFTER_THE_LEASE: u64 = 1;

/// See the module.
#[derive(Debug)]
pub(crate) struct ProcessCampus {
    pub(crate) campus: Arc<Campus>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) life: Arc<Life>,
}

impl Transport for ProcessCampus {
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Reply, SisError>> {
        async move {
            let host = request.url().host_str().unwrap_or_default().to_owned();
            let writes = request.method() == Method::PUT;
            if writes {
                self.life.effect().await;
            } else if answer::is_list(&request) {
                self.wait(&host).await?;
            }
            if self.life.is_dead() {
                return Err(SisError::Interrupted { host });
            }
            self.campus.clock.advance(Duration::from_millis(200));
            let answered = self.answer(&host, &request, &self.campus.dice);
            if let Err(SisError::Timeout { .. }) = &answered {
                self.campus.clock.advance(TIME_OUT.to_std().unwrap_or_default());
            }
            if writes && answered.is_ok() {
                // Taken at once, and told late.
                self.wait(&host).await?;
            }
            answered
        }
        .boxed()
    }
}

impl ProcessCampus {
    fn answer(&self, host: &str, request: &Request, dice: &Dice) -> Result<Reply, SisError> {
        let answered = self.campus.with(host, |server| server.answer(host, request, dice));
        answered.unwrap_or_else(|| Err(SisError::Connect { host: host.to_owned() }))
    }

    /// An answer that comes late: the handler is stopped until a later turn, and gives up where that took too long.
    async fn wait(&self, host: &str) -> Result<(), SisError> {
        let slow = self.campus.with(host, |server| server.weather.slow).unwrap_or_default();
        if !self.campus.dice.chance(slow) {
            return Ok(());
        }
        let asked_at = self.campus.clock.now();
        self.turns.stop().await;
        let stood = self.campus.clock.now() - asked_at;
        if stood >= LEASE {
            self.life.shorten(AFTER_THE_LEASE);
        }
        if stood > TIME_OUT { Err(SisError::Timeout { host: host.to_owned() }) } else { Ok(()) }
    }
}
