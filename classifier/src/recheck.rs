//! The second look: asking the SIS again for exactly the students who would be taken out.
//!
//! Role: who they are as bytes the store keeps, the listings that ask for them, and what the answers are worth.
//! Neighbours: [`crate::diff`] finds candidates and, on the second planning, heeds [`SecondLook`].
//!
//! Invariants: the cost grows with the candidates, not with the district; an answer that is not whole confirms nobody, and nor does
//! one that shows none of those whom the pull held: beside the candidates some are asked for who are there, so that a server
//! which answers such questions with nothing does not confirm that everybody is gone.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use rollcall_proto::id::{ConnectionNo, ListingNo, StudentId};
use rollcall_store::{
    StoreError,
    board::{Ask, Board, IdFilter, Listing, Progress},
    page::PageRow,
};
use serde::{Deserialize, Serialize};

use crate::{
    assemble::Assembler,
    completeness::{Confirmation, recheck_confirms},
    diff::SecondLook,
    fragment::Kind,
    sourced_id::canonical,
};

/// Ids that one listing asks for.
pub const IDS_PER_LISTING: usize = 100;

/// As [`IDS_PER_LISTING`] where each id is a request of its own (OneRoster): a listing is walked by one lane, so that
/// shorter ones spread over the lanes.
const SINGLE_IDS_PER_LISTING: usize = 25;

/// What is asked again.
const KINDS: [Kind; 4] = [Kind::Student, Kind::EntryWithdrawal, Kind::StudentEntityYear, Kind::User];

/// Field that the listings are narrowed by.
const STUDENT_ID: &str = "StudentID";
/// As [`STUDENT_ID`], in OneRoster.
const SOURCED_ID: &str = "sourcedId";

/// Candidates as the store keeps them between the two plannings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Candidates {
    /// Position of the connection, and the student's id, in the order of ids.
    pub students: Vec<(u16, StudentId)>,
    /// What the first planning would have removed: approval of it covers no more.
    pub removed: i64,
    /// What it would have removed of each connection, by its position; `None` where a version before planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_of: Option<BTreeMap<u16, u64>>,
    /// What it would have changed.
    pub changed: i64,
    /// Who is asked for beside them, because the first look held them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<Control>,
    /// As their SIS spells them: those of them who are stored under another id, of whom the store does not know it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spelled: BTreeMap<StudentId, String>,
}

/// A student who is asked for because the first look held a row of his.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Position of the connection.
    pub connection: u16,
    /// The listing that held it.
    pub listing: ListingNo,
    /// Who.
    pub student: StudentId,
}

/// Controls of a listing: more than one, since somebody may go between the two looks.
const CONTROLS: usize = 2;

impl Candidates {
    /// For the store.
    pub fn encode(&self) -> Result<Vec<u8>, StoreError> {
        rmp_serde::to_vec_named(self).map_err(StoreError::Encode)
    }

    /// What [`Candidates::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        rmp_serde::from_slice(bytes).map_err(|_| StoreError::Corrupt {
            what: "list of candidates",
            detail: "not of the expected form".to_owned(),
        })
    }

    /// The ids of one connection's candidates, as its SIS spells them.
    pub fn sis_ids(&self, connection: ConnectionNo, prefix: &str) -> Vec<String> {
        let own = self.students.iter().filter(|(number, _)| *number == connection.0);
        own.filter_map(|(_, id)| Some(id.0.strip_prefix(prefix)?.to_owned())).collect()
    }

    /// A connection's controls, by listing. `spell` gives the SIS's id.
    pub fn controls(
        &self,
        connection: ConnectionNo,
        spell: impl Fn(&StudentId) -> Option<String>,
    ) -> BTreeMap<ListingNo, Vec<String>> {
        let mut controls: BTreeMap<ListingNo, Vec<String>> = BTreeMap::new();
        for control in self.controls.iter().filter(|control| control.connection == connection.0) {
            controls.entry(control.listing).or_default().extend(spell(&control.student));
        }
        controls
    }

    /// The connections that have candidates.
    pub fn connections(&self) -> BTreeSet<ConnectionNo> {
        self.students.iter().map(|(number, _)| ConnectionNo(*number)).collect()
    }
}

