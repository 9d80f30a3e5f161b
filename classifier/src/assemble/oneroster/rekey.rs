//! A SIS that moves from OneRoster 1.1 to 1.2 gives all its people other ids. 1.2 tells the old one, without its letter, as
//! `metadata."ic.legacySourceId"` (wire page 2.3); by it a stored student is found again.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_proto::id::StudentId;
use rollcall_store::plan::StoredStudent;

use super::{OneRoster, U, is_student};
use crate::{fragment::Kind, load::Source, sourced_id::is_uuid};

/// Letter of a student's id in 1.1.
const LETTER: &str = "s";

/// New ids, with the ones under which their students are stored.
pub type Rekeyed = BTreeMap<StudentId, StudentId>;

/// The students of a connection that are stored under the id of 1.1 and listed under that of 1.2. `stored` is sorted by id.
pub fn rekeyed(source: &Source, connection: u16, prefix: &str, stored: &[StoredStudent]) -> Rekeyed {
    let is_stored = |id: &StudentId| stored.binary_search_by(|student| student.id.cmp(id)).ok();
    let mut rekeyed = Rekeyed::new();
    for place in source.places(Kind::User) {
        let row = source.row(*place);
        let (Some(id), Some(legacy)) = (row.text(U::SourcedId), row.text(U::LegacyId)) else { continue };
        let new = StudentId(format!("{prefix}{id}"));
        if !is_student(row) || is_stored(&new).is_some() {
            continue;
        }
        let plain = format!("{LETTER}{legacy}");
        let old = StudentId(format!("{prefix}{plain}"));
        let known = is_stored(&old).is_some_and(|at| stored[at].connection == connection);
        if known && !OneRoster::lists(source, &plain) {
            rekeyed.insert(new, old);
        }
    }
    one_each(rekeyed)
}

/// Staff of whom an administrator has said something (`said`, in small letters, with or without the prefix) under an id of
/// 1.1, and the ids that they are listed under now. Which letters Campus puts before staff is not written down: any but a
/// student's is taken.
pub fn people_moved(source: &Source, prefix: &str, said: &[String]) -> Vec<(String, String)> {
    let small = prefix.to_lowercase();
    let mut by_legacy: BTreeMap<&str, Vec<(&String, &str)>> = BTreeMap::new();
    for id in said {
        let (before, bare) = id.strip_prefix(&small).map_or(("", id.as_str()), |bare| (prefix, bare));
        let legacy = bare.strip_prefix(|letter: char| letter.is_ascii_lowercase() && !LETTER.contains(letter));
        if let Some(legacy) = legacy.filter(|legacy| !legacy.is_empty() && !OneRoster::has_row(source, bare)) {
            by_legacy.entry(legacy).or_default().push((id, before));
        }
    }
    let mut moved = BTreeSet::new();
    for place in source.places(Kind::User) {
        let row = source.row(*place);
        let (Some(id), Some(legacy)) = (row.text(U::SourcedId), row.text(U::LegacyId)) else { continue };
        let found = by_legacy.get(legacy.to_lowercase().as_str()).filter(|_| !is_student(row));
        moved.extend(found.into_iter().flatten().map(|(said, before)| ((*said).clone(), format!("{before}{id}"))));
    }
    moved.into_iter().collect()
}

/// Attending students who are listed no more, and students who are listed and whom nobody knows: the same people under other
/// ids, as far as anybody can tell, and nothing links them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unlinked {
    /// Who are listed no more.
    pub lost: u64,
    /// Whom nobody knows.
    pub new: u64,
}

impl Unlinked {
    /// Those of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self { lost: self.lost + other.lost, new: self.new + other.new }
    }
}

/// Forms of a student's id by which a version is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A letter and a number: 1.1.
    Lettered,
    /// A UUID: 1.2.
    Uuid,
}

impl Form {
    const ALL: [Self; 2] = [Self::Lettered, Self::Uuid];

    fn of(id: &str) -> Option<Self> {
        let number = id.strip_prefix(|letter: char| letter.is_ascii_alphabetic());
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        let lettered = number.is_some_and(is_number).then_some(Self::Lettered);
        lettered.or_else(|| is_uuid(id).then_some(Self::Uuid))
    }

    /// The form that most of these have.
    fn of_most(ids: &[&str]) -> Option<Self> {
        let have = |form: &Self| ids.iter().filter(|id| Self::of(id) == Some(*form)).count();
        Self::ALL.into_iter().find(|form| have(form) * 2 > ids.len())
    }
}

/// Those of a connection whose ids are others now, where most attending students are listed no more, and either as many are
/// listed whom nobody knows, or some of those have ids of another form. `stored` is sorted by id, and stands under the new ids
/// of those who are linked.
pub fn unlinked<'s>(source: &Source, connection: u16, prefix: &str, stored: &'s [StoredStudent]) -> Unlinked {
    let own = stored.iter().filter(|student| student.connection == connection && student.status.is_attending());
    let sis_id = |student: &'s StoredStudent| student.id.0.strip_prefix(prefix);
    let is_listed = |student: &'s StoredStudent| sis_id(student).is_some_and(|id| OneRoster::lists(source, id));
    let attending = own.clone().count();
    let lost: Vec<&StoredStudent> = own.filter(|student| !is_listed(student)).collect();
    if lost.len() * 2 <= attending {
        return Unlinked::default();
    }
    let rows = source.places(Kind::User).iter().map(|place| source.row(*place)).filter(|row| is_student(*row));
    let is_stored = |id: &str| {
        let id = StudentId(format!("{prefix}{id}"));
        stored.binary_search_by(|student| student.id.cmp(&id)).is_ok()
    };
    let new: BTreeSet<&str> = rows.filter_map(|row| row.text(U::SourcedId)).filter(|id| !is_stored(id)).collect();
    let form = Form::of_most(&lost.iter().filter_map(|student| sis_id(student)).collect::<Vec<_>>());
    let has_another = |id: &&str| form.is_some_and(|form| Form::of(id).is_some_and(|own| own != form));
    if new.len() * 2 > attending || new.iter().any(has_another) {
        Unlinked { lost: lost.len() as u64, new: new.len() as u64 }
    } else {
        Unlinked::default()
    }
}

/// Two new ids with one old one: nobody can tell which it is, and neither is taken.
fn one_each(rekeyed: Rekeyed) -> Rekeyed {
    let mut times: BTreeMap<&StudentId, usize> = BTreeMap::new();
    for old in rekeyed.values() {
        *times.entry(old).or_default() += 1;
    }
    let doubled: Vec<StudentId> = times.into_iter().filter(|(_, times)| *times > 1).map(|(id, _)| id.clone()).collect();
    rekeyed.into_iter().filter(|(_, old)| !doubled.contains(old)).collect()
}
