//! A SIS that moves from OneRoster 1.1 to 1.2 gives all its people other ids. 1.2 tells the old one, without its letter, as
//! `metadata."ic.legacySourceId"` (wire page 2.3); by it a stored student is found again.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_proto::id::StudentId;
use rollcall_store::plan::StoredStudent;

use super::{OneRoster, U, is_student};
use crate::{fragment::Kind, load::Source};

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

/// How many attending students of a connection are listed no more, where they are most of them and as many are listed whom
/// nobody knows: the same people under other ids, as far as anybody can tell, and nothing links them. `stored` is sorted by
/// id, and stands under the new ids of those who are linked.
pub fn unlinked(source: &Source, connection: u16, prefix: &str, stored: &[StoredStudent]) -> u64 {
    let own = stored.iter().filter(|student| student.connection == connection && student.status.is_attending());
    let is_listed =
        |student: &StoredStudent| student.id.0.strip_prefix(prefix).is_some_and(|id| OneRoster::lists(source, id));
    let attending = own.clone().count();
    let lost = own.filter(|student| !is_listed(student)).count();
    if lost * 2 <= attending {
        return 0;
    }
    let ids = source.places(Kind::User).iter().map(|place| source.row(*place)).filter(|row| is_student(*row));
    let ids = ids.filter_map(|row| row.text(U::SourcedId)).map(|id| StudentId(format!("{prefix}{id}")));
    let unknown = ids.filter(|id| stored.binary_search_by(|student| student.id.cmp(id)).is_err()).count();
    if unknown * 2 > attending { lost as u64 } else { 0 }
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
