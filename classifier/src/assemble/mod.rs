//! Students out of fragments, one at a time, in the order of their ids.
//!
//! Role: find each student's rows by key, join them, resolve codes, decide the status, and fill a [`StudentView`].
//! Neighbours: [`crate::load`] holds the rows, [`crate::diff`] walks the students beside what is stored.
//!
//! Invariants: a student is listed once however often the SIS told of it; the result depends on the set of pages, not on
//! the order in which they were collected; where a second look was taken, its rows stand in place of the first's.

mod directory;
pub mod oneroster;
mod people;
mod spells;
pub mod tables;

use std::{collections::BTreeSet, sync::OnceLock};

use rollcall_proto::{
    id::{ListingNo, StudentId},
    roster::{ContactKind, Rule, School, Staff, Status},
};
use rollcall_store::{
    district::{Connection, SisKind, StaffScope, StatusPolicy},
    roster::StoredEnrollment,
    run::{Discovery, RowPlace},
};

use oneroster::OneRoster;

pub use spells::{Spells, WithdrawalColumn};
use tables::Tables;

use crate::{
    fragment::{Kind, Row, column},
    load::{Looks, Place, Source},
    missing::{EntityYear, Missing, Part, follow, row_place},
    overlay::Unknown,
    status::{self, DateFact, Facts, NO_ENROLLMENT_IN_WINDOW, Verdict},
    view::{ContactView, EnrollmentView, Id, StudentView},
};

/// What reading a connection's students needs beside their rows.
#[derive(Debug)]
pub struct Assembler<'a> {
    looks: &'a Looks,
    tables: Tables,
    connection: u16,
    prefix: &'a str,
    withdrawal: WithdrawalColumn,
    policy: StatusPolicy,
    today: chrono::NaiveDate,
    staff: StaffScope,
    /// School years and entities of which rows of `StudentEntityYear` tell; made when a student lacks one.
    entity_years: OnceLock<BTreeSet<EntityYear>>,
    /// Where the connection speaks OneRoster.
    oneroster: Option<Box<OneRoster<'a>>>,
}

/// What a connection's students are read with, beside their rows.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Position of the connection.
    pub number: u16,
    /// The connection.
    pub connection: &'a Connection,
    /// What discovery found.
    pub discovery: &'a Discovery,
    /// The district's reading of dates and codes.
    pub policy: &'a StatusPolicy,
    /// The district's local date.
    pub today: chrono::NaiveDate,
    /// What is stored of enrollments, sorted by student and id: for a source that serves only its active year.
    pub remembered: &'a [StoredEnrollment],
    /// The pull is proved complete.
    pub complete: bool,
}

/// A decision, and which of the enrollments decides school and grade; or why there is none.
type Judged = Result<(Decided, Option<usize>), Reading>;

/// A student the SIS lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Which connection's.
    pub connection: u16,
    /// The SIS's id; OneRoster: the number that it is looked up by.
    id: i64,
    place: Place,
}

/// The students of a connection.
#[derive(Debug, Default)]
pub struct Students {
    /// Each once, in the order of their ids as text.
    pub listed: Vec<Listed>,
    /// Those of them told of differently.
    pub differing: Vec<Listed>,
    /// Those told of twice in the same words on one page of Qmlativ's. On two pages that is no mistake: a row that comes while they
    /// are listed moves all behind it, and several entities may list one student.
    pub repeated: Vec<Listed>,
}

/// Which look's rows a student is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The pull's.
    First,
    /// The second look's.
    Second,
}

/// What the SIS's rows make of a student.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// A status; the view is filled.
    Decided(Decided),
    /// Neither imported nor changed, with a reason code and what people should look at.
    Skipped {
        /// Reason code.
        reason: &'static str,
        /// Ids and field; no student fact.
        detail: String,
        /// An error in the SIS's data, rather than a student out of scope.
        withheld: bool,
    },
    /// The look that was to be read does not hold the student.
    Absent,
}

/// A status and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The status.
    pub status: Status,
    /// The rule.
    pub rule: Rule,
    /// Enrollment ids.
    pub evidence: Vec<String>,
}

