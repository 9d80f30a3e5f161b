//! The scheduler: what happens next, until the nights are over.
//!
//! One thing at a time: a hand of messages given to a worker, a stopped handler that goes on, a look around, a death, a
//! person's command, or time that passes. After each, what must hold is looked at.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use rollcall_http::net::{Http, HttpConfig};
use rollcall_proto::{bus::SharedBus, clock::Clock as _, id::DistrictId, roster::Status, topology::Queue};
use rollcall_store::run::{Run, RunState, Stage, Trigger};
use tokio::time::timeout;

use crate::{
    bus::{Broker, BusWeather},
    clock::VirtualClock,
    dice::Dice,
    facts::{self, Facts},
    flags::{Flags, campus::Campus, check::FlagFacts},
    house::{self, House},
    invariants::{self, Ends, MayLeave, Statuses},
    life::{Gate, Life},
    process::{Ground, Looks, Process, hands},
    report::{Counts, FlagCounts, Report},
    settings::{Sabotage, Settings},
    sis::{Sis, story, truth::Truth, weather::SisWeather},
    turn::{Ended, Turns, Work},
};

/// Processes that share the work.
const PROCESSES: usize = 2;

/// The first night's date: the clocks go back in the second night.
const FIRST_NIGHT: (i32, u32, u32) = (2026, 10, 31);

/// A turn takes milliseconds; this is for a machine that stands still for a while.
const LONGEST_TURN: Duration = Duration::from_mins(10);

/// Turns a seed into that of the dice of flags, which leave all others as they are.
const OF_FLAGS: u64 = 0x9e37_79b9_7f4a_7c15;

/// Decisions told with a failure.
const REMEMBERED: usize = 40;

/// Somebody looks around at least this often, as the product's loops do, however much there is to deliver.
const LONGEST_UNATTENDED: TimeDelta = TimeDelta::minutes(15);

/// Runs of a district, the newest first, among which tonight's are.
const LATEST: i64 = 20;

/// How far a clock is wrong, in seconds: no farther than keeps every district's date, at whatever time of the night.
const MOST_BEHIND: u64 = 45 * 60;
const MOST_AHEAD: u64 = 3 * 60 * 60;

/// Steps of one night. A night that takes more goes round in circles.
const MOST_STEPS: u32 = 20_000;

/// A district of the simulation.
pub(crate) struct District {
    pub(crate) id: DistrictId,
    pub(crate) zone: Tz,
    /// The date of the night.
    pub(crate) today: NaiveDate,
    days: Vec<Truth>,
    day: usize,
    /// Students who have been enrolled, or about to be, on each day so far.
    never_out: BTreeSet<i64>,
    ever_out: BTreeSet<i64>,
    /// Students who have been enrolled, and were about to be on a later day.
    ever_back: BTreeSet<i64>,
    enrolled: BTreeSet<i64>,
}

impl District {
    fn new(id: &str, zone: Tz, days: Vec<Truth>, today: NaiveDate) -> anyhow::Result<Self> {
        let id = house::district_id(id)?;
        let none = BTreeSet::new;
        let (never_out, ever_out, ever_back, enrolled) = (none(), none(), none(), none());
        Ok(Self { id, zone, today, days, day: 0, never_out, ever_out, ever_back, enrolled })
    }

    /// What is true of its students.
    pub(crate) fn truth(&self) -> &Truth {
        &self.days[self.day]
    }

    fn begin_day(&mut self, day: usize, today: NaiveDate) {
        (self.day, self.today) = (day, today);
        for (id, pupil) in &self.days[day].pupils {
            let in_school = pupil.is_in(today);
            let known = if in_school && !self.ever_out.contains(id) { &mut self.never_out } else { &mut self.ever_out };
            known.insert(*id);
            match pupil.status(today) {
                Status::Enrolled => drop(self.enrolled.insert(*id)),
                Status::PreEnrolled if self.enrolled.contains(id) => drop(self.ever_back.insert(*id)),
                _ => {}
            }
        }
        self.never_out.retain(|id| !self.ever_out.contains(id));
    }
}

