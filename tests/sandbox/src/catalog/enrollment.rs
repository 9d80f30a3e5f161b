//! `Enrollment/EntryWithdrawal`, a row per spell, and `Enrollment/StudentEntityYear`, a row per student, entity and
//! school year. Each student has room for as many ids as there can be spells.

use chrono::{Days, NaiveDate};

use super::district::{entity_id, school_id, year_id};
use super::student::{self, grade_code};
use super::{Field, Link, Table, Value, staff};
use crate::world::View;
use crate::world::small::code_id;
use crate::world::spell::{Spell, Spells};

const ROOM: u32 = Spells::MOST as u32;

/// A spell of a student.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    student: student::Row,
    place: u32,
    spell: Spell,
}

fn entry_withdrawal_id(student: u32, place: u32) -> i64 {
    600_000 + i64::from(student * ROOM + place)
}

fn each(view: &View<'_>, visit: &mut dyn FnMut(u32, Row)) {
    student::each(view, &mut |index, student| {
        let spells = view.spells(index, &student.state);
        for (place, &spell) in (0..).zip(spells.as_slice()) {
            visit(index * ROOM + place, Row { student, place, spell });
        }
    });
}

fn row(view: &View<'_>, slot: u32) -> Option<Row> {
    let (student, place) = (student::row(view, slot / ROOM)?, slot % ROOM);
    let spell = *view.spells(student.index, &student.state).as_slice().get(place as usize)?;
    Some(Row { student, place, spell })
}

impl Row {
    fn is(&self, marked: Option<i64>) -> bool {
        marked == Some(self.student.id())
    }

    fn whose(&self, view: &View<'_>) -> Value {
        if self.is(view.quirks.data.nobodys_enrollments) { Value::Null } else { Value::Int(self.student.id()) }
    }

    fn start(&self, view: &View<'_>) -> Value {
        let is_garbled = self.is(view.quirks.data.garbage_date_student);
        if is_garbled { Value::Str("31st of Septober") } else { Value::Date(self.spell.start) }
    }

    fn end_date(&self, view: &View<'_>) -> Option<NaiveDate> {
        let data = &view.quirks.data;
        if self.is(data.ends_before_start_student) {
            return Some(self.spell.start - Days::new(7));
        }
        if self.is(data.unknown_code_student) {
            return Some(view.world.today() - Days::new(1));
        }
        self.spell.end
    }

    fn end(&self, view: &View<'_>) -> Value {
        if view.quirks.data.ends_in_state_field { Value::Null } else { self.any_end(view) }
    }

    fn state_end(&self, view: &View<'_>) -> Value {
        if view.quirks.data.ends_in_state_field { self.any_end(view) } else { Value::Null }
    }

    fn any_end(&self, view: &View<'_>) -> Value {
        self.end_date(view).map_or(Value::Null, Value::Date)
    }

    fn code(&self, view: &View<'_>) -> Value {
        if self.is(view.quirks.data.unknown_code_student) {
            return Value::Int(999_999);
        }
        let codes = &view.world.small.withdrawal_codes;
        Value::maybe_int(self.spell.code.and_then(|code| code_id(codes, self.spell.year, code)))
    }

    fn is_current(&self, view: &View<'_>) -> bool {
        let today = view.world.today();
        self.spell.start <= today && self.end_date(view).is_none_or(|end| end >= today)
    }

    fn is_over(&self, view: &View<'_>) -> bool {
        self.end_date(view).is_some_and(|end| end < view.world.today())
    }
}

pub(crate) static ENTRY_WITHDRAWAL: Table<Row> = Table {
    module: "Enrollment",
    name: "EntryWithdrawal",
    fields: &[
        Field::id("EntryWithdrawalID", |_, row: &Row| Value::Int(entry_withdrawal_id(row.student.index, row.place)))
            .required(),
        Field::id("StudentID", |view, row: &Row| row.whose(view)).required(),
        Field::id("EntityID", |_, row: &Row| Value::Int(entity_id(row.spell.school))).required(),
        Field::id("SchoolYearID", |view, row: &Row| Value::Int(year_id(view, row.spell.year))).required(),
        Field::id("SchoolID", |_, row: &Row| Value::Int(school_id(row.spell.year, row.spell.school))).required(),
        Field::id("CalendarID", |_, row: &Row| Value::Int(8_000 + i64::from(row.spell.school))).required(),
        Field::id("StudentTypeID", |_, _: &Row| Value::Int(2)).required(),
        Field::id("GradeReferenceID", |view, row: &Row| Value::Int(view.grade(row.student.index) + 330)).required(),
        Field::date("StartDate", |view, row: &Row| row.start(view)).required(),
        Field::id("EntryCodeID", |view, row: &Row| {
            Value::maybe_int(code_id(&view.world.small.entry_codes, row.spell.year, row.spell.entry))
        })
        .required(),
        Field::text("EntryComment", |_, _: &Row| Value::Null),
        Field::date("EndDate", |view, row: &Row| row.end(view)),
        Field::date("WithdrawalDate", |view, row: &Row| row.end(view)).read_only(),
        Field::date("LastDayTX", |view, row: &Row| row.state_end(view)),
        Field::id("WithdrawalCodeID", |view, row: &Row| row.code(view)),
        Field::text("WithdrawalComment", |_, _: &Row| Value::Null),
        Field::int("PercentEnrolled", |_, row: &Row| Value::Int(if row.spell.home { 100 } else { 0 })),
        Field::flag("IsDefaultEntity", |_, row: &Row| Value::Bool(row.spell.home)),
        Field::flag("IsNoShow", |_, row: &Row| Value::Bool(row.spell.no_show)),
        Field::text("PromotionStatus", |_, _: &Row| Value::Null),
        Field::text("PromotionStatusCode", |_, _: &Row| Value::Null).read_only(),
        Field::id("EntryWithdrawalIDStatusChangePrevious", |_, _: &Row| Value::Null),
        Field::flag("StatusChangeWithdrawal", |_, row: &Row| Value::Bool(row.spell.code == Some("33"))).read_only(),
        Field::flag("IsCurrentOrFutureEnrollment", |view, row: &Row| Value::Bool(!row.is_over(view))).read_only(),
        Field::flag("IsHistoricalEnrollment", |view, row: &Row| Value::Bool(row.is_over(view))).read_only(),
        Field::flag("EnrolledAtLeastOneDay", |_, row: &Row| Value::Bool(!row.spell.no_show)).read_only(),
        Field::flag("IsCrossEntityCourseEnrollment", |_, row: &Row| Value::Bool(!row.spell.home)).read_only(),
    ],
    links: &[
        Link { name: "Student", module: "Student", object: "Student", key: "StudentID" },
        Link { name: "Entity", module: "District", object: "Entity", key: "EntityID" },
        Link { name: "SchoolYear", module: "District", object: "SchoolYear", key: "SchoolYearID" },
        Link { name: "School", module: "Enrollment", object: "School", key: "SchoolID" },
        Link { name: "EntryCode", module: "Enrollment", object: "EntryCode", key: "EntryCodeID" },
        Link { name: "WithdrawalCode", module: "Enrollment", object: "WithdrawalCode", key: "WithdrawalCodeID" },
    ],
    each,
    row,
    year: Some(|view, row| year_id(view, row.spell.year)),
    entity: Some(|_, row| entity_id(row.spell.school)),
    writable: false,
};