/// Data-quality warnings: code and enrollment id.
pub type Warnings = Vec<(&'static str, String)>;

impl<'a> Assembler<'a> {
    /// For one connection.
    pub fn new(reader: Reader<'a>, looks: &'a Looks) -> Self {
        let Reader { number, connection, discovery, policy, today, remembered, complete } = reader;
        let oneroster = || Box::new(OneRoster::new(&looks.first, connection, remembered, complete));
        Self {
            looks,
            tables: Tables::of(&looks.first, &discovery.current_years),
            connection: number,
            prefix: connection.id_prefix.as_deref().unwrap_or_default(),
            withdrawal: WithdrawalColumn::of(connection, discovery),
            policy: policy.for_kind(connection.kind),
            today,
            staff: connection.staff,
            entity_years: OnceLock::new(),
            oneroster: (connection.kind == SisKind::OneRoster).then(oneroster),
        }
    }

    /// The students listed.
    pub fn listed(&self) -> Students {
        if self.oneroster.is_some() {
            return OneRoster::listed(&self.looks.first, self.connection);
        }
        let source = &self.looks.first;
        let places = source.places(Kind::Student);
        let mut students = Students { listed: Vec::with_capacity(places.len()), ..Students::default() };
        for same in places.chunk_by(|a, b| a.key() == b.key()) {
            let Some(last) = same.last() else { continue };
            let student = Listed { connection: self.connection, id: last.key(), place: *last };
            let others = &same[..same.len() - 1];
            if others.iter().any(|place| !source.row(*place).same(source.row(*last))) {
                students.differing.push(student);
            } else if same.windows(2).any(|two| two[0].page() == two[1].page()) {
                students.repeated.push(student);
            }
            students.listed.push(student);
        }
        students.listed.sort_by_cached_key(|student| text_order(student.id));
        students
    }

    /// Writes a student's id as the roster spells it.
    pub fn write_id(&self, student: &Listed, to: &mut String) {
        use std::fmt::Write as _;
        to.push_str(self.prefix);
        if self.oneroster.is_some() {
            let row = self.looks.first.row(student.place);
            to.push_str(row.text(column::User::SourcedId).unwrap_or_default());
        } else {
            let _ = write!(to, "{}", student.id);
        }
    }

    /// The SIS's id in a roster id of this connection.
    pub fn sis_id<'s>(&self, person: &'s str) -> Option<&'s str> {
        person.strip_prefix(self.prefix)
    }

    /// A student's id as the pull spells it, by the roster's. OneRoster's alone.
    pub fn as_given(&self, student: &str) -> Option<&'a str> {
        OneRoster::as_given(&self.looks.first, self.sis_id(student)?)
    }

    /// Whether the second look lists a student by the SIS's id.
    pub fn listed_again(&self, sis_id: &str) -> bool {
        let Some(second) = &self.looks.second else { return false };
        if self.oneroster.is_some() {
            return OneRoster::lists(second, sis_id);
        }
        sis_id.parse().is_ok_and(|id| second.get(Kind::Student, id).is_some())
    }

    /// Whether one of the pull's `listings` holds a row of a student, by the SIS's id; OneRoster's: of one who is there.
    pub fn holds(&self, kind: Kind, listings: &[ListingNo], sis_id: &str) -> bool {
        if self.oneroster.is_some() {
            return OneRoster::lists(&self.looks.first, sis_id);
        }
        tells(&self.looks.first, kind, sis_id, |listing| listings.contains(&listing))
    }

    /// Whether a listing of the second look holds a row of a student, by the SIS's id; OneRoster's: one that shows a student.
    pub fn holds_again(&self, kind: Kind, listing: ListingNo, sis_id: &str) -> bool {
        let Some(second) = &self.looks.second else { return false };
        if self.oneroster.is_some() {
            return OneRoster::shows(second, sis_id, listing);
        }
        tells(second, kind, sis_id, |other| other == listing)
    }

    /// Whether the second look shows somebody, by the SIS's id, and does not tell what he is: as a view of a user without roles.
    /// OneRoster's alone.
    pub fn is_open_again(&self, sis_id: &str) -> bool {
        let second = self.looks.second.as_ref().filter(|_| self.oneroster.is_some());
        second.is_some_and(|second| OneRoster::is_open(second, sis_id))
    }

    /// The roster's ids of the students of whom a listing of the pull holds rows, as often as it does; OneRoster's: of those who
    /// are there, whatever a row says that a later one lies over.
    pub fn students_in(&self, kind: Kind, listing: ListingNo) -> impl Iterator<Item = StudentId> {
        let first = &self.looks.first;
        let of_row = move |row: Row<'a>| {
            if self.oneroster.is_some() {
                return OneRoster::student_of(row).filter(|id| OneRoster::lists(first, id)).map(str::to_owned);
            }
            row.cell_at(kind.lookup()).number().map(|id| id.to_string())
        };
        let ids = self.looks.first.rows_of(listing).filter_map(of_row);
        ids.map(|id| StudentId(format!("{}{id}", self.prefix)))
    }

    /// Whether the pull holds a row of a person by this roster id, a student or not, alive or not. OneRoster's alone.
    pub fn has_row(&self, person: &str) -> bool {
        self.sis_id(person).is_some_and(|id| OneRoster::has_row(&self.looks.first, id))
    }

    /// What a person's rows may lack because their whole pages do, by the SIS's id. OneRoster's alone.
    pub fn lacking(&self, pages: &oneroster::PagesLacking, sis_id: &str) -> oneroster::Facets {
        oneroster::lacking(&self.looks.first, pages, sis_id)
    }

    /// The schools, by code, each with the keys that lead to no row.
    pub fn schools(&self) -> Vec<(School, Vec<Missing>)> {
        match &self.oneroster {
            Some(oneroster) => oneroster.schools().into_iter().map(|school| (school, Vec::new())).collect(),
            None => directory::schools(&self.looks.first, &self.tables),
        }
    }

    /// The staff whom the connection wants, by id, each with the keys that lead to no row. `None` where the pull cannot tell who they are.
    pub fn staff(&self, unknown: &Unknown) -> Option<Vec<(Staff, Vec<Missing>)>> {
        if let Some(oneroster) = &self.oneroster {
            let staff = oneroster.staff(&self.looks.first, self.today);
            return Some(staff.into_iter().map(|member| (member, Vec::new())).collect());
        }
        let told = unknown.tells_staff(self.staff);
        told.then(|| directory::staff(&self.looks.first, &self.tables, self.staff))
    }

    /// Staff as the roster has them: ids after the connection's prefix, like students', and whose they are.
    pub fn of_connection(&self, mut staff: Vec<Staff>) -> Vec<Staff> {
        for member in &mut staff {
            member.id.insert_str(0, self.prefix);
            member.connection = Some(self.connection);
        }
        staff
    }

    /// Reads one student into `view`. `known` is the stored status.
    pub fn read(
        &self,
        student: &Listed,
        look: Look,
        known: Option<Status>,
        view: &mut StudentView<'a>,
        warnings: &mut Warnings,
    ) -> Reading {
        if let Some(oneroster) = &self.oneroster {
            return oneroster.read(self, student, look, known, view, warnings);
        }
        let Some((row, rows)) = self.rows_of(student, look) else { return Reading::Absent };
        let spells = Spells::of(rows, &self.looks.first, &self.tables, self.withdrawal, student.id);
        warnings.extend(spells.dates_differ.iter().map(|id| ("withdrawal-dates-differ", id.to_string())));
        let enrollments = spells.facts();
        match self.decide(&enrollments, known, warnings) {
            Err(reading) => reading,
            Ok((decided, deciding)) => {
                drop(enrollments);
                self.fill(student, row, rows, spells, deciding, view);
                Reading::Decided(decided)
            }
        }
    }

    /// Applies the rules to a student's enrollments.
    fn decide(
        &self,
        enrollments: &[status::EnrollmentFact<'_>],
        known: Option<Status>,
        warnings: &mut Warnings,
    ) -> Judged {
        let facts = Facts { today: self.today, policy: &self.policy, known, enrollments };
        let outcome = status::decide(&facts).map_err(|withheld| Reading::Skipped {
            reason: withheld.illegible.reason(),
            detail: withheld.to_string(),
            withheld: true,
        })?;
        warnings.extend(outcome.warnings.iter().map(|w| (w.code.as_str(), w.enrollment.to_owned())));
        let Verdict::Decided(decision) = outcome.verdict else { return Err(not_imported()) };
        let evidence = decision.evidence.iter().map(|id| (*id).to_owned()).collect();
        let deciding = decision.deciding.or_else(|| latest(enrollments));
        Ok((Decided { status: decision.status, rule: decision.rule, evidence }, deciding))
    }

    fn rows_of(&self, student: &Listed, look: Look) -> Option<(Row<'a>, &'a Source)> {
        match look {
            Look::First => Some((self.looks.first.row(student.place), &self.looks.first)),
            Look::Second => {
                let second = self.looks.second.as_ref()?;
                Some((second.get(Kind::Student, student.id)?, second))
            }
        }
    }

    fn fill(
        &self,
        student: &Listed,
        row: Row<'a>,
        rows: &'a Source,
        spells: Spells<'a>,
        deciding: Option<usize>,
        view: &mut StudentView<'a>,
    ) {
        use column::Student as S;
        let (row, source) = (row.read(), &self.looks.first);
        view.clear();
        view.missing = spells.missing;
        self.write_id(student, &mut view.id);
        view.connection = self.connection;
        view.sis_id = None;
        view.local_id = row.cell(S::StudentNumber).text();
        view.state_id = row.cell(S::StateId).text();
        view.graduation_year = year(row.cell(S::GradYear).number().or(row.cell(S::CalculatedGradYear).number()));
        let name = row.cell(S::NameId).number();
        let own_names = [row.cell(S::FirstName).text(), row.cell(S::MiddleName).text(), row.cell(S::LastName).text()];
        view.person = people::person(source, name, own_names, view);
        let name_row = people::name_row(source, name);
        view.birth_date = name_row.and_then(|row| row.date(column::Name::BirthDate));
        view.gender = name_row.and_then(|row| row.text(column::Name::GenderCode).or(row.text(column::Name::Gender)));
        let place = deciding.map(|number| spells.places[number]);
        // The second look's answers are short: what they do not show is gone.
        let is_first = std::ptr::eq(rows, source);
        let mut listed = |at: &EntityYear| {
            if is_first && !spells.places.contains(at) {
                self.note_enrollments(student.id, *at, &mut view.missing);
            }
        };
        let entity_year = entity_year(rows, student.id, place, &mut listed);
        if let Some((deciding, place)) = deciding.map(|number| &spells.views[number]).zip(place) {
            view.school = deciding.school;
            let told = entity_year.map(|(at, _)| at);
            self.note_missing(student.id, deciding, (told, place), &mut view.missing);
        } else {
            view.school = None;
        }
        let entity_year = entity_year.map(|(_, row)| row);
        view.grade =
            entity_year.and_then(|row| row.text(column::StudentEntityYear::Grade)).or(row.cell(S::Grade).text());
        let homeroom = entity_year.and_then(|row| row.number(column::StudentEntityYear::HomeroomId));
        let homeroom = follow(source, Kind::Homeroom, homeroom, Part::Homeroom, &mut view.missing);
        view.homeroom = homeroom.and_then(|row| row.text(column::Homeroom::Code));
        view.enrollments = spells.views;
        contacts(source, student.id, name, view);
        view.sort();
    }

    /// Notes what the deciding enrollment leads to and is not there: its school, and the student's row of its year and entity
    /// (`place`; `told` is that of the one which tells the grade), where others have one of them.
    fn note_missing(
        &self,
        student: i64,
        deciding: &EnrollmentView<'_>,
        (told, place): (Option<EntityYear>, EntityYear),
        missing: &mut Vec<Missing>,
    ) {
        let Id::Number(id) = deciding.id else { return };
        let school = missing.iter().find(|own| own.part == Part::School(id)).copied();
        missing.extend(school.map(|own| Missing { part: Part::OwnSchool(id), ..own }));
        let (table, source) = (Kind::StudentEntityYear, &self.looks.first);
        if told != Some(place) && self.tells_entity_year(&place) && !source.known.holds(table, student, Some(place)) {
            let part = if told.is_some() { Part::EntityYear(id) } else { Part::AnyEntityYear(id) };
            missing.push(Missing { table, key: student, place: Some(place), part });
        }
    }

    /// Notes that a student has a row of this year and entity, and no enrollment there, where the year is the current one.
    #[cold]
    fn note_enrollments(&self, student: i64, at: EntityYear, missing: &mut Vec<Missing>) {
        let Some((entity, ending)) = self.current(at) else { return };
        let (table, source) = (Kind::EntryWithdrawal, &self.looks.first);
        if !source.places(table).is_empty() && !source.known.holds(table, student, Some(at)) {
            missing.push(Missing { table, key: student, place: Some(at), part: Part::Enrollments(entity, ending) });
        }
    }

    /// Entity and ending year, where the year is the entity's current one.
    fn current(&self, (year, entity): EntityYear) -> Option<(i64, i32)> {
        let current = (entity?, self.tables.ending(year)?);
        (self.tables.current(entity) == Some(current.1)).then_some(current)
    }

    /// Where the pull holds a student's row of an entity's current year, and no enrollment there, and that is news: an enrollment
    /// may be on no page. Qmlativ's alone.
    pub fn lacking_enrollments(&self, student: &Listed) -> Vec<RowPlace> {
        use column::{EntryWithdrawal as E, StudentEntityYear as Y};
        if self.oneroster.is_some() {
            return Vec::new();
        }
        let (table, source) = (Kind::EntryWithdrawal, &self.looks.first);
        let at = |row: Row<'_>| (row.number(E::SchoolYearId), row.number(E::EntityId));
        let enrolled = |place| source.find(table, student.id).iter().any(|own| at(source.row(*own)) == place);
        let years = source.find(Kind::StudentEntityYear, student.id).iter().map(|place| source.row(*place));
        let years = years.map(|row| (row.number(Y::SchoolYearId), row.number(Y::EntityId)));
        let lacking = years.filter(|place| self.current(*place).is_some() && !enrolled(*place));
        let news = lacking.filter(|place| !source.known.holds(table, student.id, Some(*place)));
        news.map(|place| row_place(student.id, place)).collect()
    }

    /// Whether a version before, which did not note where, knew that a student lacks an enrollment of a current year.
    pub fn lacked_enrollments(&self, student: &Listed) -> bool {
        self.oneroster.is_none() && self.looks.first.known.held_without_place(Kind::EntryWithdrawal, student.id)
    }

    fn tells_entity_year(&self, place: &EntityYear) -> bool {
        use column::StudentEntityYear as Y;
        let source = &self.looks.first;
        let of_row = |row: Row<'_>| (row.number(Y::SchoolYearId), row.number(Y::EntityId));
        let all = || source.places(Kind::StudentEntityYear).iter().map(|place| of_row(source.row(*place))).collect();
        self.entity_years.get_or_init(all).contains(place)
    }
}

