//! Whether a pull asks for everything, or for what has changed since the last complete one.
//!
//! Role: [`choose`] decides, pure; [`begin`] finds what it decides from, has the source's filter tried, and sets up the
//! board. Neighbours: the source says what it can narrow and whether its answers can be trusted; the store copies the
//! pages that are built upon; the planner lays the changed rows over them.
//!
//! Invariants: whatever is not as it was on the night that is built upon, or is not known to be, means that everything is
//! asked for: the first night, the one after any that did not end as succeeded, after a replay, after people got other
//! ids, under other settings, grants, fields or school years, when a person says so, and once every so many days in any
//! case: all connections of a district on the same night.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, RunId};
use rollcall_store::{
    Store, StoreError,
    board::{Ask, Board, LaneMove},
    delta::{SavedOver, StoredListing},
    district::Connection,
    run::{Baseline, Changes, Discovery, PullBase, PullScope, Snapshot},
};

use crate::{
    error::SisError,
    sis::{Ever, Found, Source},
    turn::Turn,
};

/// Changes are asked for from this long before the pull before the last began. So much forgives a server that writes its own
/// local time as UTC, a clock that is behind, and a change that was begun before a pull and saved after it; and of each change
/// two nights tell, so that a row which slipped between two pages is told on the next, days without a run in between or not.
const OVERLAP: TimeDelta = TimeDelta::hours(26);

/// Fields that a reason names.
const NAMED: usize = 3;

/// Where a pull is.
pub(crate) type Place<'a> = (&'a DistrictId, RunId, ConnectionNo);

/// A pull as it begins.
#[derive(Debug)]
pub(crate) struct Begun {
    discovery: Discovery,
    asks: Vec<Ask>,
    lanes: u16,
    over: Option<(Changes, Vec<StoredListing>)>,
}

impl Begun {
    /// Deals the first hands of a board on which each listing expects what it had on the run before, and saves it with
    /// what discovery found. `None`: it was done before, or the run has ended.
    pub(crate) async fn save(
        mut self,
        store: &Store,
        place: Place<'_>,
        earlier: Option<&Board>,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<LaneMove>>, StoreError> {
        if let Some((changes, under)) = self.over.take() {
            let (board, moves) = self.board(&under, earlier, now);
            match store.save_discovery_over(place, &self.discovery, &board, changes.over, &under).await? {
                SavedOver::Saved => return Ok(Some(moves)),
                SavedOver::DoneBefore => return Ok(None),
                SavedOver::PagesGone => self.ask_everything(pages_gone(changes.over)),
            }
        }
        let (board, moves) = self.board(&[], earlier, now);
        let saved = store.save_discovery(place.0, place.1, place.2, &self.discovery, &board).await?;
        Ok(saved.then_some(moves))
    }

    fn board(&self, under: &[StoredListing], earlier: Option<&Board>, now: DateTime<Utc>) -> (Board, Vec<LaneMove>) {
        let mut board = Board::new(self.asks.clone(), self.lanes);
        // Each goes before the others: the first one ends up first.
        under.iter().rev().for_each(|listing| board.lay_under(listing.ask().clone(), listing.pages()));
        if let Some(earlier) = earlier {
            board.expect(earlier);
        }
        let moves = board.deal(now);
        (board, moves)
    }

    fn ask_everything(&mut self, why: String) {
        self.discovery.scope = PullScope::Everything(Some(why));
        self.asks.iter_mut().for_each(|ask| ask.since = None);
    }
}

/// Sets a pull up. The inner error is the source's.
pub(crate) async fn begin(
    store: &Store,
    source: &dyn Source,
    lanes: u16,
    place: Place<'_>,
    found: Found,
    turn: &Turn<'_>,
) -> Result<Result<Begun, SisError>, StoreError> {
    let Found { discovery, asks } = found;
    let mut begun = Begun { discovery, asks, lanes, over: None };
    if source.by_changes().is_empty() {
        return Ok(Ok(begun));
    }
    match look_back(store, source, place, &begun.discovery, turn).await? {
        Ok(Ok(grounds)) => {
            for ask in begun.asks.iter_mut().filter(|ask| source.by_changes().contains(&ask.resource.as_str())) {
                ask.since = Some(grounds.changes.since);
            }
            begun.discovery.ever = grounds.ever;
            begun.discovery.scope = PullScope::Changes(grounds.changes.clone());
            begun.over = Some((grounds.changes, grounds.under));
        }
        Ok(Err(why)) => begun.ask_everything(why),
        Err(error) => return Ok(Err(error)),
    }
    Ok(Ok(begun))
}

/// What a pull for changes rests on.
struct Grounds {
    changes: Changes,
    under: Vec<StoredListing>,
    ever: Ever,
}

/// What the pull rests on, or why it asks for everything.
type Decided = Result<Grounds, String>;

async fn look_back(
    store: &Store,
    source: &dyn Source,
    place: Place<'_>,
    discovery: &Discovery,
    turn: &Turn<'_>,
) -> Result<Result<Decided, SisError>, StoreError> {
    let (district, run, connection) = place;
    let connections = store.district(district).await?.connections;
    let run = store.run(district, run).await?;
    let base = store.pull_base(district, run.id, connection).await?;
    let nights = nights(&connections, &store.full_nights(district).await?);
    let every = connections.get(usize::from(connection.0)).map_or(1, |own| own.full_every_days);
    let tonight = Tonight {
        discovery,
        as_of: run.as_of,
        as_of_given: run.as_of_given,
        everything: run.everything,
        every,
        nights: &nights,
    };
    let changes = match choose(&tonight, base.as_ref()) {
        Ok(changes) => changes,
        Err(why) => return Ok(Ok(Err(why))),
    };
    let own: Vec<&str> =
        source.by_changes().iter().copied().filter(|name| discovery.granted.contains_key(*name)).collect();
    let Some(under) = store.stored_listings(district, changes.over, connection, &own).await? else {
        return Ok(Ok(Err(pages_gone(changes.over))));
    };
    Ok(match source.tries_changes(changes.since, turn).await {
        Ok(Ok(ever)) => Ok(Ok(Grounds { changes, under, ever })),
        Ok(Err(why)) => Ok(Err(why.to_owned())),
        Err(error) => Err(error),
    })
}

fn pages_gone(run: RunId) -> String {
    format!("the pages of run {run} are not kept any more")
}

/// When each connection of a district asked for everything last, and how often it wants to.
fn nights(connections: &[Connection], full_on: &[(ConnectionNo, NaiveDate)]) -> Vec<(NaiveDate, u32)> {
    let every = |number: ConnectionNo| connections.get(usize::from(number.0)).map(|own| own.full_every_days);
    full_on.iter().filter_map(|(number, day)| Some((*day, every(*number)?))).collect()
}

/// What is known of the pull that begins.
#[derive(Debug, Clone, Copy)]
struct Tonight<'a> {
    discovery: &'a Discovery,
    as_of: NaiveDate,
    as_of_given: bool,
    /// A person wants everything.
    everything: bool,
    /// Days from one pull of everything to the next.
    every: u32,
    /// Of all connections of the district: when each asked for everything last, and the days to its next time. Where one
    /// of those that ask most rarely is due, all are: only a night of everything from all of them shows who has left them all.
    nights: &'a [(NaiveDate, u32)],
}

