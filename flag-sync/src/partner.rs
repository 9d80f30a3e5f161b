//! The partner interface of Infinite Campus for programs and their participations: every path, envelope key and field
//! name that we rely on, in one table.
//!
//! Its true contract is not public: it stands in each district's own documentation (connection, Edit, Troubleshooting
//! Documentation). The defaults are wire/oneroster-campus.md 2.5's conservative contract. An empty name means that Campus
//! has no such field: it is neither sent nor read, and nothing is filtered by it.

use chrono::NaiveDate;
use rollcall_store::flag::PushedFlag;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::diff::{ActualFlag, ShownLink};

/// See the module. A name with dots leads into nested objects.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PartnerInterface {
    /// Path of the programs, after the base URL (`…/ims/oneroster`).
    pub programs_path: String,
    /// Path of the participations.
    pub participations_path: String,
    /// Header that carries `key:secret` of the vendor.
    pub vendor_header: String,
    /// Envelope of a list of programs.
    pub programs_envelope: String,
    /// Envelope of a list of participations.
    pub participations_envelope: String,
    /// Envelope of one participation.
    pub participation_envelope: String,
    /// Rows asked for in one page.
    pub page_size: u32,
    /// Id of any object.
    pub id: String,
    /// Status of any object.
    pub status: String,
    /// What the status says of an object that was deleted.
    pub deleted_status: String,
    /// What the status says of one that was not.
    pub active_status: String,
    /// A program's name, by which it is matched exactly.
    pub program_name: String,
    /// Whether a program (flag) is active.
    pub program_active: String,
    /// Whether a program (flag) is marked "Special Ed".
    pub program_special_ed: String,
    /// A participation's student.
    pub student_id: String,
    /// A participation's program.
    pub program_id: String,
    /// First day of a participation.
    pub starts_on: String,
    /// Last day of a participation.
    pub ends_on: String,
    /// Where a click on the flag leads, as it is sent.
    pub launch_link: String,
    /// The same as Campus shows it; empty where it takes links and shows none.
    pub launch_link_shown: String,
    /// Field to filter participations by student; empty: all are read, and told apart here.
    pub student_filter: String,
    /// Field to filter participations by program; empty: all are read, and told apart here.
    pub program_filter: String,
}

impl Default for PartnerInterface {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            programs_path: text("gradebook/v1p2/programs"),
            participations_path: text("gradebook/v1p2/programParticipations"),
            vendor_header: text("x-vendor-authorization"),
            programs_envelope: text("programs"),
            participations_envelope: text("programParticipations"),
            participation_envelope: text("programParticipation"),
            page_size: 1_000,
            id: text("sourcedId"),
            status: text("status"),
            deleted_status: text("tobedeleted"),
            active_status: text("active"),
            program_name: text("title"),
            program_active: text("metadata.active"),
            program_special_ed: text("metadata.specialEd"),
            student_id: text("student.sourcedId"),
            program_id: text("program.sourcedId"),
            starts_on: text("beginDate"),
            ends_on: text("endDate"),
            launch_link: text("metadata.ltiLink"),
            launch_link_shown: text("metadata.ltiLink"),
            student_filter: text("student.sourcedId"),
            program_filter: text("program.sourcedId"),
        }
    }
}

/// Status of a program that is switched off, and of what OneRoster 1.0 deleted.
const INACTIVE: &str = "inactive";

/// A program as Campus has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampusProgram {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Not switched off; true where Campus does not say.
    pub active: bool,
    /// Marked "Special Ed"; true where Campus does not say, since it shows partners no others.
    pub special_ed: bool,
}

/// Finds a program by its exact name, or says why its flags cannot be written: a reason code, then a detail.
///
/// # Errors
/// `flag-missing`, `flag-inactive`, `flag-not-special-ed`, `flag-ambiguous`.
pub fn find_program<'a>(programs: &'a [CampusProgram], name: &str) -> Result<&'a CampusProgram, String> {
    let named = || programs.iter().filter(|program| program.name.trim() == name);
    // One that was switched off beside its successor is nobody's rival.
    let mut found = named().filter(|program| program.active);
    let Some(program) = found.next().or_else(|| named().next()) else {
        let alike = programs.iter().find(|program| program.name.trim().eq_ignore_ascii_case(name));
        let hint = alike.map_or_else(String::new, |program| format!("; there is {:?}", program.name));
        return Err(format!("flag-missing no flag named {name:?} is shown to us{hint}"));
    };
    match found.next() {
        Some(_) => Err(format!("flag-ambiguous several flags are named {name:?}")),
        None if !program.active => Err(format!("flag-inactive the flag {name:?} is not active")),
        None if !program.special_ed => Err(format!("flag-not-special-ed the flag {name:?} is not marked Special Ed")),
        None => Ok(program),
    }
}

