//! The objects served: their fields, and how a row is made. One file per module of the SIS.
//!
//! A row type is small and `Copy`; a field is a function from it. Everything that differs between objects is behind
//! [`Object`]; listing, searching and paging know nothing else.

mod codes;
pub(crate) mod contact;
mod district;
mod enrollment;
pub(crate) mod people;
mod place;
pub(crate) mod staff;
pub(crate) mod student;
mod table;

pub(crate) use district::{entity_id, is_entity, year_id};
pub(crate) use table::{DISTRICT_WIDE, Field, Kind, Link, Object, Scope, Table, Value};

/// Every object served.
pub(crate) static OBJECTS: [&dyn Object; 28] = [
    &student::STUDENT,
    &people::NAME,
    &contact::NAME_PHONE,
    &contact::NAME_EMAIL,
    &contact::PHONE_TYPE,
    &contact::EMAIL_TYPE,
    &place::NAME_ADDRESS,
    &place::ADDRESS,
    &place::STREET,
    &place::ZIP,
    &place::STATE,
    &place::COUNTY,
    &people::STUDENT_GUARDIAN,
    &people::RELATIONSHIP,
    &people::EMERGENCY_CONTACT,
    &district::DISTRICT,
    &district::ENTITY,
    &district::SCHOOL_YEAR,
    &district::SCHOOL,
    &district::ENTITY_SCHOOL,
    &district::GRADE_LEVEL,
    &enrollment::STUDENT_ENTITY_YEAR,
    &enrollment::ENTRY_WITHDRAWAL,
    &codes::ENTRY_CODE,
    &codes::WITHDRAWAL_CODE,
    &staff::HOMEROOM,
    &staff::STAFF,
    &staff::STAFF_ENTITY_YEAR,
];

/// The object of this module and name, in any case.
pub(crate) fn find(module: &str, name: &str) -> Option<&'static dyn Object> {
    let same = |object: &&&'static dyn Object| {
        object.module().eq_ignore_ascii_case(module) && object.name().eq_ignore_ascii_case(name)
    };
    OBJECTS.iter().find(same).copied()
}

/// The objects of a module, in any case.
pub(crate) fn of_module(module: &str) -> impl Iterator<Item = &'static dyn Object> {
    OBJECTS.iter().copied().filter(move |object| object.module().eq_ignore_ascii_case(module))
}
