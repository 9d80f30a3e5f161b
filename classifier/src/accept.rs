//! Accepting that a listing is empty, and planning the run that showed it again.
//!
//! Invariant: what is accepted is judged as any plan is (completeness, a second look at the SIS, limits), so that an
//! acceptance by itself takes nobody out. The plan that a person saw is never released with other changes in it: a new one
//! takes its place.

use std::collections::BTreeSet;

use rollcall_proto::id::{ConnectionNo, ListingNo, RunId};
use rollcall_store::{
    board::{Board, Listing, Progress},
    page::PageRow,
    replay::{Replay, ReplayLook, ReplayRefusal},
    run::{Baseline, Emptiness, HeldSince, Run, Stage},
};

use crate::{
    assemble::oneroster::Facet,
    completeness::{
        ENTITY_REMOVED, GRANT_LOST, LISTING_NOT_ASKED, THINNED, UNTOLD, YEAR_EMPTY, entities_asked,
        entities_with_students, entity_name, entity_of, judged_name, whole_listings,
    },
    context::Context,
    error::ClassifierError,
    fragment::Kind,
    missing,
    plan::ROW_MISSING,
    replay::{ReplayFrom, replay},
    untold,
};

/// What an acceptance led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// The run's pages are planned again, as this run.
    PlannedAgain(Box<Run>),
    /// The run is open, and its own plan goes by it unless it is made already.
    Open,
    /// The run cannot be planned again, for this reason; the district's next run goes by it.
    Next(ReplayRefusal),
}

/// A listing that the run found empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Empty {
    connection: ConnectionNo,
    /// As its emptiness is judged, told and accepted.
    name: String,
    /// Whose listing it is.
    resource: String,
}

impl Empty {
    /// Whether a person means it: by its name, or by that of its resource, which stands for those of its listings that are empty.
    fn is_meant(&self, given: &str) -> bool {
        self.name == given || self.resource == given
    }

    fn accepted(&self) -> Emptiness<'_> {
        let rows_of = missing::table_of(&self.name).map(Kind::resource);
        Emptiness { rows_of, ..(self.connection, self.name.as_str()).into() }
    }
}

/// Why an emptiness is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEmpty {
    /// A resource that the run did not find empty.
    #[error("{resource} was not empty on that run: {}", listed(.empty))]
    HeldRows {
        /// As a person gave it.
        resource: String,
        /// Those that were.
        empty: Vec<String>,
    },
    /// A field without which the run could not be planned.
    #[error(
        "{0} was on no row of that run, and is not to be accepted as empty: statuses rest on it. See what the SIS answers for it; \
         `rollcall district test` says what is granted"
    )]
    RestedOn(String),
    /// It was, and is not any more: the acceptance would hold for what is found empty from now on.
    #[error("{resource} has held rows since: run {run} found them; accept it of a run that finds it empty again")]
    HeldSince {
        /// As its emptiness is judged.
        resource: String,
        /// The first run that did.
        run: RunId,
    },
    /// A resource that the run does not say to be empty, and what it pulled is deleted.
    #[error("run {run} does not say that {resource} was empty, and its pages are gone")]
    PagesGone {
        /// As a person gave it.
        resource: String,
        /// Which.
        run: RunId,
    },
}

impl From<HeldSince> for NotEmpty {
    fn from(held: HeldSince) -> Self {
        Self::HeldSince { resource: held.resource, run: held.run }
    }
}

fn listed(empty: &[String]) -> String {
    if empty.is_empty() { "no listing was".to_owned() } else { format!("empty were {}", empty.join(", ")) }
}

