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
    roles::of(row).find(is_a_guardians).map(|role| role.word).filter(|_| is_live(row, U::Status))
}

/// A member of staff, if the user is one on `today` that `scope` wants: by roles in force, since they let see.
pub(super) fn staff(row: Row<'_>, scope: StaffScope, today: NaiveDate) -> Option<Staff> {
    let family = Family {
        student: roles::of(row).any(|role| role.is("student") && !role.is_long_over(today)),
        guardian: roles::of(row).any(|role| is_a_guardians(&role) && role.may_still_tell(today)),
    };
    let own: Vec<roles::Role<'_>> = roles_of_staff(row, family).filter(|role| role.is_in_force(today)).collect();
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
    let family = Family {
        student: roles::of(row).any(|role| role.is("student") && role.is_open()),
        guardian: roles::of(row).any(|role| is_a_guardians(&role) && role.is_open()),
    };
    roles_of_staff(row, family).any(|role| wanted(&role)) && is_live(row, U::Status)
}

/// Roles of staff by the standard, 1.1 and 1.2 (wire/oneroster-campus.md 1.3 and 1.7). Any other word is the server's own, with
/// `ext:` before it or, by 1.1, without.
const OF_STAFF: [&str; 9] = [
    "teacher",
    "aide",
    "proctor",
    "counselor",
    "principal",
    "administrator",
    "siteAdministrator",
    "districtAdministrator",
    "systemAdministrator",
];

/// What no role of staff has in it, one of the server's own included: `ext:emergencyContact`, `studentAide`.
const OF_FAMILIES: [&str; 5] = ["student", "guardian", "parent", "relative", "contact"];

/// What a user is beside any role of staff.
#[derive(Debug, Clone, Copy)]
struct Family {
    /// A student: no staff by whatever role, for what a student helps with is no reason to see plans.
    student: bool,
    /// Somebody's guardian: no staff by a role of the server's own, for it may say what kind of one.
    guardian: bool,
}

/// Any role but a student's or a guardian's: Campus words them as it likes.
fn roles_of_staff(row: Row<'_>, family: Family) -> impl Iterator<Item = roles::Role<'_>> {
    roles::of(row).filter(move |role| {
        let by_the_standard = OF_STAFF.iter().any(|known| role.is(known));
        !family.student && (by_the_standard || (!family.guardian && is_own_word_of_staff(role.word)))
    })
}

/// Whether a word that is not the standard's may be a role of staff.
fn is_own_word_of_staff(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    !OF_FAMILIES.iter().any(|part| word.contains(part))
}

fn is_a_guardians(role: &roles::Role<'_>) -> bool {
    GUARDIANS.iter().any(|guardian| role.is(guardian))
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
