//! The model Campus: programs and flags of each district, and what must hold of every write at the moment it is taken.
//!
//! Role: [`Campus`] holds the rows, the weather and what was found wrong. Neighbours: `answer` reads requests, `door` lets processes
//! in, `people` edits by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, ensure};
use chrono::NaiveDate;
use serde_json::Value;

use super::weather::{CampusWeather, Dialect};
use crate::{clock::VirtualClock, dice::Dice};

/// Begins the id of every flag that somebody typed in.
pub(crate) const TYPED: &str = "typed-";

/// A program as a Campus knows it, and how it goes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) id: &'static str,
    pub(crate) cutover: NaiveDate,
    pub(crate) take_over: bool,
    pub(crate) restore: bool,
}

/// A flag that somebody edited while nothing new was to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Whose, and of which program.
    pub(crate) of: (String, &'static str),
    /// Changes of that student's documents so far.
    pub(crate) changes: u64,
}

/// One district's Campus.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) programs: Vec<Program>,
    pub(crate) students: BTreeSet<String>,
    /// By id in lower case.
    pub(crate) rows: BTreeMap<String, Value>,
    pub(crate) weather: CampusWeather,
    pub(crate) dialect: Dialect,
    /// Tokens that are good.
    pub(crate) tokens: BTreeSet<String>,
    /// Typed flags whose ending was approved.
    pub(crate) approved: BTreeSet<String>,
    /// Students and programs that were to get a new flag when the ending of the old one was approved, with their changes by then.
    pub(crate) go_on: BTreeMap<(String, &'static str), u64>,
    /// Edits that may not be written over, by flag.
    pub(crate) edits: BTreeMap<String, Edit>,
    /// Students and programs of which a flag was ever edited.
    pub(crate) edited: BTreeSet<(String, &'static str)>,
    /// Changes of documents so far, by student and program.
    pub(crate) changes: BTreeMap<(String, &'static str), u64>,
    /// Writes taken.
    pub(crate) writes: u64,
    /// Writes taken whose answer was lost.
    pub(crate) unheard: u64,
    /// What must not be, and was: of which student and program's id.
    pub(crate) wrong: Vec<(String, [String; 2])>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Campus {
    servers: Mutex<BTreeMap<String, Server>>,
    pub(crate) clock: VirtualClock,
    pub(crate) dice: Dice,
}

/// A text of a row.
pub(crate) fn text<'a>(row: &'a Value, path: &[&str]) -> &'a str {
    path.iter().fold(row, |row, name| &row[*name]).as_str().unwrap_or_default()
}

/// A day of a row.
pub(crate) fn day(row: &Value, name: &str) -> Option<NaiveDate> {
    text(row, &[name]).parse().ok()
}

/// Marked as deleted.
pub(crate) fn is_deleted(row: &Value) -> bool {
    text(row, &["status"]) == "tobedeleted"
}

/// Typed in by somebody.
pub(crate) fn is_typed(id: &str) -> bool {
    id.starts_with(TYPED)
}

impl Campus {
    pub(crate) fn new(clock: VirtualClock, dice: Dice) -> Self {
        Self { servers: Mutex::default(), clock, dice }
    }

    pub(crate) fn open(&self, host: &str, programs: Vec<Program>, students: BTreeSet<String>, dialect: Dialect) {
        let server = Server {
            programs,
            students,
            rows: BTreeMap::new(),
            weather: CampusWeather::default(),
            dialect,
            tokens: BTreeSet::new(),
            approved: BTreeSet::new(),
            go_on: BTreeMap::new(),
            edits: BTreeMap::new(),
            edited: BTreeSet::new(),
            changes: BTreeMap::new(),
            writes: 0,
            unheard: 0,
            wrong: Vec::new(),
        };
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), server);
    }

    /// Works with one district's. A host that is none is nobody's.
    pub(crate) fn with<T>(&self, host: &str, work: impl FnOnce(&mut Server) -> T) -> Option<T> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).get_mut(host).map(work)
    }
}

