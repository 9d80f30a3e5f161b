//! What a pull could not tell stays as it is stored.
//!
//! A field no longer granted, or a supporting listing that is empty or incomplete, is unknown, and unknown is not null.
//! Such values are taken from the stored record before comparing. Only students that differ without this are looked at:
//! whoever's fingerprint is equal has nothing stored that is unknown now.
//!
//! A value that comes from one column or else from another (`GenderCode`, `Gender`) stays too as soon as the one that it may
//! have come from is lost: granted on some complete pull before, and not now. One that never was granted has given nothing.
//!
//! A value that a whole page of OneRoster lacks, and other pages have, is unknown of that page's people alone; what is kept
//! by this is told to the caller, since nothing else shows whether anybody had one.
//!
//! Neighbours: [`crate::completeness`] says what is unknown, [`crate::diff`] applies it.

mod campus;
mod pages;
mod schools;
mod twins;

pub use campus::Deciding;
pub use pages::{Kept, Lacking};
use twins::is_without_add_on;

use rollcall_proto::roster::{Address, Contact, ContactKind, Email, Enrollment, Person, Phone, Staff, Student};
use rollcall_store::{district::StaffScope, run::Discovery};

use crate::{
    assemble::oneroster::{Facet, Facets, Group, PagesLacking, Value},
    completeness::{Completeness, WHOLE_RESOURCE},
    fragment::{
        Column, KINDS, Kind,
        column::{
            Address as A, County, Demographics, EmailType, EmergencyContact as E, EntitySchool, EntryCode,
            EntryWithdrawal as W, Homeroom, Name, NameAddress, NameEmail, NamePhone, PhoneType, Relationship, School,
            SchoolYear, Staff as T, StaffEntityYear as TY, State, Student as S, StudentEntityYear as Y,
            StudentGuardian as G, Zip,
        },
    },
    sourced_id::is_uuid,
};

/// Columns that a connection's pull could not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// A bit for each column, by kind.
    columns: [u64; KINDS],
    /// Of these, the ones that stored values may have come from: granted before, or of a listing that is not to be believed.
    lost: [u64; KINDS],
    /// The pull is not complete: enrollments that it does not show may be there all the same.
    incomplete: bool,
    /// OneRoster: kinds of values that no row held.
    facets: Facets,
    /// OneRoster: kinds of values that whole pages lack.
    pages: PagesLacking,
    /// OneRoster: guardians are named whom the pull does not show.
    nameless: bool,
    /// The connection speaks OneRoster.
    oneroster: bool,
}

impl Unknown {
    /// From what discovery refused and completeness found.
    pub fn of(judged: &Completeness, discovery: &Discovery) -> Self {
        let (mut columns, mut lost) = ([0; KINDS], [0; KINDS]);
        for kind in Kind::ALL {
            lost[*kind as usize] = lost_columns(*kind, judged);
            columns[*kind as usize] = unknown_columns(*kind, judged, discovery) | lost[*kind as usize];
        }
        let facets = Facets::that(|facet| judged.keeps_stored_rows(facet.name()));
        let (pages, nameless) = (judged.pages_lacking.clone(), judged.nameless_guardians);
        let oneroster = judged.oneroster;
        Self { columns, lost, incomplete: !judged.complete, facets, pages, nameless, oneroster }
    }

    /// Nothing is unknown.
    pub fn is_empty(&self) -> bool {
        !self.incomplete
            && !self.nameless
            && self.facets.is_empty()
            && self.pages.is_empty()
            && self.columns.iter().all(|columns| *columns == 0)
    }

    /// What whole pages lack.
    pub const fn pages(&self) -> &PagesLacking {
        &self.pages
    }

    /// A user's row of OneRoster tells all of their roles.
    const fn may_lack_enrollments(&self) -> bool {
        self.incomplete && !self.oneroster
    }

    fn lacks(&self, group: Group, value: Value) -> bool {
        self.facets.contains(Facet::Of(group, value))
    }

    /// No student, or no guardian, or nobody of either has one.
    fn family_lacks(&self, group: Group, value: Value) -> bool {
        self.lacks(group, value) || self.lacks(Group::Family, value)
    }