/// How it went, and what was stored in the end.
pub(crate) struct Lived {
    pub(crate) report: Report,
    facts: Vec<Facts>,
    flags: FlagFacts,
}

/// See the module.
pub(crate) struct Simulation {
    pub(crate) settings: Settings,
    pub(crate) dice: Dice,
    /// Of clocks alone.
    clocks: Dice,
    pub(crate) house: House,
    pub(crate) ground: Ground,
    pub(crate) operator: SharedBus,
    pub(crate) districts: Vec<District>,
    flags: Option<Flags>,
    pub(crate) counts: Counts,
    gate: Gate,
    processes: Vec<Option<Process>>,
    ends: Ends,
    statuses: Statuses,
    calm: bool,
    watched: u64,
    looked_around: DateTime<Utc>,
    trace: blake3::Hasher,
    lately: VecDeque<String>,
}

impl Simulation {
    pub(crate) async fn new(settings: Settings, http: Http) -> anyhow::Result<Self> {
        let (dice, clocks) = (Dice::new(settings.seed), Dice::new(!settings.seed));
        let first = first_night()?;
        let clock = VirtualClock::new((first - Days::new(1)).and_time(NaiveTime::MIN).and_utc());
        let (turns, gate) = (Arc::new(Turns::default()), Gate::default());
        let house = House::open(&gate).await?;
        if settings.rosters {
            house.apply_districts(settings.most_removed(), clock.now()).await?;
        }
        if settings.has_poison() {
            house.poison(clock.now()).await?;
        }
        // Waits with jitter are drawn by the product from this thread's own numbers.
        fastrand::seed(settings.seed);
        let broker = Arc::new(Broker::new(clock.clone(), dice.clone()));
        let sis = Arc::new(Sis::new(clock.clone(), dice.clone()));
        let campus = Arc::new(Campus::new(clock.clone(), Dice::new(settings.seed ^ OF_FLAGS)));
        let store = house.store.clone();
        let ground = Ground { store, broker, sis, campus, turns: Arc::clone(&turns), clock, http };
        let operator = ground.bus(&Arc::new(Life::new(usize::MAX, None, turns)));
        let mut districts = Vec::new();
        for (number, (id, zone)) in (0..).zip(house::DISTRICTS).filter(|_| settings.rosters) {
            let seed = settings.seed.wrapping_mul(10).wrapping_add(number);
            let days = story::days(seed, settings.students, first, settings.nights + 1);
            districts.push(District::new(id, zone, days, first)?);
        }
        let flags = if settings.flags {
            Some(Flags::open(&settings, &house, &ground, &ground.campus, first).await?)
        } else {
            None
        };
        let (calm, counts, ends) = (settings.undisturbed, Counts::default(), Ends::default());
        let looked_around = ground.clock.now();
        let simulation = Self {
            settings,
            dice,
            clocks,
            house,
            ground,
            operator,
            districts,
            flags,
            counts,
            gate,
            processes: (0..PROCESSES).map(|_| None).collect(),
            ends,
            statuses: Statuses::default(),
            calm,
            watched: 0,
            looked_around,
            trace: blake3::Hasher::new(),
            lately: VecDeque::new(),
        };
        simulation.sabotage().await?;
        Ok(simulation)
    }

    async fn sabotage(&self) -> anyhow::Result<()> {
        match self.settings.sabotage.and_then(Sabotage::statement) {
            Some(statement) => self.house.execute(statement).await,
            None => Ok(()),
        }
    }

