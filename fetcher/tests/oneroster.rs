//! OneRoster asked as a fetcher asks it, page by page as the board deals them, against the sandbox's Campus.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_fetcher::{
    auth::Credentials,
    error::SisError,
    net::{Http, HttpConfig},
    session::{Session, Shared},
    sis::{Found, Source, source},
    turn::Turn,
};
use rollcall_proto::{
    clock::ManualClock,
    id::{ConnectionNo, PageNo},
};
use rollcall_sandbox::{
    AuthQuirks, BlankFilter, ChangeFilter, ErrorShape, Fault, FaultKind, OneRosterQuirks, PagingQuirks, Quirks,
    Sandbox, SandboxConfig,
};
use rollcall_store::{
    board::{Ask, Board, IdFilter, Progress},
    district::{Connection, ConnectionSecrets, SchoolYears},
    run::Discovery,
};
use serde_json::{Value, json};

async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxConfig {
        students: 120,
        contact_percent: 60,
        change_percent: 12.0,
        ..SandboxConfig::default()
    })
    .await
    .unwrap()
}

fn connection(sandbox: &Sandbox, extra: &Value) -> Connection {
    let mut connection = json!({
        "kind": "oneroster", "base_url": sandbox.campus_base_url(), "token_url": sandbox.campus_token_url(),
        "client_id": sandbox.client_id(), "page_size": 25, "lanes": 4,
    });
    connection.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(connection).unwrap()
}

fn at(sandbox: &Sandbox, extra: &Value) -> Box<dyn Source> {
    let http = Http::new(HttpConfig { allow_private_addresses: true, ..HttpConfig::default() }).unwrap();
    let clock = Arc::new(ManualClock::new(DateTime::from_timestamp(1_792_000_000, 0).unwrap()));
    let secrets = ConnectionSecrets { client_secret: sandbox.client_secret().into(), ..ConnectionSecrets::default() };
    let credentials = Credentials {
        district: "d".parse().unwrap(),
        number: ConnectionNo(0),
        connection: Arc::new(connection(sandbox, extra)),
        secrets: Arc::new(secrets),
    };
    source(Session::new(Shared::new(http, clock), credentials), SchoolYears::Current).unwrap()
}

/// Pulls what the board deals to its end; ids by resource, in the order they came.
async fn pull(source: &dyn Source, asks: Vec<Ask>) -> Result<(BTreeMap<String, Vec<String>>, Board), SisError> {
    let now: DateTime<Utc> = DateTime::from_timestamp(1_792_000_000, 0).unwrap();
    let mut board = Board::new(asks, 3);
    let mut moves = board.deal(now);
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(step) = moves.pop() {
        let Some((dealt, listing)) = board.dealt(step.lane, step.generation) else { continue };
        let (resource, listing) = (listing.ask.resource.clone(), listing.clone());
        let mut facts = Vec::new();
        for page in dealt.range() {
            let reply = source.page(&listing, PageNo(page)).await?;
            let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let rows = body[&resource].as_array().into_iter().flatten();
            let id = |row: &Value| row["sourcedId"].as_str().unwrap().to_owned();
            ids.entry(resource.clone()).or_default().extend(rows.map(id));
            facts.push(source.facts(&listing, PageNo(page), &reply)?);
        }
        moves.extend(board.pages_done(step.lane, step.generation, &facts, now).unwrap_or_default());
    }
    Ok((ids, board))
}

async fn everything(source: &dyn Source) -> BTreeMap<String, Vec<String>> {
    let found = source.discover(&Turn::endless()).await.unwrap();
    let (mut ids, board) = pull(source, found.asks).await.unwrap();
    assert!(board.listings.iter().all(|listing| listing.progress == Progress::Fetched), "{board:?}");
    for ids in ids.values_mut() {
        ids.sort();
    }
    ids
}

