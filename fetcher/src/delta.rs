//! Whether a pull asks for everything, or for what has changed since the last complete one.
//!
//! Role: [`choose`] decides, pure; [`begin`] finds what it decides from, has the source's filter tried, and sets up the
//! board. Neighbours: the source says what it can narrow and whether its answers can be trusted; the store copies the
//! pages that are built upon; the planner lays the changed rows over them.
//!
//! Invariants: whatever is not as it was on the night that is built upon, or is not known to be, means that everything is
//! asked for: the first night, the one after any that did not end as succeeded, after a replay, after people got other
//! ids, under other settings, grants, fields or school years, and once every so many days in any case.

use chrono::{NaiveDate, TimeDelta};
use rollcall_proto::id::{ConnectionNo, DistrictId, RunId};
use rollcall_store::{
    Store, StoreError,
    board::Board,
    delta::StoredListing,
    run::{Baseline, Changes, Discovery, PullBase, PullScope},
};

use crate::{
    error::SisError,
    sis::{Found, Source},
};

/// Changes are asked for from this long before the last pull began. So much forgives a server that writes its own local
/// time as UTC, a clock that is behind, a change that was begun before the pull and saved after it, and a row that slipped
/// between two pages.
const OVERLAP: TimeDelta = TimeDelta::hours(26);

/// Where a pull is.
pub(crate) type Place<'a> = (&'a DistrictId, RunId, ConnectionNo);

/// A pull as it begins.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) discovery: Discovery,
    pub(crate) board: Board,
    over: Option<(RunId, Vec<StoredListing>)>,
}

impl Begun {
    /// Saves what discovery found, and the board. False: it was done before, or the run has ended.
    pub(crate) async fn save(&self, store: &Store, place: Place<'_>) -> Result<bool, StoreError> {
        match &self.over {
            None => store.save_discovery(place.0, place.1, place.2, &self.discovery, &self.board).await,
            Some((of, under)) => store.save_discovery_over(place, &self.discovery, &self.board, *of, under).await,
        }
    }
}

/// Sets a pull up. The inner error is the source's.
pub(crate) async fn begin(
    store: &Store,
    source: &dyn Source,
    lanes: u16,
    place: Place<'_>,
    found: Found,
) -> Result<Result<Begun, SisError>, StoreError> {
    let Found { mut discovery, mut asks } = found;
    if source.by_changes().is_empty() {
        return Ok(Ok(Begun { discovery, board: Board::new(asks, lanes), over: None }));
    }
    let (changes, under) = match look_back(store, source, place, &discovery).await? {
        Ok(Ok(found)) => found,
        Ok(Err(why)) => {
            discovery.scope = PullScope::Everything(Some(why));
            return Ok(Ok(Begun { discovery, board: Board::new(asks, lanes), over: None }));
        }
        Err(error) => return Ok(Err(error)),
    };
    for ask in asks.iter_mut().filter(|ask| source.by_changes().contains(&ask.resource.as_str())) {
        ask.since = Some(changes.since);
    }
    let mut board = Board::new(asks, lanes);
    // Each goes before the others: the first one ends up first.
    under.iter().rev().for_each(|listing| board.lay_under(listing.ask().clone(), listing.pages()));
    let over = Some((changes.over, under));
    discovery.scope = PullScope::Changes(changes);
    Ok(Ok(Begun { discovery, board, over }))
}

/// What the pull may ask for changes over, or why it asks for everything.
type Decided = Result<(Changes, Vec<StoredListing>), String>;

async fn look_back(
    store: &Store,
    source: &dyn Source,
    place: Place<'_>,
    discovery: &Discovery,
) -> Result<Result<Decided, SisError>, StoreError> {
    let (district, run, connection) = place;
    let settings = store.district(district).await?;
    let every = settings.connections.get(usize::from(connection.0)).map_or(1, |own| own.full_every_days);
    let run = store.run(district, run).await?;
    let base = store.pull_base(district, run.id, connection).await?;
    let tonight = Tonight { discovery, as_of: run.as_of, as_of_given: run.as_of_given, every };
    let changes = match choose(&tonight, base.as_ref()) {
        Ok(changes) => changes,
        Err(why) => return Ok(Ok(Err(why))),
    };
    let own: Vec<&str> =
        source.by_changes().iter().copied().filter(|name| discovery.granted.contains_key(*name)).collect();
    let Some(under) = store.stored_listings(district, changes.over, connection, &own).await? else {
        return Ok(Ok(Err(format!("the pages of run {} are not kept any more", changes.over))));
    };
    Ok(match source.distrusts_changes(changes.since).await {
        Ok(None) => Ok(Ok((changes, under))),
        Ok(Some(why)) => Ok(Err(why.to_owned())),
        Err(error) => Err(error),
    })
}

/// What is known of the pull that begins.
#[derive(Debug, Clone, Copy)]
struct Tonight<'a> {
    discovery: &'a Discovery,
    as_of: NaiveDate,
    as_of_given: bool,
    /// Days from one pull of everything to the next.
    every: u32,
}

