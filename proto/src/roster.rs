//! The roster's records, as they travel in messages and lie in the store. Every SIS is read into these.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::id::StudentId;

/// A student's enrollment status, see the status rules in `docs/STATUS.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// In force today, or over the summer with a future enrollment.
    Enrolled,
    /// Only future enrollments.
    PreEnrolled,
    /// Left as a graduate.
    Graduated,
    /// Left, or gone from the source.
    Inactive,
}

impl Status {
    /// All of them, in the order people read them.
    pub const ALL: [Self; 4] = [Self::Enrolled, Self::PreEnrolled, Self::Graduated, Self::Inactive];

    /// The status as the command line and the database spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "ENROLLED",
            Self::PreEnrolled => "PRE_ENROLLED",
            Self::Graduated => "GRADUATED",
            Self::Inactive => "INACTIVE",
        }
    }

    /// The status as routing keys spell it: `student.<status>.<district>`.
    pub const fn routing_word(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::PreEnrolled => "pre_enrolled",
            Self::Graduated => "graduated",
            Self::Inactive => "inactive",
        }
    }

    /// Reads what [`Status::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// ENROLLED or PRE_ENROLLED: the students a hold protects.
    pub const fn is_attending(self) -> bool {
        matches!(self, Self::Enrolled | Self::PreEnrolled)
    }
}

/// Which rule of the status table decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// 1: some enrollment is current.
    Current,
    /// 2: some is future, none is past.
    FutureOnly,
    /// 3: some is future, some is past.
    FutureAfterPast,
    /// 4: the most recent past one has a graduation code.
    GraduationCode,
    /// 5: none current or future, otherwise.
    PastOnly,
    /// 6: no enrollment counts, student known before.
    NothingCounts,
    /// Not listed by the SIS any more.
    MissingFromSource,
}

impl Rule {
    /// The rule as people and the database read it: `1` to `6`, or `missing-from-source`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "1",
            Self::FutureOnly => "2",
            Self::FutureAfterPast => "3",
            Self::GraduationCode => "4",
            Self::PastOnly => "5",
            Self::NothingCounts => "6",
            Self::MissingFromSource => "missing-from-source",
        }
    }

    /// Reads what [`Rule::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        use Rule::{Current, FutureAfterPast, FutureOnly, GraduationCode, MissingFromSource, NothingCounts, PastOnly};
        [Current, FutureOnly, FutureAfterPast, GraduationCode, PastOnly, NothingCounts, MissingFromSource]
            .into_iter()
            .find(|rule| rule.as_str() == text)
    }
}

/// A phone number of a person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Phone {
    /// The SIS's id of this number.
    pub id: String,
    /// 1 is the primary one.
    pub rank: i32,
    /// Kind as the SIS words it (Home, Cell, …).
    pub kind: Option<String>,
    /// Digits as the SIS holds them.
    pub number: String,
    /// Extension.
    pub extension: Option<String>,
    /// The family asked for it not to be shown.
    pub confidential: bool,
}

/// An e-mail address of a person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Email {
    /// The SIS's id of this address.
    pub id: String,
    /// 1 is the primary one.
    pub rank: i32,
    /// Kind as the SIS words it.
    pub kind: Option<String>,
    /// The address.
    pub address: String,
}

/// A postal address of a person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Address {
    /// The SIS's id of the link between person and address.
    pub id: String,
    /// Where the person lives.
    pub physical: bool,
    /// Where mail goes.
    pub mailing: bool,
    /// First line.
    pub line1: Option<String>,
    /// Second line.
    pub line2: Option<String>,
    /// City.
    pub city: Option<String>,
    /// State code.
    pub state: Option<String>,
    /// ZIP code.
    pub zip: Option<String>,
    /// County.
    pub county: Option<String>,
    /// Country code.
    pub country: Option<String>,
}

/// A human being's names and ways to be reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Person {
    /// The SIS's id of the person (Qmlativ `NameID`).
    pub name_id: String,
    /// Given name.
    pub first_name: Option<String>,
    /// Middle name.
    pub middle_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Telephones, by rank then id.
    pub phones: Vec<Phone>,
    /// E-mail addresses, by rank then id.
    pub emails: Vec<Email>,
    /// Postal addresses, by id.
    pub addresses: Vec<Address>,
}