/// However the sandbox behaves, and however many rows are asked for at once, all of it comes in.
async fn assert_pulled(
    sandbox: &Sandbox,
    whole: &BTreeMap<String, Vec<String>>,
    cases: impl IntoIterator<Item = (&str, Quirks)>,
    page_sizes: [u32; 2],
) {
    for (what, quirks) in cases {
        sandbox.set_quirks(quirks);
        for page_size in page_sizes {
            let pulled = everything(&*at(sandbox, &json!({ "page_size": page_size }))).await;
            assert_eq!(&pulled, whole, "{what}, {page_size} a page");
        }
    }
}

fn oneroster(oneroster: OneRosterQuirks) -> Quirks {
    Quirks { oneroster, ..Quirks::default() }
}

#[tokio::test]
async fn discovery_tells_what_there_is() {
    let sandbox = sandbox().await;
    let found = at(&sandbox, &json!({})).discover(&Turn::endless()).await.unwrap();
    assert_eq!(found.discovery.source_name.as_deref(), Some("Sandbox ISD"));
    assert_eq!(found.discovery.school_years, ["2027"]);
    let asks: Vec<_> = found.asks.iter().map(|ask| (ask.resource.as_str(), ask.essential)).collect();
    assert_eq!(asks, [("users", true), ("demographics", false), ("orgs", true)]);
    sandbox.set_quirks(oneroster(OneRosterQuirks { no_demographics: true, ..OneRosterQuirks::default() }));
    let poorer = at(&sandbox, &json!({})).discover(&Turn::endless()).await.unwrap();
    assert_eq!(poorer.discovery.refused["demographics"], ["*"]);
    assert_eq!(poorer.asks.len(), 2);
}

#[tokio::test]
async fn every_row_comes_once_whatever_the_server_leaves_out() {
    let sandbox = sandbox().await;
    let whole = everything(&*at(&sandbox, &json!({"page_size": 5_000}))).await;
    assert!(whole["users"].len() > 150, "{}", whole["users"].len());
    let quiet = || OneRosterQuirks { no_total: true, no_link: true, ..OneRosterQuirks::default() };
    let clamped = |most| PagingQuirks { max_page_size: Some(most), ..PagingQuirks::default() };
    let cases = [
        ("as it should be", Quirks::default()),
        ("no total", oneroster(OneRosterQuirks { no_total: true, ..OneRosterQuirks::default() })),
        ("no links", oneroster(OneRosterQuirks { no_link: true, ..OneRosterQuirks::default() })),
        ("neither", oneroster(quiet())),
        ("clamped", Quirks { paging: clamped(7), ..Quirks::default() }),
        ("clamped, neither", Quirks { paging: clamped(7), ..oneroster(quiet()) }),
    ];
    assert_pulled(&sandbox, &whole, cases, [25, 100]).await;
}

/// A page in the middle of a listing comes short: what it lacks is asked for from where `next` leads, or from as many rows on as
/// came in where a total alone says that there are more.
#[tokio::test]
async fn what_a_short_page_lacks_is_asked_for() {
    let sandbox = sandbox().await;
    let whole = everything(&*at(&sandbox, &json!({"page_size": 5_000}))).await;
    let breaks = |no_total, no_link| {
        let quirks = OneRosterQuirks { breaks_at_row: Some(45), no_total, no_link, ..OneRosterQuirks::default() };
        oneroster(quirks)
    };
    let clamped = PagingQuirks { max_page_size: Some(7), ..PagingQuirks::default() };
    let cases = [
        ("total and links", breaks(false, false)),
        ("no total", breaks(true, false)),
        ("no links", breaks(false, true)),
        ("clamped, no total", Quirks { paging: clamped, ..breaks(true, false) }),
    ];
    assert_pulled(&sandbox, &whole, cases, [25, 40]).await;
}

/// A server without totals that tells nothing of what it left out, however it is asked.
#[tokio::test]
async fn a_gap_that_stays_is_noted() {
    let sandbox = sandbox().await;
    for (gap_at_break, gap) in [(true, Some(2)), (false, None)] {
        let quirks =
            OneRosterQuirks { breaks_at_row: Some(45), gap_at_break, no_total: true, ..OneRosterQuirks::default() };
        sandbox.set_quirks(oneroster(quirks));
        let source = at(&sandbox, &json!({ "page_size": 25 }));
        let asks = source.discover(&Turn::endless()).await.unwrap().asks;
        let (ids, board) = pull(&*source, asks).await.unwrap();
        let users = board.listings.iter().find(|listing| listing.ask.resource == "users").unwrap();
        assert_eq!((&users.progress, users.gap()), (&Progress::Fetched, gap), "{users:?}");
        assert!(users.last_page.unwrap() > 3 && ids["users"].len() > 100, "{users:?}");
    }
}

