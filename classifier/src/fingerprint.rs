//! Fingerprints: the first 16 bytes of BLAKE3 over a student's canonical bytes and status.
//!
//! What goes in: every field of the record, and the status. What stays out: the rule and its evidence (the same status
//! for another reason changes nothing that is kept, unless the enrollments themselves differ, which the record shows),
//! the date, the run. So an unchanged student has an equal fingerprint every night.
//!
//! Invariant: the canonical form is settled; a change to it makes every student differ once, hence [`FORM`].

use chrono::NaiveDate;
use rollcall_proto::{
    message::Fingerprint,
    roster::{ContactKind, Status},
};

use crate::{
    fragment::{Cell, cell},
    view::{AddressView, ContactView, EmailView, EnrollmentView, Id, PersonView, PhoneView, StudentView},
};

/// Version of the canonical form.
const FORM: i64 = 1;

/// Takes fingerprints, using one buffer again and again.
#[derive(Debug, Default)]
pub struct Fingerprinter {
    bytes: Vec<u8>,
}

impl Fingerprinter {
    /// Of a student whose lists are in canonical order.
    pub fn of(&mut self, student: &StudentView<'_>, status: Status) -> Fingerprint {
        self.bytes.clear();
        let mut to = Canonical(&mut self.bytes);
        to.number(FORM);
        to.text(status.as_str());
        to.student(student);
        digest(&self.bytes)
    }
}

/// Of a student that the SIS does not list any more: nothing but id and status is known.
pub fn of_missing(id: &str, status: Status) -> Fingerprint {
    let mut bytes = Vec::with_capacity(id.len() + 32);
    let mut to = Canonical(&mut bytes);
    to.number(FORM);
    to.text(status.as_str());
    to.text(id);
    digest(&bytes)
}

/// The first 16 bytes of a digest.
pub fn digest(bytes: &[u8]) -> Fingerprint {
    first_half(&blake3::hash(bytes))
}

/// The first 16 bytes of a digest.
pub fn first_half(hash: &blake3::Hash) -> Fingerprint {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    Fingerprint(half)
}

/// Writes values one after another, each telling its own kind and length.
struct Canonical<'b>(&'b mut Vec<u8>);

impl Canonical<'_> {
    fn number(&mut self, number: i64) {
        cell::write(self.0, Cell::Number(number));
    }

    fn maybe_number(&mut self, number: Option<i32>) {
        cell::write(self.0, number.map_or(Cell::Null, |number| Cell::Number(i64::from(number))));
    }

    fn text(&mut self, text: &str) {
        cell::write(self.0, Cell::Text(text));
    }

    fn maybe(&mut self, text: Option<&str>) {
        cell::write(self.0, text.map_or(Cell::Null, Cell::Text));
    }

    fn flag(&mut self, flag: bool) {
        cell::write(self.0, Cell::Flag(flag));
    }

    fn maybe_flag(&mut self, flag: Option<bool>) {
        cell::write(self.0, flag.map_or(Cell::Null, Cell::Flag));
    }

    fn date(&mut self, date: Option<NaiveDate>) {
        cell::write(self.0, date.map_or(Cell::Null, Cell::Date));
    }

    fn id(&mut self, id: Id<'_>) {
        match id {
            Id::Number(number) => self.number(number),
            Id::Text(text) => self.text(text),
        }
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as i64);
        for item in items {
            write(self, item);
        }
    }

    fn student(&mut self, student: &StudentView<'_>) {
        self.text(&student.id);
        self.number(i64::from(student.connection));
        self.maybe(student.local_id);
        self.maybe(student.state_id);
        self.person(student, &student.person);
        self.date(student.birth_date);
        self.maybe(student.gender);
        self.maybe(student.grade);
        self.maybe(student.school);
        self.maybe_number(student.graduation_year);
        self.maybe(student.homeroom);
        self.list(&student.contacts, |to, contact| to.contact(student, contact));
        self.list(&student.enrollments, Self::enrollment);
        // At the end and only where there is one, so that students of other sources keep their fingerprints.
        if let Some(sis_id) = student.sis_id {
            self.text(sis_id);
        }
    }

    fn person(&mut self, student: &StudentView<'_>, person: &PersonView<'_>) {
        self.id(person.name_id);
        for name in person.names {
            self.maybe(name);
        }
        self.list(&student.phones[person.phones.clone()], Self::phone);
        self.list(&student.emails[person.emails.clone()], Self::email);
        self.list(&student.addresses[person.addresses.clone()], Self::address);
    }

    fn phone(&mut self, phone: &PhoneView<'_>) {
        self.id(phone.id);
        self.number(i64::from(phone.rank));
        self.maybe(phone.kind);
        self.text(phone.number);
        self.maybe(phone.extension);
        self.flag(phone.confidential);
    }

    fn email(&mut self, email: &EmailView<'_>) {
        self.id(email.id);
        self.number(i64::from(email.rank));
        self.maybe(email.kind);
        self.text(email.address);
    }

    fn address(&mut self, address: &AddressView<'_>) {
        self.id(address.id);
        self.flag(address.physical);
        self.flag(address.mailing);
        for line in &address.lines {
            self.maybe(line.as_deref());
        }
    }

    fn contact(&mut self, student: &StudentView<'_>, contact: &ContactView<'_>) {
        self.id(contact.id);
        self.flag(contact.kind == ContactKind::Guardian);
        self.maybe_number(contact.rank);
        self.maybe(contact.relationship);
        self.maybe_flag(contact.custodial);
        self.maybe_flag(contact.may_pick_up);
        self.person(student, &contact.person);
    }

    fn enrollment(&mut self, enrollment: &EnrollmentView<'_>) {
        self.id(enrollment.id);
        self.id(enrollment.entity);
        self.maybe(enrollment.school);
        self.maybe_number(enrollment.school_year);
        self.date(enrollment.entry_date);
        self.date(enrollment.withdrawal_date);
        self.maybe(enrollment.entry_code);
        self.maybe(enrollment.withdrawal_code);
        self.flag(enrollment.default_entity);
        self.flag(enrollment.no_show);
    }
}