/// Accepts the emptiness of `resources`, all of them or none, and plans the run again where it is held or has ended.
pub async fn accept(
    context: &Context,
    run: &Run,
    resources: &[String],
    actor: &str,
) -> Result<Result<Accepted, NotEmpty>, ClassifierError> {
    let pages = context.store.pages(&run.district, run.id).await?;
    let empty = empty_listings(context, run, &pages).await?;
    let unknown = resources.iter().find(|given| !empty.iter().any(|empty| empty.is_meant(given)));
    if let Some(resource) = unknown {
        return Ok(Err(not_empty(run, resource, empty, &pages)));
    }
    let meant = empty.iter().filter(|empty| resources.iter().any(|given| empty.is_meant(given)));
    let meant: Vec<Emptiness<'_>> = meant.map(Empty::accepted).collect();
    let of = (&run.district, run.id);
    if let Err(held) = context.store.accept_empty(of, &meant, actor, context.clock.now()).await? {
        return Ok(Err(held.into()));
    }
    if !matches!(run.stage, Stage::Held | Stage::Closed) {
        return Ok(Ok(Accepted::Open));
    }
    let again = Replay { district: run.district.clone(), of: run.id, look: ReplayLook::Asked, actor: actor.to_owned() };
    Ok(Ok(match replay(context, &again, ReplayFrom::Plan).await? {
        Ok(made) => Accepted::PlannedAgain(Box::new(made)),
        Err(refusal) => Accepted::Next(refusal),
    }))
}

/// A run that failed for want of a field names it.
fn not_empty(run: &Run, given: &str, empty: BTreeSet<Empty>, pages: &[PageRow]) -> NotEmpty {
    let reason = run.reason.as_deref().unwrap_or_default();
    let is_named = |reason: &str| reason.split([' ', ',', ';']).any(|word| word == given);
    if untold::is_field(given) && reason.strip_prefix(UNTOLD).is_some_and(is_named) {
        return NotEmpty::RestedOn(given.to_owned());
    }
    if pages.is_empty() && run.pulled_at.is_some() {
        return NotEmpty::PagesGone { resource: given.to_owned(), run: run.id };
    }
    let names: BTreeSet<String> = empty.into_iter().map(|empty| empty.name).collect();
    NotEmpty::HeldRows { resource: given.to_owned(), empty: names.into_iter().collect() }
}

/// Listings of the run without a row, each once a connection.
async fn empty_listings(context: &Context, run: &Run, pages: &[PageRow]) -> Result<BTreeSet<Empty>, ClassifierError> {
    let mut empty = BTreeSet::new();
    let planned = context.store.planned_baselines(&run.district, run.id).await?;
    for pull in context.store.pulls(&run.district, run.id).await? {
        let own = planned.iter().find(|(number, _)| *number == pull.connection.0).map(|(_, own)| own);
        let baseline = context.store.baseline(&run.district, pull.connection).await?.unwrap_or_default();
        if let Some(board) = context.store.board(&run.district, run.id, pull.connection).await? {
            empty.extend(if pages.iter().any(|page| page.connection == pull.connection) {
                empty_of(&board, pull.connection, pages)
            } else {
                said_of(run, &board, pull.connection)
            });
            empty.extend(offered(run, (&baseline, own), &board).map(|name| named_by_listing(pull.connection, name)));
        }
        let named =
            |name: &str| Empty { connection: pull.connection, name: name.to_owned(), resource: name.to_owned() };
        empty.extend(empty_facets(run, &baseline).map(named));
        empty.extend(untold_fields(run, &baseline).map(named));
    }
    Ok(empty)
}

/// What a listing of OneRoster, or a whole page of it, held none of, and does usually: a run says so as of an empty listing.
fn empty_facets<'a>(run: &'a Run, baseline: &'a Baseline) -> impl Iterator<Item = &'static str> + 'a {
    let said = run.findings.iter().filter(|finding| ["listing-empty", THINNED].contains(&finding.code.as_str()));
    let names = said.filter_map(|finding| finding.message.split_once(": ").map(|(name, _)| name));
    let facets = names.filter_map(|name| Facet::all().map(Facet::name).find(|facet| *facet == name));
    // One that was never counted is in no baseline.
    facets.filter(|name| baseline.rows.get(*name).is_none_or(|rows| *rows > 0))
}