/// Whether such a listing of `source` tells of a student of Qmlativ's.
fn tells(source: &Source, kind: Kind, sis_id: &str, is_such: impl Fn(ListingNo) -> bool) -> bool {
    sis_id.parse().is_ok_and(|id| source.find(kind, id).iter().any(|place| is_such(source.listing(*place))))
}

fn not_imported() -> Reading {
    let detail = "no enrollment within the last year, current or upcoming".to_owned();
    Reading::Skipped { reason: NO_ENROLLMENT_IN_WINDOW, detail, withheld: false }
}

/// Without a deciding enrollment (nothing counts) the latest one still says where the student was.
fn latest(enrollments: &[status::EnrollmentFact<'_>]) -> Option<usize> {
    let entry = |fact: &status::EnrollmentFact<'_>| match fact.entry {
        DateFact::On(date) => Some(date),
        _ => None,
    };
    let by_entry = |a: &usize, b: &usize| {
        let (a, b) = (&enrollments[*a], &enrollments[*b]);
        entry(a).cmp(&entry(b)).then_with(|| status::compare_ids(a.id, b.id))
    };
    (0..enrollments.len()).max_by(by_entry)
}

fn year(number: Option<i64>) -> Option<i32> {
    number.and_then(|number| i32::try_from(number).ok())
}

