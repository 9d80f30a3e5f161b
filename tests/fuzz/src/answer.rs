//! What a SIS answers, by way of all that asks it: tokens, discovery, pages and their headers, errors of every shape, and the
//! partner interface for flags.
//!
//! The first byte says who asks, the second the status of all answers but the token's. The rest is parted by 0xFF, which no
//! JSON holds: what the token endpoint answers (nothing: a good token), `Retry-After`, `Link`, `X-Total-Count`, then the bodies
//! one after another; the last one is given again and again. Every question ends, and no error repeats the marked content.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use rollcall_fetcher::{sis, turn::Turn};
use rollcall_flag_sync::{
    campus::{Campus, Pace, Which, Whose},
    partner::PartnerInterface,
};
use rollcall_http::{
    auth::Credentials,
    error::SisError,
    net::{Http, HttpConfig, Reply, Transport},
    session::{Session, Shared},
};
use rollcall_proto::{
    clock::Clock,
    id::{ConnectionNo, PageNo},
};
use rollcall_store::{
    board::{Ask, Board, IdFilter},
    district::{Connection, ConnectionSecrets, SchoolYears},
};

/// Stands in the seeds wherever a record has a value.
const CONTENT: &str = "Zebrafinch";

const TOKEN: &[u8] = br#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#;

/// Most pages asked of a listing.
const PAGES: u32 = 3;

/// Most questions of an input: an answer that says "more" is given again and again.
const QUESTIONS: usize = 2_000;

/// Answers in the order of the script.
#[derive(Debug)]
struct Script {
    status: u16,
    token: Vec<u8>,
    headers: [Option<String>; 3],
    bodies: Vec<Vec<u8>>,
    asked: Mutex<usize>,
}

impl Script {
    fn read(status: u8, rest: &[u8]) -> Self {
        const STATUSES: [u16; 12] = [200, 200, 200, 200, 201, 400, 401, 403, 404, 422, 429, 503];
        let mut parts = rest.split(|byte| *byte == 0xff).map(<[u8]>::to_vec);
        let token = parts.next().filter(|token| !token.is_empty()).unwrap_or_else(|| TOKEN.to_vec());
        let mut header = || String::from_utf8(parts.next()?).ok().filter(|text| !text.is_empty());
        let headers = [header(), header(), header()];
        let bodies = parts.collect();
        Self { status: STATUSES[usize::from(status) % STATUSES.len()], token, headers, bodies, asked: Mutex::new(0) }
    }

    fn answer(&self, is_token: bool) -> Result<Reply, SisError> {
        let body = if is_token { self.token.clone() } else { self.next_body()? };
        let [retry_after, link, total_count] = self.headers.clone();
        Ok(Reply {
            status: if is_token { 200 } else { self.status },
            content_type: Some("application/json".to_owned()),
            date: retry_after.clone(),
            retry_after,
            total_count,
            link,
            cache_control: None,
            body: body.into(),
            room: rollcall_http::net::room::Taken::default(),
        })
    }

    fn next_body(&self) -> Result<Vec<u8>, SisError> {
        let mut asked = self.asked.lock().expect("nobody panicked");
        *asked += 1;
        if *asked > QUESTIONS {
            return Err(SisError::Interrupted { host: "sis.example".to_owned() });
        }
        Ok(self.bodies.get(*asked - 1).or(self.bodies.last()).cloned().unwrap_or_default())
    }
}

impl Transport for Script {
    fn exchange(&self, request: reqwest::Request) -> BoxFuture<'_, Result<Reply, SisError>> {
        let is_token = request.url().path().contains("token");
        Box::pin(std::future::ready(self.answer(is_token)))
    }
}

/// Waits are over in no time.
struct NoTime;