#[cfg(test)]
mod tests {
    use rollcall_proto::roster::Student;
    use serde_json::json;

    use super::*;

    /// A student of whom everything is told.
    fn told() -> Student {
        let person = |id: &str| {
            json!({
                "name_id": id, "first_name": "Ada", "middle_name": null, "last_name": "Li",
                "phones": [{"id": "11", "rank": 1, "kind": "Cell", "number": "512", "extension": "3", "confidential": true}],
                "emails": [{"id": "12", "rank": 2, "kind": null, "address": "ada@example.org"}],
                "addresses": [{
                    "id": "a-13", "physical": true, "mailing": false, "line1": "1 Elm", "line2": null, "city": "Austin",
                    "state": "TX", "zip": "78701", "county": null, "country": "US",
                }],
            })
        };
        serde_json::from_value(json!({
            "id": "A-7", "connection": 1, "sis_id": "7", "local_id": "70", "state_id": null, "person": person("5"),
            "birth_date": "2014-02-03", "gender": "F", "grade": "06", "school": "041", "graduation_year": 2032,
            "homeroom": null,
            "contacts": [
                {"id": "21", "kind": "guardian", "rank": 1, "relationship": "Aunt", "custodial": true, "may_pick_up": null,
                 "person": person("6")},
                {"id": "22", "kind": "emergency", "rank": null, "relationship": null, "custodial": null,
                 "may_pick_up": false, "person": person("x-8")},
            ],
            "enrollments": [{
                "id": "31", "entity": "1", "school": "041", "school_year": 2026, "entry_date": "2025-08-13",
                "withdrawal_date": null, "entry_code": "E", "withdrawal_code": null, "default_entity": true,
                "no_show": false,
            }],
        }))
        .unwrap()
    }

    fn hex(fingerprint: Fingerprint) -> String {
        format!("{:032x}", u128::from_be_bytes(fingerprint.0))
    }

    /// What is stored was taken by earlier versions: where one of these differs, every student does on the night after an upgrade,
    /// which then is held.
    #[test]
    fn the_canonical_form_is_settled() {
        let of = |record: &Student, status| hex(Fingerprinter::default().of(&StudentView::of_record(record), status));
        let all = told();
        let without_sis_id = Student { sis_id: None, ..all.clone() };
        let alone = Student { contacts: Vec::new(), enrollments: Vec::new(), ..without_sis_id.clone() };
        let golden = [
            of(&all, Status::Enrolled),
            of(&without_sis_id, Status::Graduated),
            of(&alone, Status::PreEnrolled),
            hex(of_missing("A-7", Status::Inactive)),
        ];
        assert_eq!(
            golden,
            [
                "9ecaab9256a6cab8081d10b452b582de",
                "680a35dc7e670eb26216f8eedeb7d3be",
                "46ae1e447fbfa8d98f65f276f1148057",
                "77e18cafc96403e8ee15176d797a4556"
            ]
        );
    }

    #[test]
    fn whoever_is_missing_has_a_fingerprint_of_id_and_status() {
        let one = of_missing("1", Status::Inactive);
        assert_eq!(one, of_missing("1", Status::Inactive));
        assert_ne!(one, of_missing("2", Status::Inactive));
        assert_ne!(one, of_missing("1", Status::Graduated));
    }
}