#[tokio::test]
async fn credentials_go_in_either_place_and_scopes_are_settable() {
    let sandbox = sandbox().await;
    for extra in [
        json!({"credentials": "basic"}),
        json!({"credentials": "form"}),
        json!({"scope": "https://purl.imsglobal.org/spec/or/v1p2/scope/roster.readonly"}),
        json!({"base_url": format!("{}/rostering/v1p2/", sandbox.campus_base_url())}),
        json!({"base_url": sandbox.campus_base_url_11()}),
        json!({"base_url": sandbox.campus_base_url_11(), "version": "1.1"}),
    ] {
        at(&sandbox, &extra).discover(&Turn::endless()).await.unwrap();
    }
    let bare = sandbox.campus_token_url().split('?').next().unwrap().to_owned();
    at(&sandbox, &json!({"token_url": bare})).discover(&Turn::endless()).await.unwrap();
    let other = json!({"token_url": bare, "app_name": "other"});
    let error = at(&sandbox, &other).discover(&Turn::endless()).await.unwrap_err();
    assert!(matches!(error, SisError::TokenRefused { status: 400, .. }), "{error:?}");
}

/// What Campus needs of a request is no hindrance elsewhere, and the other way round; 1.1 has ids of its own.
#[tokio::test]
async fn every_profile_and_version_brings_every_row() {
    let sandbox = sandbox().await;
    // Said whole: Skyward serves 1.2 without naming the service.
    let of_12 = format!("{}/rostering/v1p2", sandbox.campus_base_url());
    let mut ids = Vec::new();
    for (base, version) in [(of_12, "1.2"), (sandbox.campus_base_url_11(), "1.1")] {
        let of = async |profile: &str| {
            let extra = json!({"profile": profile, "base_url": base, "version": version});
            everything(&*at(&sandbox, &extra)).await
        };
        let whole = of("campus").await;
        assert!(whole["users"].len() > 150 && whole["demographics"].len() > 90, "{version}: {whole:?}");
        for profile in ["skyward", "plain"] {
            assert_eq!(of(profile).await, whole, "{profile} {version}");
        }
        ids.push(whole["users"].clone());
    }
    assert!(ids[0].iter().all(|id| !ids[1].contains(id)), "1.1 has ids of its own");
}

/// Skyward's, as its district has them: 1.2 names no service, and the token URL follows from the base URL.
fn at_skyward(sandbox: &Sandbox, base_url: &str, extra: &Value) -> Box<dyn Source> {
    let mut own = json!({"profile": "skyward", "base_url": base_url, "token_url": null});
    own.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    at(sandbox, &own)
}

