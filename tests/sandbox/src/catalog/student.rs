//! `Student/Student`.

use super::people::{self, Person};
use super::{Field, Link, Table, Value};
use crate::search::{Filter, Operand};
use crate::world::calendar::Year;
use crate::world::scenario::State;
use crate::world::{NAME_BASE, STUDENT_BASE, View, spell};

/// A listed student.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) index: u32,
    pub(crate) state: State,
}

impl Row {
    fn person(&self) -> Person {
        Person::Student(self.index, self.state)
    }

    pub(crate) fn id(&self) -> i64 {
        STUDENT_BASE + i64::from(self.index)
    }

    /// The `NameID` of a student.
    pub(crate) fn name_id(&self) -> i64 {
        NAME_BASE + i64::from(self.index)
    }

    pub(crate) fn number(&self) -> i64 {
        700_000 + i64::from(self.index)
    }

    /// Open enrollment at the student's own school.
    fn is_active(&self, view: &View<'_>) -> bool {
        let today = view.world.today();
        let spells = view.spells(self.index, &self.state);
        spells.as_slice().iter().any(|spell| spell.home && spell.start <= today && spell.end.is_none())
    }

    fn grad_year(&self, view: &View<'_>) -> i64 {
        spell::numeric_year(view.world.today(), Year::CURRENT) + 12 - view.grade(self.index)
    }

    fn school(&self, view: &View<'_>) -> u16 {
        let home = view.home_school(self.index);
        if self.state.moved { view.world.small.another_school(home) } else { home }
    }

    fn graduation(&self, view: &View<'_>) -> Option<Value> {
        let spells = view.spells(self.index, &self.state);
        let last = spells.as_slice().last()?;
        (last.code == Some("01")).then_some(Value::Date(last.end?))
    }
}

/// A grade as the SIS spells it.
pub(crate) fn grade_code(grade: i64) -> &'static str {
    const CODES: [&str; 14] = ["PK", "KG", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"];
    CODES[(grade + 1).clamp(0, 13) as usize]
}

/// The listed students of the view, by index.
pub(crate) fn each(view: &View<'_>, visit: &mut dyn FnMut(u32, Row)) {
    let mut visit_listed = |index| {
        if let Some(state) = view.listed(index) {
            visit(index, Row { index, state });
        }
    };
    match view.only {
        Some(few) => few.iter().copied().take_while(|&index| index < view.students()).for_each(&mut visit_listed),
        None => (0..view.students()).for_each(&mut visit_listed),
    }
}

/// Those whom a filter on this field, a `StudentID`, names: by index, ascending.
pub(crate) fn named(filter: &Filter, field: usize) -> Option<Vec<u32>> {
    let index = |id: &Operand| match id {
        Operand::Int(id) => u32::try_from(id - STUDENT_BASE).ok(),
        _ => None,
    };
    let mut students: Vec<u32> = filter.only(field)?.iter().filter_map(index).collect();
    students.sort_unstable();
    Some(students)
}

pub(crate) fn row(view: &View<'_>, index: u32) -> Option<Row> {
    view.listed(index).map(|state| Row { index, state })
}

pub(crate) static STUDENT: Table<Row> = Table {
    module: "Student",
    name: "Student",
    fields: &[
        Field::id("StudentID", |_, row: &Row| Value::Int(row.id())).required(),
        Field::id("NameID", |_, row: &Row| Value::Int(row.name_id())).required(),
        Field::text("StudentNumber", |_, row: &Row| Value::Text(row.number().to_string())),
        Field::text("MaskedStudentNumber", |_, row: &Row| Value::Text(format!("***{}", row.number() % 1000)))
            .read_only(),
        Field::text("FirstName", |view, row: &Row| Value::Str(row.person().given(view))).read_only(),
        Field::text("MiddleName", |view, row: &Row| Value::maybe(row.person().middle(view))).read_only(),
        Field::text("LastName", |view, row: &Row| people::last_name(view, &row.person())).read_only(),
        Field::text("FullNameFL", |view, row: &Row| people::full_name(view, &row.person())).read_only(),
        Field::text("Grade", |view, row: &Row| Value::Str(grade_code(view.grade(row.index)))),
        Field::int("GradeNumeric", |view, row: &Row| Value::Int(view.grade(row.index))),
        Field::text("CalculatedGrade", |view, row: &Row| Value::Str(grade_code(view.grade(row.index)))).read_only(),
        Field::int("GradYear", |view, row: &Row| Value::Int(row.grad_year(view))),
        Field::int("CalculatedGradYear", |view, row: &Row| Value::Int(row.grad_year(view))).read_only(),
        Field::date("GraduationDate", |view, row: &Row| row.graduation(view).unwrap_or(Value::Null)),
        Field::flag("IsGraduated", |view, row: &Row| Value::Bool(row.graduation(view).is_some())),
        Field::flag("IsCurrentActive", |view, row: &Row| Value::Bool(row.is_active(view))).read_only(),
        Field::flag("IsActiveAsOfDate", |view, row: &Row| Value::Bool(row.is_active(view))).read_only(),
        Field::flag("CurrentDefaultEntityIsActive", |view, row: &Row| Value::Bool(row.is_active(view))).read_only(),
        Field::text("StudentStateID", |_, row: &Row| Value::Text(unique_id(row.index))),
        Field::text("CalculatedStudentStateID", |_, row: &Row| Value::Text(unique_id(row.index))),
        Field::flag("HasSpecialEducationIndicator", |_, row: &Row| Value::Bool(row.index % 8 == 3)),
        Field::flag("HasSection504Indicator", |_, row: &Row| Value::Bool(row.index % 17 == 5)),
        Field::flag("IsLEP", |_, row: &Row| Value::Bool(row.index.is_multiple_of(6))).read_only(),
    ],
    links: &[Link { name: "Name", module: "Demographics", object: "Name", key: "NameID" }],
    each,
    row,
    year: None,
    entity: Some(|view, row| super::district::entity_id(row.school(view))),
    writable: false,
};

/// The ten digits of a Texas unique student id.
pub(crate) fn unique_id(index: u32) -> String {
    format!("{:010}", 4_000_000_000_u64 + u64::from(index) * 7)
}
