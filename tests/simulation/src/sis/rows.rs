//! The tables of the model SIS: a Qmlativ of two school years, with the objects that a status rests on and a few beside.
//!
//! Names as in wire facts A3. What is not here is "not granted", which is an answer too.

use chrono::NaiveDate;
use serde_json::{Value, json};

use super::truth::{GRADUATED, MOVED_AWAY, Pupil, Truth};

/// This year and the last one, by `SchoolYearID`.
const YEARS: [(i64, i64); 2] = [(11, 2026), (12, 2027)];
const THIS_YEAR: i64 = 12;
const SCHOOLS: i64 = 3;

/// An object of the SIS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) resource: &'static str,
    /// Primary key, then the other columns.
    pub(crate) columns: &'static [&'static str],
    /// The rows tell of students: half of them may be missing.
    pub(crate) of_students: bool,
    make: fn(&Truth) -> Vec<Value>,
}

/// All of them.
pub(crate) const TABLES: &[Table] = &[
    Table {
        resource: "Enrollment/EntryWithdrawal",
        columns: &[
            "EntryWithdrawalID",
            "StudentID",
            "EntityID",
            "SchoolYearID",
            "StartDate",
            "WithdrawalCodeID",
            "SchoolID",
            "EndDate",
            "EntryCodeID",
            "IsDefaultEntity",
        ],
        of_students: true,
        make: spells,
    },
    Table {
        resource: "Demographics/Name",
        columns: &["NameID", "FirstName", "LastName", "BirthDate"],
        of_students: false,
        make: names,
    },
    Table {
        resource: "Enrollment/StudentEntityYear",
        columns: &["StudentEntityYearID", "StudentID", "EntityID", "SchoolYearID", "IsDefaultEntity", "Grade"],
        of_students: false,
        make: years_of_students,
    },
    Table {
        resource: "Student/Student",
        columns: &["StudentID", "NameID", "StudentNumber", "GradYear"],
        of_students: true,
        make: students,
    },
    Table {
        resource: "Family/StudentGuardian",
        columns: &["StudentGuardianID", "StudentID", "NameIDGuardian", "RelationshipID", "Rank"],
        of_students: false,
        make: guardians,
    },
    Table {
        resource: "Demographics/NamePhone",
        columns: &["NamePhoneID", "NameID", "Rank", "PhoneTypeID", "PhoneNumber"],
        of_students: false,
        make: phones,
    },
    Table {
        resource: "Enrollment/WithdrawalCode",
        columns: &["WithdrawalCodeID", "Code", "SchoolYearID"],
        of_students: false,
        make: |_| withdrawal_codes(),
    },
    Table {
        resource: "Enrollment/EntryCode",
        columns: &["EntryCodeID", "Code", "SchoolYearID"],
        of_students: false,
        make: |_| {
            YEARS.iter().map(|(id, _)| json!({"EntryCodeID": id * 10, "Code": "E", "SchoolYearID": id})).collect()
        },
    },
    Table {
        resource: "District/SchoolYear",
        columns: &["SchoolYearID", "NumericYear"],
        of_students: false,
        make: |_| YEARS.iter().map(|(id, year)| json!({"SchoolYearID": id, "NumericYear": year})).collect(),
    },
    Table {
        resource: "District/Entity",
        columns: &["EntityID", "SchoolYearIDCurrent", "Code", "Name"],
        of_students: false,
        make: |_| vec![json!({"EntityID": 1, "SchoolYearIDCurrent": THIS_YEAR, "Code": "000", "Name": "District"})],
    },
    Table {
        resource: "Enrollment/School",
        columns: &["SchoolID", "Code", "Name", "SchoolYearID"],
        of_students: false,
        make: |_| schools(),
    },
    Table {
        resource: "Demographics/Relationship",
        columns: &["RelationshipID", "Code", "Description"],
        of_students: false,
        make: |_| vec![json!({"RelationshipID": 1, "Code": "P", "Description": "Parent"})],
    },
    Table {
        resource: "Demographics/PhoneType",
        columns: &["PhoneTypeID", "Code", "Description"],
        of_students: false,
        make: |_| vec![json!({"PhoneTypeID": 1, "Code": "C", "Description": "Cell"})],
    },
];

