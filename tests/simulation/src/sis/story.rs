//! What befalls a district's students from day to day: adds, changes, withdrawals, graduations, returns, removals, and
//! now and then a great many at once.
//!
//! The story has dice of its own, so that a district that is never disturbed lives through the very same days.

use chrono::{Days, NaiveDate};

use super::truth::{GRADUATED, MOVED_AWAY, Pupil, Spell, Truth};
use crate::dice::Dice;

/// First day of the school year.
const FIRST_DAY: (i32, u32, u32) = (2026, 8, 12);

/// The truth of each day, from `first` on.
pub(crate) fn days(seed: u64, students: u64, first: NaiveDate, count: usize) -> Vec<Truth> {
    let mut story = Story { dice: Dice::new(seed), truth: Truth::default(), next_student: 1_000, next_spell: 50_000 };
    for _ in 0..students {
        story.enter(first);
    }
    let mut days = vec![story.truth.clone()];
    for day in 1..count {
        story.live(first + Days::new(day as u64));
        days.push(story.truth.clone());
    }
    days
}

struct Story {
    dice: Dice,
    truth: Truth,
    next_student: i64,
    next_spell: i64,
}

impl Story {
    /// A new student: nearly always enrolled since the first day, now and then entering soon.
    fn enter(&mut self, today: NaiveDate) {
        let (year, month, day) = FIRST_DAY;
        let first_day = NaiveDate::from_ymd_opt(year, month, day).unwrap_or(today);
        let start = if self.dice.chance(100) { today + Days::new(self.dice.between(1, 6)) } else { first_day };
        let spell = self.spell(start);
        let guardian = self.dice.chance(700);
        let pupil = Pupil { names: 0, phones: 0, guardian, listed: true, spells: vec![spell] };
        self.next_student += 1;
        self.truth.pupils.insert(self.next_student, pupil);
    }

    fn spell(&mut self, start: NaiveDate) -> Spell {
        self.next_spell += 1;
        Spell { id: self.next_spell, start, end: None, code: None, school: self.dice.between(1, 3) as i64 }
    }

    fn live(&mut self, today: NaiveDate) {
        for _ in 0..self.dice.below(3) {
            self.enter(today);
        }
        if self.dice.chance(60) {
            return self.reorganise();
        }
        let touched = if self.dice.chance(80) { 12 } else { self.dice.below(5) };
        for _ in 0..touched {
            self.touch(today);
        }
    }

    /// Every name changes, as when a district goes over to capitals.
    fn reorganise(&mut self) {
        self.truth.pupils.values_mut().for_each(|pupil| pupil.names += 1);
    }

    fn touch(&mut self, today: NaiveDate) {
        let ids: Vec<i64> = self.truth.listed().map(|(id, _)| id).collect();
        let Some(id) = self.dice.pick(&ids) else { return };
        let what = self.dice.below(100);
        let again = self.spell(today);
        let yesterday = today - Days::new(1);
        let Some(pupil) = self.truth.pupils.get_mut(&id) else { return };
        let open = pupil.spells.iter_mut().find(|spell| spell.end.is_none() && spell.start <= yesterday);
        match (what, open) {
            (0..25, _) => pupil.names += 1,
            (25..40, _) => pupil.phones += 1,
            (40..50, _) => pupil.guardian = !pupil.guardian,
            (50..75, Some(spell)) => (spell.end, spell.code) = (Some(yesterday), Some(MOVED_AWAY)),
            (75..85, Some(spell)) => (spell.end, spell.code) = (Some(yesterday), Some(GRADUATED)),
            (50..85, None) => pupil.spells.push(again),
            _ => pupil.listed = false,
        }
    }
}
