//! What befalls a district's documents from day to day: they are written, completed, corrected, renewed and withdrawn; students leave
//! and come back; the nightly run stops; staff type flags in.
//!
//! The story has dice of its own, so that a district that is never disturbed lives through the very same days.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days, NaiveDate, TimeDelta};

use super::campus::Program;
use crate::dice::Dice;

/// Longest time from a day's beginning to something that happens on it.
const LAST: u64 = 6 * 60 * 60;

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A document is made, or replaced.
    Save {
        document: String,
        completed: bool,
    },
    /// A draft is completed.
    Complete(String),
    Withdraw(String),
    /// A student is in the roster, attending or not.
    Attends(String, bool),
    /// Staff type a flag in, which begins on a day.
    Type {
        id: String,
        student: String,
        program: Program,
        begins: NaiveDate,
    },
    /// The nightly run stops.
    RunStops,
}

/// Something that happens, and the document as it is by then, where it is of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// After the day began.
    pub(crate) after: TimeDelta,
    pub(crate) what: What,
    pub(crate) paper: Option<Paper>,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paper {
    pub(crate) student: String,
    pub(crate) program: Program,
    pub(crate) starts: NaiveDate,
    pub(crate) ends: Option<NaiveDate>,
    pub(crate) completed: bool,
}

/// A district's days, and what is true at their end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Story {
    /// By day, each in order.
    pub(crate) days: Vec<Vec<Event>>,
    /// Documents that count in the end.
    pub(crate) papers: BTreeMap<String, Paper>,
    /// Students and programs of which a stretch was lost, cut, joined to another, is over by the cutover since, or begins on
    /// another day than it did.
    pub(crate) bent: BTreeSet<(String, &'static str)>,
    /// Students who do not attend in the end.
    pub(crate) left: BTreeSet<String>,
}

/// The stretches that completed documents make, written from the words of docs/DOCUMENTS.md: they neither overlap nor touch.
pub(crate) fn stretches(
    papers: &BTreeMap<String, Paper>,
    student: &str,
    program: &str,
) -> Vec<(NaiveDate, Option<NaiveDate>)> {
    let counts = |paper: &&Paper| paper.completed && paper.student == student && paper.program.name == program;
    let mut all: Vec<_> = papers.values().filter(counts).map(|paper| (paper.starts, paper.ends)).collect();
    all.sort_unstable();
    let mut joined: Vec<(NaiveDate, Option<NaiveDate>)> = Vec::new();
    for (starts, ends) in all {
        match joined.last_mut() {
            Some((_, last)) if last.is_none_or(|last| starts <= last + Days::new(1)) => {
                *last = last.zip(ends).map(|(one, other)| one.max(other));
            }
            _ => joined.push((starts, ends)),
        }
    }
    joined
}

/// Whether each stretch goes on in one of its own: none was lost, cut, joined to another, or begins otherwise.
fn go_on(before: &[(NaiveDate, Option<NaiveDate>)], after: &[(NaiveDate, Option<NaiveDate>)]) -> bool {
    before.iter().all(|(starts, _)| after.iter().any(|(other, _)| starts == other))
}

impl Story {
    /// What happened to a student's documents of a program, a line each.
    pub(crate) fn told_of(&self, student: &str, program: &str) -> String {
        let mut told = Vec::new();
        for (day, events) in self.days.iter().enumerate() {
            let papers = events.iter().filter_map(|event| Some((event, event.paper.as_ref()?)));
            for (event, paper) in papers.filter(|(_, paper)| paper.student == student && paper.program.name == program)
            {
                told.push(format!("day {day} {}: {:?} {:?}", event.after, event.what, (paper.starts, paper.ends)));
            }
        }
        told.join("\n")
    }
}

struct Teller {
    dice: Dice,
    story: Story,
    students: Vec<String>,
    programs: Vec<Program>,
    made: u32,
}

/// The story of a district, of so many days with events; the days after these are quiet but for the runs.
pub(crate) fn tell(seed: u64, students: &[String], programs: &[Program], first: NaiveDate, days: usize) -> Story {
    let (dice, students, programs) = (Dice::new(seed), students.to_vec(), programs.to_vec());
    let mut teller = Teller { dice, story: Story::default(), students, programs, made: 0 };
    for number in 0..days {
        let events = teller.day(first + Days::new(number as u64), number);
        teller.story.days.push(events);
    }
    let run = Event { after: TimeDelta::minutes(1), what: What::RunStops, paper: None };
    teller.story.days.push(vec![run]);
    teller.story
}

impl Teller {
    fn day(&mut self, today: NaiveDate, number: usize) -> Vec<Event> {
        let (least, most) = if number == 0 { (6, 14) } else { (2, 9) };
        let count = self.dice.between(least, most);
        let mut times: Vec<u64> = (0..count).map(|_| self.dice.below(LAST)).collect();
        times.sort_unstable();
        let mut events = Vec::new();
        for time in times {
            let after = TimeDelta::seconds(time as i64);
            let before = self.story.papers.clone();
            let told = self.something(today);
            self.bend_by(&before, told.as_ref());
            events.extend(told.into_iter().map(|(what, paper)| Event { after, what, paper }));
        }
        let after = TimeDelta::seconds(self.dice.below(LAST) as i64);
        events.push(Event { after, what: What::RunStops, paper: None });
        events.sort_by_key(|event| event.after);
        events
    }