impl Table {
    /// Finds an object.
    pub(crate) fn find(module: &str, object: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.resource.split_once('/') == Some((module, object)))
    }

    /// The primary key.
    pub(crate) fn key(&self) -> &'static str {
        self.columns[0]
    }

    /// Its rows, in the order of the key.
    pub(crate) fn rows(&self, truth: &Truth) -> Vec<Value> {
        let mut rows = (self.make)(truth);
        rows.sort_by_key(|row| row[self.key()].as_i64());
        rows
    }
}

fn date(date: NaiveDate) -> String {
    format!("{date}T00:00:00")
}

fn each(truth: &Truth, row: impl Fn(i64, &Pupil) -> Value) -> Vec<Value> {
    truth.listed().map(|(id, pupil)| row(id, pupil)).collect()
}

const fn name_id(student: i64) -> i64 {
    student * 2
}

const fn guardian_id(student: i64) -> i64 {
    student * 2 + 1
}

fn students(truth: &Truth) -> Vec<Value> {
    each(
        truth,
        |id, _| json!({"StudentID": id, "NameID": name_id(id), "StudentNumber": format!("N{id}"), "GradYear": 2033}),
    )
}

fn names(truth: &Truth) -> Vec<Value> {
    let of_students = each(truth, |id, pupil| {
        let last = format!("Last{id}-{}", pupil.names);
        json!({"NameID": name_id(id), "FirstName": format!("First{id}"), "LastName": last, "BirthDate": "2014-02-03"})
    });
    let guardians = truth.listed().filter(|(_, pupil)| pupil.guardian);
    let of_guardians = guardians.map(|(id, _)| json!({"NameID": guardian_id(id), "LastName": format!("Guardian{id}")}));
    of_students.into_iter().chain(of_guardians).collect()
}

fn guardians(truth: &Truth) -> Vec<Value> {
    let row = |id: i64| json!({"StudentGuardianID": id, "StudentID": id, "NameIDGuardian": guardian_id(id), "RelationshipID": 1, "Rank": 1});
    truth.listed().filter(|(_, pupil)| pupil.guardian).map(|(id, _)| row(id)).collect()
}

fn phones(truth: &Truth) -> Vec<Value> {
    each(truth, |id, pupil| {
        let number = format!("512555{:04}", (id + i64::from(pupil.phones)) % 10_000);
        let owner = if pupil.guardian { guardian_id(id) } else { name_id(id) };
        json!({"NamePhoneID": id, "NameID": owner, "Rank": 1, "PhoneTypeID": 1, "PhoneNumber": number})
    })
}

fn spells(truth: &Truth) -> Vec<Value> {
    let mut rows = Vec::new();
    for (student, pupil) in truth.listed() {
        rows.extend(pupil.spells.iter().map(|spell| {
            json!({
                "EntryWithdrawalID": spell.id, "StudentID": student, "EntityID": 1, "SchoolYearID": THIS_YEAR,
                "SchoolID": THIS_YEAR * 10 + spell.school, "StartDate": date(spell.start),
                "EndDate": spell.end.map(date), "WithdrawalCodeID": spell.code, "EntryCodeID": THIS_YEAR * 10,
                "IsDefaultEntity": true,
            })
        }));
    }
    rows
}

fn years_of_students(truth: &Truth) -> Vec<Value> {
    each(truth, |id, _| {
        json!({
            "StudentEntityYearID": id, "StudentID": id, "EntityID": 1, "SchoolYearID": THIS_YEAR,
            "IsDefaultEntity": true, "Grade": format!("{:02}", 1 + id % 12),
        })
    })
}

/// The same codes have other ids each year.
fn withdrawal_codes() -> Vec<Value> {
    let of_year = |id: i64| {
        let shift = (THIS_YEAR - id) * 10;
        [(GRADUATED - shift, "01"), (MOVED_AWAY - shift, "98")]
            .map(|(code_id, code)| json!({"WithdrawalCodeID": code_id, "Code": code, "SchoolYearID": id}))
    };
    YEARS.iter().flat_map(|(id, _)| of_year(*id)).collect()
}

fn schools() -> Vec<Value> {
    let of_year = |id: i64| {
        (1..=SCHOOLS).map(move |school| {
            json!({"SchoolID": id * 10 + school, "Code": format!("{school:03}"), "Name": format!("School {school}"), "SchoolYearID": id})
        })
    };
    YEARS.iter().flat_map(|(id, _)| of_year(*id)).collect()
}
