//! A student as borrowed values in canonical order: what is fingerprinted, and made a record of only where it differs.
//!
//! Phones, e-mails and addresses of all persons of a student lie in one list each, and a person is a range of them; so a
//! view is a handful of vectors, used again for the next student.
//!
//! Invariants: [`StudentView::of_record`] of [`StudentView::to_record`] is the same view; two views of the same facts have
//! the same canonical bytes, whatever order the facts came in.

use std::{borrow::Cow, ops::Range};

use chrono::NaiveDate;
use rollcall_proto::{
    id::StudentId,
    roster::{Address, Contact, ContactKind, Email, Enrollment, Person, Phone, Student},
};

use crate::missing::Missing;

/// An id of the SIS: numbers before texts, each in its own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id<'a> {
    /// A whole number in its plain spelling.
    Number(i64),
    /// Anything else.
    Text(&'a str),
}

impl<'a> Id<'a> {
    /// Reads an id; one that is not spelled as a number is written stays text.
    pub fn of(text: &'a str) -> Self {
        let plain = text == "0" || !text.trim_start_matches('-').starts_with(['0', '+']);
        match text.parse() {
            Ok(number) if plain => Self::Number(number),
            _ => Self::Text(text),
        }
    }

    /// The id as text.
    pub fn to_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.to_owned(),
        }
    }
}

/// See [`Phone`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneView<'a> {
    /// The SIS's id.
    pub id: Id<'a>,
    /// 1 is the primary one.
    pub rank: i32,
    /// Kind as the SIS words it.
    pub kind: Option<&'a str>,
    /// The number.
    pub number: &'a str,
    /// Extension.
    pub extension: Option<&'a str>,
    /// Not to be shown.
    pub confidential: bool,
}

/// See [`Email`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailView<'a> {
    /// The SIS's id.
    pub id: Id<'a>,
    /// 1 is the primary one.
    pub rank: i32,
    /// Kind as the SIS words it.
    pub kind: Option<&'a str>,
    /// The address.
    pub address: &'a str,
}

/// See [`Address`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressView<'a> {
    /// The SIS's id of the link.
    pub id: Id<'a>,
    /// Where the person lives.
    pub physical: bool,
    /// Where mail goes.
    pub mailing: bool,
    /// First line, second line, city, state, ZIP, county, country.
    pub lines: [Option<Cow<'a, str>>; 7],
}

/// See [`Person`]; ranges into the student's lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonView<'a> {
    /// The SIS's id of the person.
    pub name_id: Id<'a>,
    /// Given, middle, family name.
    pub names: [Option<&'a str>; 3],
    /// In [`StudentView::phones`].
    pub phones: Range<usize>,
    /// In [`StudentView::emails`].
    pub emails: Range<usize>,
    /// In [`StudentView::addresses`].
    pub addresses: Range<usize>,
}

impl PersonView<'_> {
    /// Nobody.
    pub const NOBODY: Self =
        Self { name_id: Id::Text(""), names: [None; 3], phones: 0..0, emails: 0..0, addresses: 0..0 };
}

/// See [`Contact`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactView<'a> {
    /// The SIS's id of the link.
    pub id: Id<'a>,
    /// Guardian or emergency contact.
    pub kind: ContactKind,
    /// Order among contacts of this kind.
    pub rank: Option<i32>,
    /// Relationship as the SIS words it.
    pub relationship: Option<&'a str>,
    /// Holds custody.
    pub custodial: Option<bool>,
    /// May pick the student up.
    pub may_pick_up: Option<bool>,
    /// The person.
    pub person: PersonView<'a>,
}

/// See [`Enrollment`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentView<'a> {
    /// The SIS's id.
    pub id: Id<'a>,
    /// Operating unit.
    pub entity: Id<'a>,
    /// School code.
    pub school: Option<&'a str>,
    /// Ending year.
    pub school_year: Option<i32>,
    /// First day.
    pub entry_date: Option<NaiveDate>,
    /// Withdrawal date.
    pub withdrawal_date: Option<NaiveDate>,
    /// Entry code.
    pub entry_code: Option<&'a str>,
    /// Withdrawal code.
    pub withdrawal_code: Option<&'a str>,
    /// Belongs to the default entity.
    pub default_entity: bool,
    /// Marked as a no-show.
    pub no_show: bool,
}