    fn something(&mut self, today: NaiveDate) -> Option<(What, Option<Paper>)> {
        let known: Vec<String> = self.story.papers.keys().cloned().collect();
        let old = if known.is_empty() { None } else { Some(known[self.dice.place(&known)].clone()) };
        let what = self.dice.below(100);
        match (what, old) {
            (0..40, _) | (40..88, None) => Some(self.make(today)),
            (40..50, Some(old)) => Some(self.renew(&old)),
            (50..66, Some(old)) => self.correct(old, today),
            (66..74, Some(old)) => self.shift(old),
            (74..82, Some(old)) => self.withdraw(old),
            (82..88, Some(old)) => self.complete(old),
            (88..95, _) => Some(self.attendance()),
            _ => Some(self.type_in(today)),
        }
    }

    fn person(&self) -> (String, Program) {
        (self.students[self.dice.place(&self.students)].clone(), self.programs[self.dice.place(&self.programs)])
    }

    fn new_name(&mut self) -> String {
        self.made += 1;
        format!("document-{}", self.made)
    }

    fn saved(&mut self, name: String, paper: Paper) -> (What, Option<Paper>) {
        self.story.papers.insert(name.clone(), paper.clone());
        (What::Save { document: name, completed: paper.completed }, Some(paper))
    }

    fn make(&mut self, today: NaiveDate) -> (What, Option<Paper>) {
        let (student, program) = self.person();
        let starts = today + Days::new(self.dice.below(6)) - Days::new(self.dice.below(60));
        let ends = self.dice.chance(600).then(|| starts + Days::new(self.dice.below(90)));
        let completed = self.dice.chance(850);
        let name = self.new_name();
        self.saved(name, Paper { student, program, starts, ends, completed })
    }

    /// The next plan follows the one before, with a gap of a day now and then.
    fn renew(&mut self, old: &str) -> (What, Option<Paper>) {
        let paper = self.story.papers[old].clone();
        let starts = paper.ends.unwrap_or(paper.starts) + Days::new(1 + u64::from(self.dice.chance(300)));
        let ends = self.dice.chance(500).then(|| starts + Days::new(self.dice.below(60)));
        let name = self.new_name();
        self.saved(name, Paper { starts, ends, completed: true, ..paper })
    }

    /// Another last day.
    fn correct(&mut self, old: String, today: NaiveDate) -> Option<(What, Option<Paper>)> {
        let paper = self.story.papers.get(&old)?.clone();
        let day = paper.starts.max(today) + Days::new(self.dice.below(40));
        let ends = self.dice.chance(700).then_some(day);
        Some(self.saved(old, Paper { ends, ..paper }))
    }

    fn shift(&mut self, old: String) -> Option<(What, Option<Paper>)> {
        let paper = self.story.papers.get(&old)?.clone();
        let starts = paper.starts + Days::new(self.dice.below(9)) - Days::new(4);
        let ends = paper.ends.map(|end| end.max(starts));
        Some(self.saved(old, Paper { starts, ends, ..paper }))
    }

    fn withdraw(&mut self, old: String) -> Option<(What, Option<Paper>)> {
        let paper = self.story.papers.remove(&old)?;
        Some((What::Withdraw(old), Some(paper)))
    }

    fn complete(&mut self, old: String) -> Option<(What, Option<Paper>)> {
        let paper = self.story.papers.get_mut(&old)?;
        paper.completed = true;
        let paper = paper.clone();
        Some((What::Complete(old), Some(paper)))
    }

    /// What depends on when it was seen is told as that.
    fn bend_by(&mut self, before: &BTreeMap<String, Paper>, told: Option<&(What, Option<Paper>)>) {
        let Some((_, Some(paper))) = told else { return };
        let rules = |(_, ends): &(NaiveDate, Option<NaiveDate>)| ends.is_none_or(|end| end >= paper.program.cutover);
        let of = |papers| {
            let mut all = stretches(papers, &paper.student, paper.program.name);
            all.retain(rules);
            all
        };
        if !go_on(&of(before), &of(&self.story.papers)) {
            self.story.bent.insert((paper.student.clone(), paper.program.name));
        }
    }

    fn attendance(&mut self) -> (What, Option<Paper>) {
        let (student, _) = self.person();
        let comes = self.story.left.remove(&student);
        if !comes {
            self.story.left.insert(student.clone());
        }
        (What::Attends(student, comes), None)
    }

    fn type_in(&mut self, today: NaiveDate) -> (What, Option<Paper>) {
        let (student, program) = self.person();
        let begins = program.cutover.max(today);
        self.made += 1;
        (What::Type { id: format!("{}late-{}", super::campus::TYPED, self.made), student, program, begins }, None)
    }
}
