//! What the handlers share: the district, what is switched on, and what was written.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::watch;

use crate::auth::Tokens;
use crate::campus::{self, CampusConfig};
use crate::config::SandboxConfig;
use crate::edits::Edits;
use crate::listing::Selections;
use crate::oneroster;
use crate::quirks::{FaultKind, Quirks};
use crate::stats::Counters;
use crate::world::{STUDENT_BASE, View, World};

/// Shared state.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) counters: Counters,
    pub(crate) tokens: Mutex<Tokens>,
    pub(crate) closing: watch::Receiver<bool>,
    /// Programs and flags of its Campus.
    pub(crate) programs: campus::Shared,
    switches: RwLock<Switches>,
    selections: Mutex<Selections>,
    oneroster: Mutex<oneroster::Listings>,
    /// Students by the ids that Campus gives them, as many as were asked about so far.
    guids: Mutex<HashMap<String, u32>>,
    edits: Mutex<HashMap<&'static str, Arc<Edits>>>,
    night: AtomicU32,
    calls: AtomicU64,
    refusable: AtomicU64,
}

/// The quirks in force and how often each fault has struck.
#[derive(Debug, Clone)]
struct Switches {
    quirks: Arc<Quirks>,
    struck: Arc<Vec<AtomicU32>>,
}

/// Locks, also after a panic elsewhere: nothing here is left half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(config: SandboxConfig, closing: watch::Receiver<bool>) -> Self {
        let campus = CampusConfig { app: oneroster::APPLICATION.to_owned(), ..CampusConfig::default() };
        Self {
            programs: campus::Shared::new(campus, closing.clone()),
            world: World::new(config),
            counters: Counters::default(),
            tokens: Mutex::default(),
            closing,
            switches: RwLock::new(switches(Quirks::default())),
            selections: Mutex::default(),
            oneroster: Mutex::default(),
            guids: Mutex::default(),
            edits: Mutex::default(),
            night: AtomicU32::new(1),
            calls: AtomicU64::new(0),
            refusable: AtomicU64::new(0),
        }
    }

    pub(crate) fn quirks(&self) -> Arc<Quirks> {
        Arc::clone(&self.switches.read().unwrap_or_else(PoisonError::into_inner).quirks)
    }

    /// Puts quirks in force; faults start counting anew.
    pub(crate) fn set_quirks(&self, quirks: Quirks) {
        *self.switches.write().unwrap_or_else(PoisonError::into_inner) = switches(quirks);
        self.refusable.store(0, Ordering::Relaxed);
        self.forget_selections();
    }

    pub(crate) fn night(&self) -> u32 {
        self.night.load(Ordering::Relaxed)
    }

    pub(crate) fn set_night(&self, night: u32) {
        self.night.store(night, Ordering::Relaxed);
        self.forget_selections();
    }

    /// The district tonight.
    pub(crate) fn view<'a>(&'a self, quirks: &'a Quirks) -> View<'a> {
        self.view_of(self.night(), quirks)
    }

    pub(crate) fn view_of<'a>(&'a self, night: u32, quirks: &'a Quirks) -> View<'a> {
        View { world: &self.world, night, quirks, only: None }
    }

    /// Whether its Campus has a student of this id, listed or gone. Each id is worked out once.
    pub(crate) fn is_in_campus(&self, id: &str) -> bool {
        let students = self.view(&Quirks::default()).students();
        let mut guids = lock(&self.guids);
        for index in guids.len() as u32..students {
            guids.insert(oneroster::student_guid(&self.world, STUDENT_BASE + i64::from(index)), index);
        }
        guids.get(&id.to_ascii_lowercase()).is_some_and(|index| *index < students)
    }

    /// The fault that strikes this call, if any.
    pub(crate) fn fault(&self, object: &str, page: Option<u64>) -> Option<FaultKind> {
        let switches = self.switches.read().unwrap_or_else(PoisonError::into_inner).clone();
        let matching = switches.quirks.faults.iter().zip(switches.struck.iter()).filter(|(fault, _)| {
            fault.object.as_deref().is_none_or(|name| name.eq_ignore_ascii_case(object))
                && fault.page.is_none_or(|wanted| Some(wanted) == page)
        });
        let strikes = |times: Option<u32>, struck: &AtomicU32| {
            let earlier = struck.fetch_add(1, Ordering::Relaxed);
            times.is_none_or(|times| earlier < times)
        };
        matching.into_iter().find(|(fault, struck)| strikes(fault.times, struck)).map(|(fault, _)| fault.kind)
    }

    /// Numbers the calls, from 0.
    pub(crate) fn number_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Numbers the calls that may be refused since the quirks were set, from 1.
    pub(crate) fn number_refusable(&self) -> u64 {
        1 + self.refusable.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn selections(&self) -> MutexGuard<'_, Selections> {
        lock(&self.selections)
    }

    fn forget_selections(&self) {
        self.selections().clear();
        lock(&self.oneroster).clear();
    }

    pub(crate) fn oneroster(&self) -> MutexGuard<'_, oneroster::Listings> {
        lock(&self.oneroster)
    }

    /// What was written to the object.
    pub(crate) fn edits(&self, object: &str) -> Option<Arc<Edits>> {
        lock(&self.edits).get(object).cloned()
    }

    /// Writes to the object.
    pub(crate) fn edit<T>(&self, object: &'static str, change: impl FnOnce(&mut Edits) -> T) -> T {
        let result = change(Arc::make_mut(lock(&self.edits).entry(object).or_default()));
        self.forget_selections();
        result
    }
}

fn switches(quirks: Quirks) -> Switches {
    let struck = quirks.faults.iter().map(|_| AtomicU32::new(0)).collect();
    Switches { quirks: Arc::new(quirks), struck: Arc::new(struck) }
}
