//! The programs and flags of a Campus, and the judging of writes.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use chrono::NaiveDate;
use serde_json::{Value, json};

/// A program (flag) as set up by the district.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampusProgramRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Active.
    pub active: bool,
    /// "Special Ed" is checked.
    pub special_ed: bool,
}

/// A student's flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampusFlag {
    /// Its id.
    pub id: String,
    /// The student's id.
    pub student: String,
    /// The program's id.
    pub program: String,
    /// First day.
    pub begins: NaiveDate,
    /// Last day.
    pub ends: Option<NaiveDate>,
    /// Where a click leads.
    pub link: Option<String>,
    /// The user warning.
    pub comment: Option<String>,
}

/// Counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CampusStats {
    /// Calls that came in, tokens apart.
    pub calls: u64,
    /// Writes that were done.
    pub writes: u64,
    /// Writes that were refused as they were.
    pub refused: u64,
    /// Tokens given.
    pub tokens: u64,
    /// Writes that came in while another of the same student was under way.
    pub crossed: u64,
}

#[derive(Debug)]
pub(super) struct Flags {
    pub(super) programs: Vec<CampusProgramRow>,
    pub(super) by_id: BTreeMap<String, CampusFlag>,
    pub(super) stats: CampusStats,
    /// Writes under way, by student.
    pub(super) under_way: BTreeMap<String, u32>,
    /// Programs are shown that are not marked "Special Ed".
    pub(super) shows_all: bool,
}

impl Default for Flags {
    fn default() -> Self {
        let names = ["Special Education", "Section 504", "Advanced Learners", "K-4 Literacy"];
        let program = |(number, name): (usize, &str)| CampusProgramRow {
            id: format!("{}", 101 + number),
            name: name.to_owned(),
            active: true,
            special_ed: true,
        };
        let programs = names.into_iter().enumerate().map(program).collect();
        Self {
            programs,
            by_id: BTreeMap::new(),
            stats: CampusStats::default(),
            under_way: BTreeMap::new(),
            shows_all: false,
        }
    }
}

/// Whether there is a student of an id.
pub(crate) type Students<'a> = &'a dyn Fn(&str) -> bool;

/// Why a write is refused: status and code minor.
pub(super) type Refused = (StatusCode, &'static str);

const UNKNOWN: Refused = (StatusCode::NOT_FOUND, "unknownobject");
const INVALID: Refused = (StatusCode::UNPROCESSABLE_ENTITY, "invaliddata");

impl Flags {
    pub(super) fn all(&self) -> Vec<CampusFlag> {
        self.by_id.values().cloned().collect()
    }

    pub(super) fn put(&mut self, flag: CampusFlag) {
        self.by_id.insert(flag.id.to_ascii_lowercase(), flag);
    }

    pub(super) fn delete(&mut self, id: &str) {
        self.by_id.remove(&id.to_ascii_lowercase());
    }

    /// A write of a student's begins.
    pub(super) fn begin(&mut self, student: &str) {
        let under_way = self.under_way.entry(student.to_owned()).or_default();
        self.stats.crossed += u64::from(*under_way > 0);
        *under_way += 1;
    }

    /// It has ended, or nobody waits for it any more.
    pub(super) fn end(&mut self, student: &str) {
        if let Some(under_way) = self.under_way.get_mut(student) {
            *under_way -= 1;
        }
    }

    /// A program that partners see.
    fn shown(&self, id: &str) -> Option<&CampusProgramRow> {
        self.programs.iter().find(|program| program.id == id && self.is_shown(program))
    }

    fn is_shown(&self, program: &CampusProgramRow) -> bool {
        program.special_ed || self.shows_all
    }

    pub(super) fn program_rows(&self) -> Vec<Value> {
        let shown = self.programs.iter().filter(|program| self.is_shown(program));
        shown.map(program_row).collect()
    }

    pub(super) fn flag_rows(&self, filter: Option<(&str, &str)>) -> Vec<Value> {
        let wanted = |flag: &&CampusFlag| match filter {
            Some(("student.sourcedId", id)) => flag.student.eq_ignore_ascii_case(id),
            Some(("program.sourcedId", id)) => flag.program == id,
            _ => true,
        };
        let visible = self.by_id.values().filter(|flag| self.shown(&flag.program).is_some());
        visible.filter(wanted).map(flag_row).collect()
    }

    pub(super) fn flag_row(&self, id: &str) -> Option<Value> {
        let flag = self.by_id.get(&id.to_ascii_lowercase())?;
        self.shown(&flag.program).map(|_| flag_row(flag))
    }

    /// Takes a write, or says why not. True: there was no such flag before. `is_known`: whether there is a student of this id.
    pub(super) fn write(&mut self, id: &str, row: &Value, is_known: Students<'_>) -> Result<bool, Refused> {
        let flag = read(id, row).ok_or(INVALID)?;
        let program = self.shown(&flag.program).ok_or(UNKNOWN)?;
        if !is_known(&flag.student) {
            return Err(UNKNOWN);
        }
        let replaces = self.by_id.contains_key(&id.to_ascii_lowercase());
        // Only active flags can be assigned; one that is there can be ended.
        let ends = replaces && flag.ends.is_some();
        if flag.ends.is_some_and(|end| end < flag.begins) || (!program.active && !ends) {
            return Err(INVALID);
        }
        self.put(flag);
        Ok(!replaces)
    }
}

fn read(id: &str, row: &Value) -> Option<CampusFlag> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if !row.get("sourcedId")?.as_str()?.eq_ignore_ascii_case(id) {
        return None;
    }
    let ends = match row.get("endDate") {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_str()?.parse().ok()?),
    };
    Some(CampusFlag {
        id: id.to_owned(),
        student: text(row.get("student")?.get("sourcedId")?)?,
        program: text(row.get("program")?.get("sourcedId")?)?,
        begins: row.get("beginDate")?.as_str()?.parse().ok()?,
        ends,
        link: row.get("metadata").and_then(|metadata| text(metadata.get("ltiLink")?)),
        comment: row.get("comment").and_then(text),
    })
}

fn program_row(program: &CampusProgramRow) -> Value {
    let flag = |yes: bool| if yes { "true" } else { "false" };
    json!({
        "sourcedId": program.id, "status": "active", "dateLastModified": "2026-07-01T04:00:00.000Z",
        "title": program.name,
        "metadata": { "active": flag(program.active), "specialEd": flag(program.special_ed) },
    })
}

fn flag_row(flag: &CampusFlag) -> Value {
    let reference = |id: &str, kind: &str| json!({ "href": format!("/{kind}s/{id}"), "sourcedId": id, "type": kind });
    let mut row = json!({
        "sourcedId": flag.id, "status": "active", "dateLastModified": "2026-07-01T04:00:00.000Z",
        "student": reference(&flag.student, "user"), "program": reference(&flag.program, "program"),
        "beginDate": flag.begins, "endDate": flag.ends,
    });
    if let Some(comment) = &flag.comment {
        row["comment"] = json!(comment);
    }
    if let Some(link) = &flag.link {
        row["metadata"] = json!({ "ltiLink": link });
    }
    row
}
