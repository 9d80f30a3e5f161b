//! What a measurement needs: the sandbox in a process of its own, a virtual host and a database, districts, workers.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use reqwest::Client;
use rollcall_e2e::{
    Answer, District, Process, Role, RunRow, house,
    services::{Servers, Services},
    until,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    Ground, Pulling,
    orders::{Orders, seconds},
    usage::Watch,
};

/// The district of the measurement.
pub(crate) const DISTRICT: &str = "bench-isd";

/// What workers tell of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told<'a> {
    /// Nothing beside their logs.
    Nothing,
    /// Metrics, where they are asked.
    Metrics,
    /// Metrics, and spans to this collector.
    MetricsAndSpans(&'a str),
}

impl Told<'_> {
    fn settings(self) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        match self {
            Self::Nothing | Self::Metrics => Vec::new(),
            Self::MetricsAndSpans(collector) => vec![
                pair("OTEL_EXPORTER_OTLP_ENDPOINT", collector),
                pair("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ],
        }
    }
}

/// The sandbox in a process of its own.
pub(crate) struct Sis {
    /// `http://ADDRESS`.
    pub(crate) origin: String,
    /// What a district file has as `base_url`.
    pub(crate) base_url: String,
    /// What the sandbox was started with, as it tells.
    access: Access,
    process: Process,
    client: Client,
}

/// The sandbox's consumer key and secret.
#[derive(Debug, Deserialize)]
struct Access {
    client_id: String,
    client_secret: String,
}

impl Sis {
    /// Starts it; what it says goes to a file in `folder`, which holds no other sandbox.
    pub(crate) async fn start(folder: &Path, students: u32) -> anyhow::Result<Self> {
        let (students, today) = (students.to_string(), house::today().to_string());
        let args = ["sandbox", "--port", "0", "--students", &students, "--today", &today];
        let process = Process::start("sandbox", folder, &args, &[]);
        let base_url =
            until("the sandbox's address", Duration::from_mins(1), || async { base_url(&process.log()) }).await;
        let origin = base_url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let client = Client::new();
        let access = client.get(format!("{origin}/_control/config")).send().await?.json().await?;
        Ok(Self { origin, base_url, access, process, client })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Requests answered so far.
    pub(crate) async fn requests(&self) -> anyhow::Result<u64> {
        let stats: serde_json::Value =
            self.client.get(format!("{}/_control/stats", self.origin)).send().await?.json().await?;
        stats["requests"].as_u64().context("the sandbox counts its requests")
    }

    /// A district of this SIS.
    pub(crate) fn district(&self, id: &str, pulling: Pulling) -> District {
        let district = District::new(id, &self.base_url, &self.access.client_id, &self.access.client_secret);
        District { page_size: pulling.page_size, lanes: pulling.lanes, ..district }
    }

    /// Serves this night from now on, each answer taking so long.
    pub(crate) async fn set(&self, night: u32, latency_ms: u64) -> anyhow::Result<()> {
        let quirks = json!({ "latency_ms": latency_ms });
        for (path, body) in [(format!("night/{night}"), json!(null)), ("quirks".to_owned(), quirks)] {
            let answer = self.client.post(format!("{}/_control/{path}", self.origin)).json(&body).send().await?;
            ensure!(answer.status().is_success(), "the sandbox refused {path}: {}", answer.status());
        }
        Ok(())
    }
}

/// The address, out of the district file that the sandbox prints.
fn base_url(log: &str) -> Option<String> {
    let line = log.lines().find_map(|line| line.strip_prefix("base_url = \""))?;
    Some(line.strip_suffix('"')?.to_owned())
}

/// An installation of its own.
pub(crate) struct Stage {
    /// Its virtual host and database.
    pub(crate) services: Services,
    /// Workers by name.
    workers: Vec<(String, Process)>,
    folder: tempfile::TempDir,
}

impl Stage {
    /// Migrated; no district, no worker.
    pub(crate) async fn raise(servers: &Servers) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rollcall-bench.").tempdir()?;
        let services = Services::on(servers.clone()).await;
        let stage = Self { services, workers: Vec::new(), folder };
        stage.rollcall(&["migrate"]).await.expect_code(0);
        Ok(stage)
    }

    /// With one district, [`DISTRICT`], and workers of each role, all at work.
    pub(crate) async fn build(pulling: Pulling, servers: &Servers, sis: &Sis, origin: &str) -> anyhow::Result<Self> {
        Self::build_told(pulling, servers, sis, origin, Told::Nothing).await
    }

    /// [`Stage::build`], with workers that tell of themselves.
    pub(crate) async fn build_told(
        pulling: Pulling,
        servers: &Servers,
        sis: &Sis,
        origin: &str,
        told: Told<'_>,
    ) -> anyhow::Result<Self> {
        let mut stage = Self::raise(servers).await?;
        let base_url = sis.base_url.replacen(&sis.origin, origin, 1);
        stage.apply(&[District { base_url, ..sis.district(DISTRICT, pulling) }]).await;
        let args: &[&str] = if told == Told::Nothing { &[] } else { &["--listen", "127.0.0.1:0"] };
        for role in Role::ALL {
            stage.start_told(role, pulling.processes, args, &told.settings());
        }
        // What a start costs is no part of a night.
        Orders::open(&stage.services).await?.ready(pulling.processes).await?;
        Ok(stage)
    }

