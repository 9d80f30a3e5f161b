//! What is asked for on which night, by [`choose`] alone and from a store.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use async_trait::async_trait;
use rollcall_proto::id::{ListingNo, PageNo};
use rollcall_store::{
    board::{Listing, PageFacts, Progress},
    district::ConnectionSecrets,
    page::NewPage,
    plan::{NewPlan, Verdict},
    run::{NewRun, Run, Trigger},
    secret::Keyring,
};
use serde_json::json;

use super::*;
use crate::net::Reply;

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
    let base = PullBase { run, full_on, before: None, snapshot: snapshot() };
    (base, Baseline { granted: discovery().granted, ..Baseline::default() })
}

fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 10, day).unwrap()
}

fn tonight(discovery: &Discovery, as_of: NaiveDate, every: u32) -> Tonight<'_> {
    Tonight { discovery, as_of, as_of_given: false, everything: false, every, nights: &[] }
}

fn told(tonight: &Tonight<'_>, base: Option<&(PullBase, Baseline)>) -> String {
    choose(tonight, base).map_or_else(|why| why, |changes| changes.since.to_rfc3339())
}

fn on(as_of: NaiveDate, every: u32, discovery: &Discovery, base: Option<&(PullBase, Baseline)>) -> String {
    told(&tonight(discovery, as_of, every), base)
}

#[test]
fn changes_are_asked_for_with_an_overlap() {
    assert_eq!(on(day(6), 7, &discovery(), Some(&base())), "2026-10-04T05:00:00+00:00");
}

/// A row that slipped on the night before is told on this one, though days without a run lie in between.
#[test]
fn each_change_is_asked_for_on_two_nights() {
    let before = |text| {
        let (base, baseline) = base();
        on(day(6), 7, &discovery(), Some(&(PullBase { before: Some(at(text)), ..base }, baseline)))
    };
    assert_eq!(before("2026-10-02T07:00:00Z"), "2026-10-01T05:00:00+00:00", "a weekend without runs");
    assert_eq!(before("2026-10-05T08:00:00Z"), "2026-10-04T05:00:00+00:00", "never later than the last pull");
    let changes = choose(&tonight(&discovery(), day(6), 7), Some(&base())).unwrap();
    assert_eq!(changes.over_at, Some(at("2026-10-05T07:00:00Z")), "what the next night calls the one before");
}

/// Who leaves the staff of both connections at once is missed on a night on which both show everything, and on no other.
#[test]
fn the_connections_of_a_district_ask_for_everything_on_the_same_night() {
    let (found, base) = (discovery(), base());
    let with = |nights: &[(u32, u32)], as_of| {
        let nights: Vec<(NaiveDate, u32)> = nights.iter().map(|(on, every)| (day(*on), *every)).collect();
        told(&Tonight { nights: &nights, ..tonight(&found, day(as_of), 7) }, Some(&base))
    };
    assert!(with(&[(5, 7), (3, 7)], 9).starts_with("2026"));
    assert_eq!(with(&[(5, 7), (3, 7)], 10), "every 7 days, last on 2026-10-03", "the other one is due");
    assert!(with(&[(5, 7), (5, 1)], 6).starts_with("2026"), "that one shows everything on this one's nights anyway");
}

#[test]
fn the_nights_of_a_district_are_those_of_its_connections() {
    let connection = |days: u32| -> Connection {
        let file = serde_json::json!({"kind": "oneroster", "base_url": "https://x.example", "client_id": "c",
            "full_every_days": days});
        serde_json::from_value(file).unwrap()
    };
    let full_on = [(ConnectionNo(0), day(3)), (ConnectionNo(1), day(5)), (ConnectionNo(2), day(1))];
    let found = nights(&[connection(7), connection(2)], &full_on);
    assert_eq!(found, [(day(3), 7), (day(5), 2)], "the third is none of it any more");
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
    let shown = change(&changed(|now| now.shape.extend(["users.sms".to_owned()])));
    assert_eq!(shown, "shown, and was not before: users.sms", "unchanged rows would not tell it");
    let given = Tonight { as_of_given: true, ..self::tonight(&tonight, day(6), 7) };
    assert!(told(&given, Some(&base())).contains("another date"));
    let wanted = Tonight { everything: true, ..self::tonight(&tonight, day(6), 7) };
    assert!(told(&wanted, Some(&base())).contains("by a person"));
}

