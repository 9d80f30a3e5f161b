//! The district behind the sandbox. Students and their families are made from seed and index whenever a row is asked
//! for; only what is small (schools, code tables) is kept. So a million students take no memory until they are listed,
//! and then four bytes a row.
//!
//! Night 1 is the base. Night 2 changes some percent of the students. Night 3 is night 2 with half of them gone, night
//! 4 is night 2 again, and each night after that changes as many more.

pub(crate) mod calendar;
mod expected;
pub(crate) mod names;
pub(crate) mod scenario;
pub(crate) mod small;
pub(crate) mod spell;

use chrono::NaiveDate;

pub use expected::{Expected, ExpectedStudent};

use crate::config::SandboxConfig;
use crate::quirks::Quirks;
use scenario::{Scenario, State};
use small::Small;
use spell::{Maker, Spells};

/// Nights with changes of their own, at most.
const MOST_GENERATIONS: u32 = 30;

/// First ids of the objects; different, so that a client that mixes ids up is found out.
pub(crate) const STUDENT_BASE: i64 = 10_000;
/// See [`STUDENT_BASE`].
pub(crate) const NAME_BASE: i64 = 2_000_000;

/// What each hash is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Salt {
    Scenario = 1,
    Person,
    Spell,
    School,
    Family,
    Guardian,
    Contact,
    Staff,
    Phone,
    Half,
    Renamed,
    Touch,
    GuidHigh,
    GuidLow,
}

/// A well-mixed hash of seed, purpose and index (the finaliser of splitmix64).
fn mix(seed: u64, salt: u64, index: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(salt.wrapping_mul(0xD1B5_4A32_D192_ED03))
        .wrapping_add(index.wrapping_mul(0xBF58_476D_1CE4_E5B9));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The district.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: SandboxConfig,
    pub(crate) small: Small,
    newcomers: u32,
    /// Touched when a 32-bit hash is below.
    touch_below: u64,
}

impl World {
    pub(crate) fn new(config: SandboxConfig) -> Self {
        let share = (config.change_percent / 100.0).clamp(0.0, 1.0);
        let small = Small::new(&config);
        let newcomers = (f64::from(config.students) * share * 0.1).round() as u32;
        Self { newcomers, touch_below: (share * 0.9 * 4_294_967_296.0) as u64, small, config }
    }

    pub(crate) fn hash(&self, salt: Salt, index: u64) -> u64 {
        mix(self.config.seed, salt as u64, index)
    }

    /// Students that can ever be listed: the room left in the ids.
    pub(crate) fn capacity(&self) -> u32 {
        self.config.students + self.newcomers * MOST_GENERATIONS
    }

    pub(crate) fn today(&self) -> NaiveDate {
        self.config.today
    }
}

/// The district as of one night, under the quirks in force.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) world: &'a World,
    pub(crate) night: u32,
    pub(crate) quirks: &'a Quirks,
    /// Nobody but these is looked at, by index, ascending.
    pub(crate) only: Option<&'a [u32]>,
}