impl Server {
    pub(crate) fn program(&self, id: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.id == id)
    }

    /// Flags of ours that are there.
    pub(crate) fn ours(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.rows.iter().filter(|(id, row)| !is_typed(id) && !is_deleted(row))
    }

    /// A student's documents of a program changed.
    pub(crate) fn changed(&mut self, student: &str, program: &'static str) {
        *self.changes.entry((student.to_owned(), program)).or_default() += 1;
    }

    pub(crate) fn changes_of(&self, of: &(String, &'static str)) -> u64 {
        self.changes.get(of).copied().unwrap_or_default()
    }

    /// Takes a write, or says with which status it does not. True: there was no such flag before.
    pub(crate) fn write(&mut self, id: &str, sent: &Value) -> Result<bool, u16> {
        let (student, program) = (text(sent, &["student", "sourcedId"]), text(sent, &["program", "sourcedId"]));
        if !self.students.contains(student) || self.program(program).is_none() {
            return Err(404);
        }
        let begins = day(sent, "beginDate").ok_or(422_u16)?;
        if day(sent, "endDate").is_some_and(|end| end < begins)
            || (!sent["endDate"].is_null() && day(sent, "endDate").is_none())
        {
            return Err(422);
        }
        let key = id.to_ascii_lowercase();
        let before = self.rows.get(&key).cloned();
        // However it is spelled.
        let mut sent = sent.clone();
        sent["sourcedId"] = Value::from(key.as_str());
        if let Err(wrong) = self.judge(&key, before.as_ref(), &sent) {
            let before = before.clone().unwrap_or_default();
            let of = [student, program].map(str::to_owned);
            self.wrong.push((format!("{id}: {wrong}; it was {before} and was written as {sent}"), of));
        }
        self.writes += 1;
        self.edits.remove(&key);
        self.rows.insert(key, sent);
        Ok(before.is_none())
    }

    /// A write was answered and not taken. A new flag that was taken and is not there cannot be told from one that somebody deleted.
    pub(crate) fn forgot(&mut self, id: &str, sent: &Value) {
        let student = text(sent, &["student", "sourcedId"]).to_owned();
        let Some(program) = self.program(text(sent, &["program", "sourcedId"])).map(|program| program.name) else {
            return;
        };
        if !self.rows.contains_key(&id.to_ascii_lowercase()) {
            self.edited.insert((student, program));
        }
    }

    /// What must hold of a write, whatever happened before.
    fn judge(&self, id: &str, before: Option<&Value>, sent: &Value) -> anyhow::Result<()> {
        ensure!(!is_deleted(sent) && text(sent, &["status"]) != "inactive", "a flag is deleted");
        if is_typed(id) {
            return self.judge_typed(id, before, sent);
        }
        let program = self.program(text(sent, &["program", "sourcedId"])).context("a flag of no program")?;
        let begins = day(sent, "beginDate").context("a flag without a beginning")?;
        ensure!(begins >= program.cutover, "a flag of ours begins before its program's cutover");
        let what = |row: &Value| {
            [text(row, &["student", "sourcedId"]), text(row, &["program", "sourcedId"]), text(row, &["beginDate"])]
                .map(str::to_owned)
        };
        // What was over before the cutover, and has a flag, keeps that day: a flag cannot be deleted.
        let is_rest = |row: &Value| begins == program.cutover && day(row, "endDate") == Some(begins);
        let twin = self.ours().find(|(other, row)| *other != id && what(row) == what(sent) && !is_rest(row));
        let twin = twin.filter(|_| !is_rest(sent));
        ensure!(twin.is_none(), "a flag is doubled: {twin:?}");
        ensure!(
            before.is_none_or(|before| is_deleted(before) || before["comment"] == sent["comment"]),
            "what staff typed onto a flag is lost"
        );
        let edit = self.edits.get(id).filter(|edit| edit.changes == self.changes_of(&edit.of));
        ensure!(edit.is_none() || program.restore, "an edit by hand is written over, and nothing new was to be said");
        Ok(())
    }

    /// A typed flag is ended, on the day before the cutover, where that was approved; all else of it stays.
    fn judge_typed(&self, id: &str, before: Option<&Value>, sent: &Value) -> anyhow::Result<()> {
        let before = before.context("a typed flag is made")?;
        ensure!(self.approved.contains(id), "a typed flag that nobody approved is written");
        let program = self.program(text(before, &["program", "sourcedId"])).context("a typed flag of no program")?;
        let (was, ends) = (day(before, "endDate"), day(sent, "endDate"));
        let as_approved = ends == program.cutover.pred_opt() && was.is_none_or(|was| Some(was) >= ends);
        ensure!(as_approved, "a typed flag ends otherwise than approved");
        let rest = |row: &Value| {
            let mut row = row.clone();
            row["endDate"] = Value::Null;
            row
        };
        ensure!(rest(before) == rest(sent), "a typed flag is changed beside its end");
        let (student, of) = (["student", "sourcedId"], ["program", "sourcedId"]);
        let pair = (text(before, &student).to_owned(), program.name);
        let goes_on = self.go_on.get(&pair) == Some(&self.changes_of(&pair)) && !self.edited.contains(&pair);
        let is_same = |row: &Value| text(row, &student) == pair.0 && text(row, &of) == program.id;
        ensure!(!goes_on || self.ours().any(|(_, row)| is_same(row)), "a student is without a flag in between");
        Ok(())
    }
}