    /// All nights, the last of them undisturbed.
    pub(crate) async fn run(mut self) -> anyhow::Result<Lived> {
        for night in 0..self.settings.nights {
            let lived = self.night(night).await;
            lived.with_context(|| format!("night {night}; what was decided last:{}", self.lately()))?;
        }
        self.calm = true;
        let lived = self.night(self.settings.nights).await;
        lived.with_context(|| format!("the undisturbed night at the end; what was decided last:{}", self.lately()))?;
        let facts = self.check_end().await?;
        let (flags, flag_counts) = self.check_flags().await?;
        for process in std::mem::take(&mut self.processes).into_iter().flatten() {
            process.kill().await;
        }
        let (trace, bus) = (self.trace.finalize().to_hex().to_string(), self.ground.broker.counts());
        let districts = self.districts.len() + self.flags.as_ref().map_or(0, |flags| flags.districts.len());
        let district_nights = (districts * (self.settings.nights + 1)) as u64;
        let report = Report { district_nights, counts: self.counts, messages: bus.into(), flags: flag_counts, trace };
        Ok(Lived { report, facts, flags })
    }

    async fn night(&mut self, night: usize) -> anyhow::Result<()> {
        let date = first_night()? + Days::new(night as u64);
        self.begin_day(night, date).await?;
        let begins = date.and_hms_opt(5, 50, 0).context("a time")?.and_utc();
        self.ground.clock.reach(begins);
        if let Some(flags) = &mut self.flags {
            flags.begin_day(&self.house, night, begins, self.calm).await?;
        }
        let (ends, never) = (begins + TimeDelta::hours(8), begins + TimeDelta::hours(20));
        for _ in 0..MOST_STEPS {
            if self.is_over(ends).await? {
                return self.end_night().await;
            }
            if self.ground.clock.now() > never {
                break;
            }
            self.step().await?;
        }
        anyhow::bail!("the night does not end: {:#?}", self.open_runs().await?)
    }

    async fn begin_day(&mut self, night: usize, date: NaiveDate) -> anyhow::Result<()> {
        let unfinished: BTreeSet<DistrictId> =
            self.house.store.open_runs().await?.into_iter().map(|open| open.district).collect();
        for district in &mut self.districts {
            district.begin_day(night, date);
            let host = house::host(district.id.as_str());
            self.ground.sis.set_truth(&host, &district.days[night]);
            let mut weather = if self.calm { SisWeather::default() } else { SisWeather::of_night(&self.dice) };
            if unfinished.contains(&district.id) {
                // A run that began in other weather would hear the lie only on its second look.
                weather.most_missing = false;
            }
            if !self.calm {
                self.settings.spoil(&mut weather, night);
            }
            self.ground.sis.set_weather(&host, weather);
        }
        self.ground.broker.set_weather(if self.calm { BusWeather::default() } else { self.bus_weather() });
        if self.calm {
            self.ground.broker.come_back();
            self.go_on_all().await?;
            self.kill_all().await;
        }
        Ok(())
    }

    fn bus_weather(&self) -> BusWeather {
        let some = |most: u64| if self.dice.chance(500) { self.dice.below(most) } else { 0 };
        BusWeather { doubled: some(200), delayed: some(150), refused: some(60), unheard: some(60), stopped: some(150) }
    }

    /// Everybody who is stopped goes on; the undisturbed night has nobody left in the middle of something.
    async fn go_on_all(&mut self) -> anyhow::Result<()> {
        while self.ground.turns.stopped() > 0 {
            self.resume(0).await?;
        }
        Ok(())
    }

    async fn kill_all(&mut self) {
        for process in 0..PROCESSES {
            self.bury(process).await;
        }
    }

    /// One thing.
    async fn step(&mut self) -> anyhow::Result<()> {
        if !self.calm && self.dice.chance(20) {
            self.trouble().await?;
        }
        if let Some(flags) = &mut self.flags {
            flags.step(&self.house, &self.ground.clock, self.calm).await?;
        }
        self.step_clocks();
        self.revive();
        let stopped = self.ground.turns.stopped();
        if stopped > 0 && self.dice.chance(250) {
            return self.resume(self.dice.below(stopped as u64) as usize).await;
        }
        let due = self.ground.broker.due();
        let unattended = self.ground.clock.now() - self.looked_around > LONGEST_UNATTENDED;
        if due.is_empty() || unattended || (!self.calm && self.dice.chance(30)) {
            return self.idle(due.is_empty()).await;
        }
        self.deliver(&due).await
    }

