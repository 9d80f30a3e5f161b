//! A Prometheus of a test's own, that scrapes the test's processes every second and judges the alerts of `deploy/`.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;

use crate::{binary::workspace, ports::free_addresses, until};

/// Longer than Prometheus takes to start.
const START: Duration = Duration::from_secs(30);

/// See the module. Ended when dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    http: Client,
}

/// One element of a query's answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Sample {
    /// Its labels.
    pub metric: std::collections::BTreeMap<String, String>,
    value: (f64, String),
}

impl Sample {
    /// Its value. Not a number where nothing has happened yet that a quotient or a quantile could be made of.
    pub fn value(&self) -> f64 {
        self.value.1.parse().unwrap_or(f64::NAN)
    }
}

/// An alert or recording rule, as Prometheus has loaded it.
#[derive(Debug, Clone, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// `ok`, `err` or `unknown`.
    pub health: String,
}

/// The alerts of `deploy/`, with limits of seconds for those of minutes and hours: a drill does not wait for a night.
///
/// # Panics
/// When a limit is no longer there to be shortened.
pub fn impatient_alerts() -> String {
    let text = std::fs::read_to_string(workspace().join("deploy/prometheus/alerts.yml")).expect("the alerts are there");
    let shorter = [
        ("for: 1m\n", "for: 0s\n"),
        ("for: 3m\n", "for: 0s\n"),
        ("for: 5m\n", "for: 0s\n"),
        ("for: 10m\n", "for: 0s\n"),
        ("for: 15m\n", "for: 0s\n"),
        ("for: 30m\n", "for: 0s\n"),
        ("[15m]", "[20s]"),
        ("[30m]", "[1m]"),
        ("[1h]", "[20s]"),
        ("offset 15m", "offset 20s"),
        ("offset 1h", "offset 20s"),
        (" > 3600\n", " > 2\n"),
        (" > 10800\n", " > 5\n"),
        (" > 900\n", " > 5\n"),
        (" > 120\n", " > 15\n"),
        // Of a SIS that is down, one request in 15 s is all that its circuit lets go.
        (" > 20\n", " > 0.5\n"),
        (" > 10\n", " > 0.3\n"),
    ];
    shorter.into_iter().fold(text, |text, (long, short)| {
        assert!(text.contains(long), "no alert has {long:?} any more");
        text.replace(long, short)
    })
}

impl Prometheus {
    /// Starts it in `folder`, and waits until it answers.
    pub async fn start(folder: &Path, targets: &[SocketAddr], alerts: &str) -> Self {
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file can be written");
        write("alerts.yml", alerts);
        write("prometheus.yml", &config(targets));
        let [address] = free_addresses();
        let log = std::fs::File::create(folder.join("prometheus.log")).expect("a log file can be made");
        let child = Command::new("prometheus")
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=prometheus")
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus (Debian's package, installed by ./test) can be started");
        let prometheus = Self { child, address, http: Client::new() };
        let ready = format!("http://{address}/-/ready");
        until("Prometheus to be ready", START, || async {
            let answer = prometheus.http.get(&ready).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        prometheus
    }

    /// What an expression gives now.
    ///
    /// # Panics
    /// When Prometheus does not take it.
    pub async fn query(&self, expression: &str) -> Vec<Sample> {
        let data = self.ask("query", &[("query", expression)]).await;
        serde_json::from_value(data["result"].clone()).unwrap_or_else(|error| panic!("{expression}: {error}: {data}"))
    }

    /// The rules it has loaded.
    pub async fn rules(&self) -> Vec<Rule> {
        let data = self.ask("rules", &[]).await;
        let groups = data["groups"].as_array().expect("rules come in groups");
        groups.iter().flat_map(|group| serde_json::from_value::<Vec<Rule>>(group["rules"].clone()).unwrap()).collect()
    }

    /// Names of the alerts that fire.
    pub async fn firing(&self) -> BTreeSet<String> {
        let data = self.ask("alerts", &[]).await;
        let alerts = data["alerts"].as_array().expect("alerts are a list").iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned()).collect()
    }

    async fn ask(&self, what: &str, arguments: &[(&str, &str)]) -> Value {
        let url = format!("http://{}/api/v1/{what}", self.address);
        let answer = self.http.get(url).query(arguments).send().await.expect("Prometheus answers");
        let answer: Value = answer.json().await.expect("Prometheus answers JSON");
        assert_eq!(answer["status"], "success", "{what} {arguments:?}: {answer}");
        answer["data"].clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(targets: &[SocketAddr]) -> String {
    let targets: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
    format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [alerts.yml]\nscrape_configs:\n  \
         - job_name: rollcall\n    static_configs: [{{ targets: [{}] }}]\n",
        targets.join(", ")
    )
}
