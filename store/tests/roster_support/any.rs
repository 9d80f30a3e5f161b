//! Any student: every field absent or present, empty lists, every script, every length that a SIS sends.

use chrono::NaiveDate;
use proptest::{collection::vec, option::of, prelude::*};
use rollcall_proto::{
    id::StudentId,
    roster::{Address, Contact, ContactKind, Email, Enrollment, Person, Phone, Student},
};

/// Text in any script, with quotes, controls and what JSON must escape; no NUL, which PostgreSQL refuses.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\\x00]{0,12}",
        Just("O'Brien \"Bob\" \\ {,}".to_owned()),
        Just("Nguyễn Thị Ánh".to_owned()),
        Just("李小龍".to_owned()),
        Just("مريم".to_owned()),
        Just("👩‍👧‍👦".to_owned()),
        Just("\t\r\n\u{1}\u{7f}\u{feff}".to_owned()),
        Just("null".to_owned()),
    ]
}

fn date() -> impl Strategy<Value = NaiveDate> {
    (1i32..3000, 1u32..=365).prop_map(|(year, day)| NaiveDate::from_yo_opt(year, day).unwrap())
}

fn phone() -> impl Strategy<Value = Phone> {
    (text(), any::<i32>(), of(text()), text(), of(text()), any::<bool>()).prop_map(
        |(id, rank, kind, number, extension, confidential)| Phone { id, rank, kind, number, extension, confidential },
    )
}

fn email() -> impl Strategy<Value = Email> {
    (text(), any::<i32>(), of(text()), text()).prop_map(|(id, rank, kind, address)| Email { id, rank, kind, address })
}

fn address() -> impl Strategy<Value = Address> {
    let lines = (of(text()), of(text()), of(text()), of(text()));
    (text(), any::<bool>(), any::<bool>(), lines, (of(text()), of(text()), of(text()))).prop_map(
        |(id, physical, mailing, (line1, line2, city, state), (zip, county, country))| Address {
            id,
            physical,
            mailing,
            line1,
            line2,
            city,
            state,
            zip,
            county,
            country,
        },
    )
}

fn person() -> impl Strategy<Value = Person> {
    let names = (text(), of(text()), of(text()), of(text()));
    (names, vec(phone(), 0..3), vec(email(), 0..3), vec(address(), 0..3)).prop_map(
        |((name_id, first_name, middle_name, last_name), phones, emails, addresses)| Person {
            name_id,
            first_name,
            middle_name,
            last_name,
            phones,
            emails,
            addresses,
        },
    )
}

fn contact() -> impl Strategy<Value = Contact> {
    let kind = prop_oneof![Just(ContactKind::Guardian), Just(ContactKind::Emergency)];
    (text(), kind, of(any::<i32>()), of(text()), of(any::<bool>()), of(any::<bool>()), person()).prop_map(
        |(id, kind, rank, relationship, custodial, may_pick_up, person)| Contact {
            id,
            kind,
            rank,
            relationship,
            custodial,
            may_pick_up,
            person,
        },
    )
}

fn enrollment() -> impl Strategy<Value = Enrollment> {
    let keys = (text(), text(), of(text()), of(any::<i32>()));
    let spell = (of(date()), of(date()), of(text()), of(text()));
    (keys, spell, any::<bool>(), any::<bool>()).prop_map(
        |(
            (id, entity, school, school_year),
            (entry_date, withdrawal_date, entry_code, withdrawal_code),
            default_entity,
            no_show,
        )| {
            Enrollment {
                id,
                entity,
                school,
                school_year,
                entry_date,
                withdrawal_date,
                entry_code,
                withdrawal_code,
                default_entity,
                no_show,
            }
        },
    )
}

/// Keys are unique within a student, as the SIS's ids are.
fn lists() -> impl Strategy<Value = (Vec<Contact>, Vec<Enrollment>)> {
    (vec(contact(), 0..4), vec(enrollment(), 0..4)).prop_map(|(mut contacts, mut enrollments)| {
        for (number, contact) in contacts.iter_mut().enumerate() {
            contact.id.push_str(&number.to_string());
        }
        for (number, enrollment) in enrollments.iter_mut().enumerate() {
            enrollment.id = format!("{number}{}", enrollment.id);
        }
        (contacts, enrollments)
    })
}

/// Any student with this id.
pub(crate) fn student(id: String) -> impl Strategy<Value = Student> {
    let ids = (any::<u16>(), of(text()), of(text()), of(text()), person());
    let facts = (of(date()), of(text()), of(text()), of(text()), of(any::<i32>()), of(text()));
    (ids, facts, lists()).prop_map(
        move |(
            (connection, sis_id, local_id, state_id, person),
            (birth_date, gender, grade, school, graduation_year, homeroom),
            (contacts, enrollments),
        )| Student {
            id: StudentId(id.clone()),
            connection,
            sis_id,
            local_id,
            state_id,
            person,
            birth_date,
            gender,
            grade,
            school,
            graduation_year,
            homeroom,
            contacts,
            enrollments,
        },
    )
}
