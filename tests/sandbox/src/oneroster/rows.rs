//! Rows as JSON.

use chrono::{Days, NaiveDate, TimeDelta};
use serde_json::{Map, Value, json};

use super::roster::{self, Role};
use super::{Dialect, Version, ids};
use crate::catalog::people::Person;
use crate::catalog::{contact, people, staff, student};
use crate::oneroster::Booleans;
use crate::world::calendar::{self, Year};
use crate::world::scenario::State;
use crate::world::{View, family};

/// One object of a collection.
#[derive(Clone, Copy)]
pub(super) enum Row {
    /// A school, or the district.
    Org(Option<u16>),
    /// A department of the first school's: an org that is no school. Skyward's alone.
    Department,
    /// 0 is the school year, 1 and 2 its semesters.
    Session(u64),
    User(Person),
    Demographics(Person),
}

/// The row in the shape of its version.
pub(super) fn json(view: &View<'_>, dialect: Dialect, row: &Row) -> Value {
    match row {
        Row::Org(school) => org(view, dialect, *school),
        Row::Department => department(view, dialect),
        Row::Session(place) => session(view, *place),
        Row::User(person) => user(view, dialect, person),
        Row::Demographics(person) => demographics(view, dialect, person),
    }
}

/// Its key, without the rest.
pub(super) fn sourced_id(view: &View<'_>, dialect: Dialect, row: &Row) -> String {
    match row {
        Row::Org(school) => ids::org(view, dialect, *school),
        Row::Department => DEPARTMENT.to_owned(),
        Row::Session(place) => ids::session(view, *place),
        Row::User(person) | Row::Demographics(person) => ids::person(view, dialect, person),
    }
}

/// What every row has. `student` is the one whom it tells of, or by whom it changes.
fn base(view: &View<'_>, id: &str, student: Option<(u32, &State)>) -> Map<String, Value> {
    let night = student.map_or(1, |(index, state)| view.changed_on(index, state));
    let gone = student.is_some_and(|(_, state)| state.gone);
    let mut map = Map::new();
    map.insert("sourcedId".into(), json!(id));
    map.insert("status".into(), json!(if gone { "tobedeleted" } else { "active" }));
    map.insert("dateLastModified".into(), json!(stamp(view, night)));
    map
}

/// The hour at which nights are pulled where days pass, UTC: two in the morning in Chicago, by daylight-saving time.
const PULLED_AT: u32 = 7;

/// When a night's changes were made: long ago for those of night 1, else today at noon and some seconds.
fn stamp(view: &View<'_>, night: u32) -> String {
    let today = view.world.today();
    let behind = view.quirks.oneroster.stamps_behind_hours;
    let (day, hour, minute) = match night {
        1 => (today - Days::new(40), 4, 0),
        night if view.quirks.oneroster.days_pass => {
            (today + Days::new(u64::from(night.saturating_sub(5))), PULLED_AT - 1, 30)
        }
        _ => (today, 12, 0),
    };
    let time = day.and_hms_opt(hour, minute, night.min(59)).unwrap_or_default() - TimeDelta::hours(i64::from(behind));
    format!("{}.000Z", time.format("%Y-%m-%dT%H:%M:%S"))
}

fn reference(kind: &str, id: &str) -> Value {
    json!({"href": format!("https://campus.example/{kind}s/{id}"), "sourcedId": id, "type": kind})
}

fn flag(view: &View<'_>, dialect: Dialect, flag: bool) -> Value {
    match dialect.booleans(&view.quirks.oneroster) {
        Booleans::Strings => json!(flag.to_string()),
        Booleans::Json => json!(flag),
    }
}

fn org(view: &View<'_>, dialect: Dialect, school: Option<u16>) -> Value {
    let id = ids::org(view, dialect, school);
    let mut map = base(view, &id, None);
    let known = school.and_then(|school| view.world.small.schools.get(usize::from(school)));
    map.insert("name".into(), json!(known.map_or("Sandbox ISD", |school| school.name.as_str())));
    map.insert("type".into(), json!(if school.is_some() { "school" } else { "district" }));
    map.insert("identifier".into(), json!(known.map_or("000000", |school| school.code.as_str())));
    if school.is_some() {
        map.insert("parent".into(), reference("org", &ids::org(view, dialect, None)));
    }
    Value::Object(map)
}

const DEPARTMENT: &str = "Department_1";