    /// What no night is without.
    async fn trouble(&mut self) -> anyhow::Result<()> {
        let trouble = self.dice.below(20);
        self.note(&format!("trouble {trouble}"));
        match trouble {
            0..7 => {
                let process = self.dice.below(PROCESSES as u64) as usize;
                self.counts.killed += u64::from(self.processes[process].is_some());
                self.bury(process).await;
            }
            7..10 => {
                self.counts.outages += 1;
                self.ground.broker.go_away(Duration::from_secs(self.dice.between(1, 900)));
            }
            10..12 => {
                self.counts.wiped += 1;
                self.ground.broker.wipe();
            }
            12..15 => self.ground.clock.advance(Duration::from_secs(self.dice.between(1, 400))),
            15..18 => self.judge_held(false).await?,
            _ if self.districts.is_empty() => {}
            _ => self.meddle().await?,
        }
        Ok(())
    }

    /// What a clock that is wrong says, now and then a right one too: seconds ahead.
    fn ahead(&self) -> i64 {
        let is_wrong = !self.calm && self.settings.clocks_step() && self.clocks.chance(600);
        if is_wrong { self.clocks.below(MOST_BEHIND + MOST_AHEAD) as i64 - MOST_BEHIND as i64 } else { 0 }
    }

    /// Now and then somebody sets a process's clock.
    fn step_clocks(&mut self) {
        if self.calm || !self.settings.clocks_step() || !self.clocks.chance(20) {
            return;
        }
        let (place, ahead) = (self.clocks.place(&self.processes), self.ahead());
        if let Some(process) = &self.processes[place] {
            process.clock.step(ahead);
            self.counts.stepped += 1;
            self.note(&format!("the clock of process {place} is {ahead} s ahead"));
        }
    }

    /// A dead process is started again, sooner or later; at once where nobody is left.
    fn revive(&mut self) {
        let nobody = self.processes.iter().all(Option::is_none);
        for place in 0..PROCESSES {
            if self.processes[place].is_some() || !(nobody || self.calm || self.dice.chance(200)) {
                continue;
            }
            let mortal = !self.calm && self.dice.chance(700);
            let effects = mortal.then(|| self.dice.between(1, 120));
            let life = Life::new(place, effects, Arc::clone(&self.ground.turns));
            self.processes[place] = Some(Process::start(&self.ground, life, self.ahead()));
        }
    }

    /// A hand of messages for some worker.
    async fn deliver(&mut self, due: &[Queue]) -> anyhow::Result<()> {
        let Some(queue) = self.dice.pick(due) else { return Ok(()) };
        let (at_once, together) = hands(queue);
        let free = |place: &usize| {
            let lives = self.processes[*place].is_some();
            lives && self.ground.turns.stopped_at(*place, queue) < usize::from(at_once)
        };
        let free: Vec<usize> = (0..PROCESSES).filter(free).collect();
        let Some(process) = self.dice.pick(&free) else { return self.resume(0).await };
        self.turn_of(process);
        let most = self.dice.between(1, together) as usize;
        let tags = self.ground.broker.grant(process, queue, most, self.calm);
        self.note(&format!("{} of {queue:?} to process {process}", tags.len()));
        self.ground.turns.begin(Work { process, queue, tags: tags.into_iter().collect() });
        self.end_turn(process).await
    }

    /// A handler that was stopped goes on.
    async fn resume(&mut self, place: usize) -> anyhow::Result<()> {
        let process = self.ground.turns.owner(place);
        self.note(&format!("process {process} goes on"));
        self.turn_of(process);
        self.ground.turns.go_on(place);
        self.end_turn(process).await
    }

    fn turn_of(&self, process: usize) {
        self.gate.belongs_to(self.processes[process].as_ref().map(|process| &process.life));
    }

    async fn end_turn(&mut self, process: usize) -> anyhow::Result<()> {
        let ended = timeout(LONGEST_TURN, self.ground.turns.end()).await.context("a turn does not end")?;
        self.after(process, ended == Ended::Died).await
    }