    fn is<C: Column>(&self, column: C) -> bool {
        self.columns[C::KIND as usize] >> column.place() & 1 == 1
    }

    fn is_lost<C: Column>(&self, column: C) -> bool {
        self.lost[C::KIND as usize] >> column.place() & 1 == 1
    }

    /// Puts stored values where the pull could tell none. `evidence` are the enrollments that the status rests on; `lacking` says
    /// what a person's whole pages lack, by the SIS's id; `own` is that of the student. Who kept something because of it is noted.
    pub fn fill(
        &self,
        record: &mut Student,
        stored: &Student,
        evidence: &[String],
        own: Lacking<'_>,
        lacking: &dyn Fn(&str) -> Facets,
        kept: &mut Kept,
    ) {
        let no_local_id = self.is(S::StudentNumber) || self.lacks(Group::Students, Value::Identifier);
        keep(no_local_id, &mut record.local_id, &stored.local_id);
        let no_state_id = self.is(S::StateId) || self.lacks(Group::Students, Value::StateId);
        keep(no_state_id, &mut record.state_id, &stored.state_id);
        let year = self.of_two(S::GradYear, S::CalculatedGradYear);
        year.keep(&mut record.graduation_year, stored.graduation_year.as_ref());
        let no_birth_date = self.is(Name::BirthDate)
            || self.is(Demographics::BirthDate)
            || self.lacks(Group::Described, Value::BirthDate);
        keep(no_birth_date, &mut record.birth_date, &stored.birth_date);
        let no_sex = self.is(Demographics::Sex) || self.lacks(Group::Described, Value::Sex);
        keep(no_sex, &mut record.gender, &stored.gender);
        self.of_two(Name::GenderCode, Name::Gender).keep(&mut record.gender, stored.gender.as_ref());
        self.fill_place(record, stored);
        self.fill_own_names(&mut record.person, &stored.person);
        self.fill_person(&mut record.person, &stored.person, Group::Students);
        self.fill_contacts(record, stored);
        let told = Deciding::told(record, evidence);
        self.fill_enrollments(&mut record.enrollments, &stored.enrollments);
        if self.is(W::IsDefaultEntity) || self.may_lack_enrollments() {
            told.decide_again(record, stored, evidence);
        }
        pages::fill(record, stored, own, lacking, kept);
    }

    /// Whether the pull of a connection tells who of the staff is in `scope`: Qmlativ's alone. That a row's school year is not
    /// granted does not matter, since each year is asked for by itself.
    pub fn tells_staff(&self, scope: StaffScope) -> bool {
        let who = !self.is(T::StaffId) && !self.is(TY::StaffId);
        match scope {
            StaffScope::None => true,
            StaffScope::Active => who && !self.is_lost(TY::IsActive) && !self.is_lost(TY::EntityId),
            StaffScope::Teachers => self.tells_staff(StaffScope::Active) && !self.is(TY::IsTeacher),
        }
    }

    /// As [`Unknown::fill`], of a member of staff.
    pub fn fill_staff(&self, member: &mut Staff, stored: &Staff, own: Lacking<'_>, kept: &mut Kept) {
        let no_number = self.is(T::StaffNumber) || self.lacks(Group::Staff, Value::Identifier);
        keep(no_number, &mut member.number, &stored.number);
        keep(self.is(TY::IsTeacher), &mut member.teacher, &stored.teacher);
        if self.is(T::NameId) {
            member.person.clone_from(&stored.person);
        } else if member.person.name_id == stored.person.name_id {
            keep_names(self.names(|_| false), &mut member.person, &stored.person);
            self.fill_lists(&mut member.person, &stored.person);
        }
        let names = [Value::GivenName, Value::MiddleName, Value::FamilyName];
        keep_names(names.map(|name| self.lacks(Group::Staff, name)), &mut member.person, &stored.person);
        fill_reach(&mut member.person, &stored.person, |value| self.lacks(Group::Staff, value));
        pages::fill_staff(member, stored, own, kept);
        // As it was read: a student's are put in order when the record is written.
        member.person.phones.sort_by(|a, b| (a.rank, &a.id).cmp(&(b.rank, &b.id)));
    }