/// The row of the deciding enrollment's year and entity; without one, that of the default entity. With whose it is. `listed` hears of
/// each row.
fn entity_year<'r>(
    rows: &'r Source,
    student: i64,
    place: Option<EntityYear>,
    listed: &mut dyn FnMut(&EntityYear),
) -> Option<(EntityYear, Row<'r>)> {
    use column::StudentEntityYear as Y;
    let mut best: Option<(_, (EntityYear, Row<'r>))> = None;
    people::each_once(rows, Kind::StudentEntityYear, student, |row| {
        let cells = row.read();
        let at = (cells.cell(Y::SchoolYearId).number(), cells.cell(Y::EntityId).number());
        listed(&at);
        let same_year = place.is_some_and(|(year, _)| year == at.0);
        if place.is_some_and(|(year, _)| year.is_some()) && !same_year {
            return;
        }
        let default = cells.cell(Y::IsDefaultEntity).flag().unwrap_or_default();
        let order = (place == Some(at), default, at.0.unwrap_or_default(), cells.key());
        if best.as_ref().is_none_or(|(known, _)| order > *known) {
            best = Some((order, (at, row)));
        }
    });
    best.map(|(_, found)| found)
}

fn contacts<'a>(source: &'a Source, student: i64, name: Option<i64>, view: &mut StudentView<'a>) {
    use column::{EmergencyContact as E, StudentGuardian as G};
    people::each_once(source, Kind::StudentGuardian, student, |row| {
        let mut contact = contact(source, row, ContactKind::Guardian, row.number(G::NameIdGuardian), view);
        contact.rank = year(row.number(G::Rank));
        let part = Part::Relationship(ContactKind::Guardian, row.key());
        contact.relationship = relationship(source, row.number(G::RelationshipId), part, &mut view.missing);
        contact.custodial = row.flag(G::IsCustodial);
        contact.may_pick_up = row.flag(G::MayPickUp);
        view.contacts.push(contact);
    });
    let Some(name) = name else { return };
    people::each_once(source, Kind::EmergencyContact, name, |row| {
        let mut contact = contact(source, row, ContactKind::Emergency, row.number(E::NameIdContact), view);
        contact.rank = year(row.number(E::Rank));
        let part = Part::Relationship(ContactKind::Emergency, row.key());
        contact.relationship = relationship(source, row.number(E::RelationshipId), part, &mut view.missing);
        contact.may_pick_up = row.flag(E::MayPickUp);
        view.contacts.push(contact);
    });
}

fn contact<'a>(
    source: &'a Source,
    row: Row<'a>,
    kind: ContactKind,
    name: Option<i64>,
    view: &mut StudentView<'a>,
) -> ContactView<'a> {
    let person = people::person(source, name, [None; 3], view);
    ContactView {
        id: Id::Number(row.key()),
        kind,
        rank: None,
        relationship: None,
        custodial: None,
        may_pick_up: None,
        person,
    }
}

fn relationship<'a>(source: &'a Source, id: Option<i64>, part: Part, missing: &mut Vec<Missing>) -> Option<&'a str> {
    let row = follow(source, Kind::Relationship, id, part, missing)?;
    row.text(column::Relationship::Description).or(row.text(column::Relationship::Code))
}

/// A key that orders numbers as their decimal spellings are ordered as text, without spelling them.
fn text_order(number: i64) -> (bool, u64, u32) {
    let size = number.unsigned_abs();
    let digits = size.checked_ilog10().unwrap_or(0) + 1;
    // The digits, moved to the front of the nineteen that an i64 can have; of equal ones the shorter is less.
    (number >= 0, size * 10_u64.pow(19 - digits), digits)
}

#[cfg(test)]
mod tests;