/// The listings that ask a connection's SIS again for `ids`: the same entities, years and columns as before. Each asks for the
/// `controls` of the listing that it repeats, too.
pub fn asks(board: &Board, ids: &[String], controls: &BTreeMap<ListingNo, Vec<String>>) -> Vec<Ask> {
    let narrowed = again(board).flat_map(|(number, listing)| {
        let single = listing.ask.resource == Kind::User.resource();
        let (field, most) = if single { (SOURCED_ID, SINGLE_IDS_PER_LISTING) } else { (STUDENT_ID, IDS_PER_LISTING) };
        let controls = controls.get(&number).map(Vec::as_slice).unwrap_or_default();
        ids.chunks(most).map(move |ids| {
            let beside = controls.iter().filter(|control| !ids.contains(control));
            let ids = ids.iter().chain(beside).cloned().collect();
            let filter = IdFilter { field: field.to_owned(), ids };
            Ask { ids: Some(filter), since: None, ..listing.ask.clone() }
        })
    });
    narrowed.collect()
}

/// The listings that are asked again.
fn again(board: &Board) -> impl Iterator<Item = (ListingNo, &Listing)> {
    let listings = first_listings(board).filter(|(_, listing)| listing.progress == Progress::Fetched);
    // In a pull for changes alone a resource is there twice: as it was, and what changed.
    let asked = listings.filter(|(_, listing)| listing.ask.stored.is_none() && !listing.aside);
    asked.filter(|(_, listing)| KINDS.iter().any(|kind| kind.resource() == listing.ask.resource))
}

fn first_listings(board: &Board) -> impl Iterator<Item = (ListingNo, &Listing)> {
    let first = board.recheck_from.map_or(board.listings.len(), |from| from as usize);
    (0..).map(ListingNo).zip(board.listings.iter().take(first))
}

fn second_listings(board: &Board) -> impl Iterator<Item = (ListingNo, &Listing)> {
    let from = board.recheck_from.map_or(board.listings.len(), |from| from as usize);
    (0..).map(ListingNo).zip(&board.listings).skip(from)
}

/// Chooses a connection's controls: of each listing that is asked again, students who are stored (so that their ids are known as
/// the SIS spells them) and are no candidates.
pub fn choose_controls(
    connection: ConnectionNo,
    board: &Board,
    assembler: &Assembler<'_>,
    is_fit: impl Fn(&StudentId) -> bool,
) -> Vec<Control> {
    let mut controls = Vec::new();
    for (listing, of) in again(board) {
        let Some(kind) = Kind::of_resource(&of.ask.resource) else { continue };
        let mut chosen: Vec<StudentId> = Vec::new();
        let held = repeated(board, of).into_iter().flat_map(|number| assembler.students_in(kind, number));
        for student in held.filter(|student| is_fit(student)) {
            if !chosen.contains(&student) {
                chosen.push(student);
            }
            if chosen.len() == CONTROLS {
                break;
            }
        }
        controls.extend(chosen.into_iter().map(|student| Control { connection: connection.0, listing, student }));
    }
    controls
}

/// The pull's listings of what `listing` is of: of changes, and of what they lie over, two.
fn repeated(board: &Board, listing: &Listing) -> Vec<ListingNo> {
    let of = |listing: &Listing| (listing.ask.resource.clone(), listing.ask.entity, listing.ask.school_year.clone());
    let same = first_listings(board).filter(|(_, first)| !first.aside && of(first) == of(listing));
    same.map(|(number, _)| number).collect()
}

