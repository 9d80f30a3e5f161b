//! Log lines of messages that were handled together: each is of its own run's trace, whoever came first.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use rollcall_proto::{
    bus::{
        SharedBus,
        embedded::EmbeddedBus,
        worker::{WorkerConfig, run_worker},
    },
    clock::{Clock as _, SystemClock},
    handler::{Fate, Handler, of_run},
    id::{ConnectionNo, RunId},
    message::{Body, Fetch, Message},
    topology::Queue,
};
use rollcall_telemetry::logs::JsonLines;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use uuid::Uuid;

const MESSAGES: u16 = 32;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Says something about the group, and something about each message.
struct Talker;

#[async_trait]
impl Handler for Talker {
    async fn handle(&self, _: Message) -> Fate {
        Fate::Done
    }

    fn together(&self) -> usize {
        8
    }

    async fn handle_together(&self, messages: Vec<Message>) -> Option<Vec<Fate>> {
        let mixed = messages.iter().any(|message| message.run != messages[0].run);
        tracing::info!(mixed, "of all");
        for message in &messages {
            let own = message.run.to_string();
            tracing::info!(mixed, own, run = %message.run, district = %message.district, "named");
            of_run(message).in_scope(|| tracing::info!(mixed, own, "within"));
        }
        Some(vec![Fate::Done; messages.len()])
    }
}

fn of_lane(lane: u16, runs: &[(&str, RunId); 2]) -> Message {
    let (district, run) = runs[usize::from(lane % 2)];
    let fetch = Body::Fetch(Fetch { connection: ConnectionNo(0), lane, generation: 7 });
    Message::new(district.parse().unwrap(), run, SystemClock.now(), fetch)
}

#[tokio::test]
async fn lines_of_a_group_are_each_of_their_own_runs_trace() {
    let kept = Kept::default();
    let lines = tracing_subscriber::registry().with(JsonLines::new(kept.clone()));
    let logging = tracing::subscriber::set_default(lines);
    let dir = tempfile::tempdir().unwrap();
    let bus: SharedBus = Arc::new(EmbeddedBus::open(dir.path().join("bus.db")).await.unwrap());
    let runs = [("one-isd", RunId(Uuid::now_v7())), ("other-isd", RunId(Uuid::now_v7()))];
    let messages: Vec<Message> = (0..MESSAGES).map(|lane| of_lane(lane, &runs)).collect();
    bus.publish(&messages).await.unwrap();
    let (config, stop) = (WorkerConfig::new(1), CancellationToken::new());
    let worker = run_worker(bus, Queue::Fetch, Arc::new(Talker), config.clone(), Arc::new(SystemClock), stop.clone());
    let done = async {
        while config.counters.done() < u64::from(MESSAGES) {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(worker, done) };
    tokio::time::timeout(Duration::from_mins(1), both).await.unwrap();
    drop(logging);

    let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_mixed: Vec<&Value> = lines.iter().filter(|line| line["mixed"] == true).collect();
    assert!(of_mixed.len() > 3, "some are handled together: {text}");
    for line in of_mixed {
        if line["message"] == "of all" {
            assert!(["run", "district", "trace_id"].iter().all(|name| line.get(name).is_none()), "{line}");
            continue;
        }
        let (district, run) = runs.iter().find(|(_, run)| line["own"] == run.to_string()).unwrap();
        assert_eq!(
            (line["district"].as_str(), line["run"].as_str()),
            (Some(*district), line["own"].as_str()),
            "{line}"
        );
        assert_eq!(line["trace_id"], run.0.simple().to_string(), "{line}");
        assert_eq!(line.get("span_id"), None, "{line}");
    }
}