/// See [`Student`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudentView<'a> {
    /// The id, prefixed.
    pub id: String,
    /// Connection.
    pub connection: u16,
    /// The id by which the SIS takes writes.
    pub sis_id: Option<&'a str>,
    /// Local id.
    pub local_id: Option<&'a str>,
    /// State id.
    pub state_id: Option<&'a str>,
    /// The student's own names and ways to be reached.
    pub person: PersonView<'a>,
    /// Birth date.
    pub birth_date: Option<NaiveDate>,
    /// Gender code.
    pub gender: Option<&'a str>,
    /// Grade.
    pub grade: Option<&'a str>,
    /// School code.
    pub school: Option<&'a str>,
    /// Graduation year.
    pub graduation_year: Option<i32>,
    /// Homeroom code.
    pub homeroom: Option<&'a str>,
    /// By kind, then id.
    pub contacts: Vec<ContactView<'a>>,
    /// By id.
    pub enrollments: Vec<EnrollmentView<'a>>,
    /// Of all persons.
    pub phones: Vec<PhoneView<'a>>,
    /// Of all persons.
    pub emails: Vec<EmailView<'a>>,
    /// Of all persons.
    pub addresses: Vec<AddressView<'a>>,
    /// Keys that lead to no row: no part of the student, and of no fingerprint.
    pub missing: Vec<Missing>,
}

impl Default for StudentView<'_> {
    fn default() -> Self {
        Self {
            id: String::new(),
            connection: 0,
            sis_id: None,
            local_id: None,
            state_id: None,
            person: PersonView::NOBODY,
            birth_date: None,
            gender: None,
            grade: None,
            school: None,
            graduation_year: None,
            homeroom: None,
            contacts: Vec::new(),
            enrollments: Vec::new(),
            phones: Vec::new(),
            emails: Vec::new(),
            addresses: Vec::new(),
            missing: Vec::new(),
        }
    }
}

impl<'a> StudentView<'a> {
    /// Empties the lists, keeping their room for the next student. The other fields are set anew for each.
    pub fn clear(&mut self) {
        self.id.clear();
        self.contacts.clear();
        self.enrollments.clear();
        self.phones.clear();
        self.emails.clear();
        self.addresses.clear();
        self.missing.clear();
    }

    /// Puts the lists in canonical order.
    pub fn sort(&mut self) {
        let persons = std::iter::once(&self.person).chain(self.contacts.iter().map(|contact| &contact.person));
        for person in persons {
            self.phones[person.phones.clone()].sort_by_key(|phone| (phone.rank, phone.id));
            self.emails[person.emails.clone()].sort_by_key(|email| (email.rank, email.id));
            self.addresses[person.addresses.clone()].sort_by_key(|address| address.id);
        }
        self.contacts.sort_by_key(|contact| (contact.kind, contact.id));
        self.enrollments.sort_by_key(|enrollment| enrollment.id);
    }

    /// The whole record.
    pub fn to_record(&self) -> Student {
        Student {
            id: StudentId(self.id.clone()),
            connection: self.connection,
            sis_id: self.sis_id.map(str::to_owned),
            local_id: self.local_id.map(str::to_owned),
            state_id: self.state_id.map(str::to_owned),
            person: self.person_record(&self.person),
            birth_date: self.birth_date,
            gender: self.gender.map(str::to_owned),
            grade: self.grade.map(str::to_owned),
            school: self.school.map(str::to_owned),
            graduation_year: self.graduation_year,
            homeroom: self.homeroom.map(str::to_owned),
            contacts: self.contacts.iter().map(|contact| self.contact_record(contact)).collect(),
            enrollments: self.enrollments.iter().map(enrollment_record).collect(),
        }
    }

    fn contact_record(&self, contact: &ContactView<'_>) -> Contact {
        Contact {
            id: contact.id.to_text(),
            kind: contact.kind,
            rank: contact.rank,
            relationship: contact.relationship.map(str::to_owned),
            custodial: contact.custodial,
            may_pick_up: contact.may_pick_up,
            person: self.person_record(&contact.person),
        }
    }

    /// A person as a record.
    pub fn person_record(&self, person: &PersonView<'_>) -> Person {
        let [first_name, middle_name, last_name] = person.names.map(|name| name.map(str::to_owned));
        Person {
            name_id: person.name_id.to_text(),
            first_name,
            middle_name,
            last_name,
            phones: self.phones[person.phones.clone()].iter().map(phone_record).collect(),
            emails: self.emails[person.emails.clone()].iter().map(email_record).collect(),
            addresses: self.addresses[person.addresses.clone()].iter().map(address_record).collect(),
        }
    }

