//! Persons of users: names, phones, e-mail.

use chrono::NaiveDate;
use rollcall_proto::roster::Staff;
use rollcall_store::district::StaffScope;

use super::{U, is_live, roles};
use crate::{
    fragment::Row,
    view::{EmailView, Id, PersonView, PhoneView, StudentView},
};

/// Roles of people who belong to a student.
const GUARDIANS: [&str; 3] = ["guardian", "parent", "relative"];

/// Ids of the two numbers and the one address that a user has.
pub const PHONE: &str = "phone";
/// See [`PHONE`].
pub const SMS: &str = "sms";
/// See [`PHONE`].
pub const EMAIL: &str = "email";

/// Adds a user to `view`.
pub(super) fn person<'a>(row: Row<'a>, view: &mut StudentView<'a>) -> PersonView<'a> {
    let starts = (view.phones.len(), view.emails.len(), view.addresses.len());
    for (rank, (kind, number)) in [(PHONE, row.text(U::Phone)), (SMS, row.text(U::Sms))].into_iter().enumerate() {
        view.phones.extend(number.map(|number| phone(rank, kind, number)));
    }
    let email = |address| EmailView { id: Id::Text(EMAIL), rank: 1, kind: None, address };
    view.emails.extend(row.text(U::Email).map(email));
    PersonView {
        name_id: Id::of(row.text(U::SourcedId).unwrap_or_default()),
        names: [row.text(U::GivenName), row.text(U::MiddleName), row.text(U::FamilyName)],
        phones: starts.0..view.phones.len(),
        emails: starts.1..view.emails.len(),
        addresses: starts.2..view.addresses.len(),
    }
}

const fn phone<'a>(place: usize, kind: &'static str, number: &'a str) -> PhoneView<'a> {
    PhoneView {
        id: Id::Text(kind),
        rank: place as i32 + 1,
        kind: Some(kind),
        number,
        extension: None,
        confidential: false,
    }
}

/// Somebody who is named and not shown.
pub(super) fn nameless(id: &str) -> PersonView<'_> {
    PersonView { name_id: Id::of(id), ..PersonView::NOBODY }
}

/// The role by which a user is somebody's guardian.
pub(super) fn is_guardian(row: Row<'_>) -> Option<&str> {
    let known = |role: &roles::Role<'_>| GUARDIANS.iter().any(|guardian| role.is(guardian));
    roles::of(row).find(known).map(|role| role.word).filter(|_| is_live(row, U::Status))
}

/// A member of staff, if the user is one on `today` that `scope` wants: by roles in force, since they let see.
pub(super) fn staff(row: Row<'_>, scope: StaffScope, today: NaiveDate) -> Option<Staff> {
    let of_family = roles::of(row).any(|role| is_of_family(&role) && role.may_still_tell(today));
    let own: Vec<roles::Role<'_>> = roles_of_staff(row, of_family).filter(|role| role.is_in_force(today)).collect();
    let teacher = own.iter().any(|role| role.is("teacher"));
    let wanted = match scope {
        StaffScope::None => false,
        StaffScope::Active => !own.is_empty(),
        StaffScope::Teachers => teacher,
    };
    if !wanted || !is_live(row, U::Status) {
        return None;
    }
    let mut view = StudentView::default();
    let person = person(row, &mut view);
    view.person = person;
    view.sort();
    let mut entities: Vec<String> = own.iter().map(|role| role.org.to_owned()).filter(|org| !org.is_empty()).collect();
    entities.sort();
    entities.dedup();
    Some(Staff {
        id: row.text(U::SourcedId)?.to_owned(),
        connection: None,
        number: row.text(U::Identifier).map(str::to_owned),
        person: view.person_record(&view.person),
        teacher,
        entities,
    })
}

/// Whether the user is staff that `scope` wants, on whatever day.
pub(super) fn is_staff(row: Row<'_>, scope: StaffScope) -> bool {
    let wanted = |role: &roles::Role<'_>| match scope {
        StaffScope::None => false,
        StaffScope::Active => true,
        StaffScope::Teachers => role.is("teacher"),
    };
    let of_family = roles::of(row).any(|role| is_of_family(&role) && role.is_open());
    roles_of_staff(row, of_family).any(|role| wanted(&role)) && is_live(row, U::Status)
}

/// What no role of staff has in it, an `ext:` one included: `ext:emergencyContact`, `ext:studentAide`.
const OF_FAMILIES: [&str; 5] = ["student", "guardian", "parent", "relative", "contact"];

/// Any role but a student's or a guardian's: Campus words them as it likes. An `ext:` role makes nobody staff who is a student or a
/// guardian as well (`of_family`), for it may say what kind of one.
fn roles_of_staff(row: Row<'_>, of_family: bool) -> impl Iterator<Item = roles::Role<'_>> {
    roles::of(row).filter(|role| !is_of_family(role)).filter(move |role| match role.extension() {
        Some(word) => !of_family && !OF_FAMILIES.iter().any(|part| word.to_ascii_lowercase().contains(part)),
        None => true,
    })
}

fn is_of_family(role: &roles::Role<'_>) -> bool {
    role.is("student") || GUARDIANS.iter().any(|guardian| role.is(guardian))
}

/// A gender code of OneRoster's sex: what Qmlativ's codes are, where there is one.
pub(super) fn gender(sex: &str) -> &str {
    match sex {
        "female" => "F",
        "male" => "M",
        "unspecified" => "U",
        "other" => "X",
        other => other,
    }
}