    /// Grade, school, homeroom: what the deciding enrollment leads to.
    fn fill_place(&self, record: &mut Student, stored: &Student) {
        // Without these the row of the enrollment's year and entity is not found, or another one is taken for it.
        let no_rows = [Y::StudentId, Y::EntityId, Y::SchoolYearId].into_iter().any(|column| self.is_lost(column));
        self.of_two(Y::Grade, S::Grade).or_first_lost(no_rows).keep(&mut record.grade, stored.grade.as_ref());
        let no_grade = self.lacks(Group::Students, Value::Grade) || (self.incomplete && record.grade.is_none());
        keep(no_grade, &mut record.grade, &stored.grade);
        let no_homeroom = self.is(Y::HomeroomId) || self.is(Homeroom::Code) || no_rows;
        keep(no_homeroom || (self.incomplete && record.homeroom.is_none()), &mut record.homeroom, &stored.homeroom);
        let was = self.school_of_same(record, stored);
        keep(was.is_some(), &mut record.school, &was);
        let no_school = self.no_school() || (self.incomplete && record.school.is_none());
        keep(no_school, &mut record.school, &stored.school);
    }

    fn no_school(&self) -> bool {
        self.is(School::Code) || (self.is(W::SchoolId) && self.is(EntitySchool::SchoolId))
    }

    /// A student's names stand on the student row too, as copies: those are as good.
    fn fill_own_names(&self, person: &mut Person, stored: &Person) {
        let no = |own: S, name: Name, value, told: &Option<String>| {
            let gone = told.is_none() && (self.is_lost(own) || self.is_lost(name));
            gone || (self.is(own) && self.is(name)) || self.family_lacks(Group::Students, value)
        };
        let unknown = [
            no(S::FirstName, Name::FirstName, Value::GivenName, &person.first_name),
            no(S::MiddleName, Name::MiddleName, Value::MiddleName, &person.middle_name),
            no(S::LastName, Name::LastName, Value::FamilyName, &person.last_name),
        ];
        keep_names(unknown, person, stored);
    }

    /// Which names are unknown, of people who have them from their name's row alone, or whose group `lacks` them.
    fn names(&self, lacks: impl Fn(Value) -> bool) -> [bool; 3] {
        let no = |name: Name, value| self.is(name) || lacks(value);
        [
            no(Name::FirstName, Value::GivenName),
            no(Name::MiddleName, Value::MiddleName),
            no(Name::LastName, Value::FamilyName),
        ]
    }

    fn fill_person(&self, person: &mut Person, stored: &Person, group: Group) {
        fill_reach(person, stored, |value| self.family_lacks(group, value));
        self.fill_lists(person, stored);
    }

    fn fill_lists(&self, person: &mut Person, stored: &Person) {
        if self.is(NamePhone::NameId) || self.is(NamePhone::PhoneNumber) {
            person.phones.clone_from(&stored.phones);
        }
        if self.is(NameEmail::NameId) || self.is(NameEmail::EmailAddress) {
            person.emails.clone_from(&stored.emails);
        }
        if self.is(NameAddress::NameId) || self.is(NameAddress::AddressId) {
            person.addresses.clone_from(&stored.addresses);
        }
        each_pair(&mut person.phones, &stored.phones, |a, b| a.id == b.id, |new, old| self.fill_phone(new, old));
        each_pair(&mut person.emails, &stored.emails, |a, b| a.id == b.id, |new, old| self.fill_email(new, old));
        each_pair(&mut person.addresses, &stored.addresses, |a, b| a.id == b.id, |n, o| self.fill_address(n, o));
    }

    fn fill_phone(&self, phone: &mut Phone, stored: &Phone) {
        keep(self.is(NamePhone::PhoneTypeId), &mut phone.kind, &stored.kind);
        self.of_two(PhoneType::Description, PhoneType::Code).keep(&mut phone.kind, stored.kind.as_ref());
        keep(self.is(NamePhone::Rank), &mut phone.rank, &stored.rank);
        keep(self.is(NamePhone::Extension), &mut phone.extension, &stored.extension);
        keep(self.is(NamePhone::IsConfidential), &mut phone.confidential, &stored.confidential);
    }

