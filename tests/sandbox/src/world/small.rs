//! The small tables, kept: schools, entry and withdrawal codes of each year, phone and e-mail types.

use super::calendar::Year;
use crate::config::SandboxConfig;

/// Where a school stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Elementary,
    Middle,
    High,
}

impl Level {
    const fn of_grade(grade: i64) -> Self {
        match grade {
            ..=5 => Self::Elementary,
            6..=8 => Self::Middle,
            _ => Self::High,
        }
    }

    /// Lowest and highest grade.
    pub(crate) const fn grades(self) -> (i64, i64) {
        match self {
            Self::Elementary => (-1, 5),
            Self::Middle => (6, 8),
            Self::High => (9, 12),
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Elementary => "Elementary",
            Self::Middle => "Middle School",
            Self::High => "High School",
        }
    }
}

/// A school, the same over the years but for its id.
#[derive(Debug)]
pub(crate) struct School {
    pub(crate) level: Level,
    pub(crate) name: String,
    /// Campus number within the district, three digits.
    pub(crate) code: String,
}

/// A code of one school year.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "the SIS calls the code of a code `Code`")]
pub(crate) struct Code {
    pub(crate) id: i64,
    pub(crate) year: Year,
    pub(crate) code: &'static str,
    pub(crate) description: &'static str,
    pub(crate) cloned_from: Option<i64>,
}

/// Entry codes: the district's own.
const ENTRY_CODES: [(&str, &str); 4] = [
    ("E1", "First entry this year"),
    ("E2", "Re-entry or change of school"),
    ("CE", "Cross-entity course"),
    ("E9", "Entry from another state"),
];

/// Withdrawal codes: Texas leaver reasons (table C162) and the district's own.
const WITHDRAWAL_CODES: [(&str, &str); 15] = [
    ("01", "Graduated"),
    ("03", "Died"),
    ("16", "Returned to home country"),
    ("24", "Entered college"),
    ("33", "Status change"),
    ("44", "No-show"),
    ("60", "Home schooling"),
    ("66", "Removed by child protective services"),
    ("78", "Expelled"),
    ("80", "Enrolled in another Texas public school"),
    ("81", "Enrolled in a Texas private school"),
    ("82", "Enrolled outside Texas"),
    ("90", "Graduated outside Texas"),
    ("98", "Other or unknown"),
    ("CECS", "Cross-entity course section"),
];

const SCHOOL_NAMES: [&str; 16] = [
    "Bluebonnet",
    "Caddo Bend",
    "Mockingbird",
    "Palo Duro",
    "Escondida",
    "Lone Mill",
    "Peña Blanca",
    "Sabine",
    "Two Rivers",
    "Live Oak",
    "Pecan Hollow",
    "Santa Rufina",
    "Frontera",
    "Windmill",
    "Juniper Ridge",
    "Piedra Clara",
];

/// The small tables.
#[derive(Debug)]
pub(crate) struct Small {
    pub(crate) schools: Vec<School>,
    by_level: [Vec<u16>; 3],
    pub(crate) entry_codes: Vec<Code>,
    pub(crate) withdrawal_codes: Vec<Code>,
}

impl Small {
    pub(crate) fn new(config: &SandboxConfig) -> Self {
        let wanted = if config.entities == 0 { config.students / 700 } else { u32::from(config.entities) };
        let schools: Vec<School> = (0..wanted.clamp(3, 900) as u16).map(school).collect();
        let mut by_level = [Vec::new(), Vec::new(), Vec::new()];
        for (index, school) in schools.iter().enumerate() {
            by_level[school.level as usize].push(index as u16);
        }
        let (entry_codes, withdrawal_codes) = (codes(300, &ENTRY_CODES), codes(7_000, &WITHDRAWAL_CODES));
        Self { schools, by_level, entry_codes, withdrawal_codes }
    }

    pub(crate) fn school_for(&self, grade: i64, hash: u64) -> u16 {
        let of_level = &self.by_level[Level::of_grade(grade) as usize];
        of_level.get(hash as usize % of_level.len().max(1)).copied().unwrap_or(0)
    }

    /// The next school of the same level, or simply the next one where it is the only one.
    pub(crate) fn another_school(&self, school: u16) -> u16 {
        let Some(level) = self.schools.get(usize::from(school)).map(|school| school.level) else { return 0 };
        let of_level = &self.by_level[level as usize];
        let place = of_level.iter().position(|&other| other == school).unwrap_or(0);
        match of_level[(place + 1) % of_level.len()] {
            same if same == school => (school + 1) % self.schools.len() as u16,
            other => other,
        }
    }
}

fn school(index: u16) -> School {
    let level = match index % 6 {
        0 => Level::High,
        1 => Level::Middle,
        _ => Level::Elementary,
    };
    let word = SCHOOL_NAMES[usize::from(index) % SCHOOL_NAMES.len()];
    let number = usize::from(index) / SCHOOL_NAMES.len();
    let name = match number {
        0 => format!("{word} {}", level.word()),
        more => format!("{word} {} {}", level.word(), more + 1),
    };
    School { level, name, code: format!("{:03}", index + 1) }
}

/// The code table of each year, cloned from the year before. Ids are in another order each year, so that neither an id
/// nor its distance to the year's first one can be carried over.
fn codes(base: i64, of_a_year: &'static [(&'static str, &'static str)]) -> Vec<Code> {
    let count = of_a_year.len();
    let id = |year: Year, place: usize| {
        base + i64::from(year.0) * 40 + ((place * 7 + usize::from(year.0) * 2) % count) as i64
    };
    let mut codes = Vec::with_capacity(count * Year::ALL.len());
    for year in Year::ALL {
        for (place, &(code, description)) in of_a_year.iter().enumerate() {
            let cloned_from = year.0.checked_sub(1).map(|before| id(Year(before), place));
            codes.push(Code { id: id(year, place), year, code, description, cloned_from });
        }
    }
    codes.sort_by_key(|code| code.id);
    codes
}

/// The id of a code in its year's table.
pub(crate) fn code_id(codes: &[Code], year: Year, code: &str) -> Option<i64> {
    codes.iter().find(|row| row.year == year && row.code == code).map(|row| row.id)
}