    /// A record as a view, in canonical order.
    pub fn of_record(record: &'a Student) -> Self {
        let mut view = Self { id: record.id.0.clone(), connection: record.connection, ..Self::default() };
        view.sis_id = record.sis_id.as_deref();
        view.local_id = record.local_id.as_deref();
        view.state_id = record.state_id.as_deref();
        view.person = view.add_person(&record.person);
        view.birth_date = record.birth_date;
        view.gender = record.gender.as_deref();
        view.grade = record.grade.as_deref();
        view.school = record.school.as_deref();
        view.graduation_year = record.graduation_year;
        view.homeroom = record.homeroom.as_deref();
        for contact in &record.contacts {
            let person = view.add_person(&contact.person);
            view.contacts.push(contact_view(contact, person));
        }
        view.enrollments.extend(record.enrollments.iter().map(enrollment_view));
        view.sort();
        view
    }

    fn add_person(&mut self, person: &'a Person) -> PersonView<'a> {
        let starts = (self.phones.len(), self.emails.len(), self.addresses.len());
        self.phones.extend(person.phones.iter().map(phone_view));
        self.emails.extend(person.emails.iter().map(email_view));
        self.addresses.extend(person.addresses.iter().map(address_view));
        PersonView {
            name_id: Id::of(&person.name_id),
            names: [person.first_name.as_deref(), person.middle_name.as_deref(), person.last_name.as_deref()],
            phones: starts.0..self.phones.len(),
            emails: starts.1..self.emails.len(),
            addresses: starts.2..self.addresses.len(),
        }
    }
}

fn phone_record(phone: &PhoneView<'_>) -> Phone {
    Phone {
        id: phone.id.to_text(),
        rank: phone.rank,
        kind: phone.kind.map(str::to_owned),
        number: phone.number.to_owned(),
        extension: phone.extension.map(str::to_owned),
        confidential: phone.confidential,
    }
}

fn phone_view(phone: &Phone) -> PhoneView<'_> {
    PhoneView {
        id: Id::of(&phone.id),
        rank: phone.rank,
        kind: phone.kind.as_deref(),
        number: &phone.number,
        extension: phone.extension.as_deref(),
        confidential: phone.confidential,
    }
}

fn email_record(email: &EmailView<'_>) -> Email {
    Email {
        id: email.id.to_text(),
        rank: email.rank,
        kind: email.kind.map(str::to_owned),
        address: email.address.to_owned(),
    }
}

fn email_view(email: &Email) -> EmailView<'_> {
    EmailView { id: Id::of(&email.id), rank: email.rank, kind: email.kind.as_deref(), address: &email.address }
}

fn address_record(address: &AddressView<'_>) -> Address {
    let line = |number: usize| address.lines[number].as_deref().map(str::to_owned);
    Address {
        id: address.id.to_text(),
        physical: address.physical,
        mailing: address.mailing,
        line1: line(0),
        line2: line(1),
        city: line(2),
        state: line(3),
        zip: line(4),
        county: line(5),
        country: line(6),
    }
}

fn address_view(address: &Address) -> AddressView<'_> {
    let lines = [
        &address.line1,
        &address.line2,
        &address.city,
        &address.state,
        &address.zip,
        &address.county,
        &address.country,
    ];
    AddressView {
        id: Id::of(&address.id),
        physical: address.physical,
        mailing: address.mailing,
        lines: lines.map(|line| line.as_deref().map(Cow::Borrowed)),
    }
}

fn contact_view<'a>(contact: &'a Contact, person: PersonView<'a>) -> ContactView<'a> {
    ContactView {
        id: Id::of(&contact.id),
        kind: contact.kind,
        rank: contact.rank,
        relationship: contact.relationship.as_deref(),
        custodial: contact.custodial,
        may_pick_up: contact.may_pick_up,
        person,
    }
}

fn enrollment_record(enrollment: &EnrollmentView<'_>) -> Enrollment {
    Enrollment {
        id: enrollment.id.to_text(),
        entity: enrollment.entity.to_text(),
        school: enrollment.school.map(str::to_owned),
        school_year: enrollment.school_year,
        entry_date: enrollment.entry_date,
        withdrawal_date: enrollment.withdrawal_date,
        entry_code: enrollment.entry_code.map(str::to_owned),
        withdrawal_code: enrollment.withdrawal_code.map(str::to_owned),
        default_entity: enrollment.default_entity,
        no_show: enrollment.no_show,
    }
}

fn enrollment_view(enrollment: &Enrollment) -> EnrollmentView<'_> {
    EnrollmentView {
        id: Id::of(&enrollment.id),
        entity: Id::of(&enrollment.entity),
        school: enrollment.school.as_deref(),
        school_year: enrollment.school_year,
        entry_date: enrollment.entry_date,
        withdrawal_date: enrollment.withdrawal_date,
        entry_code: enrollment.entry_code.as_deref(),
        withdrawal_code: enrollment.withdrawal_code.as_deref(),
        default_entity: enrollment.default_entity,
        no_show: enrollment.no_show,
    }
}
