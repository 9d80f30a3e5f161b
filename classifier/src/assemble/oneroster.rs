//! Students out of OneRoster's users, one at a time.
//!
//! Role: what [`super::Assembler`] does for Qmlativ, over three listings: users (students, guardians, staff),
//! demographics, orgs. Roles are the enrollments. Neighbours: [`roles`] reads them and what is remembered of earlier ones,
//! [`contents`] counts what a pull holds, [`laid`] judges one for changes, [`people`] makes persons of rows.
//!
//! Invariants: ids are compared whole, whatever they are looked up by; a user marked as deleted is not listed; a guardian
//! who is named and not shown is a contact without a name, never one that has ended.

mod contents;
mod facets;
mod laid;
mod people;
mod rekey;
mod roles;

use std::collections::HashMap;

use chrono::NaiveDate;
use rollcall_proto::id::ListingNo;
use rollcall_proto::roster::{ContactKind, School, Staff, Status};
use rollcall_store::{
    district::{Connection, StaffScope},
    roster::StoredEnrollment,
};

pub use self::{
    contents::{Contents, PagesLacking},
    facets::{Facet, Facets, Group, Reads, Value},
    laid::{doubts, is_undated, rows},
    people::{EMAIL, PHONE, SMS},
    rekey::{Rekeyed, Unlinked, people_moved, rekeyed, unlinked},
};
use self::{people::is_guardian, roles::Spells};
use super::{Assembler, Listed, Look, Reading, Students, Warnings};
use crate::{
    fragment::{Kind, Row, column, lists},
    load::{Place, Source},
    missing::{Part, note},
    sourced_id::lookup_key,
    view::{ContactView, Id, StudentView},
};

use column::User as U;

/// What reading OneRoster needs beside the rows.
#[derive(Debug)]
pub struct OneRoster<'a> {
    orgs: HashMap<&'a str, OrgView<'a>>,
    /// Guardians that name a student from their own side, by the student's id.
    naming: HashMap<&'a str, Vec<Place>>,
    remembered: &'a [StoredEnrollment],
    /// The pull is proved complete: what it does not show is over.
    complete: bool,
    reads: Reads<'a>,
}

/// A school, or the district.
#[derive(Debug, Clone, Copy)]
struct OrgView<'a> {
    code: &'a str,
    name: Option<&'a str>,
    is_school: bool,
}

/// Type among `userIds` of the state's id, where the district does not say otherwise.
const STATE_ID: &str = "stateID";

/// Before the name of a metadata entry that holds the state's id.
const IN_METADATA: &str = "metadata.";

impl<'a> OneRoster<'a> {
    /// For a connection whose pull is `source`. `remembered` is sorted by student and id.
    pub fn new(
        source: &'a Source,
        connection: &'a Connection,
        remembered: &'a [StoredEnrollment],
        complete: bool,
    ) -> Self {
        Self { orgs: orgs(source), naming: naming(source), remembered, complete, reads: Reads::of(connection) }
    }