/// A source that can be asked by changes.
#[derive(Debug)]
struct Telling;

#[async_trait]
impl Source for Telling {
    async fn discover(&self, _turn: &Turn<'_>) -> Result<Found, SisError> {
        Ok(found())
    }

    fn by_changes(&self) -> &'static [&'static str] {
        &["users"]
    }

    async fn tries_changes(
        &self,
        _since: DateTime<Utc>,
        _turn: &Turn<'_>,
    ) -> Result<Result<Ever, &'static str>, SisError> {
        Ok(Ok(Ever::from([("users".to_owned(), 7)])))
    }

    async fn page(&self, _listing: &Listing, _page: PageNo) -> Result<Reply, SisError> {
        Err(SisError::NextElsewhere { what: "a page, of which there is none here".to_owned() })
    }

    fn facts(&self, _listing: &Listing, _page: PageNo, _reply: &Reply) -> Result<PageFacts, SisError> {
        Err(SisError::NextElsewhere { what: "a page, of which there is none here".to_owned() })
    }
}

fn found() -> Found {
    let ask = |resource: &str| Ask { resource: resource.to_owned(), essential: true, ..Ask::default() };
    Found { discovery: discovery(), asks: vec![ask("users"), ask("orgs")] }
}

/// A district with two connections.
struct House {
    store: Store,
    district: DistrictId,
    _dir: tempfile::TempDir,
}

const CONNECTIONS: [ConnectionNo; 2] = [ConnectionNo(0), ConnectionNo(1)];

fn hour(hour: i64) -> DateTime<Utc> {
    at("2026-10-05T07:00:00Z") + TimeDelta::hours(hour)
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Keyring::create_file(&dir.path().join("key")).unwrap();
        let store = Store::open_embedded(dir.path(), key).await.unwrap();
        let connection = |prefix: &str| json!({"kind": "oneroster", "base_url": "https://x.example", "client_id": "c", "id_prefix": prefix});
        let file = json!({"id": "d", "name": "D", "time_zone": "America/Chicago",
            "connection": [connection("A"), connection("B")]});
        let district: rollcall_store::district::District = serde_json::from_value(file).unwrap();
        let secrets = [ConnectionSecrets::default(), ConnectionSecrets::default()];
        store.apply_district(&district, &secrets, "test", hour(0)).await.unwrap();
        Self { store, district: district.id, _dir: dir }
    }

    async fn run(&self, as_of: NaiveDate, everything: bool) -> Run {
        let new = NewRun {
            district: self.district.clone(),
            trigger: Trigger::Manual,
            as_of,
            plan_only: false,
            as_of_given: false,
            everything,
            requested_by: "test".to_owned(),
        };
        self.store.create_run(&new, hour(0)).await.unwrap().unwrap()
    }

    /// Pulls a page of users from each connection, and ends the run with them to build upon.
    async fn end(&self, run: RunId, full_on: [NaiveDate; 2]) {
        let store = &self.store;
        store.start_run(&self.district, run, hour(0)).await.unwrap();
        for connection in CONNECTIONS {
            let Found { discovery, asks } = found();
            let mut board = Board::new(asks, 1);
            for listing in &mut board.listings {
                (listing.progress, listing.last_page) = (Progress::Fetched, Some(1));
            }
            store.save_discovery(&self.district, run, connection, &discovery, &board).await.unwrap();
            store.save_page(&self.district, run, &page(connection)).await.unwrap();
            store.with_board(&self.district, run, connection, |_| ((), true)).await.unwrap().unwrap();
        }
        assert!(store.pulled(&self.district, run, hour(1)).await.unwrap());
        let baseline = |(connection, full_on): (ConnectionNo, NaiveDate)| {
            let (base, baseline) = base();
            (connection.0, Baseline { base: Some(PullBase { run, full_on, ..base }), ..baseline })
        };
        let plan = NewPlan {
            baselines: CONNECTIONS.into_iter().zip(full_on).map(baseline).collect(),
            ..NewPlan::empty(Verdict::Nothing)
        };
        assert!(store.save_plan(&self.district, run, &plan, hour(2)).await.unwrap());
    }

    async fn begin(&self, run: RunId, connection: ConnectionNo) -> Begun {
        self.store.start_run(&self.district, run, hour(3)).await.unwrap();
        let place = (&self.district, run, connection);
        begin(&self.store, &Telling, 1, place, found(), &Turn::endless()).await.unwrap().unwrap()
    }
}

