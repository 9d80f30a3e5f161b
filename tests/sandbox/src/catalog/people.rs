//! `Demographics/Name`, and who belongs to whom: guardians, relationships, emergency contacts.
//!
//! One `Name` row for each human being: students first, then two places a family for guardians, one for a contact,
//! then staff.

use chrono::NaiveDate;

use super::{Field, Link, Table, Value, staff};
use crate::world::scenario::State;
use crate::world::{NAME_BASE, STUDENT_BASE, Salt, View, family, names, spell};

/// A human being.
#[derive(Clone, Copy)]
pub(crate) enum Person {
    Student(u32, State),
    /// Family, and which of its guardians.
    Guardian(u32, u32),
    /// Family.
    Contact(u32),
    Staff(u32),
}

/// Where each kind of person begins among the slots of `Name`.
struct Places {
    guardians: u32,
    contacts: u32,
    staff: u32,
}

impl Places {
    fn of(view: &View<'_>) -> Self {
        let guardians = view.world.capacity();
        let families = family::of(guardians) + 1;
        let contacts = guardians + families * family::GUARDIANS;
        Self { guardians, contacts, staff: contacts + families }
    }
}

impl Person {
    fn slot(&self, view: &View<'_>) -> u32 {
        let places = Places::of(view);
        match *self {
            Self::Student(index, _) => index,
            Self::Guardian(family, which) => places.guardians + family * family::GUARDIANS + which,
            Self::Contact(family) => places.contacts + family,
            Self::Staff(index) => places.staff + index,
        }
    }

    /// The `NameID`.
    pub(crate) fn name_id(&self, view: &View<'_>) -> i64 {
        NAME_BASE + i64::from(self.slot(view))
    }

    pub(crate) fn hash(&self, view: &View<'_>) -> u64 {
        match *self {
            Self::Student(index, _) => view.hash(Salt::Person, index),
            Self::Guardian(family, which) => view.hash(Salt::Guardian, family * family::GUARDIANS + which),
            Self::Contact(family) => view.hash(Salt::Contact, family),
            Self::Staff(index) => view.hash(Salt::Staff, index),
        }
    }

    /// What the last name and its script hang on.
    fn family_hash(&self, view: &View<'_>) -> u64 {
        match *self {
            Self::Student(index, _) => view.hash(Salt::Family, family::of(index)),
            Self::Guardian(family, 0) => view.hash(Salt::Family, family),
            _ => self.hash(view),
        }
    }