/// What one connection's second look is worth. Where nobody whom the pull showed could be asked for, and where a row does not tell
/// what somebody is, a person must have approved the plan.
pub fn heed(
    look: &mut SecondLook,
    (candidates, approved): (&Candidates, bool),
    connection: ConnectionNo,
    board: &Board,
    pages: &[PageRow],
    assembler: &Assembler<'_>,
) {
    let own = || candidates.students.iter().filter(|(number, _)| *number == connection.0);
    let would_leave: BTreeSet<&str> = own().filter_map(|(_, student)| assembler.sis_id(&student.0)).collect();
    let sees = |number, listing: &Listing| sees((board, number, listing), assembler, &would_leave);
    let (asked, doubtful) = asked_and_doubtful(connection, board, pages, sees);
    let is_proved = approved || asks_for_somebody_there(board, assembler);
    for (_, student) in own() {
        look.asked.insert(student.clone());
        let Some(id) = assembler.sis_id(&student.0) else { continue };
        let is_told = approved || !assembler.is_open_again(id);
        let is_answered = asked.contains(id) && !doubtful.contains(id) && is_told;
        if is_answered && is_proved {
            look.answered.insert(student.clone());
        } else if is_answered {
            *look.unproved.entry(connection).or_default() += 1;
        }
        if assembler.listed_again(id) {
            look.reappeared.insert(student.clone());
        }
    }
}

/// Whether the second look asks for a student whom the pull showed. Of the other listings some never hold a row of anybody who
/// is asked for, as those of another entity.
fn asks_for_somebody_there(board: &Board, assembler: &Assembler<'_>) -> bool {
    second_listings(board)
        .filter(|(_, listing)| is_of_students(listing))
        .any(|(_, listing)| held(board, listing, assembler).next().is_some())
}

/// Whether a listing's rows are students themselves.
fn is_of_students(listing: &Listing) -> bool {
    [Kind::Student, Kind::User].iter().any(|kind| listing.ask.resource == kind.resource())
}

/// The ids that a listing of the second look asks for and of which the listing that it repeats held a row.
fn held<'b>(
    board: &'b Board,
    listing: &'b Listing,
    assembler: &'b Assembler<'_>,
) -> impl Iterator<Item = Cow<'b, str>> {
    let kind = Kind::of_resource(&listing.ask.resource);
    let repeated = repeated(board, listing);
    let ids = listing.ask.ids.iter().flat_map(|filter| filter.ids.iter().map(|id| canonical(id)));
    ids.filter(move |id| kind.is_some_and(|kind| assembler.holds(kind, &repeated, id)))
}

/// Whether an answer of the second look shows somebody of whom the listing that it repeats held a row; true where it was asked
/// for nobody such. Those who are asked for beside the ones who would leave come last: where there are any, one of them it must be, since
/// an answer that was cut off shows the first.
fn sees(
    (board, number, listing): (&Board, ListingNo, &Listing),
    assembler: &Assembler<'_>,
    would_leave: &BTreeSet<&str>,
) -> bool {
    let Some(kind) = Kind::of_resource(&listing.ask.resource) else { return true };
    let (leaving, beside): (Vec<_>, Vec<_>) =
        held(board, listing, assembler).partition(|id| would_leave.contains(id.as_ref()));
    let there = if beside.is_empty() { leaving } else { beside };
    there.is_empty() || there.iter().any(|id| assembler.holds_again(kind, number, id))
}