/// What to ask changes over, or why to ask for everything.
fn choose(tonight: &Tonight<'_>, base: Option<&(PullBase, Baseline)>) -> Result<Changes, String> {
    let now = tonight.discovery.snapshot.as_ref().ok_or("not every row tells when it was changed")?;
    if tonight.every <= 1 {
        return Err("full_every_days = 1".to_owned());
    }
    if tonight.as_of_given {
        return Err("planned for another date".to_owned());
    }
    let (base, baseline) = base.ok_or("the run before is none to build on")?;
    if base.snapshot.settings != now.settings {
        return Err("the settings have changed, or the program".to_owned());
    }
    if baseline.granted != tonight.discovery.granted {
        return Err("other listings are granted".to_owned());
    }
    let lost: Vec<&str> = base.snapshot.shape.difference(&now.shape).map(String::as_str).take(3).collect();
    if !lost.is_empty() {
        return Err(format!("not shown any more: {}", lost.join(", ")));
    }
    if now.at < base.snapshot.at {
        return Err("a clock was set back".to_owned());
    }
    let days = (tonight.as_of - base.full_on).num_days();
    if !(0..i64::from(tonight.every)).contains(&days) {
        return Err(format!("every {} days, last on {}", tonight.every, base.full_on));
    }
    Ok(Changes {
        since: base.snapshot.at - OVERLAP,
        over: base.run,
        full_on: base.full_on,
        lists_deleted: base.lists_deleted,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::{DateTime, Utc};
    use rollcall_store::run::Snapshot;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn snapshot() -> Snapshot {
        let shape = ["users.email", "users/student", "school year 2027"].map(str::to_owned).into();
        Snapshot { at: at("2026-10-05T07:00:00Z"), settings: "as they were".to_owned(), shape }
    }

    fn discovery() -> Discovery {
        let granted = BTreeMap::from([("users".to_owned(), vec!["sourcedId".to_owned()])]);
        let snapshot = Snapshot { at: at("2026-10-06T07:00:00Z"), ..snapshot() };
        Discovery { granted, snapshot: Some(snapshot), ..Discovery::default() }
    }

    fn base() -> (PullBase, Baseline) {
        let full_on = NaiveDate::from_ymd_opt(2026, 10, 5).unwrap();
        let run = "00000000-0000-0000-0000-000000000007".parse().unwrap();
        let base = PullBase { run, full_on, lists_deleted: false, snapshot: snapshot() };
        (base, Baseline { granted: discovery().granted, ..Baseline::default() })
    }

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 10, day).unwrap()
    }

    fn on(as_of: NaiveDate, every: u32, discovery: &Discovery, base: Option<&(PullBase, Baseline)>) -> String {
        let tonight = Tonight { discovery, as_of, as_of_given: false, every };
        choose(&tonight, base).map_or_else(|why| why, |changes| changes.since.to_rfc3339())
    }

    #[test]
    fn changes_are_asked_for_with_an_overlap() {
        assert_eq!(on(day(6), 7, &discovery(), Some(&base())), "2026-10-04T05:00:00+00:00");
    }

    #[test]
    fn everything_is_asked_for_once_every_so_many_days() {
        for (as_of, every, full) in [
            (5, 7, false),
            (6, 7, false),
            (11, 7, false),
            (12, 7, true),
            (30, 7, true),
            (4, 7, true),
            (6, 1, true),
            (6, 2, false),
            (7, 2, true),
        ] {
            let chosen = on(day(as_of), every, &discovery(), Some(&base()));
            assert_eq!(chosen != "2026-10-04T05:00:00+00:00", full, "on the {as_of}th, every {every}: {chosen}");
        }
    }

    #[test]
    fn whatever_is_not_as_it_was_means_everything() {
        let tonight = discovery();
        assert!(on(day(6), 7, &tonight, None).contains("run before"));
        let change = |change: &dyn Fn(&mut Discovery)| {
            let mut tonight = discovery();
            change(&mut tonight);
            on(day(6), 7, &tonight, Some(&base()))
        };
        assert!(change(&|tonight| tonight.snapshot = None).contains("when it was changed"));
        assert!(change(&|tonight| tonight.granted.clear()).contains("granted"));
        let changed =
            |change: fn(&mut Snapshot)| move |tonight: &mut Discovery| tonight.snapshot.iter_mut().for_each(change);
        assert!(change(&changed(|now| now.settings.push('!'))).contains("settings"));
        assert!(change(&changed(|now| drop(now.shape.pop_first()))).contains("school year 2027"));
        assert!(change(&changed(|now| now.at = at("2026-10-05T06:59:59Z"))).contains("clock"));
        assert!(change(&changed(|now| now.shape.extend(["users.sms".to_owned()]))).starts_with("2026"));
        let given = Tonight { discovery: &tonight, as_of: day(6), as_of_given: true, every: 7 };
        assert!(choose(&given, Some(&base())).unwrap_err().contains("another date"));
    }
}
