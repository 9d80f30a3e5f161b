//! Districts with flags: their documents, their Campus, and the people about them.
//!
//! Role: [`Flags`] holds the districts, lets happen what the story has come to, and looks at what must hold. Neighbours: `story` tells
//! what happens, `campus` is asked by flag-sync through `door`, `people` decide and edit, `check` compares in the end. The roster is
//! as the story has it: who pulls and writes it is the other districts' business; a nightly run of these is a row that ends.
//!
//! Its dice are its own: a seed without flags is what it was before there were any.

mod answer;
pub(crate) mod campus;
pub(crate) mod check;
pub(crate) mod door;
mod people;
mod store;
pub(crate) mod story;
mod weather;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Days, NaiveDate, Utc};
use rollcall_flag_sync::{Context, FlagSyncConfig};
use rollcall_proto::{bus::SharedBus, clock::SharedClock, id::DistrictId};
use rollcall_store::flag::FlagWork;

use self::{
    campus::{Campus, Program, TYPED},
    story::{Event, Paper, Story},
    weather::{CampusWeather, Dialect},
};
use crate::{
    clock::VirtualClock,
    dice::Dice,
    house::{self, House},
    life::Life,
    process::Ground,
    report::FlagCounts,
    settings::Settings,
};

/// The districts.
const DISTRICTS: [&str; 2] = ["flags-isd", "marks-isd"];

/// Students of each.
const STUDENTS: usize = 7;

/// A district with flags.
pub(crate) struct District {
    pub(crate) id: DistrictId,
    pub(crate) host: String,
    pub(crate) programs: Vec<Program>,
    pub(crate) story: Story,
    /// Documents by now, and students who do not attend.
    papers: BTreeMap<String, Paper>,
    away: BTreeSet<String>,
    /// What is still to happen today, the next thing last.
    coming: Vec<Event>,
    /// Flags that were typed in before anything began.
    old: Vec<(String, String, Program)>,
    /// When somebody looks at the take-overs again.
    look_at: DateTime<Utc>,
    /// Take-overs that were approved.
    approved: Vec<&'static str>,
}

/// See the module.
pub(crate) struct Flags {
    pub(crate) districts: Vec<District>,
    pub(crate) counts: FlagCounts,
    dice: Dice,
    campus: Arc<Campus>,
    /// The people's.
    context: Context,
    operator: SharedBus,
    undisturbed: bool,
    begun: DateTime<Utc>,
}

/// How flag-sync works here: nothing waits by the machine's clock, and one thing is done after the other, so that the seed decides.
pub(crate) fn config() -> FlagSyncConfig {
    FlagSyncConfig {
        requests_per_second: NonZeroU32::MAX,
        students_at_once: 1,
        public_url: "https://rollcall.example/".parse().ok(),
        decision_wait: Duration::ZERO,
        // In the time of the machine, and as long as it needs: a turn that takes long is not cut in two.
        unit: Duration::from_mins(5),
        asks: Duration::from_mins(10),
        ..FlagSyncConfig::default()
    }
}

/// Two programs of each district, with either way of going live and either answer to an edit.
fn programs(number: usize, first: NaiveDate) -> Vec<Program> {
    let cutover = first + Days::new(1);
    let [sped, section] = ["Special Education", "Section 504"];
    match number {
        0 => vec![
            Program { name: sped, id: "101", cutover, take_over: true, restore: false },
            Program { name: section, id: "102", cutover: first, take_over: false, restore: true },
        ],
        _ => vec![
            Program { name: sped, id: "101", cutover: first, take_over: false, restore: false },
            Program { name: section, id: "102", cutover, take_over: true, restore: true },
        ],
    }
}

impl Flags {
    pub(crate) async fn open(
        settings: &Settings,
        house: &House,
        ground: &Ground,
        campus: &Arc<Campus>,
        first: NaiveDate,
    ) -> anyhow::Result<Self> {
        let dice = campus.dice.clone();
        let life = Arc::new(Life::new(usize::MAX, None, Arc::clone(&ground.turns)));
        let (operator, clock): (_, SharedClock) = (ground.bus(&life), Arc::new(ground.clock.clone()));
        let context = ground.flags(&life, Arc::clone(&operator), clock);
        let begun = rollcall_proto::clock::Clock::now(&ground.clock);
        let mut districts = Vec::new();
        for (number, name) in DISTRICTS.into_iter().enumerate() {
            let seed = settings.seed.wrapping_mul(10).wrapping_add(7 + number as u64);
            let (id, programs) = (house::district_id(name)?, programs(number, first));
            let students: Vec<String> =
                (1..=STUDENTS).map(|student| format!("{}{student}", 100 * (number + 1))).collect();
            let story = story::tell(seed, &students, &programs, first, settings.nights);
            // The same in every life of a seed, whatever the weather does with its dice.
            let own = Dice::new(!seed);
            let host = house::host(name);
            campus.open(&host, programs.clone(), students.iter().cloned().collect(), Dialect::of(&own));
            house.open_flags(&id, &host, &programs, &students, ground.clock_now()).await?;
            let old = typed_before(&own, &students, &programs);
            let district = District {
                id,
                host,
                programs,
                story,
                papers: BTreeMap::new(),
                away: BTreeSet::new(),
                coming: Vec::new(),
                old,
                look_at: begun,
                approved: Vec::new(),
            };
            district.type_old(campus);
            districts.push(district);
        }
        let (campus, undisturbed) = (Arc::clone(campus), settings.undisturbed);
        Ok(Self { districts, counts: FlagCounts::default(), dice, campus, context, operator, undisturbed, begun })
    }

