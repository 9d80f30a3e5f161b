//! The model SIS: a small Qmlativ for each district, answering requests without a socket.
//!
//! Role: [`Sis`] holds what is true tonight and the weather; a process asks through [`ProcessSis`], under the whole HTTP
//! session of the product (tokens, retries, circuits, paging). Neighbours: `truth` and `story` say what is true, `rows`
//! what that looks like in tables, `answer` reads a request, `weather` what goes wrong.

mod answer;
pub(crate) mod rows;
pub(crate) mod story;
pub(crate) mod truth;
pub(crate) mod weather;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use reqwest::Request;
use rollcall_http::{
    error::SisError,
    net::{Reply, Transport},
};
use rollcall_proto::clock::Clock as _;
use serde_json::Value;

use self::{rows::TABLES, truth::Truth, weather::SisWeather};
use crate::{clock::VirtualClock, dice::Dice, life::Life, turn::Turns};

/// The product's own limit of a request.
const TIME_OUT: Duration = Duration::from_secs(20);

/// One district's SIS.
#[derive(Debug, Default)]
struct Server {
    tables: BTreeMap<&'static str, Vec<Value>>,
    students: Vec<i64>,
    missing: BTreeSet<i64>,
    weather: SisWeather,
    /// Tokens that are good.
    tokens: BTreeSet<String>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Sis {
    servers: Mutex<BTreeMap<String, Server>>,
    clock: VirtualClock,
    dice: Dice,
}

impl Sis {
    pub(crate) fn new(clock: VirtualClock, dice: Dice) -> Self {
        Self { servers: Mutex::default(), clock, dice }
    }

    fn with<T>(&self, host: &str, work: impl FnOnce(&mut Server) -> T) -> T {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        work(servers.entry(host.to_owned()).or_default())
    }

    /// What is true from now on.
    pub(crate) fn set_truth(&self, host: &str, truth: &Truth) {
        let tables = TABLES.iter().map(|table| (table.resource, table.rows(truth))).collect();
        let students = truth.listed().map(|(id, _)| id).collect();
        self.with(host, |server| (server.tables, server.students) = (tables, students));
    }

    /// The weather from now on. Where most students go missing, it is three of four of them.
    pub(crate) fn set_weather(&self, host: &str, weather: SisWeather) {
        self.with(host, |server| {
            server.weather = weather;
            let goes = |_: &&i64| weather.most_missing && self.dice.chance(750);
            server.missing = server.students.iter().filter(goes).copied().collect();
        });
    }
}

/// A SIS as one process reaches it.
#[derive(Debug)]
pub(crate) struct ProcessSis {
    pub(crate) sis: Arc<Sis>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) life: Arc<Life>,
}

impl Transport for ProcessSis {
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Reply, SisError>> {
        async move {
            let host = request.url().host_str().unwrap_or_default().to_owned();
            if answer::is_page(&request) {
                self.wait(&host).await?;
            }
            if self.life.is_dead() {
                return Err(SisError::Interrupted { host });
            }
            self.sis.clock.advance(Duration::from_millis(200));
            self.sis.with(&host, |server| server.answer(&host, &request, &self.sis.dice))
        }
        .boxed()
    }
}

impl ProcessSis {
    /// An answer that comes late: the handler is stopped until a later turn, and gives up where that took too long.
    async fn wait(&self, host: &str) -> Result<(), SisError> {
        let slow = self.sis.with(host, |server| server.weather.slow);
        if !self.sis.dice.chance(slow) {
            return Ok(());
        }
        let asked_at = self.sis.clock.now();
        self.turns.stop().await;
        let late = self.sis.clock.now() - asked_at > chrono::TimeDelta::from_std(TIME_OUT).unwrap_or_default();
        if late { Err(SisError::Timeout { host: host.to_owned() }) } else { Ok(()) }
    }
}
