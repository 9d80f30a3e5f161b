//! Rows that keys lead to and that no page holds: what is stored of them stays. Those of Qmlativ, and demographics of OneRoster, which
//! a student's id leads to.
//!
//! Rows that come or go while a listing is walked move those behind them, so that one may be told on no page, with totals and
//! pages in order. A key without its row is no null: as one, the birth date of a student, or the school of everybody there, would
//! end in one night. Of a table that was not listed at all, or is empty, this says nothing: that is judged as a whole
//! ([`crate::completeness`]), and filled by [`crate::overlay`].
//!
//! Role: notes such keys while a student is put together, and fills his record from the stored one. Neighbours:
//! [`crate::assemble`] follows keys, [`crate::diff`] fills the records of those who differ.
//!
//! Invariants: nothing is noted of a student whose keys all lead somewhere, so that such a night costs nothing more; a value that
//! another row tells is not replaced by the stored one, unless it is of the wrong row; what is kept is kept for one night, unless it
//! is much ([`is_much`]).
//!
//! A key that leads nowhere on the next complete pull too is believed ([`Known`]): what its row told ends, the run says so once, and
//! from then on such a key is passed over. Of tables whose rows are found by a student, a student has a row for each year and entity: each
//! is a key of its own.
//!
//! Deliberately absent: rows that nothing leads to (a phone, an address, a guardian's link): that they are not listed is all that
//! an end of them looks like.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rollcall_proto::roster::{Address, ContactKind, Enrollment, Person, School, Student};
use rollcall_store::run::{Baseline, KeptKeys, RowPlace};

use crate::{
    fragment::{Kind, Row},
    load::Source,
    overlay::Deciding,
};

/// A key that leads to no row, though others of its table were listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Whose row.
    pub table: Kind,
    /// What it would be found by.
    pub key: i64,
    /// Which of those that are found by it.
    pub place: Option<EntityYear>,
    /// What it would have told.
    pub part: Part,
}

/// A school year and an entity, by the SIS's ids.
pub type EntityYear = (Option<i64>, Option<i64>);

/// What a row tells of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Names of whoever has this name id; of the student also birth date and gender.
    Name,
    /// Kind of the phone with this id.
    PhoneKind(i64),
    /// Kind of the e-mail address with this id.
    EmailKind(i64),
    /// Lines, a bit for each, of the address with this id of its link.
    Lines(i64, u8),
    /// Relationship of the contact with this id.
    Relationship(ContactKind, i64),
    /// School of the enrollment with this id.
    School(i64),
    /// The student's own school, by the deciding enrollment with this id.
    OwnSchool(i64),
    /// Entry code of the enrollment with this id.
    EntryCode(i64),
    /// Withdrawal code of the enrollment with this id.
    WithdrawalCode(i64),
    /// Ending year of the enrollment with this id.
    SchoolYear(i64),
    /// Grade and homeroom, by the deciding enrollment with this id, where the row of another entity tells some.
    EntityYear(i64),
    /// As [`Part::EntityYear`], where there is no row at all: the student's own may tell the grade.
    AnyEntityYear(i64),
    /// Enrollments of this entity in the school year that ends in this one.
    Enrollments(i64, i32),
    /// Homeroom.
    Homeroom,
    /// Birth date and gender of a student of OneRoster's.
    Demographics,
    /// Lowest grade of a school.
    GradeLow,
    /// Highest grade of a school.
    GradeHigh,
}

/// Bits of [`Part::Lines`]: first line.
pub const STREET: u8 = 1;
/// State.
pub const STATE: u8 = 1 << 3;
/// City, state, ZIP code and country.
pub const PLACE: u8 = (1 << 2) | STATE | (1 << 4) | (1 << 6);
/// County.
pub const COUNTY: u8 = 1 << 5;
/// All seven.
pub const WHOLE: u8 = (1 << 7) - 1;

/// The row that a foreign key leads to; one that leads to none is noted.
pub fn follow<'a>(
    source: &'a Source,
    table: Kind,
    key: Option<i64>,
    part: Part,
    missing: &mut Vec<Missing>,
) -> Option<Row<'a>> {
    let row = source.follow(table, key);
    if row.is_none() {
        note(source, table, key, part, missing);
    }
    row
}

/// Notes a key that nothing came of, where there is one, its table was listed, and holds no row of it.
#[cold]
pub fn note(source: &Source, table: Kind, key: Option<i64>, part: Part, missing: &mut Vec<Missing>) {
    let Some(key) = key else { return };
    let is_gone = !source.places(table).is_empty() && source.find(table, key).is_empty();
    if is_gone && !source.known.holds(table, key, None) {
        missing.push(Missing { table, key, place: None, part });
    }
}