    /// A day begins.
    pub(crate) async fn begin_day(
        &mut self,
        house: &House,
        day: usize,
        begins: DateTime<Utc>,
        calm: bool,
    ) -> anyhow::Result<()> {
        self.begun = begins;
        for district in &mut self.districts {
            district.coming = district.story.days.get(day).cloned().unwrap_or_default();
            district.coming.reverse();
            let weather = if calm { CampusWeather::default() } else { CampusWeather::of_night(&self.dice) };
            self.campus.with(&district.host, |server| server.weather = weather);
            if calm && !self.undisturbed {
                // What Campus refused or took and did not show waits for a person.
                house.store.ask_for_flags(&district.id, "operator", begins).await?;
            }
        }
        Ok(())
    }

    /// What comes about by now, and what people do.
    pub(crate) async fn step(&mut self, house: &House, clock: &VirtualClock, calm: bool) -> anyhow::Result<()> {
        let now = rollcall_proto::clock::Clock::now(clock);
        for place in 0..self.districts.len() {
            while let Some(event) = self.districts[place].next_by(self.begun, now) {
                self.happen(house, place, &event, now).await?;
            }
            self.look_at_take_overs(place, now, calm).await?;
            if !calm && self.dice.chance(15) {
                self.edit_by_hand(house, place).await?;
            }
        }
        Ok(())
    }

    /// All that the day brings has happened.
    pub(crate) fn story_is_over(&self) -> bool {
        self.districts.iter().all(|district| district.coming.is_empty())
    }

    /// Writes that the Campuses took.
    pub(crate) fn writes(&self) -> u64 {
        self.districts.iter().filter_map(|one| self.campus.with(&one.host, |server| server.writes)).sum()
    }

    /// Writes that were taken, and whose answer was lost.
    pub(crate) fn unheard(&self) -> u64 {
        self.districts.iter().filter_map(|one| self.campus.with(&one.host, |server| server.unheard)).sum()
    }

    /// What befell them so far.
    pub(crate) fn counts(&self) -> FlagCounts {
        FlagCounts { written: self.writes(), unheard: self.unheard(), ..self.counts }
    }

    /// A run of each district stops.
    pub(crate) async fn stop_runs(&self, house: &House, now: DateTime<Utc>) -> anyhow::Result<()> {
        for district in &self.districts {
            house.stop_a_run(&district.id, now).await?;
        }
        Ok(())
    }

    /// Everything was compared since the last run stopped, and nothing is left to do.
    pub(crate) async fn is_settled(&self, house: &House, now: DateTime<Utc>) -> anyhow::Result<bool> {
        let today = now.date_naive();
        let is_done = |work: &FlagWork| {
            let synced = work.stopped_at.is_none_or(|stopped| work.synced_at.is_some_and(|synced| synced > stopped));
            let waits = work.unfinished || work.pending_since.is_some() || work.program_asked_at.is_some();
            synced && !waits && work.take_over_on.is_none_or(|day| day > today)
        };
        let all = house.store.flag_work().await?;
        let approved = |one: &District| one.programs.iter().all(|of| !of.take_over || one.approved.contains(&of.name));
        Ok(all.iter().all(is_done) && self.districts.iter().all(approved))
    }

    /// At any moment.
    pub(crate) fn watch(&self) -> anyhow::Result<()> {
        for district in &self.districts {
            let wrong = self.campus.with(&district.host, |server| server.wrong.first().cloned()).flatten();
            if let Some((wrong, [student, program])) = wrong {
                let program = district.programs.iter().find(|one| one.id == program).map_or("", |one| one.name);
                anyhow::bail!("{}: flag {wrong}\n{}", district.id, district.story.told_of(&student, program));
            }
        }
        Ok(())
    }
}

impl District {
    fn next_by(&mut self, begun: DateTime<Utc>, now: DateTime<Utc>) -> Option<Event> {
        let is_due = self.coming.last().is_some_and(|event| begun + event.after <= now);
        if is_due { self.coming.pop() } else { None }
    }

    /// Flags of the time before the cutover.
    fn type_old(&self, campus: &Campus) {
        for (id, student, program) in &self.old {
            let begins = program.cutover - Days::new(200);
            campus.with(&self.host, |server| server.type_in(id, student, program, begins));
        }
    }
}

/// Half of the students have a flag of each program that is taken over, and some of the others.
fn typed_before(dice: &Dice, students: &[String], programs: &[Program]) -> Vec<(String, String, Program)> {
    let mut old = Vec::new();
    for program in programs {
        for student in students {
            if dice.chance(if program.take_over { 600 } else { 200 }) {
                old.push((format!("{TYPED}old-{}-{student}", program.id), student.clone(), *program));
            }
        }
    }
    old
}

impl Ground {
    /// The context in which a process, or a person, works on flags.
    pub(crate) fn flags(&self, life: &Arc<Life>, bus: SharedBus, clock: SharedClock) -> Context {
        let door = door::ProcessCampus {
            campus: Arc::clone(&self.campus),
            turns: Arc::clone(&self.turns),
            life: Arc::clone(life),
        };
        Context::over(self.http.clone().over(Arc::new(door)), config(), bus, self.store.clone(), clock)
    }

    fn clock_now(&self) -> DateTime<Utc> {
        rollcall_proto::clock::Clock::now(&self.clock)
    }
}