impl PartnerInterface {
    /// Reads a program; `None` for a row without id or name, or one that is deleted.
    pub(crate) fn program(&self, row: &Value) -> Option<CampusProgram> {
        let status = text(row, &self.status);
        let has = |word: &str| status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case(word));
        if has(&self.deleted_status) {
            return None;
        }
        let yes = |name: &str| at(row, name).map(is_true);
        Some(CampusProgram {
            id: text(row, &self.id)?,
            name: text(row, &self.program_name)?,
            active: yes(&self.program_active).unwrap_or(true) && !has(INACTIVE),
            special_ed: yes(&self.program_special_ed).unwrap_or(true),
        })
    }

    /// Reads a participation; `None` for a row without ids, or one that is deleted.
    pub(crate) fn participation(&self, row: &Value) -> Option<ActualFlag> {
        if self.is_deleted(row) {
            return None;
        }
        let unread = |path: &str| at(row, path).is_some_and(|value| !is_blank(value)) && date(row, path).is_none();
        Some(ActualFlag {
            id: text(row, &self.id)?,
            sis_id: text(row, &self.student_id)?,
            program_sis_id: text(row, &self.program_id)?,
            starts_on: date(row, &self.starts_on),
            ends_on: date(row, &self.ends_on),
            is_undated: unread(&self.starts_on) || unread(&self.ends_on),
            link: self.link(row),
        })
    }

    fn link(&self, row: &Value) -> ShownLink {
        if self.launch_link_shown.is_empty() { ShownLink::NotTold } else { text(row, &self.launch_link_shown).into() }
    }

    /// A flag of ours as it is sent, in its envelope. `row`: as Campus has it, where it does; what we know nothing of, such
    /// as a User Warning that staff typed onto it, stays.
    pub(crate) fn flag(&self, id: Uuid, flag: &PushedFlag, row: Option<Value>) -> Value {
        let mut row = row.filter(Value::is_object).unwrap_or_else(|| Value::Object(Map::new()));
        put(&mut row, &self.id, Value::from(id.to_string()));
        put(&mut row, &self.status, Value::from(self.active_status.as_str()));
        refer(&mut row, &self.student_id, &flag.sis_id);
        refer(&mut row, &self.program_id, &flag.program_sis_id);
        put(&mut row, &self.starts_on, Value::from(flag.starts_on.to_string()));
        match flag.ends_on {
            Some(end) => put(&mut row, &self.ends_on, Value::from(end.to_string())),
            None => drop(take(&mut row, &self.ends_on)),
        }
        if let Some(link) = &flag.link {
            put(&mut row, &self.launch_link, Value::from(link.as_str()));
        }
        self.enveloped(row)
    }

    /// Somebody else's flag as Campus gave it, ended; all else stays.
    pub(crate) fn ended(&self, mut row: Value, on: NaiveDate) -> Value {
        put(&mut row, &self.ends_on, Value::from(on.to_string()));
        self.enveloped(row)
    }

    fn enveloped(&self, row: Value) -> Value {
        Value::Object(Map::from_iter([(self.participation_envelope.clone(), row)]))
    }

    /// The row is of this id, and of an object that was deleted.
    pub(crate) fn is_deleted_one(&self, row: &Value, id: &str) -> bool {
        self.is_deleted(row) && text(row, &self.id).is_some_and(|of| of.eq_ignore_ascii_case(id))
    }

    fn is_deleted(&self, row: &Value) -> bool {
        text(row, &self.status).is_some_and(|status| {
            status.eq_ignore_ascii_case(&self.deleted_status) || status.eq_ignore_ascii_case(INACTIVE)
        })
    }
}