    fn fill_email(&self, email: &mut Email, stored: &Email) {
        keep(self.is(NameEmail::EmailTypeId), &mut email.kind, &stored.kind);
        self.of_two(EmailType::Description, EmailType::Code).keep(&mut email.kind, stored.kind.as_ref());
        keep(self.is(NameEmail::Rank), &mut email.rank, &stored.rank);
    }

    fn fill_address(&self, address: &mut Address, stored: &Address) {
        keep(self.is(NameAddress::IsPhysical), &mut address.physical, &stored.physical);
        keep(self.is(NameAddress::IsMailing), &mut address.mailing, &stored.mailing);
        keep(self.is(A::AddressLine2), &mut address.line2, &stored.line2);
        let no_zip = self.is(A::ZipId);
        keep(no_zip || self.is(Zip::City), &mut address.city, &stored.city);
        keep(no_zip || self.is(Zip::StateId) || self.is(State::Code), &mut address.state, &stored.state);
        let no_add_on = self.is_lost(A::ZipCodeAddOn) && is_without_add_on(address.zip.as_ref(), stored.zip.as_ref());
        keep(no_zip || self.is(Zip::ZipCode) || no_add_on, &mut address.zip, &stored.zip);
        keep(no_zip || self.is(Zip::CountryCode), &mut address.country, &stored.country);
        keep(self.is(A::CountyId) || self.is(County::Name), &mut address.county, &stored.county);
        self.fill_street(address, stored);
    }

    fn fill_contacts(&self, record: &mut Student, stored: &Student) {
        let lost = |kind: ContactKind| match kind {
            ContactKind::Guardian => {
                let nobody = self.facets.contains(Facet::People(Group::Guardians));
                let not_shared = nobody || self.lacks(Group::Family, Value::Agents);
                self.is(G::StudentId) || self.is(G::NameIdGuardian) || not_shared
            }
            ContactKind::Emergency => self.is(E::NameId) || self.is(E::NameIdContact),
        };
        record.contacts.retain(|contact| !lost(contact.kind));
        let kept = stored.contacts.iter().filter(|contact| lost(contact.kind));
        record.contacts.extend(kept.cloned());
        let same = |a: &Contact, b: &Contact| a.kind == b.kind && a.id == b.id;
        // Guardians of OneRoster's that the pull does not show may be there all the same.
        if self.oneroster && self.incomplete {
            let unshown = stored.contacts.iter().filter(|was| !record.contacts.iter().any(|is| same(is, was)));
            let unshown: Vec<Contact> = unshown.cloned().collect();
            record.contacts.extend(unshown);
        }
        if self.nameless {
            each_pair(&mut record.contacts, &stored.contacts, same, |new, old| {
                if is_nameless(new) {
                    new.clone_from(old);
                }
            });
            keep_renamed_guardians(&mut record.contacts, &stored.contacts);
        }
        each_pair(&mut record.contacts, &stored.contacts, same, |new, old| self.fill_contact(new, old));
    }

    fn fill_contact(&self, contact: &mut Contact, stored: &Contact) {
        let guardian = contact.kind == ContactKind::Guardian;
        let no = |of_guardian: G, of_emergency: E| if guardian { self.is(of_guardian) } else { self.is(of_emergency) };
        keep(no(G::Rank, E::Rank), &mut contact.rank, &stored.rank);
        keep(no(G::MayPickUp, E::MayPickUp), &mut contact.may_pick_up, &stored.may_pick_up);
        keep(guardian && self.is(G::IsCustodial), &mut contact.custodial, &stored.custodial);
        let no_link = no(G::RelationshipId, E::RelationshipId);
        keep(no_link, &mut contact.relationship, &stored.relationship);
        let word = self.of_two(Relationship::Description, Relationship::Code);
        word.keep(&mut contact.relationship, stored.relationship.as_ref());
        if contact.person.name_id == stored.person.name_id {
            let names = self.names(|value| self.family_lacks(Group::Guardians, value));
            keep_names(names, &mut contact.person, &stored.person);
            self.fill_person(&mut contact.person, &stored.person, Group::Guardians);
        }
    }