/// Puts stored values where rows are missing; `evidence` are the enrollments that the status rests on. Those of `missing` are
/// returned because of which something stayed.
pub fn keep(missing: &[Missing], record: &mut Student, stored: &Student, evidence: &[String]) -> Vec<Missing> {
    let mut kept = keep_enrollments(missing, record, stored, evidence);
    // A student's school comes from an enrollment, and says whether the stored homeroom is of this school.
    let is_place = |own: &&Missing| matches!(own.part, Part::EntityYear(_) | Part::AnyEntityYear(_) | Part::Homeroom);
    let (places, others): (Vec<&Missing>, Vec<&Missing>) = missing.iter().partition(is_place);
    for own in others.into_iter().chain(places) {
        if keep_one(*own, missing, record, stored) {
            kept.push(*own);
        }
    }
    kept
}

/// Enrollments that are on no page, though the student's row of their year and entity is: where the student is goes by them too.
fn keep_enrollments(missing: &[Missing], record: &mut Student, stored: &Student, evidence: &[String]) -> Vec<Missing> {
    let told = Deciding::told(record, evidence);
    let mut kept = Vec::new();
    for own in missing {
        let Part::Enrollments(entity, year) = own.part else { continue };
        let entity = entity.to_string();
        let is_gone = |was: &&Enrollment| {
            let there = was.entity == entity && was.school_year == Some(year);
            there && !record.enrollments.iter().any(|is| is.id == was.id)
        };
        let gone: Vec<Enrollment> = stored.enrollments.iter().filter(is_gone).cloned().collect();
        if !gone.is_empty() {
            record.enrollments.extend(gone);
            kept.push(*own);
        }
    }
    if !kept.is_empty() {
        told.decide_again(record, stored, evidence);
    }
    kept
}

/// As [`keep`], of a school.
pub fn keep_of_school(missing: &[Missing], school: &mut School, stored: &School) -> Vec<Missing> {
    let mut keep_one = |own: &&Missing| match own.part {
        Part::GradeLow => fill(&mut school.grade_low, stored.grade_low.as_ref()),
        Part::GradeHigh => fill(&mut school.grade_high, stored.grade_high.as_ref()),
        _ => false,
    };
    missing.iter().filter(|own| keep_one(own)).copied().collect()
}

/// As [`keep`], of a member of staff.
pub fn keep_of_staff(missing: &[Missing], person: &mut Person, stored: &Person) -> Vec<Missing> {
    let kept =
        missing.iter().filter(|own| person.name_id == stored.name_id && keep_person(**own, missing, person, stored));
    kept.copied().collect()
}

fn keep_one(own: Missing, all: &[Missing], record: &mut Student, stored: &Student) -> bool {
    match own.part {
        Part::Name | Part::PhoneKind(_) | Part::EmailKind(_) | Part::Lines(..) => keep_people(own, all, record, stored),
        Part::Relationship(kind, id) => {
            let id = id.to_string();
            let was = stored.contacts.iter().find(|contact| contact.kind == kind && contact.id == id);
            let is = record.contacts.iter_mut().find(|contact| contact.kind == kind && contact.id == id);
            is.zip(was).is_some_and(|(is, was)| fill(&mut is.relationship, was.relationship.as_ref()))
        }
        Part::School(id) => of_enrollment(id, record, stored, |is, was| fill(&mut is.school, was.school.as_ref())),
        Part::OwnSchool(id) => {
            let was = enrollment(id, stored).and_then(|was| was.school.as_ref());
            fill(&mut record.school, was)
        }
        Part::EntryCode(id) => {
            of_enrollment(id, record, stored, |is, was| fill(&mut is.entry_code, was.entry_code.as_ref()))
        }
        Part::WithdrawalCode(id) => {
            of_enrollment(id, record, stored, |is, was| fill(&mut is.withdrawal_code, was.withdrawal_code.as_ref()))
        }
        Part::SchoolYear(id) => {
            of_enrollment(id, record, stored, |is, was| fill(&mut is.school_year, was.school_year.as_ref()))
        }
        Part::EntityYear(id) | Part::AnyEntityYear(id) => {
            let same = record.school == stored.school && enrollment(id, stored).is_some();
            // What another entity's row tells is of another place; what the student's own row tells is told.
            let keep_grade = if matches!(own.part, Part::EntityYear(_)) { instead } else { fill };
            let grade = same && keep_grade(&mut record.grade, stored.grade.as_ref());
            let homeroom = same && instead(&mut record.homeroom, stored.homeroom.as_ref());
            grade || homeroom
        }
        Part::Demographics => {
            let birth_date = fill(&mut record.birth_date, stored.birth_date.as_ref());
            fill(&mut record.gender, stored.gender.as_ref()) || birth_date
        }
        // Kept beforehand, or of no student.
        Part::Enrollments(..) | Part::GradeLow | Part::GradeHigh => false,
        Part::Homeroom => record.school == stored.school && fill(&mut record.homeroom, stored.homeroom.as_ref()),
    }
}

