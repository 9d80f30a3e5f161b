//! A student's enrollments: rows resolved through the tables of their own year, as the rules want them and as the record
//! keeps them.

use rollcall_store::district::Connection;
use rollcall_store::run::Discovery;

use super::{people::each_once, tables::Tables};
use crate::{
    fragment::{Cell, Cells, Kind, Row, column},
    load::Source,
    missing::{Missing, Part, follow, note},
    status::{CodeFact, DateFact, EnrollmentFact, Seen, YearFact},
    view::{EnrollmentView, Id},
};

/// Which column holds the withdrawal date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithdrawalColumn {
    /// The edited one: the default.
    EndDate,
    /// The derived one: where `EndDate` is not granted, or the district says so.
    WithdrawalDate,
    /// Another one, which the district's file names.
    Named,
}

impl WithdrawalColumn {
    /// What the district's file and the grants make of it.
    pub fn of(connection: &Connection, discovery: &Discovery) -> Self {
        let granted = discovery.granted.get(Kind::EntryWithdrawal.resource());
        let grants = |field: &str| granted.is_some_and(|fields| fields.iter().any(|granted| granted == field));
        match connection.withdrawal_date_field.as_deref() {
            Some(named) if named.eq_ignore_ascii_case("WithdrawalDate") => Self::WithdrawalDate,
            Some(named) if named.eq_ignore_ascii_case("EndDate") => Self::EndDate,
            Some(_) => Self::Named,
            None if grants("WithdrawalDate") && !grants("EndDate") => Self::WithdrawalDate,
            None => Self::EndDate,
        }
    }

    /// The column itself.
    pub const fn column(self) -> column::EntryWithdrawal {
        match self {
            Self::EndDate => column::EntryWithdrawal::EndDate,
            Self::WithdrawalDate => column::EntryWithdrawal::WithdrawalDate,
            Self::Named => column::EntryWithdrawal::NamedDate,
        }
    }
}

/// A student's enrollments, in the order of their ids.
#[derive(Debug, Default)]
pub struct Spells<'a> {
    /// As the record keeps them.
    pub views: Vec<EnrollmentView<'a>>,
    /// Their ids as text, for the rules.
    ids: Vec<String>,
    years: Vec<YearFact>,
    entries: Vec<DateFact>,
    withdrawals: Vec<DateFact>,
    codes: Vec<CodeFact<'a>>,
    /// School year id and entity id: what else is told of the same year is found by these.
    pub places: Vec<(Option<i64>, Option<i64>)>,
    /// Enrollments whose two withdrawal dates differ.
    pub dates_differ: Vec<i64>,
    /// Keys that lead to no row.
    pub missing: Vec<Missing>,
}

impl<'a> Spells<'a> {
    /// Reads the enrollments of a student from `rows`, resolving codes and years through `tables` of `source`.
    pub fn of(rows: &'a Source, source: &'a Source, tables: &Tables, column: WithdrawalColumn, student: i64) -> Self {
        let mut spells = Self::default();
        each_once(rows, Kind::EntryWithdrawal, student, |row| spells.add(row, source, tables, column));
        spells
    }

    fn add(&mut self, row: Row<'a>, source: &'a Source, tables: &Tables, withdrawal: WithdrawalColumn) {
        use column::EntryWithdrawal as E;
        let row = row.read();
        let (year, entity) = (row.cell(E::SchoolYearId).number(), row.cell(E::EntityId).number());
        let code = withdrawal_code(source, row.cell(E::WithdrawalCodeId), year);
        let entry_code = entry_code(source, row.cell(E::EntryCodeId), year);
        let school_year = tables.ending(year);
        self.note_unresolved(source, &row, (code, entry_code, school_year));
        let school = self.school(source, tables, &row);
        if differ(row.cell(E::EndDate), row.cell(E::WithdrawalDate)) {
            self.dates_differ.push(row.key());
        }
        self.ids.push(row.key().to_string());
        self.years.push(tables.year_fact(year, entity));
        self.entries.push(date_fact(row.cell(E::StartDate)));
        self.withdrawals.push(date_fact(row.cell(withdrawal.column())));
        self.codes.push(code);
        self.places.push((year, entity));
        self.views.push(EnrollmentView {
            id: Id::Number(row.key()),
            entity: entity.map_or(Id::Text(""), Id::Number),
            school,
            school_year,
            entry_date: row.cell(E::StartDate).date(),
            withdrawal_date: row.cell(withdrawal.column()).date(),
            entry_code,
            withdrawal_code: match code {
                CodeFact::Code(code) => Some(code),
                _ => None,
            },
            default_entity: row.cell(E::IsDefaultEntity).flag().unwrap_or_default(),
            no_show: row.cell(E::IsNoShow).flag().unwrap_or_default(),
        });
    }