    /// Applies districts.
    pub(crate) async fn apply(&self, districts: &[District]) {
        let paths: Vec<String> = districts
            .iter()
            .map(|district| district.write(self.folder.path()).to_string_lossy().into_owned())
            .collect();
        let args: Vec<&str> = ["district", "apply"].into_iter().chain(paths.iter().map(String::as_str)).collect();
        self.rollcall(&args).await.expect_code(0);
    }

    /// Starts so many processes of a role, with these arguments.
    pub(crate) fn start(&mut self, role: Role, processes: usize, args: &[&str]) {
        self.start_told(role, processes, args, &[]);
    }

    fn start_told(&mut self, role: Role, processes: usize, args: &[&str], settings: &[(String, String)]) {
        let args = [&["worker", role.word()], args].concat();
        let settings = [self.services.settings(), settings.to_vec()].concat();
        for number in 1..=processes {
            let name = format!("{} {number}", role.word());
            let process = Process::start(&name.replace(' ', "-"), self.folder.path(), &args, &settings);
            self.workers.push((name, process));
        }
    }

    /// A watch over workers, sandbox and, where they are private, servers.
    pub(crate) fn watch(&self, sis: &Sis, ground: &Ground) -> Watch {
        let mut single = self.ids();
        single.push(("sandbox".to_owned(), sis.id()));
        single.extend(ground.server_ids.map(|(broker, _)| ("RabbitMQ".to_owned(), broker)));
        Watch::start(&single, ground.server_ids.map(|(_, database)| ("PostgreSQL".to_owned(), database)))
    }

    /// Workers by name, with their process ids.
    pub(crate) fn ids(&self) -> Vec<(String, u32)> {
        self.workers.iter().map(|(name, process)| (name.clone(), process.id())).collect()
    }

    /// Where each worker serves its metrics.
    pub(crate) async fn metrics(&self) -> Vec<String> {
        let mut addresses = Vec::new();
        for (name, process) in &self.workers {
            let what = format!("{name} to say where it listens");
            let told = until(&what, Duration::from_secs(30), || async {
                let log = process.log();
                let (_, after) = log.split_once("metrics and health are served on ")?;
                after.lines().next().map(str::to_owned)
            });
            addresses.push(told.await);
        }
        addresses
    }

    /// What each worker's metrics are now.
    pub(crate) async fn expositions(&self) -> anyhow::Result<Vec<String>> {
        let mut texts = Vec::new();
        for address in self.metrics().await {
            texts.push(reqwest::get(format!("http://{address}/metrics")).await?.text().await?);
        }
        Ok(texts)
    }

    async fn rollcall(&self, args: &[&str]) -> Answer {
        Answer::of(self.folder.path(), args, &self.services.settings()).await
    }

    /// Runs the district to its end.
    pub(crate) async fn run(&self) -> anyhow::Result<(RunRow, Times)> {
        let answer = self.rollcall(&["run", DISTRICT, "--wait", "--format", "json"]).await;
        let rows: Vec<serde_json::Value> = answer.read();
        let id = rows[0]["run"].as_str().context("a run has an id")?.to_owned();
        let shown = self.rollcall(&["runs", "show", &id, "--format", "json"]).await.expect_code(0);
        let run = shown.read::<Vec<RunRow>>().remove(0);
        ensure!(run.state == "succeeded", "the run is {}: {}", run.state, run.why());
        Ok((run, shown.read::<Vec<Times>>().remove(0)))
    }

    /// Ends the workers; the database stays for the floors.
    pub(crate) fn end_workers(&mut self) {
        self.workers.clear();
    }

    /// Removes everything.
    pub(crate) async fn close(self) {
        drop(self.workers);
        self.services.close().await;
    }
}

/// Where a run's time went, as `runs show` tells.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Times {
    created: chrono::DateTime<chrono::Utc>,
    pulled: chrono::DateTime<chrono::Utc>,
    planned: chrono::DateTime<chrono::Utc>,
    ended: chrono::DateTime<chrono::Utc>,
}

impl Times {
    /// Seconds until all pages were in, decoded.
    pub(crate) fn pull(&self) -> f64 {
        seconds(self.created, self.pulled)
    }

    /// Seconds for the plan, the second look among them.
    pub(crate) fn plan(&self) -> f64 {
        seconds(self.pulled, self.planned)
    }

    /// Seconds for writing and closing.
    pub(crate) fn write(&self) -> f64 {
        seconds(self.planned, self.ended)
    }

    /// Seconds from the order to the end.
    pub(crate) fn total(&self) -> f64 {
        seconds(self.created, self.ended)
    }
}