/// What else a person may accept, as the run's findings offer it (`--accept-empty NAME`): of the connection that it is said of. What
/// it keeps because of missing rows, its `own` plan knows: a run that is held has left no baseline yet.
fn offered<'a>(
    run: &'a Run,
    (baseline, own): (&'a Baseline, Option<&'a Baseline>),
    board: &'a Board,
) -> impl Iterator<Item = &'a str> {
    run.findings.iter().filter_map(move |finding| {
        let (_, name) = finding.message.split_once("--accept-empty ")?;
        let name = name.trim_end_matches('`').trim_matches('\'');
        let is_own = match finding.code.as_str() {
            ENTITY_REMOVED => {
                let asked = entities_asked(board);
                entities_with_students(baseline).difference(&asked).any(|entity| entity_name(*entity) == name)
            }
            LISTING_NOT_ASKED => baseline.rows.get(name).is_some_and(|rows| *rows > 0),
            // A year with rows here is another connection's, of the same ids.
            YEAR_EMPTY => is_asked(board, name) && baseline.rows.get(name).is_none_or(|rows| *rows == 0),
            GRANT_LOST => untold::was_granted(baseline, name),
            ROW_MISSING => {
                let kept = &own.unwrap_or(baseline).kept_keys;
                missing::table_of(name).is_some_and(|table| kept.contains_key(table.resource()))
            }
            _ => false,
        };
        is_own.then_some(name)
    })
}

/// Whether the board asks about the entity that a listing's name tells.
fn is_asked(board: &Board, name: &str) -> bool {
    entity_of(name).is_some_and(|entity| entities_asked(board).contains(&entity))
}

/// By its own name, or that of its resource.
fn named_by_listing(connection: ConnectionNo, name: &str) -> Empty {
    let resource = name.split_once(" (").map_or(name, |(resource, _)| resource);
    Empty { connection, name: name.to_owned(), resource: resource.to_owned() }
}

/// Fields that no row of a listing of Qmlativ carried, and did before.
fn untold_fields<'a>(run: &'a Run, baseline: &'a Baseline) -> impl Iterator<Item = &'a str> {
    let said = run.findings.iter().filter(|finding| finding.code == UNTOLD);
    let names = said.filter_map(|finding| finding.message.split_once(": ").map(|(name, _)| name));
    names.filter(move |name| untold::is_field(name) && untold::was_granted(baseline, name))
}

/// Listings without a row, as a run would judge them: what has a defect is not empty, nor is a resource of which some listing has one.
fn empty_of(board: &Board, connection: ConnectionNo, pages: &[PageRow]) -> Vec<Empty> {
    let whole = whole_listings(connection, board, pages);
    let first = board.recheck_from.map_or(board.listings.len(), |from| from as usize);
    let numbered = (0_u32..).map(ListingNo).zip(board.listings.iter().take(first));
    let own: Vec<_> = numbered.filter(|(_, listing)| listing.ask.is_whole() && !listing.aside).collect();
    let holds = |number: ListingNo| {
        pages.iter().any(|page| page.connection == connection && page.listing == number && page.rows > 0)
    };
    let is_empty = |name: &str| {
        let mut same = own.iter().filter(|(_, listing)| judged_name(listing) == name);
        same.all(|(number, listing)| listing.progress == Progress::Fetched && whole.contains(number) && !holds(*number))
    };
    let named = |(_, listing): &(ListingNo, &Listing)| Empty {
        connection,
        name: judged_name(listing),
        resource: listing.ask.resource.clone(),
    };
    own.iter().map(named).filter(|empty| is_empty(&empty.name)).collect()
}