impl View<'_> {
    /// How often the district has changed by now.
    fn generation(&self) -> u32 {
        let generation = match self.night {
            0 | 1 => 0,
            2..=4 => 1,
            night => night - 3,
        };
        generation.min(MOST_GENERATIONS)
    }

    fn is_halved(&self) -> bool {
        self.night == 3
    }

    /// The night on which a student was changed last, as a SIS notes it: night 1 where never. Who is away on night 3 was
    /// changed on it, and again on night 4, which brings him back.
    pub(crate) fn changed_on(&self, index: u32, state: &State) -> u32 {
        let touched = match state.last_change {
            None => 1,
            Some((1, _)) => 2,
            Some((generation, _)) => generation + 3,
        };
        let comes_and_goes = self.night >= 3 && self.hash(Salt::Half, index) & 1 == 0;
        let away = if comes_and_goes { self.night.min(4) } else { 1 };
        touched.max(away)
    }

    /// Students listed so far, those gone again included.
    pub(crate) fn students(&self) -> u32 {
        self.world.config.students + self.world.newcomers * self.generation()
    }

    pub(crate) fn hash(&self, salt: Salt, index: u32) -> u64 {
        self.world.hash(salt, u64::from(index))
    }

    /// The student of this index, also when gone; `None` if not listed yet.
    pub(crate) fn state(&self, index: u32) -> Option<State> {
        if index >= self.students() {
            return None;
        }
        let (mut state, first) = self.first_state(index);
        for generation in first + 1..=self.generation() {
            let hash = mix(self.world.config.seed, Salt::Touch as u64 + u64::from(generation) * 64, u64::from(index));
            if (hash & 0xFFFF_FFFF) < self.world.touch_below && !state.gone {
                state.touch(generation, hash >> 32);
            }
        }
        state.gone |= self.is_halved() && self.hash(Salt::Half, index) & 1 == 0;
        Some(state)
    }

    /// How the student was first listed, and in which generation.
    fn first_state(&self, index: u32) -> (State, u32) {
        let hash = self.hash(Salt::Scenario, index);
        let Some(later) = index.checked_sub(self.world.config.students) else {
            return (State::new(Scenario::of(hash, self.world.config.edge_dates)), 0);
        };
        let scenario = if hash.is_multiple_of(4) { Scenario::NewcomerFuture } else { Scenario::Newcomer };
        let generation = 1 + later / self.world.newcomers.max(1);
        let mut state = State::new(scenario);
        state.last_change = Some((generation, scenario::Change::Added));
        (state, generation)
    }

    /// The student of this index, if listed this night.
    pub(crate) fn listed(&self, index: u32) -> Option<State> {
        self.state(index).filter(|state| !state.gone)
    }

    /// From -1 (pre-kindergarten) to 12.
    pub(crate) fn grade(&self, index: u32) -> i64 {
        (self.hash(Salt::School, index) % 14) as i64 - 1
    }

    /// The student's own school, by index.
    pub(crate) fn home_school(&self, index: u32) -> u16 {
        self.world.small.school_for(self.grade(index), self.hash(Salt::School, index) >> 8)
    }

    /// The student's enrollments.
    pub(crate) fn spells(&self, index: u32, state: &State) -> Spells {
        let home = self.home_school(index);
        let hash = self.hash(Salt::Spell, index);
        let maker =
            Maker { today: self.world.today(), hash: hash >> 8, home, other: self.world.small.another_school(home) };
        maker.spells(state)
    }
}

/// Families: five students make two of them.
pub(crate) mod family {
    use super::{Salt, View};

    /// Guardians a family can have.
    pub(crate) const GUARDIANS: u32 = 2;

    /// The family of a student.
    pub(crate) const fn of(student: u32) -> u32 {
        (student as u64 * 2 / 5) as u32
    }

    /// The first student of a family.
    pub(crate) const fn first_student(family: u32) -> u32 {
        (family as u64 * 5).div_ceil(2) as u32
    }

    /// Families so far.
    pub(crate) fn count(view: &View<'_>) -> u32 {
        view.students().checked_sub(1).map_or(0, |last| of(last) + 1)
    }

    /// Whether the family's guardians, phones and addresses are on file.
    pub(crate) fn on_file(view: &View<'_>, family: u32) -> bool {
        let known = first_student(family) < view.students();
        known && view.hash(Salt::Family, family) % 100 < u64::from(view.world.config.contact_percent)
    }

    /// Guardians on file: none, one or two.
    pub(crate) fn guardians(view: &View<'_>, family: u32) -> u32 {
        if !on_file(view, family) {
            return 0;
        }
        1 + u32::from(view.hash(Salt::Guardian, family * GUARDIANS).is_multiple_of(4))
    }

    /// Whether an emergency contact outside the family is on file.
    pub(crate) fn has_contact(view: &View<'_>, family: u32) -> bool {
        on_file(view, family) && view.hash(Salt::Contact, family).is_multiple_of(2)
    }
}