/// Everybody around a student whom `own` tells of.
fn keep_people(own: Missing, all: &[Missing], record: &mut Student, stored: &Student) -> bool {
    let known = || std::iter::once(&stored.person).chain(stored.contacts.iter().map(|contact| &contact.person));
    let mut kept = false;
    let persons = std::iter::once(&mut record.person);
    for person in persons.chain(record.contacts.iter_mut().map(|contact| &mut contact.person)) {
        if let Some(was) = known().find(|was| was.name_id == person.name_id) {
            kept |= keep_person(own, all, person, was);
        }
    }
    let own_name = own.part == Part::Name && record.person.name_id == own.key.to_string();
    if own_name && stored.person.name_id == record.person.name_id {
        kept |= fill(&mut record.birth_date, stored.birth_date.as_ref());
        kept |= fill(&mut record.gender, stored.gender.as_ref());
    }
    kept
}

/// `stored` is of the same name id.
fn keep_person(own: Missing, all: &[Missing], person: &mut Person, stored: &Person) -> bool {
    match own.part {
        Part::Name if person.name_id == own.key.to_string() => {
            let first = fill(&mut person.first_name, stored.first_name.as_ref());
            let middle = fill(&mut person.middle_name, stored.middle_name.as_ref());
            let last = fill(&mut person.last_name, stored.last_name.as_ref());
            first || middle || last
        }
        Part::PhoneKind(id) => {
            let id = id.to_string();
            let was = stored.phones.iter().find(|phone| phone.id == id);
            let is = person.phones.iter_mut().find(|phone| phone.id == id);
            is.zip(was).is_some_and(|(is, was)| fill(&mut is.kind, was.kind.as_ref()))
        }
        Part::EmailKind(id) => {
            let id = id.to_string();
            let was = stored.emails.iter().find(|email| email.id == id);
            let is = person.emails.iter_mut().find(|email| email.id == id);
            is.zip(was).is_some_and(|(is, was)| fill(&mut is.kind, was.kind.as_ref()))
        }
        Part::Lines(id, lines) => {
            let of_same = all.iter().filter_map(|other| match other.part {
                Part::Lines(other, lines) if other == id => Some(lines),
                _ => None,
            });
            let untold = of_same.fold(0, |all, lines| all | lines);
            let id = id.to_string();
            let was = stored.addresses.iter().find(|address| address.id == id);
            let is = person.addresses.iter_mut().find(|address| address.id == id);
            is.zip(was).is_some_and(|(is, was)| keep_lines(lines, untold, is, was))
        }
        _ => false,
    }
}

/// Somebody who has moved meanwhile is not to be given the place of before: what is told of the address has to be the same.
fn keep_lines(lines: u8, untold: u8, address: &mut Address, stored: &Address) -> bool {
    let was = lines_of(stored);
    let is_told = |line: usize| untold >> line & 1 == 0;
    let same = lines_of(address).iter().zip(was).enumerate().all(|(line, (is, was))| !is_told(line) || **is == *was);
    let mut kept = false;
    for (line, is) in lines_of_mut(address).into_iter().enumerate() {
        if same && lines >> line & 1 == 1 {
            kept |= instead(is, was[line].as_ref());
        }
    }
    kept
}

fn lines_of(address: &Address) -> [&Option<String>; 7] {
    let Address { line1, line2, city, state, zip, county, country, .. } = address;
    [line1, line2, city, state, zip, county, country]
}

fn lines_of_mut(address: &mut Address) -> [&mut Option<String>; 7] {
    let Address { line1, line2, city, state, zip, county, country, .. } = address;
    [line1, line2, city, state, zip, county, country]
}