/// Of a run whose pages are deleted, what it has said itself.
fn said_of(run: &Run, board: &Board, connection: ConnectionNo) -> Vec<Empty> {
    let said = run.findings.iter().filter(|finding| finding.code == "listing-empty");
    let told: BTreeSet<&str> = said.filter_map(|finding| finding.message.split_once(": ")).map(|said| said.0).collect();
    let named =
        |listing: &Listing| Empty { connection, name: judged_name(listing), resource: listing.ask.resource.clone() };
    board.listings.iter().map(named).filter(|empty| told.contains(empty.name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use rollcall_proto::id::PageNo;
    use rollcall_store::{
        board::{Ask, IdFilter},
        district::SisKind,
        run::{Finding, FindingWeight, KeptKeys},
    };
    use serde_json::json;

    use super::*;
    use crate::testing::{self, NAME, PHONE, SPELL};

    /// A page of a listing, with a row or none.
    fn page(listing: u32, connection: u16, rows: bool) -> PageRow {
        let objects = if rows { vec![json!({"NameID": 1})] } else { Vec::new() };
        let body = json!({"Paging": {}, "Objects": objects});
        let place = (ListingNo(listing), PageNo(1));
        let (row, _) = testing::collected(SisKind::SkywardQmlativ, NAME, place, &body);
        PageRow { connection: ConnectionNo(connection), ..row }
    }

    fn board(asks: Vec<Ask>) -> Board {
        let mut board = Board::new(asks, 1);
        for listing in &mut board.listings {
            (listing.progress, listing.last_page) = (Progress::Fetched, Some(1));
        }
        board
    }

    #[test]
    fn a_listing_is_empty_that_was_fetched_whole_and_has_no_row() {
        let empty = |board: &Board, pages: &[PageRow]| {
            empty_of(board, ConnectionNo(0), pages).into_iter().map(|empty| empty.name).collect::<Vec<_>>()
        };
        let both = || board(vec![testing::ask(NAME), testing::ask(PHONE)]);
        let unread = PageRow { error: Some("cut".to_owned()), ..page(0, 0, false) };
        let refused = PageRow { status: 500, ..page(0, 0, false) };
        let counted = PageRow { claimed_total: Some(8), ..page(0, 0, false) };
        let pages: [(&[PageRow], &[&str]); 8] = [
            (&[page(0, 0, false), page(1, 0, false)], &[NAME, PHONE]),
            (&[page(0, 0, true), page(1, 0, false)], &[PHONE]),
            (&[page(0, 0, false), page(0, 0, true), page(1, 0, false)], &[PHONE]),
            // A row of another connection's is no row of this one's.
            (&[page(0, 1, true), page(0, 0, false), page(1, 0, true)], &[NAME]),
            (&[unread, page(1, 0, false)], &[PHONE]),
            (&[refused, page(1, 0, false)], &[PHONE]),
            (&[counted, page(1, 0, false)], &[PHONE]),
            // It did not come in.
            (&[page(1, 0, false)], &[PHONE]),
        ];
        for (number, (pages, expected)) in pages.into_iter().enumerate() {
            assert_eq!(empty(&both(), pages), expected, "case {number}");
        }
        let none = [page(0, 0, false), page(1, 0, false)];
        let changes: [fn(&mut Board); 5] = [
            |board| board.listings[0].progress = Progress::Failed("status 503".to_owned()),
            |board| board.listings[0].aside = true,
            |board| board.listings[0].ask.since = Some(chrono::DateTime::UNIX_EPOCH),
            |board| board.listings[0].ask.ids = Some(IdFilter { field: "NameID".to_owned(), ids: Vec::new() }),
            |board| {
                // The second look's listings come last, and are of some students.
                board.listings.swap(0, 1);
                board.recheck_from = Some(1);
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut board = both();
            change(&mut board);
            assert_eq!(empty(&board, &none), [PHONE], "change {number}");
        }
    }

    #[test]
    fn what_a_status_rests_on_is_accepted_by_listing_and_what_not_by_resource() {
        let year = |essential, year: &str| Ask { essential, school_year: Some(year.to_owned()), ..testing::ask(NAME) };
        // (essential, rows of each of two years) → what may be accepted
        let (seven, eight) = ("Demographics/Name (entity 1, year 7)", "Demographics/Name (entity 1, year 8)");
        let cases: [(bool, [bool; 2], &[&str]); 6] = [
            (true, [true, true], &[]),
            (true, [false, true], &[seven]),
            (true, [true, false], &[eight]),
            (true, [false, false], &[seven, eight]),
            (false, [true, false], &[]),
            (false, [false, false], &[NAME]),
        ];
        for (essential, rows, expected) in cases {
            let board = board(vec![year(essential, "7"), year(essential, "8")]);
            let pages = [page(0, 0, rows[0]), page(1, 0, rows[1])];
            let empty: BTreeSet<Empty> = empty_of(&board, ConnectionNo(0), &pages).into_iter().collect();
            let names: Vec<&str> = empty.iter().map(|empty| empty.name.as_str()).collect();
            assert_eq!(names, expected, "{essential}, {rows:?}");
            assert!(empty.iter().all(|empty| empty.is_meant(NAME) && empty.is_meant(&empty.name)));
            assert!(!empty.iter().any(|empty| empty.is_meant(PHONE) || empty.is_meant("Demographics/Name (entity 1)")));
        }
        // One year could not be read: the other one is empty by itself, and the resource may not be.
        for (essential, expected) in [(true, vec![eight]), (false, Vec::new())] {
            let board = board(vec![year(essential, "7"), year(essential, "8")]);
            let unread = PageRow { error: Some("cut".to_owned()), ..page(0, 0, false) };
            let empty = empty_of(&board, ConnectionNo(0), &[unread, page(1, 0, false)]);
            assert_eq!(empty.into_iter().map(|empty| empty.name).collect::<Vec<_>>(), expected, "{essential}");
        }
    }

    #[test]
    fn of_a_kind_of_values_a_run_says_that_there_is_none() {
        let finding = |code: &str, message: &str| Finding {
            weight: FindingWeight::Partial,
            code: code.to_owned(),
            message: message.to_owned(),
            count: 1,
        };
        let mut run = testing::run();
        run.findings = vec![
            finding("listing-empty", "users.grades: none"),
            finding(THINNED, "users/students.email: none on a page"),
            finding("rows-fewer", "users.stateId: fewer"),
            finding("listing-empty", "Demographics/Name: none"),
            finding("listing-empty", "users.identifier"),
        ];
        let empty = |rows: &[(&str, i64)]| {
            let rows = rows.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect();
            empty_facets(&run, &Baseline { rows, ..Baseline::default() }).collect::<Vec<_>>()
        };
        assert_eq!(empty(&[]), ["users.grades", "users/students.email"], "never counted");
        assert_eq!(empty(&[("users.grades", 1), ("users/students.email", 0)]), ["users.grades"], "accepted before");
    }

    #[test]
    fn a_field_that_rows_carry_no_more_may_be_accepted_as_empty() {
        let mut run = testing::run();
        let finding = |code: &str, name: &str| Finding {
            weight: FindingWeight::Partial,
            code: code.to_owned(),
            message: format!("{name}: gone"),
            count: 1,
        };
        run.findings = vec![
            finding(UNTOLD, "Demographics/Name.BirthDate"),
            finding(UNTOLD, "Demographics/Name.Gender"),
            finding(UNTOLD, "Demographics/Name"),
            finding("grant-lost", "Demographics/Name.LastName"),
        ];
        let fields = ["BirthDate", "LastName"].map(str::to_owned).to_vec();
        let last = Baseline { granted: [(NAME.to_owned(), fields)].into(), ..Baseline::default() };
        assert_eq!(untold_fields(&run, &last).collect::<Vec<_>>(), ["Demographics/Name.BirthDate"]);
    }

    /// The end of what is kept because rows are missing, of the connection whose rows they are.
    #[test]
    fn what_is_kept_of_missing_rows_may_be_ended() {
        let name = missing::ending_name(Kind::Homeroom);
        let mut run = testing::run();
        run.findings = vec![Finding {
            weight: FindingWeight::Partial,
            code: ROW_MISSING.to_owned(),
            message: format!("gone; `rollcall runs approve RUN --accept-empty '{name}'`"),
            count: 1,
        }];
        let kept = |resource: &str| Baseline {
            kept_keys: [(resource.to_owned(), KeptKeys::default())].into(),
            ..Baseline::default()
        };
        let board = board(Vec::new());
        let offered = |stored: &Baseline, own: Option<&Baseline>| {
            offered(&run, (stored, own), &board).map(str::to_owned).collect::<Vec<_>>()
        };
        let (here, elsewhere, none) = (kept("Enrollment/Homeroom"), kept(NAME), Baseline::default());
        let ending = ["Enrollment/Homeroom (missing rows)"];
        assert_eq!(
            (offered(&none, Some(&here)), offered(&here, None)),
            (ending.map(str::to_owned).to_vec(), ending.map(str::to_owned).to_vec())
        );
        for (stored, own) in [(&elsewhere, None), (&none, None), (&here, Some(&elsewhere)), (&here, Some(&none))] {
            assert_eq!(offered(stored, own), [""; 0], "{stored:?} {own:?}");
        }
        let meant = named_by_listing(ConnectionNo(0), &name);
        assert!(meant.is_meant(&name) && meant.is_meant("Enrollment/Homeroom") && !meant.is_meant(NAME));
        assert_eq!((missing::table_of(&name), missing::table_of(NAME)), (Some(Kind::Homeroom), None));
    }

    /// Of the connection that it is said of: one that is asked for enrollments, and held rows of that year.
    #[test]
    fn a_year_that_was_not_asked_for_or_has_begun_empty_may_be_accepted() {
        let name = "Enrollment/EntryWithdrawal (entity 1, year 8)";
        let asked = || board(vec![testing::ask(SPELL)]);
        for (code, rows, board, is_offered) in [
            (LISTING_NOT_ASKED, Some(1), asked(), true),
            (LISTING_NOT_ASKED, Some(0), asked(), false),
            (LISTING_NOT_ASKED, None, asked(), false),
            (YEAR_EMPTY, None, asked(), true),
            (YEAR_EMPTY, Some(0), asked(), true),
            (YEAR_EMPTY, Some(1), asked(), false),
            (YEAR_EMPTY, None, board(vec![Ask { entity: Some(2), ..testing::ask(SPELL) }]), false),
            (YEAR_EMPTY, None, board(Vec::new()), false),
            (YEAR_EMPTY, None, board(vec![Ask { entity: None, ..testing::ask(SPELL) }]), false),
            ("rows-fewer", Some(1), asked(), false),
        ] {
            let mut run = testing::run();
            run.findings = vec![Finding {
                weight: FindingWeight::Partial,
                code: code.to_owned(),
                message: format!("{name}: gone; `rollcall runs approve RUN --accept-empty '{name}'`"),
                count: 1,
            }];
            let rows: BTreeMap<String, i64> = rows.map(|rows| (name.to_owned(), rows)).into_iter().collect();
            let last = Baseline { rows: rows.clone(), ..Baseline::default() };
            let offered: Vec<&str> = offered(&run, (&last, None), &board).collect();
            assert_eq!(offered, if is_offered { vec![name] } else { Vec::new() }, "{code} {rows:?}");
        }
    }

    #[test]
    fn a_field_that_statuses_rest_on_is_not_told_to_have_been_there() {
        let mut run = testing::run();
        let (start, end) = ("Enrollment/EntryWithdrawal.StartDate", "Enrollment/EntryWithdrawal.EndDate");
        run.reason = Some(format!("{UNTOLD}: no row carries them: connection 1: {start}, {end}; see what it answers"));
        let refused = |run: &Run, field: &str| not_empty(run, field, BTreeSet::new(), &[page(0, 0, true)]);
        for field in [start, end] {
            let refusal = refused(&run, field);
            assert_eq!(refusal, NotEmpty::RestedOn(field.to_owned()));
            let told = refusal.to_string();
            assert!(told.contains("statuses rest on it") && told.contains("rollcall district test"), "{told}");
        }
        let held = |refusal| matches!(refusal, NotEmpty::HeldRows { .. });
        assert!(held(refused(&run, "Enrollment/EntryWithdrawal.EntryCodeID")) && held(refused(&run, NAME)));
        run.reason = Some(format!("listing-empty: {start}"));
        assert!(held(refused(&run, start)));
    }

    #[test]
    fn what_was_not_empty_is_told_with_what_was() {
        let told = |empty: &[&str]| {
            let named = |name: &&str| Empty {
                connection: ConnectionNo(0),
                name: (*name).to_owned(),
                resource: (*name).to_owned(),
            };
            not_empty(&testing::run(), NAME, empty.iter().map(named).collect(), &[page(0, 0, true)]).to_string()
        };
        assert_eq!(told(&[]), "Demographics/Name was not empty on that run: no listing was");
        assert_eq!(
            told(&[PHONE, "orgs"]),
            "Demographics/Name was not empty on that run: empty were Demographics/NamePhone, orgs"
        );
    }
}