    fn fill_enrollments(&self, enrollments: &mut Vec<Enrollment>, stored: &[Enrollment]) {
        each_pair(
            enrollments,
            stored,
            |a, b| a.id == b.id,
            |new, old| {
                // That of the current year the system's metadata tells too.
                let no_year = self.is(SchoolYear::NumericYear) && new.school_year.is_none();
                keep(no_year, &mut new.school_year, &old.school_year);
                // Their table is one that statuses may rest on, whose rows are not kept as a whole.
                let no_code = self.is(W::EntryCodeId) || self.is(EntryCode::Code);
                keep(no_code || (self.incomplete && new.entry_code.is_none()), &mut new.entry_code, &old.entry_code);
                keep(self.is(W::IsNoShow), &mut new.no_show, &old.no_show);
                keep(self.is(W::IsDefaultEntity), &mut new.default_entity, &old.default_entity);
                self.of_two(W::SchoolId, EntitySchool::SchoolId).keep(&mut new.school, old.school.as_ref());
                let no_school = self.no_school() || (self.incomplete && new.school.is_none());
                keep(no_school, &mut new.school, &old.school);
            },
        );
        if self.incomplete {
            let shown: Vec<String> = enrollments.iter().map(|enrollment| enrollment.id.clone()).collect();
            enrollments.extend(stored.iter().filter(|old| !shown.contains(&old.id)).cloned());
        }
    }
}

/// Named by the student, and not shown by the pull.
fn is_nameless(contact: &Contact) -> bool {
    let person = &contact.person;
    contact.relationship.is_none() && person.first_name.is_none() && person.last_name.is_none()
}

/// A move to OneRoster 1.2 gives guardians other ids as well, which nothing links to those of before. Where it names some without
/// showing them, whoever is stored under an id of before may be one of them, and stays until all are shown.
fn keep_renamed_guardians(contacts: &mut Vec<Contact>, stored: &[Contact]) {
    if contacts.iter().any(|contact| is_nameless(contact) && is_uuid(&contact.id)) {
        let of_before = stored.iter().filter(|was| !is_uuid(&was.id) && !is_nameless(was));
        let of_before: Vec<Contact> =
            of_before.filter(|was| contacts.iter().all(|is| is.id != was.id)).cloned().collect();
        contacts.extend(of_before);
    }
}

fn unknown_columns(kind: Kind, judged: &Completeness, discovery: &Discovery) -> u64 {
    let resource = kind.resource();
    let refused = discovery.refused.get(resource).map(Vec::as_slice).unwrap_or_default();
    if judged.keeps_stored_rows(resource) || refused.iter().any(|field| field == WHOLE_RESOURCE) {
        return u64::MAX;
    }
    bits_of(kind, refused.iter())
}

fn lost_columns(kind: Kind, judged: &Completeness) -> u64 {
    let resource = kind.resource();
    if judged.keeps_stored_rows(resource) {
        return u64::MAX;
    }
    judged.lost_before.get(resource).map_or(0, |fields| bits_of(kind, fields.iter()))
}

fn bits_of<'f>(kind: Kind, fields: impl Iterator<Item = &'f String>) -> u64 {
    let place = |field: &String| kind.columns().iter().position(|column| column.name == field);
    fields.filter_map(place).fold(0, |bits, place| bits | 1 << place)
}

/// OneRoster's one address and two numbers of a user, where nobody has one any more.
fn fill_reach(person: &mut Person, stored: &Person, lacks: impl Fn(Value) -> bool) {
    for value in [Value::Email, Value::Phone, Value::Sms].into_iter().filter(|value| lacks(*value)) {
        pages::keep_reach(value, person, stored);
    }
}

fn keep<T: Clone>(unknown: bool, value: &mut T, stored: &T) {
    if unknown {
        value.clone_from(stored);
    }
}

fn keep_names([first, middle, last]: [bool; 3], person: &mut Person, stored: &Person) {
    keep(first, &mut person.first_name, &stored.first_name);
    keep(middle, &mut person.middle_name, &stored.middle_name);
    keep(last, &mut person.last_name, &stored.last_name);
}

fn each_pair<T>(new: &mut [T], old: &[T], same: impl Fn(&T, &T) -> bool, fill: impl Fn(&mut T, &T)) {
    for item in new {
        if let Some(stored) = old.iter().find(|stored| same(item, stored)) {
            fill(item, stored);
        }
    }
}

#[cfg(test)]
mod columns_tests;
#[cfg(test)]
mod tests;