fn at<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return None;
    }
    path.split('.').try_fold(row, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// A text, or a number as text: ids come as both.
fn text(row: &Value, path: &str) -> Option<String> {
    match at(row, path)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn is_blank(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// A date, with or without a time behind it.
fn date(row: &Value, path: &str) -> Option<NaiveDate> {
    text(row, path)?.get(..10)?.parse().ok()
}

/// Booleans come as text too.
fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true")))
}

/// Sets a value, making the objects on the way.
fn put(row: &mut Value, path: &str, value: Value) {
    if path.is_empty() {
        return;
    }
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Value::Object(object) = row else { return };
    match rest {
        None => {
            object.insert(first.to_owned(), value);
        }
        Some(rest) => {
            let inner = object.entry(first).or_insert(Value::Null);
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            put(inner, rest, value);
        }
    }
}

/// Takes a value away.
fn take(row: &mut Value, path: &str) -> Option<Value> {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = parent.split('.').filter(|part| !part.is_empty()).try_fold(row, |value, part| value.get_mut(part))?;
    parent.as_object_mut()?.remove(name)
}

/// Lets a reference name another object. What came with the one before, such as where it is found, goes with it.
fn refer(row: &mut Value, path: &str, id: &str) {
    if text(row, path).is_some_and(|before| before.eq_ignore_ascii_case(id)) {
        return;
    }
    if let Some((reference, _)) = path.rsplit_once('.') {
        take(row, reference);
    }
    put(row, path, Value::from(id));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flag() -> PushedFlag {
        PushedFlag {
            starts_on: "2026-08-15".parse().unwrap(),
            ends_on: None,
            sis_id: "GUID".to_owned(),
            program_sis_id: "7".to_owned(),
            link: Some("https://rollcall.example/lti/launch?flag=1".to_owned()),
        }
    }

    #[test]
    fn a_flag_is_sent_as_the_table_says_and_reads_back() {
        let table = PartnerInterface::default();
        let sent = table.flag(Uuid::from_u128(1), &flag(), None);
        let id = "00000000-0000-0000-0000-000000000001";
        assert_eq!(
            sent,
            json!({"programParticipation": {
                "sourcedId": id, "status": "active", "student": {"sourcedId": "GUID"}, "program": {"sourcedId": "7"},
                "beginDate": "2026-08-15", "metadata": {"ltiLink": "https://rollcall.example/lti/launch?flag=1"},
            }})
        );
        let read = table.participation(&sent["programParticipation"]).unwrap();
        assert_eq!((read.id.as_str(), read.sis_id.as_str(), read.ends_on), (id, "GUID", None));
        assert_eq!(read.link, ShownLink::from(flag().link));
        for (begin, end, undated) in [
            (json!("2026-08-15T00:00:00Z"), json!(null), false),
            (json!("2026-08-15"), json!(" "), false),
            (json!("2026-08-15"), json!("06/30/2026"), true),
            (json!("soon"), json!(null), true),
            (json!("2026-08-15"), json!({"date": "2026-06-30"}), true),
        ] {
            let mut shown = sent["programParticipation"].clone();
            (shown["beginDate"], shown["endDate"]) = (begin, end);
            assert_eq!(table.participation(&shown).unwrap().is_undated, undated, "{shown}");
        }
        let mute = PartnerInterface { launch_link_shown: String::new(), ..table.clone() };
        assert_eq!(mute.participation(&sent["programParticipation"]).unwrap().link, ShownLink::NotTold);
        let other = PartnerInterface {
            participation_envelope: "spParticipation".to_owned(),
            starts_on: "dates.start".to_owned(),
            launch_link: String::new(),
            ..table
        };
        let sent = other.flag(Uuid::from_u128(1), &flag(), None);
        assert_eq!(sent["spParticipation"]["dates"]["start"], "2026-08-15");
        assert!(sent["spParticipation"].get("metadata").is_none());
    }

    #[test]
    fn our_own_flag_keeps_what_staff_added_to_it() {
        let table = PartnerInterface::default();
        let student = json!({"sourcedId": "guid", "href": "/users/guid", "type": "user"});
        let row = json!({
            "sourcedId": "x", "status": "active", "student": student, "program": {"sourcedId": "6", "href": "/programs/6"},
            "beginDate": "2026-08-20", "endDate": "2026-12-31", "comment": "call first",
            "metadata": {"ltiLink": "https://old.example", "a": [1]},
        });
        let sent = table.flag(Uuid::from_u128(1), &flag(), Some(row.clone()));
        assert_eq!(
            sent["programParticipation"],
            json!({
                "sourcedId": "00000000-0000-0000-0000-000000000001", "status": "active", "student": student,
                "program": {"sourcedId": "7"}, "beginDate": "2026-08-15", "comment": "call first",
                "metadata": {"ltiLink": "https://rollcall.example/lti/launch?flag=1", "a": [1]},
            })
        );
        let unlinked = PushedFlag { link: None, ends_on: Some("2026-09-01".parse().unwrap()), ..flag() };
        let sent = table.flag(Uuid::from_u128(1), &unlinked, Some(row));
        assert_eq!(sent["programParticipation"]["metadata"]["ltiLink"], "https://old.example", "it stays as it is");
        assert_eq!(sent["programParticipation"]["endDate"], "2026-09-01");
    }

    #[test]
    fn somebody_elses_flag_is_ended_and_all_else_stays() {
        let row = json!({"sourcedId": "x", "beginDate": "2025-01-01", "comment": "call first", "metadata": {"a": [1]}});
        let sent = PartnerInterface::default().ended(row, "2026-08-14".parse().unwrap());
        assert_eq!(
            sent["programParticipation"],
            json!({"sourcedId": "x", "beginDate": "2025-01-01", "comment": "call first", "metadata": {"a": [1]},
                   "endDate": "2026-08-14"})
        );
    }

    #[test]
    fn rows_are_read_leniently() {
        let table = PartnerInterface::default();
        let row = json!({"sourcedId": 12, "student": {"sourcedId": " g "}, "program": {"sourcedId": "7"},
                         "beginDate": "2026-08-15T00:00:00.000Z", "endDate": null});
        let read = table.participation(&row).unwrap();
        assert_eq!((read.id.as_str(), read.sis_id.as_str()), ("12", "g"));
        assert_eq!((read.starts_on, read.ends_on), (Some("2026-08-15".parse().unwrap()), None));
        let deleted = json!({"sourcedId": "1", "status": "tobedeleted", "student": {"sourcedId": "g"}, "program": {"sourcedId": "7"}});
        assert_eq!(table.participation(&deleted), None);
        assert_eq!(table.participation(&json!({"sourcedId": "1"})), None);
    }

    #[test]
    fn a_program_is_found_by_its_exact_name_or_fails_with_a_reason() {
        let table = PartnerInterface::default();
        let row = |name: &str, active: Value, special: Value| {
            table
                .program(
                    &json!({"sourcedId": name, "title": name, "metadata": {"active": active, "specialEd": special}}),
                )
                .unwrap()
        };
        let yes = || Value::from("true");
        let all = [
            row("Special Education", yes(), yes()),
            row("Section 504", Value::from(false), yes()),
            row("Advanced Learners", yes(), Value::from("false")),
            row("Twice", yes(), yes()),
            row("Twice", yes(), yes()),
            row("Anew", Value::from(false), yes()),
            row("Anew", yes(), yes()),
            row("Off", Value::from(false), yes()),
            row("Off", Value::from(false), yes()),
            table.program(&json!({"sourcedId": "1", "title": "Bare"})).unwrap(),
            table.program(&json!({"sourcedId": "2", "title": "Retired", "status": "inactive"})).unwrap(),
        ];
        let code = |name| {
            find_program(&all, name)
                .map(|program| program.id.clone())
                .map_err(|why| why.split(' ').next().unwrap_or_default().to_owned())
        };
        assert_eq!(code("Special Education"), Ok("Special Education".to_owned()));
        assert_eq!(code("Bare"), Ok("1".to_owned()));
        assert_eq!(code("special education"), Err("flag-missing".to_owned()));
        assert_eq!(code("K-4 Literacy"), Err("flag-missing".to_owned()));
        assert_eq!(code("Section 504"), Err("flag-inactive".to_owned()));
        assert_eq!(code("Advanced Learners"), Err("flag-not-special-ed".to_owned()));
        assert_eq!(code("Twice"), Err("flag-ambiguous".to_owned()));
        assert_eq!(code("Anew"), Ok("Anew".to_owned()), "of two the active one is meant");
        for name in ["Off", "Retired"] {
            assert_eq!(code(name), Err("flag-inactive".to_owned()));
        }
    }

    #[test]
    fn a_deleted_program_is_none() {
        let table = PartnerInterface::default();
        for (status, is_there) in [("active", true), ("inactive", true), ("tobedeleted", false), ("ToBeDeleted", false)]
        {
            let row = json!({"sourcedId": "1", "title": "P", "status": status});
            assert_eq!(table.program(&row).is_some(), is_there, "{status}");
        }
    }
}