fn department(view: &View<'_>, dialect: Dialect) -> Value {
    let mut map = base(view, DEPARTMENT, None);
    map.insert("name".into(), json!("Mathematics"));
    map.insert("type".into(), json!("department"));
    map.insert("identifier".into(), json!("MATH"));
    map.insert("parent".into(), reference("org", &ids::org(view, dialect, Some(0))));
    Value::Object(map)
}

fn session(view: &View<'_>, place: u64) -> Value {
    let year = if view.quirks.oneroster.next_year { Year::NEXT } else { Year::CURRENT };
    let today = view.world.today();
    let (begin, end) = (calendar::first_day(today, year), calendar::last_day(today, year));
    let half = NaiveDate::from_ymd_opt(calendar::ending_year(today, year), 1, 6).unwrap_or(begin);
    let (title, kind, begin, end) = match place {
        0 => ("School year", "schoolYear", begin, end),
        1 => ("Fall", "semester", begin, half),
        _ => ("Spring", "semester", half, end),
    };
    let mut map = base(view, &ids::session(view, place), None);
    map.insert("title".into(), json!(title));
    map.insert("type".into(), json!(kind));
    map.insert("startDate".into(), json!(begin));
    map.insert("endDate".into(), json!(end));
    map.insert("schoolYear".into(), json!(calendar::ending_year(today, year).to_string()));
    Value::Object(map)
}

const fn student_of(person: &Person) -> Option<(u32, &State)> {
    match person {
        Person::Student(index, state) => Some((*index, state)),
        _ => None,
    }
}

fn user(view: &View<'_>, dialect: Dialect, person: &Person) -> Value {
    let id = ids::person(view, dialect, person);
    let mut map = base(view, &id, student_of(person));
    if dialect.tells_legacy_ids(&view.quirks.oneroster) {
        map.insert("metadata".into(), json!({"ic.legacySourceId": ids::legacy(view, person)}));
    }
    map.insert("enabledUser".into(), flag(view, dialect, true));
    map.insert("givenName".into(), json!(person.given(view)));
    map.insert("middleName".into(), json!(person.middle(view)));
    map.insert("familyName".into(), last_name(view, person));
    if dialect.version == Version::V11 {
        map.insert("username".into(), json!(format!("user{}", ids::legacy(view, person))));
    }
    match *person {
        Person::Student(index, state) => add_student(view, dialect, index, state, &mut map),
        Person::Guardian(family, which) => add_guardian(view, dialect, family, which, &mut map),
        Person::Staff(index) => add_staff(view, dialect, index, &mut map),
        Person::Contact(_) => {}
    }
    // A change in the family is one of its guardians' rows too: it may have come or gone with the student.
    if let Person::Guardian(family, _) = *person {
        map.insert("dateLastModified".into(), json!(stamp(view, roster::changed_on(view, family))));
    }
    if dialect.is_skyward() {
        forget_some(person, &mut map);
    }
    if view.quirks.oneroster.undated_rows {
        map.remove("dateLastModified");
    }
    let mut user = Value::Object(map);
    if view.quirks.oneroster.no_contact_data {
        forget_contact_data(&mut user);
    }
    user
}

/// Some users at Skyward are said to have no names, and some no number.
fn forget_some(person: &Person, map: &mut Map<String, Value>) {
    match *person {
        Person::Guardian(family, _) if family % 7 == 3 => {
            map.insert("givenName".into(), Value::Null);
            map.remove("familyName");
        }
        Person::Student(index, _) if index % 11 == 5 => drop(map.remove("identifier")),
        _ => {}
    }
}

/// What is not shared is left out.
pub(super) fn forget_contact_data(user: &mut Value) {
    for key in ["email", "phone", "sms"] {
        user.as_object_mut().map(|map| map.remove(key));
    }
}

fn last_name(view: &View<'_>, person: &Person) -> Value {
    match people::last_name(view, person) {
        crate::catalog::Value::Text(text) => json!(text),
        crate::catalog::Value::Str(text) => json!(text),
        _ => Value::Null,
    }
}

/// One role in the shape of the version: 1.1 has a single word, and the schools without dates.
fn put_roles(view: &View<'_>, dialect: Dialect, role: &str, held: &[Role], map: &mut Map<String, Value>) {
    let place = |held: &Role| reference("org", &ids::org(view, dialect, Some(held.school)));
    if dialect.version == Version::V11 {
        let today = view.world.today();
        let now = held.iter().filter(|held| held.end.is_none_or(|end| end > today));
        map.insert("role".into(), json!(role));
        map.insert("orgs".into(), now.map(place).collect());
        return;
    }
    let role = |(number, held): (usize, &Role)| {
        let kind = if number == 0 { "primary" } else { "secondary" };
        let mut one = json!({"roleType": kind, "role": role, "org": place(held), "beginDate": held.begin});
        if let Some(end) = held.end {
            one["endDate"] = json!(end);
        }
        one
    };
    map.insert("roles".into(), held.iter().enumerate().map(role).collect());
}