/// Whether the spell at `place` is the first of its entity and year.
fn leads(spells: &[Spell], place: usize) -> bool {
    let spell = &spells[place];
    !spells[..place].iter().any(|earlier| earlier.school == spell.school && earlier.year == spell.year)
}

/// The last spell of the same entity and year, which stands for the year.
fn latest(view: &View<'_>, first: &Row) -> Row {
    let spells = view.spells(first.student.index, &first.student.state);
    let same = |(_, spell): &(u32, &Spell)| spell.school == first.spell.school && spell.year == first.spell.year;
    match (0..).zip(spells.as_slice()).filter(same).last() {
        Some((place, &spell)) => Row { place, spell, ..*first },
        None => *first,
    }
}

pub(crate) static STUDENT_ENTITY_YEAR: Table<Row> = Table {
    module: "Enrollment",
    name: "StudentEntityYear",
    fields: &[
        Field::id("StudentEntityYearID", |_, row: &Row| {
            Value::Int(900_000 + i64::from(row.student.index * ROOM + row.place))
        })
        .required(),
        Field::id("StudentID", |_, row: &Row| Value::Int(row.student.id())).required(),
        Field::id("EntityID", |_, row: &Row| Value::Int(entity_id(row.spell.school))).required(),
        Field::id("SchoolYearID", |view, row: &Row| Value::Int(year_id(view, row.spell.year))).required(),
        Field::id("NameID", |_, row: &Row| Value::Int(row.student.name_id())),
        Field::flag("IsActive", |view, row: &Row| Value::Bool(latest(view, row).is_current(view))),
        Field::flag("IsDefaultEntity", |_, row: &Row| Value::Bool(row.spell.home)),
        Field::text("Grade", |view, row: &Row| Value::Str(grade_code(view.grade(row.student.index)))),
        Field::text("StudentNumber", |_, row: &Row| Value::Text(row.student.number().to_string())),
        Field::id("HomeroomID", |_, row: &Row| {
            Value::Int(staff::homeroom_id(row.spell.year, row.spell.school, row.student.index))
        }),
        Field::id("StaffIDAdvisor", |_, row: &Row| Value::Int(staff::staff_id(staff::of_school(row.spell.school)))),
        Field::id("EntryWithdrawalIDLatest", |view, row: &Row| {
            Value::Int(entry_withdrawal_id(row.student.index, latest(view, row).place))
        }),
        Field::int("CurrentPercentEnrolled", |_, row: &Row| Value::Int(if row.spell.home { 100 } else { 0 })),
        Field::date("WithdrawalDate", |view, row: &Row| latest(view, row).end(view)).read_only(),
    ],
    links: &[
        Link { name: "Student", module: "Student", object: "Student", key: "StudentID" },
        Link { name: "Entity", module: "District", object: "Entity", key: "EntityID" },
        Link { name: "SchoolYear", module: "District", object: "SchoolYear", key: "SchoolYearID" },
        Link { name: "Homeroom", module: "Enrollment", object: "Homeroom", key: "HomeroomID" },
        Link { name: "StaffAdvisor", module: "Staff", object: "Staff", key: "StaffIDAdvisor" },
        Link {
            name: "EntryWithdrawalLatest",
            module: "Enrollment",
            object: "EntryWithdrawal",
            key: "EntryWithdrawalIDLatest",
        },
    ],
    each: |view, visit| {
        student::each(view, &mut |index, student| {
            let spells = view.spells(index, &student.state);
            for (place, &spell) in (0..).zip(spells.as_slice()) {
                if leads(spells.as_slice(), place as usize) {
                    visit(index * ROOM + place, Row { student, place, spell });
                }
            }
        });
    },
    row: |view, slot| {
        let row = row(view, slot)?;
        let spells = view.spells(row.student.index, &row.student.state);
        leads(spells.as_slice(), row.place as usize).then_some(row)
    },
    year: Some(|view, row| year_id(view, row.spell.year)),
    entity: Some(|_, row| entity_id(row.spell.school)),
    writable: false,
};