    /// Nothing to do, or none of it is done just now: processes look around, and time passes.
    async fn idle(&mut self, wait: bool) -> anyhow::Result<()> {
        self.note("nothing to do");
        if wait {
            self.pass_time().await?;
        }
        if self.calm {
            self.judge_held(true).await?;
        }
        let alive: Vec<usize> = (0..PROCESSES).filter(|place| self.processes[*place].is_some()).collect();
        let Some(place) = self.dice.pick(&alive) else { return Ok(()) };
        self.turn_of(place);
        let looks = Looks { rosters: self.settings.rosters, reconcile: !self.settings.no_reconciler() };
        let Some(process) = &self.processes[place] else { return Ok(()) };
        let died = tokio::select! {
            biased;
            () = self.ground.turns.death() => true,
            () = process.look_around(looks) => process.life.is_dead(),
        };
        if !died {
            self.looked_around = self.ground.clock.now();
        }
        self.after(place, died).await
    }

    /// Until the next message comes due, or a while: a long one where no run is at work.
    async fn pass_time(&self) -> anyhow::Result<()> {
        let at_work = self
            .house
            .store
            .open_runs()
            .await?
            .iter()
            .any(|open| open.stage != Stage::Held && open.district.as_str() != house::POISONED);
        let seconds = if at_work { self.dice.between(5, 120) } else { self.dice.between(300, 1_800) };
        let clock = &self.ground.clock;
        let step = clock.now() + TimeDelta::seconds(seconds as i64);
        clock.reach(self.ground.broker.next_due().filter(|due| *due > clock.now()).map_or(step, |due| due.min(step)));
        Ok(())
    }

    async fn after(&mut self, process: usize, died: bool) -> anyhow::Result<()> {
        if died {
            self.counts.died += 1;
            self.note(&format!("process {process} died"));
            self.bury(process).await;
        }
        self.gate.belongs_to(None);
        let commits = self.gate.commits();
        if commits > self.watched {
            self.watched = commits;
            self.watch().await?;
        }
        Ok(())
    }

    async fn bury(&mut self, place: usize) {
        let Some(process) = self.processes[place].take() else { return };
        process.kill().await;
        self.ground.turns.gone(place);
        self.ground.broker.gone(place);
        self.gate.belongs_to(None);
    }

    /// At any moment.
    async fn watch(&mut self) -> anyhow::Result<()> {
        self.counts.looks += 1;
        for district in &self.districts {
            let may = MayLeave { never_out: &district.never_out, ever_back: &district.ever_back };
            self.statuses.look(&self.house, district.id.as_str(), &may).await?;
        }
        if let Some(flags) = &self.flags {
            flags.watch()?;
        }
        self.ends.look(&self.house.sql).await
    }

    /// Tonight's scheduled runs are made and have stopped, nothing is left to do; or the night is over all the same.
    async fn is_over(&self, ends: DateTime<Utc>) -> anyhow::Result<bool> {
        let now = self.ground.clock.now();
        if self.flags.as_ref().is_some_and(|flags| !flags.story_is_over()) {
            return Ok(false);
        }
        if !self.calm && now > ends {
            return Ok(now - self.looked_around <= LONGEST_UNATTENDED);
        }
        if !self.ground.broker.due().is_empty() || self.ground.turns.stopped() > 0 {
            return Ok(false);
        }
        for district in &self.districts {
            let runs = self.house.store.runs(Some(&district.id), LATEST).await?;
            let tonight = |run: &Run| run.trigger == Trigger::Scheduled && run.as_of == district.today;
            let made = runs.iter().any(tonight);
            let at_work = runs.iter().any(|run| matches!(run.state, RunState::Queued | RunState::Running));
            let waits = self.calm && runs.first().is_some_and(|run| run.state == RunState::Held);
            if !made || at_work || waits {
                return Ok(false);
            }
        }
        match &self.flags {
            Some(flags) if self.calm => flags.is_settled(&self.house, now).await,
            _ => Ok(true),
        }
    }