/// A role without dates, at each of these schools or the district: guardians and staff.
fn put_plain_role(view: &View<'_>, dialect: Dialect, role: &str, at: &[Option<u16>], map: &mut Map<String, Value>) {
    let place = |school: &Option<u16>| reference("org", &ids::org(view, dialect, *school));
    if dialect.version == Version::V11 {
        map.insert("role".into(), json!(role));
        map.insert("orgs".into(), at.iter().map(place).collect());
    } else {
        let role = |school| json!({"roleType": "primary", "role": role, "org": place(school)});
        map.insert("roles".into(), at.iter().map(role).collect());
    }
}

fn add_student(view: &View<'_>, dialect: Dialect, index: u32, state: State, map: &mut Map<String, Value>) {
    let row = student::Row { index, state };
    map.insert("identifier".into(), json!(row.number().to_string()));
    map.insert("grades".into(), json!([roster::grade(view, index)]));
    map.insert("userIds".into(), json!([{"type": "stateID", "identifier": student::unique_id(index)}]));
    map.insert("phone".into(), json!(contact::student_number(view, index, state)));
    map.insert("email".into(), json!(format!("student{index}@students.example")));
    put_roles(view, dialect, "student", &roster::roles(view, index, &state), map);
    let agents =
        if dialect.links_from_guardians(&view.quirks.oneroster) { Vec::new() } else { roster::guardians(view, index) };
    let agent = |person: &Person| reference("user", &ids::person(view, dialect, person));
    map.insert("agents".into(), agents.iter().map(agent).collect());
}

fn add_guardian(view: &View<'_>, dialect: Dialect, family: u32, which: u32, map: &mut Map<String, Value>) {
    let role = if which == 0 { "guardian" } else { "parent" };
    if which == 0
        && let Some((number, email)) = contact::guardian_reach(view, family)
    {
        map.insert("sms".into(), json!(number));
        map.insert("email".into(), json!(email));
    }
    let first = view.home_school(family::first_student(family));
    put_plain_role(view, dialect, role, &[Some(first)], map);
    let linked = dialect.links_from_guardians(&view.quirks.oneroster);
    let children = if linked { roster::children(view, dialect, family) } else { Vec::new() };
    let child = |person: &Person| reference("user", &ids::person(view, dialect, person));
    map.insert("agents".into(), children.iter().map(child).collect());
}

fn add_staff(view: &View<'_>, dialect: Dialect, index: u32, map: &mut Map<String, Value>) {
    map.insert("identifier".into(), json!(format!("T{index:05}")));
    map.insert("email".into(), json!(format!("staff{index}@schools.example")));
    let role = match (roster::teaches(index), dialect.version) {
        (true, _) => "teacher",
        (false, Version::V11) => "administrator",
        (false, Version::V12) => "siteAdministrator",
    };
    // Skyward's are at the district first, and then at their school.
    let school = Some(staff::school_of(index));
    let at = if dialect.is_skyward() { vec![None, school] } else { vec![school] };
    put_plain_role(view, dialect, role, &at, map);
    map.insert("agents".into(), json!([]));
}

fn demographics(view: &View<'_>, dialect: Dialect, person: &Person) -> Value {
    let id = ids::person(view, dialect, person);
    let hash = person.hash(view);
    let mut map = base(view, &id, student_of(person));
    map.insert("birthDate".into(), json!(person.birth_date(view)));
    map.insert("sex".into(), json!(if person.gender(view).0 == "F" { "female" } else { "male" }));
    let races = [
        ("americanIndianOrAlaskaNative", 4),
        ("asian", 3),
        ("blackOrAfricanAmerican", 2),
        ("nativeHawaiianOrOtherPacificIslander", 9),
        ("white", 1),
        ("demographicRaceTwoOrMoreRaces", 8),
        ("hispanicOrLatinoEthnicity", 0),
    ];
    for (name, place) in races {
        map.insert(name.into(), flag(view, dialect, hash % 5 == place));
    }
    Value::Object(map)
}