/// Ids that student listings asked for, and ids that any listing without a whole answer asked for, or with one that does not see
/// what is there.
///
/// OneRoster is asked in the SIS's own spelling; the sets hold ours.
fn asked_and_doubtful<'b>(
    connection: ConnectionNo,
    board: &'b Board,
    pages: &[PageRow],
    sees: impl Fn(ListingNo, &Listing) -> bool,
) -> (BTreeSet<Cow<'b, str>>, BTreeSet<Cow<'b, str>>) {
    let (mut asked, mut doubtful) = (BTreeSet::new(), BTreeSet::new());
    for (number, listing) in second_listings(board) {
        let ids = listing.ask.ids.iter().flat_map(|filter| filter.ids.iter().map(|id| canonical(id)));
        let whole = recheck_confirms(connection, board, pages, number) == Confirmation::Confirmed;
        if !whole || !sees(number, listing) {
            doubtful.extend(ids);
        } else if is_of_students(listing) {
            asked.extend(ids);
        }
    }
    (asked, doubtful)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::DateTime;
    use rollcall_proto::id::{PageNo, RunId};

    use super::*;

    #[derive(Serialize)]
    struct Before<'a> {
        students: &'a [(u16, StudentId)],
        removed: i64,
        changed: i64,
    }

    fn ask(resource: &str, school_year: Option<&str>) -> Ask {
        let school_year = school_year.map(str::to_owned);
        Ask { resource: resource.to_owned(), school_year, entity: Some(1), ..Ask::default() }
    }

    fn board() -> Board {
        let years = [ask("Enrollment/EntryWithdrawal", Some("9")), ask("Enrollment/EntryWithdrawal", Some("8"))];
        let others = [ask("Student/Student", None), ask("Demographics/Name", None)];
        let mut board = Board::new(years.into_iter().chain(others).collect(), 4);
        for listing in &mut board.listings {
            listing.progress = Progress::Fetched;
        }
        board
    }

    #[test]
    fn candidates_come_back() {
        let students = vec![(0, StudentId("A-7".to_owned())), (1, StudentId("12".to_owned()))];
        let control = Control { connection: 1, listing: ListingNo(3), student: StudentId("13".to_owned()) };
        let spelled = BTreeMap::from([(StudentId("A-7".to_owned()), "7".to_owned())]);
        let removed_of = Some([(0, 1), (1, 1)].into());
        let candidates = Candidates { students, removed: 2, removed_of, changed: 0, controls: vec![control], spelled };
        assert_eq!(Candidates::decode(&candidates.encode().unwrap()).unwrap(), candidates);
        assert_eq!(candidates.sis_ids(ConnectionNo(0), "A-"), ["7"]);
        assert_eq!(candidates.sis_ids(ConnectionNo(1), ""), ["12"]);
        assert_eq!(candidates.connections(), BTreeSet::from([ConnectionNo(0), ConnectionNo(1)]));
        assert!(Candidates::decode(b"nonsense").is_err());
        let spell = |id: &StudentId| Some(id.0.clone());
        assert_eq!(candidates.controls(ConnectionNo(1), spell), [(ListingNo(3), vec!["13".to_owned()])].into());
        assert!(candidates.controls(ConnectionNo(0), spell).is_empty());
        // As a version before kept them.
        let before =
            rmp_serde::to_vec_named(&Before { students: &candidates.students, removed: 2, changed: 0 }).unwrap();
        let (removed_of, controls, spelled) = (None, Vec::new(), BTreeMap::new());
        assert_eq!(Candidates::decode(&before).unwrap(), Candidates { removed_of, controls, spelled, ..candidates });
    }

    #[test]
    fn every_year_is_asked_again_in_lists() {
        let ids: Vec<String> = (0..250).map(|id| id.to_string()).collect();
        let asks = asks(&board(), &ids, &BTreeMap::new());
        assert_eq!(asks.len(), 9, "three listings, three lists of ids each");
        for ask in &asks {
            let filter = ask.ids.as_ref().unwrap();
            assert_eq!((filter.field.as_str(), ask.entity), ("StudentID", Some(1)));
            assert!(filter.ids.len() <= IDS_PER_LISTING);
        }
        let students = asks.iter().filter(|ask| ask.resource == "Student/Student");
        let asked: BTreeSet<&String> = students.flat_map(|ask| &ask.ids.as_ref().unwrap().ids).collect();
        assert_eq!(asked.len(), 250);
    }

    #[test]
    fn each_list_of_ids_asks_for_the_controls_of_its_listing_too() {
        let ids: Vec<String> = (0..150).map(|id| id.to_string()).collect();
        let controls = [(ListingNo(0), vec!["7".to_owned(), "900".to_owned()]), (ListingNo(9), vec!["901".to_owned()])];
        let asks = asks(&board(), &ids, &controls.into());
        let asked: Vec<(Option<&str>, usize, bool)> = asks
            .iter()
            .map(|ask| (ask.school_year.as_deref(), &ask.ids.as_ref().unwrap().ids))
            .map(|(year, ids)| (year, ids.len(), ids.contains(&"900".to_owned())))
            .collect();
        let (nine, eight) = (Some("9"), Some("8"));
        let lists = [(nine, 101, true), (nine, 52, true), (eight, 100, false), (eight, 50, false)];
        assert_eq!(asked[..4], lists, "whoever is asked for anyhow is not asked for twice");
        assert_eq!(asked[4..], [(None, 100, false), (None, 50, false)]);
    }

    #[test]
    fn what_is_asked_again_is_what_this_pull_listed_whole() {
        let mut board = board();
        board.listings[1].progress = Progress::Failed("status 500".to_owned());
        board.listings[2].aside = true;
        board.listings[2].ask.since = Some(DateTime::UNIX_EPOCH);
        board.lay_under(Ask { stored: Some(RunId(uuid::Uuid::nil())), ..ask("Student/Student", None) }, 1);
        let ids = ["7".to_owned()];
        let years = |asks: Vec<Ask>| asks.into_iter().map(|ask| ask.school_year).collect::<Vec<_>>();
        assert_eq!(
            years(asks(&board, &ids, &BTreeMap::new())),
            [Some("9".to_owned())],
            "neither failed, nor set aside, nor stored"
        );
        let again = asks(&board, &ids, &BTreeMap::new());
        assert!(board.add_recheck(again.clone()));
        board.listings.iter_mut().for_each(|listing| listing.progress = Progress::Fetched);
        assert_eq!(
            asks(&board, &ids, &BTreeMap::new()).len(),
            again.len() + 1,
            "the second look is not looked at again"
        );
        assert!(asks(&board, &[], &BTreeMap::new()).is_empty());
    }

    #[test]
    fn one_roster_is_asked_for_each_user_whatever_has_changed() {
        let mut board = Board::new(vec![Ask { since: Some(DateTime::UNIX_EPOCH), ..ask("users", None) }], 1);
        board.listings[0].progress = Progress::Fetched;
        let ids: Vec<String> = (0..30).map(|id| id.to_string()).collect();
        let asks = asks(&board, &ids, &BTreeMap::new());
        let parts: Vec<_> = asks.iter().map(|ask| (ask.since, ask.ids.clone().unwrap())).collect();
        let filter = |ids: &[String]| IdFilter { field: "sourcedId".to_owned(), ids: ids.to_vec() };
        assert_eq!(parts, [(None, filter(&ids[..25])), (None, filter(&ids[25..]))]);
    }

    /// A page of a listing of the second look.
    fn answer(listing: u32) -> PageRow {
        PageRow {
            connection: ConnectionNo(0),
            listing: ListingNo(listing),
            page: PageNo(1),
            status: 200,
            rows: 1,
            digest: [listing as u8; 16],
            claimed_total: None,
            error: None,
            asked_at: DateTime::UNIX_EPOCH,
            took_ms: 1,
            collected_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn only_a_whole_answer_about_the_student_and_all_else_confirms() {
        let mut board = board();
        assert!(board.add_recheck(asks(&board, &["7".to_owned()], &BTreeMap::new())));
        for listing in &mut board.listings {
            (listing.progress, listing.last_page) = (Progress::Fetched, Some(1));
        }
        let seven = || BTreeSet::from([Cow::Borrowed("7")]);
        let (students, spells) = (answer(6), [answer(4), answer(5)]);
        assert_eq!(board.listings[6].ask.resource, "Student/Student");
        let table = [
            ("everything is in", [spells.to_vec(), vec![students.clone()]].concat(), seven(), BTreeSet::new()),
            ("a year is not in", vec![spells[0].clone(), students], seven(), seven()),
            ("the student is not in", spells.to_vec(), BTreeSet::new(), seven()),
            ("nothing is in", Vec::new(), BTreeSet::new(), seven()),
        ];
        for (what, pages, asked, doubtful) in table {
            let found = asked_and_doubtful(ConnectionNo(0), &board, &pages, |_, _| true);
            assert_eq!(found, (asked, doubtful), "{what}");
        }
    }

    #[test]
    fn an_answer_that_is_not_in_is_doubtful() {
        let mut board = board();
        assert!(board.add_recheck(asks(&board, &["7".to_owned()], &BTreeMap::new())));
        let (asked, doubtful) = asked_and_doubtful(ConnectionNo(0), &board, &[], |_, _| true);
        assert!(asked.is_empty());
        assert_eq!(doubtful, BTreeSet::from(["7".into()]));
    }
}