#[tokio::test]
async fn skyward_tells_everybody_without_totals_and_links() {
    let sandbox = sandbox().await;
    let bases = [sandbox.skyward_oneroster_url(), sandbox.skyward_oneroster_url_11()];
    let whole = everything(&*at_skyward(&sandbox, &bases[0], &json!({"page_size": 5_000}))).await;
    let of_campus = everything(&*at(&sandbox, &json!({"page_size": 5_000}))).await;
    assert_eq!(whole["users"].len(), of_campus["users"].len(), "the same people");
    assert_eq!(whole["demographics"].len(), of_campus["demographics"].len());
    assert_eq!(whole["orgs"].len(), of_campus["orgs"].len() + 1, "and a department");
    let words = ["Student_", "Guardian_", "Staff_"];
    let of = |word: &str| whole["users"].iter().filter(|id| id.starts_with(word)).count();
    assert!(words.iter().all(|word| of(word) > 10), "{whole:?}");
    assert_eq!(words.map(of).into_iter().sum::<usize>(), whole["users"].len());
    assert!(whole["orgs"].contains(&"Entity_1".to_owned()), "{:?}", whole["orgs"]);
    let clamped =
        Quirks { paging: PagingQuirks { max_page_size: Some(7), ..PagingQuirks::default() }, ..Quirks::default() };
    let counted = oneroster(OneRosterQuirks { skyward_counts: true, ..OneRosterQuirks::default() });
    for quirks in [Quirks::default(), clamped, counted] {
        sandbox.set_quirks(quirks.clone());
        for page_size in [25, 100] {
            let pulled = everything(&*at_skyward(&sandbox, &bases[0], &json!({ "page_size": page_size }))).await;
            assert_eq!(pulled, whole, "{quirks:?}, {page_size} a page");
        }
    }
    let of_11 = everything(&*at_skyward(&sandbox, &bases[1], &json!({}))).await;
    assert!(of_11["users"].iter().all(|id| whole["users"].contains(id)), "both versions have the same ids");
    assert!(of_11["users"].len() > 150, "{}", of_11["users"].len());
}

#[tokio::test]
async fn skyward_gives_tokens_in_each_way_that_was_seen() {
    let sandbox = sandbox().await;
    let base = sandbox.skyward_oneroster_url();
    for extra in [
        json!({"credentials": "basic"}),
        json!({"credentials": "form"}),
        json!({"credentials": "basic-get"}),
        json!({"scope": "https://purl.imsglobal.org/spec/or/v1p2/scope/roster.readonly"}),
        json!({"token_url": sandbox.skyward_token_url()}),
        json!({"base_url": base.trim_end_matches("/v1p2")}),
        json!({"base_url": sandbox.base_url()}),
    ] {
        at_skyward(&sandbox, &base, &extra).discover(&Turn::endless()).await.unwrap();
    }
    // A token that is too old is answered with 403, as by Skyward's own API, and fetched anew.
    let worn = AuthQuirks { token_expires_after_requests: Some(3), ..AuthQuirks::default() };
    sandbox.set_quirks(Quirks { auth: worn, ..Quirks::default() });
    assert!(!everything(&*at_skyward(&sandbox, &base, &json!({}))).await["users"].is_empty());
    // Campus's addresses are none of Skyward's, nor the other way round.
    sandbox.set_quirks(Quirks::default());
    let other = json!({"base_url": format!("{}/rostering/v1p2", base.trim_end_matches("/v1p2"))});
    let plain = json!({"profile": "plain", "token_url": sandbox.skyward_token_url()});
    let plain: Value =
        plain.as_object().unwrap().clone().into_iter().chain(other.as_object().unwrap().clone()).collect();
    let error = at_skyward(&sandbox, &base, &plain).discover(&Turn::endless()).await.unwrap_err();
    assert!(matches!(error, SisError::Status { status: 404, .. }), "{error:?}");
}

#[tokio::test]
async fn skyward_is_known_to_filter_by_status_alone() {
    let sandbox = sandbox().await;
    let source = at_skyward(&sandbox, &sandbox.skyward_oneroster_url(), &json!({}));
    let since = noon(&sandbox) - TimeDelta::hours(26);
    let refused = source.tries_changes(since, &Turn::endless()).await.unwrap().unwrap_err();
    assert!(refused.contains("refuses"), "{refused}");
    sandbox.set_quirks(oneroster(OneRosterQuirks { skyward_filters: true, ..OneRosterQuirks::default() }));
    source.tries_changes(since, &Turn::endless()).await.unwrap().unwrap();
}

