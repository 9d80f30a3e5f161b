//! What a pull could not tell stays as it is stored.
//!
//! A field no longer granted, or a supporting listing that is empty or incomplete, is unknown, and unknown is not null.
//! Such values are taken from the stored record before comparing. Only students that differ without this are looked at:
//! whoever's fingerprint is equal has nothing stored that is unknown now.
//!
//! Neighbours: [`crate::completeness`] says what is unknown, [`crate::diff`] applies it.

use std::collections::BTreeSet;

use rollcall_proto::roster::{Address, Contact, ContactKind, Email, Enrollment, Person, Phone, Student};
use rollcall_store::run::Discovery;

use crate::{
    assemble::oneroster::{Facet, PHONE, SMS},
    completeness::{Completeness, WHOLE_RESOURCE},
    fragment::{
        Column, KINDS, Kind,
        column::{
            Address as A, County, Demographics, EmailType, EmergencyContact as E, EntitySchool, EntryCode,
            EntryWithdrawal as W, Homeroom, Name, NameAddress, NameEmail, NamePhone, PhoneType, Relationship, School,
            State, Student as S, StudentEntityYear as Y, StudentGuardian as G, Zip,
        },
    },
};

/// Columns that a connection's pull could not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// A bit for each column, by kind.
    columns: [u64; KINDS],
    /// The pull is not complete: enrollments that it does not show may be there all the same.
    incomplete: bool,
    /// OneRoster: kinds of values that no row held.
    facets: BTreeSet<Facet>,
    /// OneRoster: guardians are named whom the pull does not show.
    nameless: bool,
    /// OneRoster: guardians that the pull does not show may be there all the same.
    guardians_may_lack: bool,
}

impl Unknown {
    /// From what discovery refused and completeness found.
    pub fn of(judged: &Completeness, discovery: &Discovery) -> Self {
        let mut columns = [0; KINDS];
        for kind in Kind::ALL {
            columns[*kind as usize] = unknown_columns(*kind, judged, discovery);
        }
        let facets = Facet::ALL.into_iter().filter(|facet| judged.keeps_stored_rows(facet.name())).collect();
        let guardians_may_lack = judged.oneroster && !judged.complete;
        Self { columns, incomplete: !judged.complete, facets, nameless: judged.nameless_guardians, guardians_may_lack }
    }

    /// Nothing is unknown.
    pub fn is_empty(&self) -> bool {
        !self.incomplete && !self.nameless && self.facets.is_empty() && self.columns.iter().all(|columns| *columns == 0)
    }

    fn lacks(&self, facet: Facet) -> bool {
        self.facets.contains(&facet)
    }

    fn is<C: Column>(&self, column: C) -> bool {
        self.columns[C::KIND as usize] >> column.place() & 1 == 1
    }

    /// Puts stored values where the pull could tell none.
    pub fn fill(&self, record: &mut Student, stored: &Student) {
        let no_local_id = self.is(S::StudentNumber) || self.lacks(Facet::Identifiers);
        keep(no_local_id, &mut record.local_id, &stored.local_id);
        keep(self.is(S::StateId) || self.lacks(Facet::UserIds), &mut record.state_id, &stored.state_id);
        let no_year = self.is(S::GradYear) && self.is(S::CalculatedGradYear);
        keep(no_year, &mut record.graduation_year, &stored.graduation_year);
        let no_birth_date =
            self.is(Name::BirthDate) || self.is(Demographics::BirthDate) || self.lacks(Facet::BirthDates);
        keep(no_birth_date, &mut record.birth_date, &stored.birth_date);
        let no_sex = self.is(Demographics::Sex) || self.lacks(Facet::Sexes);
        let no_gender = (self.is(Name::Gender) && self.is(Name::GenderCode)) || no_sex;
        keep(no_gender, &mut record.gender, &stored.gender);
        self.fill_place(record, stored);
        self.fill_own_names(&mut record.person, &stored.person);
        self.fill_person(&mut record.person, &stored.person, OF_STUDENTS);
        self.fill_contacts(record, stored);
        self.fill_enrollments(&mut record.enrollments, &stored.enrollments);
    }