impl Clock for NoTime {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a moment")
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn connection(kind: &str) -> Connection {
    serde_json::from_value(serde_json::json!({
        "kind": kind, "base_url": "https://sis.example/api", "token_url": "https://sis.example/token",
        "client_id": "c", "page_size": 2, "vendor_key": "k",
    }))
    .expect("a connection")
}

fn session(kind: &str, script: Script) -> Session {
    static HTTP: OnceLock<Http> = OnceLock::new();
    let http = HTTP.get_or_init(|| Http::new(HttpConfig::default()).expect("a client"));
    let shared = Shared::new(http.clone().over(Arc::new(script)), Arc::new(NoTime));
    let credentials = Credentials {
        district: "d".parse().expect("an id"),
        number: ConnectionNo(0),
        connection: Arc::new(connection(kind)),
        secrets: Arc::new(ConnectionSecrets::default()),
    };
    Session::new(shared, credentials)
}

fn check<T>(answer: Result<T, SisError>) -> Option<T> {
    if let Err(error) = &answer {
        let told = [error.to_string(), error.explain()].concat();
        assert!(!told.contains(CONTENT), "an error repeats content: {told}");
    }
    answer.ok()
}

/// A whole pull, as far as its answers allow.
async fn pull(kind: &str, script: Script) {
    let source = sis::source(session(kind, script), SchoolYears::default()).expect("a source");
    let Some(found) = check(source.discover(&Turn::endless()).await) else { return };
    check(source.tries_changes(NoTime.now(), &Turn::endless()).await);
    for mut listing in Board::new(found.asks, 1).listings {
        for page in 1..=PAGES {
            let Some(reply) = check(source.page(&listing, PageNo(page)).await) else { break };
            let Some(facts) = check(source.facts(&listing, PageNo(page), &reply)) else { break };
            listing.cursor = facts.cursor;
        }
    }
}

/// One listing, without what comes before it: all of it, or some ids.
async fn page(kind: &str, ids: &[&str], script: Script) {
    let source = sis::source(session(kind, script), SchoolYears::default()).expect("a source");
    let text = |text: &&str| (*text).to_owned();
    let ids =
        (!ids.is_empty()).then(|| IdFilter { field: "sourcedId".to_owned(), ids: ids.iter().map(text).collect() });
    let ask = Ask {
        resource: "users".to_owned(),
        fields: vec!["sourcedId".to_owned()],
        entity: Some(1),
        school_year: Some("1".to_owned()),
        ids,
        ..Ask::default()
    };
    let board = Board::new(vec![ask], 1);
    for page in 1..=PAGES {
        let Some(reply) = check(source.page(&board.listings[0], PageNo(page)).await) else { continue };
        if let Some(facts) = check(source.facts(&board.listings[0], PageNo(page), &reply)) {
            assert!(facts.total.is_none_or(|total| total >= 0));
        }
    }
}

/// Programs and their participations, read in each way that there is.
async fn flags(script: Script) {
    let pace = Pace::per_second(std::num::NonZeroU32::MAX);
    let table = Arc::new(PartnerInterface::default());
    let campus = Campus::new("d".parse().expect("an id"), session("oneroster", script), &"k:s".into(), table, pace);
    let campus = campus.expect("a Campus");
    check(campus.programs().await);
    check(campus.participations(Which::OfProgram("1")).await);
    check(campus.participation("1").await);
    check(campus.look_for("1", "1").await);
    check(campus.put(Whose::Ours, "1", serde_json::Value::Null).await);
}

/// The target of this name: panics where its promise is broken.
pub fn answer(bytes: &[u8]) {
    let [who, status, rest @ ..] = bytes else { return };
    let script = Script::read(*status, rest);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        match who % 6 {
            0 => pull("skyward-qmlativ", script).await,
            1 => pull("oneroster", script).await,
            2 => page("skyward-qmlativ", &[], script).await,
            3 => page("oneroster", &[], script).await,
            4 => page("oneroster", &["a", "b"], script).await,
            _ => flags(script).await,
        }
    });
}