fn of_enrollment(
    id: i64,
    record: &mut Student,
    stored: &Student,
    keep: impl FnOnce(&mut Enrollment, &Enrollment) -> bool,
) -> bool {
    let Some(was) = enrollment(id, stored) else { return false };
    let is = record.enrollments.iter_mut().find(|enrollment| enrollment.id == was.id);
    is.is_some_and(|is| keep(is, was))
}

fn enrollment(id: i64, student: &Student) -> Option<&Enrollment> {
    let id = id.to_string();
    student.enrollments.iter().find(|enrollment| enrollment.id == id)
}

/// Whether something stayed that was not told.
fn fill<T: Clone>(value: &mut Option<T>, stored: Option<&T>) -> bool {
    let gone = value.is_none() && stored.is_some();
    if gone {
        *value = stored.cloned();
    }
    gone
}

/// As [`fill`], of a value that is of another row.
fn instead<T: Clone + PartialEq>(value: &mut Option<T>, stored: Option<&T>) -> bool {
    let other = stored.is_some() && value.as_ref() != stored;
    if other {
        *value = stored.cloned();
    }
    other
}

/// Keys of which it is known that they lead to no row.
#[derive(Debug, Default)]
pub struct Known(BTreeMap<Kind, BTreeMap<At, KnownKey>>);

/// What a row would be found by, and which of those that are.
type At = (i64, Option<EntityYear>);

#[derive(Debug)]
struct KnownKey {
    /// Something was kept because of it on the last complete pull, and ends now.
    ends: bool,
    /// It is noted without a place, and stands for whatever rows are found by it.
    anywhere: bool,
    /// Somebody still leads there.
    followed: AtomicBool,
    /// For which rows it has stood.
    stood_for: Mutex<BTreeSet<EntityYear>>,
}

impl Known {
    /// From the last complete pull. What was kept then ends now in the tables that `ends` says.
    pub fn of(last: &Baseline, ends: impl Fn(Kind, &KeptKeys) -> bool) -> Self {
        let mut known: BTreeMap<Kind, BTreeMap<At, KnownKey>> = BTreeMap::new();
        let mut note = |table: Kind, at: At, ends: bool, anywhere: bool| {
            let key = KnownKey { ends, anywhere, followed: AtomicBool::new(false), stood_for: Mutex::default() };
            known.entry(table).or_default().insert(at, key);
        };
        for (table, keys) in of_tables(&last.dangling) {
            for key in keys {
                note(table, (*key, None), false, false);
            }
        }
        for (table, places) in of_tables(&last.dangling_places) {
            for place in places {
                note(table, at(place), false, false);
            }
        }
        for (table, kept) in of_tables(&last.kept_keys).filter(|(table, kept)| ends(*table, kept)) {
            // A version before noted no places. Such a row is missed once more, unless a person has said that it is to end.
            let accepted = last.accepted_empty.contains(&ending_name(table));
            let anywhere = accepted && kept.places.is_empty();
            for key in &kept.keys {
                note(table, (*key, None), true, anywhere);
            }
            for place in &kept.places {
                note(table, at(place), true, false);
            }
        }
        Self(known)
    }

    /// Whether a key that leads to no row now is known; it is noted that somebody leads there.
    pub fn holds(&self, table: Kind, key: i64, place: Option<EntityYear>) -> bool {
        let Some(keys) = self.0.get(&table) else { return false };
        let of_any_place = || keys.get(&(key, None)).filter(|known| known.anywhere);
        if let Some(known) = keys.get(&(key, place)) {
            known.follow();
        } else if let Some((known, place)) = of_any_place().zip(place) {
            known.follow();
            known.stood_for.lock().unwrap_or_else(PoisonError::into_inner).insert(place);
        } else {
            return false;
        }
        true
    }

    /// Whether a version before, which did not say which, knew that a student's rows of a table are not there.
    pub fn held_without_place(&self, table: Kind, student: i64) -> bool {
        let known = self.0.get(&table).and_then(|keys| keys.get(&(student, None)));
        known.is_some_and(|known| !known.ends)
    }

    /// Those that still lead nowhere, by resource.
    pub fn followed(&self) -> BTreeMap<String, BTreeSet<i64>> {
        let keys = |(key, place): &At, known: &KnownKey| {
            let is_one = place.is_none() && known.places().is_empty();
            is_one.then_some(*key).into_iter().collect()
        };
        self.those(|_| true, keys).map(|(table, keys)| (table.resource().to_owned(), keys)).collect()
    }