/// What a contact is to the student.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContactKind {
    /// A parent or guardian.
    Guardian,
    /// Somebody to call.
    Emergency,
}

impl ContactKind {
    /// The kind as the database spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guardian => "guardian",
            Self::Emergency => "emergency",
        }
    }

    /// Reads what [`ContactKind::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Guardian, Self::Emergency].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A guardian or emergency contact of a student. One row for each link: parents of two students stand twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The SIS's id of the link (Qmlativ `StudentGuardianID` or `EmergencyContactID`).
    pub id: String,
    /// Guardian or emergency contact.
    pub kind: ContactKind,
    /// Order among the student's contacts of this kind.
    pub rank: Option<i32>,
    /// Relationship as the SIS words it (Mother, …).
    pub relationship: Option<String>,
    /// Holds custody.
    pub custodial: Option<bool>,
    /// May pick the student up.
    pub may_pick_up: Option<bool>,
    /// The person.
    pub person: Person,
}

/// One spell of attendance at one school.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Enrollment {
    /// The SIS's id (Qmlativ `EntryWithdrawalID`).
    pub id: String,
    /// The SIS's id of the operating unit (Qmlativ `EntityID`).
    pub entity: String,
    /// The school's code.
    pub school: Option<String>,
    /// Ending year of the school year, 2026 for 2025-26; absent where the SIS gives none.
    pub school_year: Option<i32>,
    /// First day.
    pub entry_date: Option<NaiveDate>,
    /// The SIS's withdrawal date, to be read under the district's `withdrawal_date_is`.
    pub withdrawal_date: Option<NaiveDate>,
    /// Entry code, resolved.
    pub entry_code: Option<String>,
    /// Withdrawal code, resolved within its own year.
    pub withdrawal_code: Option<String>,
    /// Belongs to the student's default entity.
    pub default_entity: bool,
    /// Marked as a no-show.
    pub no_show: bool,
}

/// All that Rollcall keeps of one student. Vectors are in canonical order, so equal students are equal values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Student {
    /// The SIS's id, prefixed.
    pub id: StudentId,
    /// Position of the connection the student comes from.
    pub connection: u16,
    /// The id by which the SIS takes writes about the student, spelled as it gave it (OneRoster `sourcedId`); absent
    /// where there is none beside [`Student::id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sis_id: Option<String>,
    /// The student number the district uses (Qmlativ `StudentNumber`).
    pub local_id: Option<String>,
    /// The state's id (Qmlativ `CalculatedStudentStateID`).
    pub state_id: Option<String>,
    /// Names, phones, e-mails and addresses of the student.
    pub person: Person,
    /// Birth date.
    pub birth_date: Option<NaiveDate>,
    /// Gender code.
    pub gender: Option<String>,
    /// Grade code of the deciding enrollment's year.
    pub grade: Option<String>,
    /// Code of the school of the deciding enrollment.
    pub school: Option<String>,
    /// Expected graduation year.
    pub graduation_year: Option<i32>,
    /// Homeroom code.
    pub homeroom: Option<String>,
    /// Guardians and emergency contacts, by kind then id.
    pub contacts: Vec<Contact>,
    /// Enrollments that the pull showed, by id.
    pub enrollments: Vec<Enrollment>,
}

/// A school (reported campus), as the SIS codes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct School {
    /// School code: the key, since ids change every year.
    pub code: String,
    /// Name.
    pub name: Option<String>,
    /// The state's campus number.
    pub state_id: Option<String>,
    /// Lowest grade.
    pub grade_low: Option<String>,
    /// Highest grade.
    pub grade_high: Option<String>,
    /// Telephone.
    pub phone: Option<String>,
}

/// A member of staff.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Staff {
    /// The SIS's id, after the connection's prefix.
    pub id: String,
    /// Position of the connection: entities and schools of another one may have the same ids. Who was stored before it was
    /// noted has none.
    #[serde(default)]
    pub connection: Option<u16>,
    /// Staff number.
    pub number: Option<String>,
    /// Names, phones, e-mails.
    pub person: Person,
    /// Teaches.
    pub teacher: bool,
    /// Ids of the entities where active.
    pub entities: Vec<String>,
}