/// Nothing rests on the years, and demographics that fail are asked for as a listing of their own, so that the run says so.
#[tokio::test]
async fn a_supporting_collection_in_trouble_gives_the_others_up_no_more() {
    let sandbox = sandbox().await;
    let whole = at(&sandbox, &json!({})).discover(&Turn::endless()).await.unwrap();
    let spoiled = |object: &str, kind| Quirks {
        faults: vec![Fault { kind, object: Some(object.to_owned()), page: None, times: None }],
        ..Quirks::default()
    };
    for kind in [FaultKind::Html, FaultKind::TruncatedJson, FaultKind::Status(500)] {
        sandbox.set_quirks(spoiled("demographics", kind));
        let found = at(&sandbox, &json!({})).discover(&Turn::endless()).await.unwrap();
        assert_eq!(found.asks, whole.asks, "{kind:?}");
        assert!(found.discovery.granted.contains_key("demographics") && found.discovery.refused.is_empty());
        sandbox.set_quirks(spoiled("academicSessions", kind));
        let found = at(&sandbox, &json!({})).discover(&Turn::endless()).await.unwrap();
        assert_eq!((found.asks, found.discovery.school_years.len()), (whole.asks.clone(), 0), "{kind:?}");
        let shape = |found: &Discovery| found.snapshot.clone().unwrap().shape;
        assert_ne!(shape(&found.discovery), shape(&whole.discovery), "nothing is built upon unknown years");
        for essential in ["users", "orgs"] {
            sandbox.set_quirks(spoiled(essential, kind));
            at(&sandbox, &json!({})).discover(&Turn::endless()).await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn the_second_look_asks_for_each_and_takes_404_for_gone() {
    let sandbox = sandbox().await;
    let source = at(&sandbox, &json!({}));
    let listed: Vec<String> = sandbox.expected_campus(1).into_keys().take(2).collect();
    let ids = vec![listed[0].clone(), "nobody".to_owned(), listed[1].clone()];
    let filter = IdFilter { field: "sourcedId".to_owned(), ids };
    let ask = Ask { resource: "users".to_owned(), ids: Some(filter), ..Ask::default() };
    let mut board = Board::new(vec![ask], 1);
    let now = DateTime::from_timestamp(1_792_000_000, 0).unwrap();
    let mut moves = board.deal(now);
    let mut answers = Vec::new();
    while let Some(step) = moves.pop() {
        let (dealt, listing) = board.dealt(step.lane, step.generation).unwrap();
        assert_eq!(dealt.pages, 1, "one after another");
        let reply = source.page(listing, dealt.page).await.unwrap();
        let facts = source.facts(listing, dealt.page, &reply).unwrap();
        answers.push((reply.status, facts.rows));
        moves = board.pages_done(step.lane, step.generation, &[facts], now).unwrap();
    }
    assert_eq!(answers.iter().map(|answer| answer.0).collect::<Vec<_>>(), [200, 404, 200]);
    assert_eq!(board.listings[0].progress, Progress::Fetched);
    assert_eq!(board.listings[0].last_page, Some(3));
}

/// Noon of the sandbox's day is when a later night's changes were made.
fn noon(sandbox: &Sandbox) -> DateTime<Utc> {
    sandbox.today().and_hms_opt(12, 0, 0).unwrap().and_utc()
}

fn by_changes(found: Found, since: DateTime<Utc>) -> Vec<Ask> {
    let wanted = found.asks.into_iter().filter(|ask| ask.resource != "orgs");
    wanted.map(|ask| Ask { since: Some(since), ..ask }).collect()
}

#[tokio::test]
async fn changes_alone_are_told_page_by_page() {
    let sandbox = sandbox().await;
    let source = at(&sandbox, &json!({"page_size": 3}));
    assert_eq!(source.by_changes(), ["users", "demographics"]);
    let since = noon(&sandbox) - TimeDelta::hours(26);
    let before = pull(&*source, by_changes(source.discover(&Turn::endless()).await.unwrap(), since)).await.unwrap().0;
    assert!(before.values().all(Vec::is_empty), "nothing has changed: {before:?}");
    let whole = everything(&*source).await;

    // As a server would write its own local time for UTC, ten hours behind; the overlap finds them all the same.
    for stamps_behind_hours in [0, 10] {
        sandbox.set_night(2);
        let quirks = OneRosterQuirks { to_be_deleted: true, stamps_behind_hours, ..OneRosterQuirks::default() };
        sandbox.set_quirks(oneroster(quirks));
        let (changed, board) =
            pull(&*source, by_changes(source.discover(&Turn::endless()).await.unwrap(), since)).await.unwrap();
        assert!(board.listings.iter().all(|listing| listing.progress == Progress::Fetched), "{board:?}");
        let now = everything(&*source).await;
        let new = now["users"].iter().filter(|id| !whole["users"].contains(id));
        assert!(new.clone().count() > 0 && new.clone().all(|id| changed["users"].contains(id)), "{changed:?}");
        assert!(
            changed["users"].len() < now["users"].len() / 2,
            "{} of {}",
            changed["users"].len(),
            now["users"].len()
        );
        assert!(!changed["demographics"].is_empty());
    }
}

#[tokio::test]
async fn a_filter_that_is_not_heeded_is_found_out() {
    let sandbox = sandbox().await;
    let since = noon(&sandbox) - TimeDelta::hours(26);
    for (change_filter, says) in [
        (ChangeFilter::Heeded, None),
        (ChangeFilter::Ignored, Some("passes over")),
        (ChangeFilter::Refused, Some("refuses")),
        (ChangeFilter::Miscounted, Some("counts all")),
        (ChangeFilter::Empty, Some("shows nothing")),
        (ChangeFilter::Failing, Some("no answer that can be read")),
        (ChangeFilter::Bare, Some("no answer that can be read")),
    ] {
        for errors in [ErrorShape::Bare, ErrorShape::Set, ErrorShape::Html] {
            sandbox.set_quirks(oneroster(OneRosterQuirks { change_filter, errors, ..OneRosterQuirks::default() }));
            let found = at(&sandbox, &json!({})).tries_changes(since, &Turn::endless()).await.unwrap().err();
            assert_eq!(found.is_some(), says.is_some(), "{change_filter:?} {errors:?}: {found:?}");
            assert!(found.is_none_or(|found| found.contains(says.unwrap())), "{change_filter:?}: {found:?}");
        }
    }
    // A blank filter is never sent, and a server that refuses one is asked like any other.
    let strict = OneRosterQuirks { blank_filter: BlankFilter::Refused, ..OneRosterQuirks::default() };
    sandbox.set_quirks(oneroster(strict));
    let counted = at(&sandbox, &json!({})).tries_changes(since, &Turn::endless()).await.unwrap().unwrap();
    assert!(counted["users"] > counted["demographics"] && counted["demographics"] > 0, "{counted:?}");
}

#[tokio::test]
async fn discovery_notes_what_a_later_night_is_compared_with() {
    let sandbox = sandbox().await;
    let of = async |quirks, extra: Value| {
        sandbox.set_quirks(oneroster(quirks));
        at(&sandbox, &extra).discover(&Turn::endless()).await.unwrap().discovery
    };
    let usual = of(OneRosterQuirks::default(), json!({})).await;
    let snapshot = usual.snapshot.unwrap();
    for name in ["users/student", "users.email", "demographics.birthDate", "school year 2027"] {
        assert!(snapshot.shape.contains(name), "{name}: {:?}", snapshot.shape);
    }
    assert!(usual.totals["users"] > 120, "{:?}", usual.totals);
    let flipped =
        of(OneRosterQuirks { next_year: true, ..OneRosterQuirks::default() }, json!({})).await.snapshot.unwrap();
    assert!(!flipped.shape.contains("school year 2027"), "the district has flipped its year: {:?}", flipped.shape);
    let poorer = OneRosterQuirks { no_contact_data: true, no_guardians: true, ..OneRosterQuirks::default() };
    let poorer = of(poorer, json!({})).await.snapshot.unwrap();
    for name in ["users.email", "users/guardian"] {
        assert!(snapshot.shape.contains(name) && !poorer.shape.contains(name), "{name}: {:?}", poorer.shape);
    }
    assert_ne!(
        of(OneRosterQuirks::default(), json!({"staff": "active"})).await.snapshot.unwrap().settings,
        snapshot.settings
    );
    let undated = OneRosterQuirks { undated_rows: true, ..OneRosterQuirks::default() };
    assert_eq!(of(undated, json!({})).await.snapshot, None);
}