    /// See [`Assembler::listed`].
    pub(super) fn listed(source: &'a Source, connection: u16) -> Students {
        let rows = source.places(Kind::User).iter().map(|place| (source.row(*place), *place));
        let mut students: Vec<(&str, Row<'a>, Place)> = rows
            .filter(|(row, _)| is_student(*row))
            .filter_map(|(row, place)| Some((row.text(U::SourcedId)?, row, place)))
            .collect();
        // Stable: of rows with one id the later page's stays last.
        students.sort_by_key(|(id, ..)| *id);
        let mut listed = Vec::with_capacity(students.len());
        let mut differing = Vec::new();
        for same in students.chunk_by(|a, b| a.0 == b.0) {
            let Some((_, last, place)) = same.last() else { continue };
            let student = Listed { connection, id: place.key(), place: *place };
            if same.iter().any(|(_, row, _)| !row.same(*last)) {
                differing.push(student);
            }
            listed.push(student);
        }
        Students { listed, differing, repeated: Vec::new() }
    }

    /// Whether the source lists a student with this id.
    pub(super) fn lists(source: &Source, id: &str) -> bool {
        find(source, Kind::User, id).is_some_and(is_student)
    }

    /// See [`Assembler::as_given`].
    pub(super) fn as_given(source: &'a Source, id: &str) -> Option<&'a str> {
        as_given(find(source, Kind::User, id)?)
    }

    /// See [`Assembler::holds_again`].
    pub(super) fn shows(source: &Source, id: &str, listing: ListingNo) -> bool {
        let own = |place: &&Place| source.listing(**place) == listing && source.row(**place).text_at(1) == Some(id);
        source.find(Kind::User, lookup_key(id)).iter().filter(own).any(|place| is_student(source.row(*place)))
    }

    /// See [`Assembler::is_open_again`]. The standard wants a role of everybody.
    pub(super) fn is_open(source: &Source, id: &str) -> bool {
        find(source, Kind::User, id).is_some_and(|row| is_live(row, U::Status) && roles::of(row).next().is_none())
    }

    /// The id of a student who is there.
    pub(super) fn student_of(row: Row<'a>) -> Option<&'a str> {
        row.text(U::SourcedId).filter(|_| is_student(row))
    }

    /// See [`Assembler::has_row`].
    pub(super) fn has_row(source: &Source, id: &str) -> bool {
        find(source, Kind::User, id).is_some()
    }

    /// See [`Assembler::read`].
    pub(super) fn read(
        &self,
        assembler: &Assembler<'a>,
        student: &Listed,
        look: Look,
        known: Option<Status>,
        view: &mut StudentView<'a>,
        warnings: &mut Warnings,
    ) -> Reading {
        let first = &assembler.looks.first;
        let listed = first.row(student.place);
        let Some(id) = listed.text(U::SourcedId) else { return Reading::Absent };
        let row = match look {
            Look::First => Some(listed),
            Look::Second => assembler.looks.second.as_ref().and_then(|second| find(second, Kind::User, id)),
        };
        let Some(row) = row.filter(|row| is_student(*row)) else { return Reading::Absent };
        let remembered = self.remembered_of(&format!("{}{id}", assembler.prefix));
        let spells = Spells::of(row, remembered, &self.orgs, self.complete, assembler.today);
        let facts = spells.facts();
        let decided = assembler.decide(&facts, known, warnings);
        match decided {
            Err(reading) => reading,
            Ok((decided, deciding)) => {
                drop(facts);
                let school = deciding.and_then(|number| spells.school(number, &decided));
                // What the person is called and how reached is told by the pull: a second look at some of its people, hours
                // later maybe, would be judged by nobody.
                self.fill(assembler, id, listed, school, view);
                view.enrollments = spells.listed;
                view.sort();
                Reading::Decided(decided)
            }
        }
    }

    fn fill(
        &self,
        assembler: &Assembler<'a>,
        id: &str,
        row: Row<'a>,
        school: Option<&'a str>,
        view: &mut StudentView<'a>,
    ) {
        let source = &assembler.looks.first;
        view.clear();
        view.id.push_str(assembler.prefix);
        view.id.push_str(id);
        view.connection = assembler.connection;
        view.sis_id = as_given(row);
        view.local_id = row.text(U::Identifier);
        view.state_id = state_id(row, self.reads.state_id_from);
        view.graduation_year = None;
        view.homeroom = None;
        view.grade = row.text(U::Grade);
        view.school = school;
        view.person = people::person(row, view);
        let demographics = find(source, Kind::Demographics, id);
        if demographics.is_none() {
            note(source, Kind::Demographics, Some(lookup_key(id)), Part::Demographics, &mut view.missing);
        }
        let demographics = demographics.filter(|row| is_live(*row, column::Demographics::Status));
        view.birth_date = demographics.and_then(|row| row.date(column::Demographics::BirthDate));
        view.gender = demographics.and_then(|row| row.text(column::Demographics::Sex)).map(people::gender);
        self.contacts(source, id, row, view);
    }

    /// The guardians: those the student names, and those who name the student.
    fn contacts(&self, source: &'a Source, id: &str, row: Row<'a>, view: &mut StudentView<'a>) {
        for [agent] in lists::records::<1>(row.text(U::Agents)) {
            match find(source, Kind::User, agent) {
                Some(row) => add_guardian(agent, row, view),
                None => add_contact(agent, None, view),
            }
        }
        for place in self.naming.get(id).into_iter().flatten() {
            let row = source.row(*place);
            if let Some(own) = row.text(U::SourcedId) {
                add_guardian(own, row, view);
            }
        }
    }

    fn remembered_of(&self, student: &str) -> &'a [StoredEnrollment] {
        let start = self.remembered.partition_point(|stored| stored.student.0.as_str() < student);
        let rest = &self.remembered[start..];
        &rest[..rest.partition_point(|stored| stored.student.0 == student)]
    }

    /// The schools, by code.
    pub(super) fn schools(&self) -> Vec<School> {
        let schools = self.orgs.values().filter(|org| org.is_school);
        let school = |org: &OrgView<'_>| School {
            code: org.code.to_owned(),
            name: org.name.map(str::to_owned),
            ..School::default()
        };
        let mut schools: Vec<School> = schools.map(school).collect();
        schools.sort_by(|a, b| (&a.code, &a.name).cmp(&(&b.code, &b.name)));
        schools.dedup_by(|a, b| a.code == b.code);
        schools
    }

    /// The staff of `today` that the connection wants, by id.
    pub(super) fn staff(&self, source: &Source, today: NaiveDate) -> Vec<Staff> {
        if self.reads.staff == StaffScope::None {
            return Vec::new();
        }
        let rows = source.places(Kind::User).iter().map(|place| source.row(*place));
        let mut staff: Vec<Staff> = rows.filter_map(|row| people::staff(row, self.reads.staff, today)).collect();
        staff.sort_by(|a, b| a.id.cmp(&b.id));
        // Of rows with one id the later page's counts, as of students.
        staff.dedup_by(|later, kept| {
            let same = later.id == kept.id;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        staff
    }
}

/// The id as the SIS spells it.
fn as_given(row: Row<'_>) -> Option<&str> {
    row.text(U::AsGiven).or(row.text(U::SourcedId))
}

/// The state's id, from where the district says that it is.
fn state_id<'a>(row: Row<'a>, from: &str) -> Option<&'a str> {
    let (cell, wanted) = match from.strip_prefix(IN_METADATA) {
        Some(name) => (row.text(U::Metadata), name),
        None => (row.text(U::UserIds), from),
    };
    let mut pairs = lists::records::<2>(cell);
    pairs.find(|[kind, _]| kind.eq_ignore_ascii_case(wanted)).map(|[_, id]| id).filter(|id| !id.is_empty())
}

/// Adds a person that is listed, if a guardian.
fn add_guardian<'a>(id: &'a str, row: Row<'a>, view: &mut StudentView<'a>) {
    if let Some(role) = is_guardian(row) {
        add_contact(id, Some((row, role)), view);
    }
}