    pub(crate) fn given(&self, view: &View<'_>) -> &'static str {
        names::given(self.family_hash(view), self.hash(view))
    }

    pub(crate) fn middle(&self, view: &View<'_>) -> Option<&'static str> {
        let hash = self.hash(view);
        (hash % 3 == 1).then(|| names::given(self.family_hash(view), hash >> 20))
    }

    pub(crate) fn family_name(&self, view: &View<'_>) -> &'static str {
        match *self {
            Self::Student(index, State { renames: 1.., .. }) => names::family(view.hash(Salt::Renamed, index)),
            _ => names::family(self.family_hash(view)),
        }
    }

    pub(crate) fn birth_date(&self, view: &View<'_>) -> Option<NaiveDate> {
        match *self {
            Self::Student(index, _) => {
                Some(spell::birth_date(view.world.today(), view.grade(index), self.hash(view) >> 7))
            }
            _ => None,
        }
    }

    pub(crate) fn gender(&self, view: &View<'_>) -> (&'static str, &'static str) {
        if self.hash(view) & 1 == 0 { ("F", "Female") } else { ("M", "Male") }
    }
}

/// The last name. A name changed twice gets a number, so that each change shows.
pub(crate) fn last_name(view: &View<'_>, person: &Person) -> Value {
    let name = person.family_name(view);
    match *person {
        Person::Student(index, state) => {
            let is_marked = view.quirks.data.nul_name_student == Some(STUDENT_BASE + i64::from(index));
            match (is_marked, state.renames) {
                (true, _) => Value::Text(format!("{name}\0")),
                (false, 0) => Value::Str(name),
                (false, times) => Value::Text(format!("{name} {}", names::family(u64::from(times) << 21))),
            }
        }
        _ => Value::Str(name),
    }
}

/// First and last name.
pub(crate) fn full_name(view: &View<'_>, person: &Person) -> Value {
    Value::Text(format!("{} {}", person.given(view), person.family_name(view)))
}

fn each(view: &View<'_>, visit: &mut dyn FnMut(u32, Person)) {
    let places = Places::of(view);
    super::student::each(view, &mut |slot, row| visit(slot, Person::Student(row.index, row.state)));
    for family in 0..family::count(view) {
        for which in 0..family::guardians(view, family) {
            visit(places.guardians + family * family::GUARDIANS + which, Person::Guardian(family, which));
        }
    }
    for family in (0..family::count(view)).filter(|&family| family::has_contact(view, family)) {
        visit(places.contacts + family, Person::Contact(family));
    }
    for index in 0..staff::count(view) {
        visit(places.staff + index, Person::Staff(index));
    }
}

fn row(view: &View<'_>, slot: u32) -> Option<Person> {
    let places = Places::of(view);
    if slot < places.guardians {
        return view.listed(slot).map(|state| Person::Student(slot, state));
    }
    if slot < places.contacts {
        let place = slot - places.guardians;
        let (family, which) = (place / family::GUARDIANS, place % family::GUARDIANS);
        return (which < family::guardians(view, family)).then_some(Person::Guardian(family, which));
    }
    if slot < places.staff {
        let family = slot - places.contacts;
        return family::has_contact(view, family).then_some(Person::Contact(family));
    }
    let index = slot - places.staff;
    (index < staff::count(view)).then_some(Person::Staff(index))
}

pub(crate) static NAME: Table<Person> = Table {
    module: "Demographics",
    name: "Name",
    fields: &[
        Field::id("NameID", |view, row: &Person| Value::Int(row.name_id(view))).required(),
        Field::text("FirstName", |view, row: &Person| Value::Str(row.given(view))),
        Field::text("MiddleName", |view, row: &Person| Value::maybe(row.middle(view))),
        Field::text("LastName", last_name),
        Field::text("FirstNameLegal", |view, row: &Person| Value::Str(row.given(view))),
        Field::text("MiddleNameLegal", |view, row: &Person| Value::maybe(row.middle(view))),
        Field::text("LastNameLegal", last_name),
        Field::text("FullNameFL", full_name).read_only(),
        Field::text("NameKey", |view, row: &Person| Value::Text(format!("K{}", row.slot(view)))),
        Field::id("NameSuffixID", |_, _: &Person| Value::Null),
        Field::id("NameTitleID", |_, _: &Person| Value::Null),
        Field::date("BirthDate", |view, row: &Person| row.birth_date(view).map_or(Value::Null, Value::Date)),
        Field::text("Gender", |view, row: &Person| Value::Str(row.gender(view).1)),
        Field::text("GenderCode", |view, row: &Person| Value::Str(row.gender(view).0)).read_only(),
        Field::text("GenderDescription", |view, row: &Person| Value::Str(row.gender(view).1)).read_only(),
        Field::flag("IsHispanic", |view, row: &Person| Value::Bool(row.hash(view).is_multiple_of(5))),
        Field::flag("IsWhite", |view, row: &Person| Value::Bool(row.hash(view) % 5 == 1)),
        Field::flag("IsBlack", |view, row: &Person| Value::Bool(row.hash(view) % 5 == 2)),
        Field::flag("IsAsian", |view, row: &Person| Value::Bool(row.hash(view) % 5 == 3)),
        Field::flag("IsStudentName", |_, row: &Person| Value::Bool(matches!(row, Person::Student(..)))),
        Field::flag("IsStaffName", |_, row: &Person| Value::Bool(matches!(row, Person::Staff(_)))),
        Field::flag("IsGuardianName", |_, row: &Person| Value::Bool(matches!(row, Person::Guardian(..)))),
        Field::flag("IsEmergencyContactName", |_, row: &Person| Value::Bool(matches!(row, Person::Contact(_)))),
        Field::text("NameNumber", |view, row: &Person| Value::Text(format!("{:07}", row.slot(view)))),
        Field::text("ExternalUniqueIdentifier", |_, _: &Person| Value::Null),
    ],
    links: &[],
    each,
    row,
    year: None,
    entity: None,
    writable: false,
};

/// A student's tie to a guardian.
#[derive(Clone, Copy)]
pub(crate) struct Tie {
    student: u32,
    which: u32,
}

impl Tie {
    fn guardian(self) -> Person {
        Person::Guardian(family::of(self.student), self.which)
    }

    fn slot(self) -> u32 {
        self.student * family::GUARDIANS + self.which
    }
}

fn each_tie(view: &View<'_>, visit: &mut dyn FnMut(u32, Tie)) {
    super::student::each(view, &mut |student, _| {
        for which in 0..family::guardians(view, family::of(student)) {
            let tie = Tie { student, which };
            visit(tie.slot(), tie);
        }
    });
}

fn tie(view: &View<'_>, slot: u32) -> Option<Tie> {
    let tie = Tie { student: slot / family::GUARDIANS, which: slot % family::GUARDIANS };
    view.listed(tie.student)?;
    (tie.which < family::guardians(view, family::of(tie.student))).then_some(tie)
}

pub(crate) static STUDENT_GUARDIAN: Table<Tie> = Table {
    module: "Family",
    name: "StudentGuardian",
    fields: &[
        Field::id("StudentGuardianID", |_, row: &Tie| Value::Int(50_000 + i64::from(row.slot()))).required(),
        Field::id("StudentID", |_, row: &Tie| Value::Int(STUDENT_BASE + i64::from(row.student))).required(),
        Field::id("NameIDGuardian", |view, row: &Tie| Value::Int(row.guardian().name_id(view))).required(),
        Field::id("RelationshipID", |_, row: &Tie| Value::Int(61 + i64::from(row.which))),
        Field::flag("IsCustodialGuardian", |_, row: &Tie| Value::Bool(row.which == 0)),
        Field::flag("AllowStudentPickup", |_, _: &Tie| Value::Bool(true)),
        Field::flag("AllowFamilyAccess", |_, row: &Tie| Value::Bool(row.which == 0)),
        Field::flag("IsEmergencyContact", |_, row: &Tie| Value::Bool(row.which == 0)).read_only(),
        Field::int("Rank", |_, row: &Tie| Value::Int(1 + i64::from(row.which))).read_only(),
        Field::text("GuardianCategory", |_, _: &Tie| Value::Str("Primary")).read_only(),
        Field::flag("HasActiveRestrictedAccess", |_, _: &Tie| Value::Bool(false)).read_only(),
    ],
    links: &[
        Link { name: "Student", module: "Student", object: "Student", key: "StudentID" },
        Link { name: "NameGuardian", module: "Demographics", object: "Name", key: "NameIDGuardian" },
        Link { name: "Relationship", module: "Demographics", object: "Relationship", key: "RelationshipID" },
    ],
    each: each_tie,
    row: tie,
    year: None,
    entity: None,
    writable: false,
};

const RELATIONSHIPS: [(&str, &str); 4] = [("M", "Mother"), ("F", "Father"), ("G", "Grandparent"), ("N", "Neighbor")];

pub(crate) static RELATIONSHIP: Table<u32> = Table {
    module: "Demographics",
    name: "Relationship",
    fields: &[
        Field::id("RelationshipID", |_, row: &u32| Value::Int(61 + i64::from(*row))).required(),
        Field::text("Code", |_, row: &u32| Value::Str(RELATIONSHIPS[*row as usize].0)).required(),
        Field::text("Description", |_, row: &u32| Value::Str(RELATIONSHIPS[*row as usize].1)).required(),
        Field::text("RelationshipType", |_, _: &u32| Value::Str("Family")),
        Field::text("RelationshipTypeCode", |_, _: &u32| Value::Str("FAM")).read_only(),
    ],
    links: &[],
    each: |_, visit| (0..RELATIONSHIPS.len() as u32).for_each(|row| visit(row, row)),
    row: |_, slot| ((slot as usize) < RELATIONSHIPS.len()).then_some(slot),
    year: None,
    entity: None,
    writable: false,
};

fn has_contact(view: &View<'_>, student: u32) -> bool {
    family::has_contact(view, family::of(student))
}

pub(crate) static EMERGENCY_CONTACT: Table<u32> = Table {
    module: "Demographics",
    name: "EmergencyContact",
    fields: &[
        Field::id("EmergencyContactID", |_, row: &u32| Value::Int(30_000 + i64::from(*row))).required(),
        Field::id("NameID", |_, row: &u32| Value::Int(NAME_BASE + i64::from(*row))).required(),
        Field::id("NameIDEmergencyContact", |view, row: &u32| {
            Value::Int(Person::Contact(family::of(*row)).name_id(view))
        })
        .required(),
        Field::int("Rank", |_, _: &u32| Value::Int(1)).required(),
        Field::flag("AllowPickUp", |_, row: &u32| Value::Bool(row.is_multiple_of(2))),
        Field::text("Comment", |_, _: &u32| Value::Null),
        Field::id("RelationshipID", |_, _: &u32| Value::Int(64)),
    ],
    links: &[
        Link { name: "Name", module: "Demographics", object: "Name", key: "NameID" },
        Link { name: "NameEmergencyContact", module: "Demographics", object: "Name", key: "NameIDEmergencyContact" },
    ],
    each: |view, visit| {
        super::student::each(view, &mut |student, _| {
            if has_contact(view, student) {
                visit(student, student);
            }
        });
    },
    row: |view, slot| (view.listed(slot).is_some() && has_contact(view, slot)).then_some(slot),
    year: None,
    entity: None,
    writable: false,
};