    /// As [`Known::followed`], of tables whose rows are found by a student.
    pub fn followed_places(&self) -> BTreeMap<String, BTreeSet<RowPlace>> {
        let places = |(student, place): &At, known: &KnownKey| {
            let places = place.iter().copied().chain(known.places());
            places.map(|place| row_place(*student, place)).collect()
        };
        self.those(|_| true, places).map(|(table, places)| (table.resource().to_owned(), places)).collect()
    }

    /// Those because of which something ends now.
    pub fn ending(&self) -> impl Iterator<Item = (Kind, BTreeSet<i64>)> + '_ {
        self.those(|known| known.ends, |(key, _), _| vec![*key])
    }

    fn those<T: Ord>(
        &self,
        wanted: impl Fn(&KnownKey) -> bool,
        take: impl Fn(&At, &KnownKey) -> Vec<T>,
    ) -> impl Iterator<Item = (Kind, BTreeSet<T>)> {
        self.0.iter().filter_map(move |(table, keys)| {
            let followed = |known: &KnownKey| known.followed.load(Ordering::Relaxed) && wanted(known);
            let keys = keys.iter().filter(|(_, known)| followed(known));
            let taken: BTreeSet<T> = keys.flat_map(|(at, known)| take(at, known)).collect();
            (!taken.is_empty()).then_some((*table, taken))
        })
    }
}

impl KnownKey {
    fn follow(&self) {
        if !self.followed.load(Ordering::Relaxed) {
            self.followed.store(true, Ordering::Relaxed);
        }
    }

    fn places(&self) -> BTreeSet<EntityYear> {
        self.stood_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn of_tables<T>(by_resource: &BTreeMap<String, T>) -> impl Iterator<Item = (Kind, &T)> {
    by_resource.iter().filter_map(|(resource, of)| Some((Kind::of_resource(resource)?, of)))
}

/// Where a student's row of a year and an entity would be, for the baseline.
pub const fn row_place(student: i64, (year, entity): EntityYear) -> RowPlace {
    RowPlace { student, year, entity }
}

const fn at(place: &RowPlace) -> At {
    (place.student, Some((place.year, place.entity)))
}

/// So few keys, or people, are never much.
const FEW_KEYS: usize = 5;
/// See [`FEW_KEYS`].
const FEW_PEOPLE: i64 = 25;

/// Whether so much is kept of a table that a person has to say that it is to end: because of more than one in ten of its keys, or of
/// more than one in ten people.
pub fn is_much(table: Kind, kept: &KeptKeys, source: &Source) -> bool {
    let keys = kept.keys.len();
    let people =
        [Kind::Student, Kind::Staff, Kind::User].map(|kind| source.places(kind).len()).iter().sum::<usize>() as i64;
    let of_keys = keys > FEW_KEYS && keys * 10 > keys + source.places(table).len();
    of_keys || (kept.people > FEW_PEOPLE && kept.people * 10 > people)
}

/// As the end of what is kept of a table is offered, and accepted.
pub fn ending_name(table: Kind) -> String {
    format!("{}{MISSING_ROWS}", table.resource())
}

/// The table of an [`ending_name`].
pub fn table_of(name: &str) -> Option<Kind> {
    Kind::of_resource(name.strip_suffix(MISSING_ROWS)?)
}

const MISSING_ROWS: &str = " (missing rows)";

/// What was kept, by table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptRows(BTreeMap<Kind, KeptKeys>);

impl KeptRows {
    /// Notes what stayed of one person, or school.
    pub fn add(&mut self, kept: &[Missing]) {
        let tables: BTreeSet<Kind> = kept.iter().map(|own| own.table).collect();
        for table in tables {
            let of_table = self.0.entry(table).or_default();
            of_table.people += 1;
            for own in kept.iter().filter(|own| own.table == table) {
                of_table.keys.insert(own.key);
                of_table.places.extend(own.place.map(|place| row_place(own.key, place)));
            }
        }
    }

    /// Whether there are any of this table.
    pub fn holds(&self, table: Kind) -> bool {
        self.0.contains_key(&table)
    }

    /// Each table of which something stayed.
    pub fn tables(&self) -> impl Iterator<Item = (Kind, &KeptKeys)> {
        self.0.iter().map(|(table, of_table)| (*table, of_table))
    }

    /// For the next baseline.
    pub fn by_resource(&self) -> BTreeMap<String, KeptKeys> {
        self.tables().map(|(table, kept)| (table.resource().to_owned(), kept.clone())).collect()
    }
}