fn page(connection: ConnectionNo) -> NewPage {
    NewPage {
        connection,
        listing: ListingNo(0),
        page: PageNo(1),
        status: 200,
        raw: None,
        fragments: b"fragments".to_vec(),
        rows: 7,
        digest: [1; 16],
        body_digest: None,
        told: None,
        claimed_total: None,
        error: None,
        asked_at: hour(0),
        took_ms: 1,
        collected_at: hour(1),
    }
}

#[tokio::test]
async fn what_is_built_upon_may_go_away_before_it_is_saved() {
    let house = House::new().await;
    let first = house.run(day(5), false).await.id;
    house.end(first, [day(5), day(5)]).await;
    let second = house.run(day(6), false).await.id;
    let saved = async |connection: ConnectionNo, begun: Begun| {
        assert!(matches!(begun.discovery.scope, PullScope::Changes(_)), "{:?}", begun.discovery.scope);
        let place = (&house.district, second, connection);
        let moves = begun.save(&house.store, place, None, hour(4)).await.unwrap().unwrap();
        let board = house.store.board(&house.district, second, connection).await.unwrap().unwrap();
        let discovery = house.store.pulls(&house.district, second).await.unwrap()[usize::from(connection.0)].clone();
        (moves.len(), board, discovery.discovery.unwrap())
    };
    let [one, other] = CONNECTIONS;
    let (begun, late) = (house.begin(second, one).await, house.begin(second, other).await);
    let (moves, board, discovery) = saved(one, begun).await;
    let laid: Vec<bool> = board.listings.iter().map(|listing| listing.ask.stored.is_some()).collect();
    assert_eq!((moves, laid, discovery.ever["users"]), (1, vec![true, false, false], 7));

    house.store.forget_pages(hour(100)).await.unwrap();
    let (moves, board, discovery) = saved(other, late).await;
    assert_eq!((moves, board.listings.len()), (1, 2), "it is dealt all the same");
    assert!(board.listings.iter().all(|listing| listing.ask.is_whole() && listing.ask.stored.is_none()), "{board:?}");
    assert!(discovery.scope.to_string().contains("not kept any more"), "{}", discovery.scope);
}

/// `run --full`, while a run is at work that ends before this one begins.
#[tokio::test]
async fn a_run_for_everything_stays_one_whatever_ends_meanwhile() {
    let house = House::new().await;
    let first = house.run(day(5), false).await.id;
    let [full, after] = [house.run(day(6), true).await, house.run(day(7), false).await].map(|run| run.id);
    house.end(first, [day(5), day(5)]).await;
    let scope = house.begin(full, CONNECTIONS[0]).await.discovery.scope;
    assert_eq!(scope.to_string(), "everything (asked for by a person)");
    house.end(full, [day(6), day(6)]).await;
    let scope = house.begin(after, CONNECTIONS[0]).await.discovery.scope;
    assert!(scope.to_string().starts_with("changes since"), "{scope}");
}

/// One of them asked for everything in the middle of the other's week.
#[tokio::test]
async fn full_nights_of_two_connections_fall_together() {
    let house = House::new().await;
    let first = house.run(day(9), false).await.id;
    house.end(first, [day(3), day(5)]).await;
    let asked = async |as_of| {
        let run = house.run(as_of, false).await.id;
        let mut scopes = Vec::new();
        for connection in CONNECTIONS {
            scopes.push(house.begin(run, connection).await.discovery.scope.to_string());
        }
        assert!(house.store.cancel_run(&house.district, run, "test", hour(4)).await.unwrap());
        scopes
    };
    let due = "everything (every 7 days, last on 2026-10-03)";
    assert_eq!(asked(day(10)).await, [due, due]);
}