/// What to ask changes over, or why to ask for everything.
fn choose(tonight: &Tonight<'_>, base: Option<&(PullBase, Baseline)>) -> Result<Changes, String> {
    let now = tonight.discovery.snapshot.as_ref().ok_or("not every row tells when it was changed")?;
    if tonight.everything {
        return Err("asked for by a person".to_owned());
    }
    if tonight.every <= 1 {
        return Err("full_every_days = 1".to_owned());
    }
    if tonight.as_of_given {
        return Err("planned for another date".to_owned());
    }
    let (base, baseline) = base.ok_or("the run before is none to build on")?;
    if baseline.granted != tonight.discovery.granted {
        return Err("other listings are granted".to_owned());
    }
    is_as_it_was(&base.snapshot, now)?;
    let own = (base.full_on, tonight.every);
    let longest = tonight.nights.iter().map(|(_, every)| *every).max();
    let rarest = tonight.nights.iter().filter(|(_, every)| Some(*every) == longest);
    if let Some((full_on, every)) = std::iter::once(&own).chain(rarest).find(|night| is_due(tonight.as_of, **night)) {
        return Err(format!("every {every} days, last on {full_on}"));
    }
    Ok(Changes {
        since: base.before.map_or(base.snapshot.at, |before| before.min(base.snapshot.at)) - OVERLAP,
        over: base.run,
        full_on: base.full_on,
        over_at: Some(base.snapshot.at),
    })
}

fn is_due(as_of: NaiveDate, (full_on, every): (NaiveDate, u32)) -> bool {
    !(0..i64::from(every)).contains(&(as_of - full_on).num_days())
}

/// Whether the source shows itself as on the night that is built upon: what is switched off or on there moves no row's time.
fn is_as_it_was(then: &Snapshot, now: &Snapshot) -> Result<(), String> {
    if then.settings != now.settings {
        return Err("the settings have changed, or the program".to_owned());
    }
    for (what, one, other) in [("not shown any more", then, now), ("shown, and was not before", now, then)] {
        let apart: Vec<&str> = one.shape.difference(&other.shape).map(String::as_str).take(NAMED).collect();
        if !apart.is_empty() {
            return Err(format!("{what}: {}", apart.join(", ")));
        }
    }
    if now.at < then.at {
        return Err("a clock was set back".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