    /// Notes the keys of a row that did not lead to these.
    fn note_unresolved(
        &mut self,
        source: &Source,
        row: &Cells<'_>,
        (code, entry_code, school_year): (CodeFact<'_>, Option<&str>, Option<i32>),
    ) {
        use column::EntryWithdrawal as E;
        let mut note = |table, key: E, part| note(source, table, row.cell(key).number(), part, &mut self.missing);
        if code == CodeFact::Unresolved {
            note(Kind::WithdrawalCode, E::WithdrawalCodeId, Part::WithdrawalCode(row.key()));
        }
        if entry_code.is_none() {
            note(Kind::EntryCode, E::EntryCodeId, Part::EntryCode(row.key()));
        }
        if school_year.is_none() {
            note(Kind::SchoolYear, E::SchoolYearId, Part::SchoolYear(row.key()));
        }
    }

    /// The code of an enrollment's school; where it does not say, of its entity's default one.
    fn school(&mut self, source: &'a Source, tables: &Tables, row: &Cells<'a>) -> Option<&'a str> {
        use column::EntryWithdrawal as E;
        let part = Part::School(row.key());
        let entity = row.cell(E::EntityId).number();
        let school = row.cell(E::SchoolId).number().or_else(|| tables.school_of(entity));
        if school.is_none() {
            note(source, Kind::EntitySchool, entity, part, &mut self.missing);
        }
        follow(source, Kind::School, school, part, &mut self.missing)?.text(column::School::Code)
    }

    /// The enrollments as the rules want them.
    pub fn facts(&self) -> Vec<EnrollmentFact<'_>> {
        let fact = |(number, view): (usize, &EnrollmentView<'a>)| EnrollmentFact {
            id: &self.ids[number],
            year: self.years[number],
            default_entity: view.default_entity,
            entry: self.entries[number],
            withdrawal: self.withdrawals[number],
            code: self.codes[number],
            seen: Seen::Listed,
        };
        self.views.iter().enumerate().map(fact).collect()
    }
}

const fn date_fact(cell: Cell<'_>) -> DateFact {
    match cell {
        Cell::Null => DateFact::Absent,
        Cell::Date(date) => DateFact::On(date),
        _ => DateFact::Unreadable,
    }
}

fn differ(end: Cell<'_>, withdrawal: Cell<'_>) -> bool {
    matches!((end, withdrawal), (Cell::Date(end), Cell::Date(withdrawal)) if end != withdrawal)
}

/// Resolved within the enrollment's own year: a code row of another year is another code, whatever its id.
fn withdrawal_code<'a>(source: &'a Source, code: Cell<'a>, year: Option<i64>) -> CodeFact<'a> {
    use column::WithdrawalCode as W;
    match code {
        Cell::Null => CodeFact::Absent,
        Cell::Number(id) => own_year(source, Kind::WithdrawalCode, id, |code| code.number(W::SchoolYearId), year)
            .and_then(|code| code.text(W::Code))
            .map_or(CodeFact::Unresolved, CodeFact::Code),
        _ => CodeFact::Unresolved,
    }
}

fn entry_code<'a>(source: &'a Source, code: Cell<'a>, year: Option<i64>) -> Option<&'a str> {
    use column::EntryCode as E;
    let id = code.number()?;
    own_year(source, Kind::EntryCode, id, |code| code.number(E::SchoolYearId), year).and_then(|code| code.text(E::Code))
}

/// The last row of a code id that is of `year`, or tells no year.
fn own_year<'a>(
    source: &'a Source,
    kind: Kind,
    id: i64,
    year_of: impl Fn(Row<'a>) -> Option<i64>,
    year: Option<i64>,
) -> Option<Row<'a>> {
    let rows = source.find(kind, id).iter().rev().map(|place| source.row(*place));
    rows.into_iter().find(|row| year_of(*row).is_none_or(|of| Some(of) == year))
}