fn add_contact<'a>(id: &'a str, shown: Option<(Row<'a>, &'a str)>, view: &mut StudentView<'a>) {
    if view.contacts.iter().any(|contact| contact.id == Id::of(id)) {
        return;
    }
    let person = match shown {
        Some((row, _)) => people::person(row, view),
        None => people::nameless(id),
    };
    view.contacts.push(ContactView {
        id: Id::of(id),
        kind: ContactKind::Guardian,
        rank: None,
        relationship: shown.map(|(_, role)| role),
        custodial: None,
        may_pick_up: None,
        person,
    });
}

/// The row of an id; told several times, the last one counts.
fn find<'a>(source: &'a Source, kind: Kind, id: &str) -> Option<Row<'a>> {
    find_place(source, kind, id).map(|place| source.row(place))
}

/// As [`find`].
fn find_place(source: &Source, kind: Kind, id: &str) -> Option<Place> {
    let places = source.find(kind, lookup_key(id));
    // The id stands in the second column of each of these kinds.
    places.iter().rev().find(|place| source.row(**place).text_at(1) == Some(id)).copied()
}

/// What a person's rows may lack because their whole pages do, by the source's id. One that is marked as deleted lacks nothing:
/// it is gone.
pub(super) fn lacking(source: &Source, pages: &PagesLacking, id: &str) -> Facets {
    if find(source, Kind::User, id).is_some_and(|row| !is_live(row, U::Status)) {
        return Facets::default();
    }
    let places = [Kind::User, Kind::Demographics].into_iter().filter_map(|kind| find_place(source, kind, id));
    places.map(|place| pages.at(place)).fold(Facets::default(), Facets::with)
}

/// Not marked as deleted; 1.0's `inactive` means the same.
fn is_live<C: crate::fragment::Column>(row: Row<'_>, status: C) -> bool {
    !row.text(status)
        .is_some_and(|status| ["tobedeleted", "inactive"].iter().any(|gone| status.eq_ignore_ascii_case(gone)))
}

/// Listed, and a student at some org.
fn is_student(row: Row<'_>) -> bool {
    is_live(row, U::Status) && roles::of(row).any(|role| role.is("student"))
}

fn orgs(source: &Source) -> HashMap<&str, OrgView<'_>> {
    use column::Org as O;
    let rows = source.places(Kind::Org).iter().map(|place| source.row(*place)).filter(|row| is_live(*row, O::Status));
    let mut orgs = HashMap::new();
    for row in rows {
        orgs.extend(org(row));
    }
    orgs
}

fn org(row: Row<'_>) -> Option<(&str, OrgView<'_>)> {
    use column::Org as O;
    let id = row.text(O::SourcedId)?;
    let is_school = row.text(O::Type).is_some_and(|kind| kind.eq_ignore_ascii_case("school"));
    Some((id, OrgView { code: row.text(O::Identifier).unwrap_or(id), name: row.text(O::Name), is_school }))
}

fn naming(source: &Source) -> HashMap<&str, Vec<Place>> {
    let mut naming: HashMap<&str, Vec<Place>> = HashMap::new();
    for place in source.places(Kind::User) {
        let row = source.row(*place);
        let agents = row.text(U::Agents);
        if agents.is_none() || is_guardian(row).is_none() {
            continue;
        }
        for [student] in lists::records::<1>(agents) {
            naming.entry(student).or_default().push(*place);
        }
    }
    naming
}