    /// Grade, school, homeroom: what the deciding enrollment leads to.
    fn fill_place(&self, record: &mut Student, stored: &Student) {
        let no_grade = (self.is(Y::Grade) && self.is(S::Grade)) || self.lacks(Facet::Grades);
        keep(no_grade || (self.incomplete && record.grade.is_none()), &mut record.grade, &stored.grade);
        let no_homeroom = self.is(Y::HomeroomId) || self.is(Homeroom::Code);
        keep(no_homeroom || (self.incomplete && record.homeroom.is_none()), &mut record.homeroom, &stored.homeroom);
        keep(self.no_school() || (self.incomplete && record.school.is_none()), &mut record.school, &stored.school);
    }

    fn no_school(&self) -> bool {
        self.is(School::Code) || (self.is(W::SchoolId) && self.is(EntitySchool::SchoolId))
    }

    /// A student's names stand on the student row too.
    fn fill_own_names(&self, person: &mut Person, stored: &Person) {
        let no = |own: S, name: Name, facet| (self.is(own) && self.is(name)) || self.lacks(facet);
        let unknown = [
            no(S::FirstName, Name::FirstName, Facet::GivenNames),
            no(S::MiddleName, Name::MiddleName, Facet::MiddleNames),
            no(S::LastName, Name::LastName, Facet::FamilyNames),
        ];
        keep_names(unknown, person, stored);
    }

    fn fill_names(&self, person: &mut Person, stored: &Person) {
        let unknown = [
            self.is(Name::FirstName) || self.lacks(Facet::GivenNames),
            self.is(Name::MiddleName) || self.lacks(Facet::MiddleNames),
            self.is(Name::LastName) || self.lacks(Facet::FamilyNames),
        ];
        keep_names(unknown, person, stored);
    }

    fn fill_person(&self, person: &mut Person, stored: &Person, own: Reach) {
        if self.is(NamePhone::NameId) || self.is(NamePhone::PhoneNumber) {
            person.phones.clone_from(&stored.phones);
        }
        self.fill_numbers(person, stored, own);
        let no_email = self.lacks(Facet::Emails) || self.lacks(own.email);
        if self.is(NameEmail::NameId) || self.is(NameEmail::EmailAddress) || no_email {
            person.emails.clone_from(&stored.emails);
        }
        if self.is(NameAddress::NameId) || self.is(NameAddress::AddressId) {
            person.addresses.clone_from(&stored.addresses);
        }
        each_pair(&mut person.phones, &stored.phones, |a, b| a.id == b.id, |new, old| self.fill_phone(new, old));
        each_pair(&mut person.emails, &stored.emails, |a, b| a.id == b.id, |new, old| self.fill_email(new, old));
        each_pair(&mut person.addresses, &stored.addresses, |a, b| a.id == b.id, |n, o| self.fill_address(n, o));
    }

    /// OneRoster's two numbers of a user, each known by its own id.
    fn fill_numbers(&self, person: &mut Person, stored: &Person, own: Reach) {
        for (facet, own, id) in [(Facet::Phones, own.phone, PHONE), (Facet::Sms, own.sms, SMS)] {
            let lacks = self.lacks(facet) || self.lacks(own);
            if lacks && !person.phones.iter().any(|phone| phone.id == id) {
                person.phones.extend(stored.phones.iter().filter(|phone| phone.id == id).cloned());
            }
        }
    }

    fn fill_phone(&self, phone: &mut Phone, stored: &Phone) {
        let no_kind = self.is(PhoneType::Description) && self.is(PhoneType::Code);
        keep(self.is(NamePhone::PhoneTypeId) || no_kind, &mut phone.kind, &stored.kind);
        keep(self.is(NamePhone::Rank), &mut phone.rank, &stored.rank);
        keep(self.is(NamePhone::Extension), &mut phone.extension, &stored.extension);
        keep(self.is(NamePhone::IsConfidential), &mut phone.confidential, &stored.confidential);
    }

    fn fill_email(&self, email: &mut Email, stored: &Email) {
        let no_kind = self.is(EmailType::Description) && self.is(EmailType::Code);
        keep(self.is(NameEmail::EmailTypeId) || no_kind, &mut email.kind, &stored.kind);
        keep(self.is(NameEmail::Rank), &mut email.rank, &stored.rank);
    }

