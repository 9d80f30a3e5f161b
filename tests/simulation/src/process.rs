//! One process: every role in it, as `rollcall serve` hosts them, over the model bus, the model SIS and the store.

use std::sync::Arc;

use rollcall_classifier::{
    ClassifierConfig, claim::Planners, close::CloseHandler, collect::CollectHandler, context::Context,
    plan_handler::PlanHandler, reconcile,
};
use rollcall_fetcher::{FetchHandler, FetcherConfig, Reconciler, publish_start, schedule};
use rollcall_flag_sync::{self as flag_sync, FlagHandler};
use rollcall_http::net::Http;
use rollcall_proto::{
    bus::{
        SharedBus,
        worker::{WorkerConfig, run_worker},
    },
    clock::SharedClock,
    handler::Handler,
    topology::Queue,
};
use rollcall_store::Store;
use rollcall_writer::WriteHandler;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Broker, ProcessBus},
    clock::{ProcessClock, VirtualClock},
    flags::campus::Campus,
    life::Life,
    sis::{ProcessSis, Sis},
    turn::Turns,
};

/// What all processes stand on.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) store: Store,
    pub(crate) broker: Arc<Broker>,
    pub(crate) sis: Arc<Sis>,
    pub(crate) campus: Arc<Campus>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) clock: VirtualClock,
    pub(crate) http: Http,
}

impl Ground {
    /// The bus as a process reaches it, or an operator's command line.
    pub(crate) fn bus(&self, life: &Arc<Life>) -> SharedBus {
        let (broker, turns, life) = (Arc::clone(&self.broker), Arc::clone(&self.turns), Arc::clone(life));
        Arc::new(ProcessBus { broker, turns, life })
    }

    /// What the classifier's handlers work with, by this clock.
    pub(crate) fn classifier(&self, bus: SharedBus, clock: SharedClock) -> Context {
        Context { store: self.store.clone(), bus, clock, config: ClassifierConfig::default() }
    }
}

/// What a process looks after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looks {
    /// There are districts whose rosters are pulled.
    pub(crate) rosters: bool,
    /// What was lost is found.
    pub(crate) reconcile: bool,
}

/// See the module. Dropped, it is killed.
pub(crate) struct Process {
    pub(crate) life: Arc<Life>,
    pub(crate) clock: ProcessClock,
    workers: JoinSet<()>,
    reconciler: Reconciler,
    classifier: Context,
    flags: flag_sync::Context,
}

/// Handlers of a queue at once, and messages that one takes together.
pub(crate) const fn hands(queue: Queue) -> (u16, u64) {
    match queue {
        Queue::Fetch => (4, 1),
        Queue::Collect => (2, 4),
        Queue::Write => (2, 3),
        Queue::Flags => (2, 1),
        _ => (1, 1),
    }
}

impl Process {
    /// Starts all roles, with a clock that is so many seconds ahead.
    pub(crate) fn start(ground: &Ground, life: Life, ahead: i64) -> Self {
        let life = Arc::new(life);
        let bus = ground.bus(&life);
        let own = ProcessClock::new(ground.clock.clone(), ahead);
        let clock: SharedClock = Arc::new(own.clone());
        let sis =
            ProcessSis { sis: Arc::clone(&ground.sis), turns: Arc::clone(&ground.turns), life: Arc::clone(&life) };
        let http = ground.http.clone().over(Arc::new(sis));
        let (store, config) = (ground.store.clone(), FetcherConfig::default());
        let fetch = FetchHandler::over(http, &config, store.clone(), Arc::clone(&bus), Arc::clone(&clock));
        let reconciler = Reconciler::new(&config, store.clone(), Arc::clone(&bus), Arc::clone(&clock));
        let classifier = ground.classifier(Arc::clone(&bus), Arc::clone(&clock));
        let planner = Arc::new(PlanHandler::new(classifier.clone(), Planners::mortal()));
        let flags = ground.flags(&life, Arc::clone(&bus), Arc::clone(&clock));
        let roles: [(Queue, Arc<dyn Handler>); 7] = [
            (Queue::Fetch, Arc::new(fetch)),
            (Queue::Collect, Arc::new(CollectHandler::new(classifier.clone()))),
            (Queue::Plan, planner.clone()),
            (Queue::PlanLarge, planner),
            (Queue::Write, Arc::new(WriteHandler::new(Arc::clone(&bus), store, Arc::clone(&clock)))),
            (Queue::Applied, Arc::new(CloseHandler::new(classifier.clone()))),
            (Queue::Flags, Arc::new(FlagHandler::new(flags.clone()))),
        ];
        let mut workers = JoinSet::new();
        for (queue, handler) in roles {
            let config = WorkerConfig::new(hands(queue).0);
            let forever = CancellationToken::new();
            workers.spawn(run_worker(Arc::clone(&bus), queue, handler, config, Arc::clone(&clock), forever));
        }
        Self { life, clock: own, workers, reconciler, classifier, flags }
    }

    /// What the process does by the clock: makes the runs that are due, and looks after open ones. What fails is tried
    /// again the next time, as in the product's loops.
    pub(crate) async fn look_around(&self, looks: Looks) {
        if looks.reconcile {
            flag_sync::reconcile::tick(&self.flags).await.ok();
        }
        if !looks.rosters {
            return;
        }
        let Context { store, bus, clock, .. } = &self.classifier;
        for run in schedule::tick(store, &**clock).await.unwrap_or_default() {
            publish_start(store, bus, &run, clock.now()).await.ok();
        }
        if looks.reconcile {
            self.reconciler.once().await.ok();
            reconcile::tick(&self.classifier).await.ok();
        }
    }

    /// Ends it as `kill -9` does.
    pub(crate) async fn kill(mut self) {
        self.workers.shutdown().await;
    }
}
