//! A server that answers slowly what a page lacks.
#![allow(clippy::unwrap_used)]

use std::{future::pending, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use rollcall_proto::{clock::ManualClock, id::ConnectionNo};
use rollcall_store::{board::Board, district::ConnectionSecrets};
use serde_json::json;

use super::*;
use crate::{
    auth::Credentials,
    net::{Http, HttpConfig, Transport},
    session::Shared,
};

/// Page 2 comes short by a row, for which nobody is told anything.
#[derive(Debug)]
struct Short;

impl Transport for Short {
    fn exchange(&self, request: reqwest::Request) -> BoxFuture<'_, Result<Reply, SisError>> {
        let asks = |pair: &str| request.url().query().is_some_and(|query| query.contains(pair));
        let body = if request.url().path().ends_with("token") {
            r#"{"access_token": "first"}"#
        } else if asks("offset=2") {
            r#"{"users": [{"sourcedId": "3"}]}"#
        } else {
            return pending().boxed();
        };
        let reply = Reply {
            status: 200,
            content_type: Some("application/json".to_owned()),
            retry_after: None,
            date: None,
            total_count: Some("6".to_owned()),
            link: None,
            cache_control: None,
            body: Bytes::from_static(body.as_bytes()),
            room: Taken::default(),
        };
        async { Ok(reply) }.boxed()
    }
}

#[tokio::test]
async fn a_page_is_handed_in_short_when_there_is_no_time_left_for_what_it_lacks() {
    let connection = json!({"kind": "oneroster", "base_url": "https://sis.example", "token_url": "https://sis.example/token", "client_id": "c", "page_size": 2});
    let credentials = Credentials {
        district: "d".parse().unwrap(),
        number: ConnectionNo(0),
        connection: Arc::new(serde_json::from_value(connection).unwrap()),
        secrets: Arc::new(ConnectionSecrets { client_secret: "secret".into(), ..ConnectionSecrets::default() }),
    };
    let http = Http::new(HttpConfig::default()).unwrap().over(Arc::new(Short));
    let clock = ManualClock::new(DateTime::from_timestamp(1_760_000_000, 0).unwrap());
    let source = OneRoster::new(Session::new(Shared::new(http, Arc::new(clock)), credentials));
    let mut listing = Board::new(vec![Ask { resource: USERS.to_owned(), ..Ask::default() }], 1).listings.remove(0);
    listing.page_size = 2;
    let now = Instant::now();
    let reply = source.whole_page(&listing, PageNo(2), now).await.unwrap();
    let facts = source.facts(&listing, PageNo(2), &reply).unwrap();
    assert_eq!(facts.rows, 1, "{facts:?}");
}
