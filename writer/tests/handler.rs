//! The writer's handler: what becomes of a message that it cannot write. What it writes, and that it writes it once, is
//! held by the store's conformance tests and by the end-to-end ones.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use rollcall_proto::{
    bus::embedded::EmbeddedBus,
    clock::{Clock as _, SystemClock},
    handler::{Fate, Handler as _},
    id::RunId,
    message::{Applied, Body, Message, StudentEvents},
    roster::Status,
};
use rollcall_store::{Store, secret::Keyring};
use rollcall_writer::WriteHandler;
use tracing::field::{Field, Visit};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt as _};

struct House {
    _dir: tempfile::TempDir,
    handler: WriteHandler,
}

async fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(dir.path(), Keyring::open_or_create(&dir.path().join("key")).unwrap());
    let bus = EmbeddedBus::open(dir.path().join("bus.db")).await.unwrap();
    let handler = WriteHandler::new(Arc::new(bus), store.await.unwrap(), Arc::new(SystemClock));
    House { _dir: dir, handler }
}

fn message(body: Body) -> Message {
    let now = SystemClock.now();
    Message::new("test-isd".parse().unwrap(), RunId(uuid::Uuid::now_v7()), now, body)
}

#[tokio::test]
async fn a_message_of_another_kind_is_parked() {
    let house = house().await;
    let fate = house.handler.handle(message(Body::Applied(Applied {}))).await;
    assert!(matches!(fate, Fate::Park(park) if park.reason == "wrong-queue"));
}

/// It was erased, and a message of it had been doubled or was late: nobody waits for it, and parked it would keep the records of
/// children.
#[tokio::test]
async fn events_of_a_run_that_is_not_there_are_done_with() {
    let house = house().await;
    let events = || StudentEvents { batch: 0, run_seq: 1, status: Status::Enrolled, events: Vec::new() };
    assert_eq!(house.handler.handle(message(Body::Students(events()))).await, Fate::Done);
    let together = vec![message(Body::Students(events())), message(Body::Students(events()))];
    assert!(house.handler.handle_together(together).await.is_none(), "each is handled alone, and says so");
}

/// Which runs spans were opened for.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Runs {
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &tracing::Id, _: Context<'_, S>) {
        if attributes.metadata().name() == "run" {
            attributes.record(&mut self.clone());
        }
    }
}

impl Visit for Runs {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "run" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

#[tokio::test]
async fn what_is_logged_of_a_group_is_of_the_run_it_is_done_for() {
    let runs = Runs::default();
    let _logging = tracing::subscriber::set_default(tracing_subscriber::registry().with(runs.clone()));
    let house = house().await;
    let events = StudentEvents { batch: 0, run_seq: 1, status: Status::Enrolled, events: Vec::new() };
    let messages = [(); 2].map(|()| message(Body::Students(events.clone())));
    let own: Vec<String> = messages.iter().map(|message| message.run.to_string()).collect();
    // Neither run is there, and the first that goes wrong ends the group.
    let [first, second] = messages;
    house.handler.handle_together(vec![first.clone(), second.clone()]).await;
    house.handler.handle_together(vec![second, first]).await;
    let opened = runs.0.lock().unwrap();
    assert!(own.iter().all(|run| opened.contains(run)), "{own:?}: {opened:?}");
}