    async fn end_night(&mut self) -> anyhow::Result<()> {
        if !self.settings.undisturbed && !self.calm {
            self.judge_held(false).await?;
        }
        for district in &self.districts {
            let date = district.today.to_string();
            invariants::one_run_a_date(&self.house, district.id.as_str(), &date).await?;
        }
        self.watch().await
    }

    async fn open_runs(&self) -> anyhow::Result<Vec<String>> {
        let mut open = Vec::new();
        for run in self.house.store.runs(None, 100).await? {
            if !run.state.is_end() {
                open.push(format!("{} {} {:?} {:?} {:?}", run.district, run.as_of, run.state, run.stage, run.reason));
            }
        }
        Ok(open)
    }

    /// After the undisturbed night.
    async fn check_end(&mut self) -> anyhow::Result<Vec<Facts>> {
        let mut all = Vec::new();
        for district in &self.districts {
            let name = district.id.as_str();
            let newest = self.house.store.runs(Some(&district.id), 1).await?;
            let newest = newest.first().context("a run")?;
            ensure!(
                newest.state == RunState::Succeeded,
                "{name}: the undisturbed night ended as {:?}: {:?} {:#?}",
                newest.state,
                newest.reason,
                newest.findings
            );
            invariants::history_is_a_chain(&self.house, name).await?;
            let facts = facts::read(&self.house.store, &district.id).await?;
            facts::agree_with_truth(name, &facts, district.truth(), district.today)?;
            all.push(facts);
        }
        Ok(all)
    }

    /// What Campus shows in the end; then a run stops, nothing has changed, and nothing is written.
    async fn check_flags(&mut self) -> anyhow::Result<(FlagFacts, FlagCounts)> {
        let Some(flags) = &mut self.flags else { return Ok(Default::default()) };
        let today = self.ground.clock.now().date_naive();
        let facts = flags.check_end(&self.house, today).await?;
        let before = flags.writes();
        flags.stop_runs(&self.house, self.ground.clock.now()).await?;
        for _ in 0..MOST_STEPS {
            self.step().await?;
            let Some(flags) = &self.flags else { break };
            if self.ground.broker.due().is_empty() && flags.is_settled(&self.house, self.ground.clock.now()).await? {
                ensure!(flags.writes() == before, "an unchanged pass writes flags");
                return Ok((facts, flags.counts()));
            }
        }
        anyhow::bail!("the unchanged pass does not end")
    }

    /// Compares with districts that were never disturbed.
    pub(crate) fn compare(settings: &Settings, lived: &Lived, undisturbed: &Lived) -> anyhow::Result<()> {
        Flags::agree(&lived.flags, &undisturbed.flags)?;
        let (facts, undisturbed) = (&lived.facts, &undisturbed.facts);
        for (number, (id, _)) in (0..).zip(house::DISTRICTS).filter(|_| settings.rosters) {
            let seed = settings.seed.wrapping_mul(10).wrapping_add(number);
            let days = story::days(seed, settings.students, first_night()?, settings.nights + 1);
            let last = days.last().context("a day")?;
            facts::agree(id, &facts[number as usize], &undisturbed[number as usize], last)?;
        }
        Ok(())
    }

    /// Notes what was decided.
    fn note(&mut self, what: &str) {
        let line = format!("{} {what}", self.ground.clock.now().format("%d %H:%M:%S%.3f"));
        self.trace.update(line.as_bytes());
        if self.lately.len() == REMEMBERED {
            self.lately.pop_front();
        }
        self.lately.push_back(line);
    }

    fn lately(&self) -> String {
        self.lately.iter().fold(String::new(), |text, line| text + "\n  " + line)
    }
}

fn first_night() -> anyhow::Result<NaiveDate> {
    let (year, month, day) = FIRST_NIGHT;
    NaiveDate::from_ymd_opt(year, month, day).context("a date")
}

/// A client whose requests the model SIS answers. Made once: it reads the machine's certificates.
pub(crate) fn client() -> anyhow::Result<Http> {
    Ok(Http::new(HttpConfig::default())?)
}