    fn fill_address(&self, address: &mut Address, stored: &Address) {
        keep(self.is(NameAddress::IsPhysical), &mut address.physical, &stored.physical);
        keep(self.is(NameAddress::IsMailing), &mut address.mailing, &stored.mailing);
        let line1 = [A::StreetLine, A::StreetLineWithUnit, A::StreetId, A::PoBox, A::Freeform];
        let no_line1 = line1.iter().all(|column| self.is(*column));
        keep(no_line1, &mut address.line1, &stored.line1);
        keep(self.is(A::AddressLine2), &mut address.line2, &stored.line2);
        let no_zip = self.is(A::ZipId);
        keep(no_zip || self.is(Zip::City), &mut address.city, &stored.city);
        keep(no_zip || self.is(Zip::StateId) || self.is(State::Code), &mut address.state, &stored.state);
        keep(no_zip || self.is(Zip::ZipCode) || self.is(A::ZipCodeAddOn), &mut address.zip, &stored.zip);
        keep(no_zip || self.is(Zip::CountryCode), &mut address.country, &stored.country);
        keep(self.is(A::CountyId) || self.is(County::Name), &mut address.county, &stored.county);
    }

    fn fill_contacts(&self, record: &mut Student, stored: &Student) {
        let lost = |kind: ContactKind| match kind {
            ContactKind::Guardian => {
                let not_shared = self.lacks(Facet::Guardians) || self.lacks(Facet::Agents);
                self.is(G::StudentId) || self.is(G::NameIdGuardian) || not_shared
            }
            ContactKind::Emergency => self.is(E::NameId) || self.is(E::NameIdContact),
        };
        record.contacts.retain(|contact| !lost(contact.kind));
        let kept = stored.contacts.iter().filter(|contact| lost(contact.kind));
        record.contacts.extend(kept.cloned());
        let same = |a: &Contact, b: &Contact| a.kind == b.kind && a.id == b.id;
        if self.guardians_may_lack {
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
        }
        each_pair(&mut record.contacts, &stored.contacts, same, |new, old| self.fill_contact(new, old));
    }

    fn fill_contact(&self, contact: &mut Contact, stored: &Contact) {
        let guardian = contact.kind == ContactKind::Guardian;
        let no = |of_guardian: G, of_emergency: E| if guardian { self.is(of_guardian) } else { self.is(of_emergency) };
        keep(no(G::Rank, E::Rank), &mut contact.rank, &stored.rank);
        keep(no(G::MayPickUp, E::MayPickUp), &mut contact.may_pick_up, &stored.may_pick_up);
        keep(guardian && self.is(G::IsCustodial), &mut contact.custodial, &stored.custodial);
        let no_word = self.is(Relationship::Description) && self.is(Relationship::Code);
        let no_link = no(G::RelationshipId, E::RelationshipId);
        keep(no_link || no_word, &mut contact.relationship, &stored.relationship);
        if contact.person.name_id == stored.person.name_id {
            self.fill_names(&mut contact.person, &stored.person);
            self.fill_person(&mut contact.person, &stored.person, OF_GUARDIANS);
        }
    }

    fn fill_enrollments(&self, enrollments: &mut Vec<Enrollment>, stored: &[Enrollment]) {
        each_pair(
            enrollments,
            stored,
            |a, b| a.id == b.id,
            |new, old| {
                keep(self.is(W::EntryCodeId) || self.is(EntryCode::Code), &mut new.entry_code, &old.entry_code);
                keep(self.is(W::IsNoShow), &mut new.no_show, &old.no_show);
                keep(self.is(W::IsDefaultEntity), &mut new.default_entity, &old.default_entity);
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

/// What a kind of person is reached by.
#[derive(Debug, Clone, Copy)]
struct Reach {
    email: Facet,
    phone: Facet,
    sms: Facet,
}

const OF_STUDENTS: Reach = Reach { email: Facet::StudentEmails, phone: Facet::StudentPhones, sms: Facet::StudentSms };
const OF_GUARDIANS: Reach =
    Reach { email: Facet::GuardianEmails, phone: Facet::GuardianPhones, sms: Facet::GuardianSms };

/// Named by the student, and not shown by the pull.
fn is_nameless(contact: &Contact) -> bool {
    let person = &contact.person;
    contact.relationship.is_none() && person.first_name.is_none() && person.last_name.is_none()
}

fn unknown_columns(kind: Kind, judged: &Completeness, discovery: &Discovery) -> u64 {
    let resource = kind.resource();
    let refused = discovery.refused.get(resource).map(Vec::as_slice).unwrap_or_default();
    if judged.keeps_stored_rows(resource) || refused.iter().any(|field| field == WHOLE_RESOURCE) {
        return u64::MAX;
    }
    let place = |field: &String| kind.columns().iter().position(|column| column.name == field);
    refused.iter().filter_map(place).fold(0, |bits, place| bits | 1 << place)
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
mod tests;
