//! A unit of work ends, whatever a page waits for.
#![allow(clippy::unwrap_used)]

use std::future::pending;

use async_trait::async_trait;
use rollcall_proto::{clock::SystemClock, id::ListingNo};
use rollcall_store::{Store, board::Board, secret::Keyring};

use super::*;
use crate::{net::HttpConfig, sis::Found, turn::Turn};

/// Answers its first page, and never the second.
#[derive(Debug)]
struct OnePage;

#[async_trait]
impl Source for OnePage {
    async fn discover(&self, _: &Turn<'_>) -> Result<Found, SisError> {
        pending().await
    }

    async fn page(&self, _: &Listing, page: PageNo) -> Result<Reply, SisError> {
        if page.0 > 1 {
            return pending().await;
        }
        Ok(Reply {
            status: 200,
            content_type: None,
            retry_after: None,
            date: None,
            total_count: None,
            link: None,
            cache_control: None,
            body: Bytes::from_static(b"{}"),
            room: Taken::default(),
        })
    }

    fn facts(&self, _: &Listing, _: PageNo, _: &Reply) -> Result<PageFacts, SisError> {
        Ok(PageFacts { rows: 1, ..PageFacts::default() })
    }
}

#[tokio::test]
async fn a_page_that_is_not_there_in_time_is_nobodys_failure_and_the_others_count() {
    let dir = tempfile::tempdir().unwrap();
    let key = Keyring::create_file(&dir.path().join("key")).unwrap();
    let store = Store::open_embedded(dir.path(), key).await.unwrap();
    let mut board =
        Board::new(vec![rollcall_store::board::Ask { resource: "users".to_owned(), ..Default::default() }], 1);
    board.deal(SystemClock.now());
    let listing = &board.listings[0];
    let earlier = Earlier::default();
    let digester = store.page_digester(&"d".parse().unwrap());
    let http = Http::new(HttpConfig::default()).unwrap();
    let hand = |page, pages| Hand {
        source: &OnePage,
        connection: ConnectionNo(0),
        listing,
        dealt: Dealt { listing: ListingNo(0), page: PageNo(page), pages, at: SystemClock.now(), waited: 0 },
        clock: &SystemClock,
        before: Before { earlier: &earlier, digester: &digester, sis: SisKind::OneRoster },
        ends_at: Instant::now(),
        http: &http,
    };
    for (page, pages, came) in [(1, 2, 1), (2, 1, 0)] {
        let walked = hand(page, pages).walk().await.unwrap();
        assert_eq!(walked.pages.len(), came);
        let error = walked.trouble.unwrap().error;
        assert_eq!(error, SisError::OutOfTime { what: "users page 2".to_owned() });
        assert_eq!(error.remedy(), crate::error::Remedy::Wait(Duration::from_secs(5)), "no attempt is used up");
    }
}
