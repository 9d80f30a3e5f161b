//! What a page tells about its listing, without reading its rows. Pure.
//!
//! A listing ends where `Paging.Next` is empty, leads to the same page or an earlier one, or where a page holds nothing
//! (wire/skyward.md A2). Two of these are looked at twice, since half a listing must not look like a whole one: a full
//! page whose `Next` leads back may be a server that serves one page for ever, and a first page without any `Next` may be
//! a server that never sends it. There the page behind decides: empty, or the same rows again. So it does behind an empty page
//! whose `Next` leads on: a server that always announces more shows nothing there either, and what else is there is not to be lost.

use rollcall_store::board::PageFacts;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

pub(super) use crate::sis::body::{json_of, unreadable};
use crate::{error::SisError, net::Reply, sis::body::Rows};

/// A page asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The configured base URL.
    pub(super) base: &'a Url,
    /// What was asked for, for messages.
    pub(super) what: &'a str,
    /// Page, from 1.
    pub(super) page: u32,
    /// Rows asked for.
    pub(super) size: u32,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "Paging", default)]
    paging: Option<Map<String, Value>>,
    #[serde(rename = "Objects", borrow)]
    objects: Rows<'a>,
}

/// Reads the facts of a page.
pub(super) fn facts(asked: Asked<'_>, reply: &Reply) -> Result<PageFacts, SisError> {
    let body = json_of(asked.what, reply)?;
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|error| unreadable(asked.what, &error))?;
    let (rows, digest) = (envelope.objects.number, envelope.objects.digest(body));
    let paging = envelope.paging.unwrap_or_default();
    let more = next_of(asked, &paging)?;
    let full = rows >= asked.size;
    let hollow = rows == 0 && more == More::Yes;
    Ok(PageFacts {
        rows,
        last: match more {
            More::No => true,
            More::Yes => false,
            More::Back => !full,
            More::Untold => asked.page > 1 && !full,
        },
        past_end: rows == 0 && !hollow,
        // Pages are asked for by their number: the next one begins behind this one, however many rows it holds.
        short: false,
        total: total_of(&paging),
        random_access: full,
        cursor: None,
        digest: Some(digest),
        hollow,
    })
}

/// What `Paging.Next` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Yes,
    No,
    /// To this page or an earlier one.
    Back,
    Untold,
}

fn next_of(asked: Asked<'_>, paging: &Map<String, Value>) -> Result<More, SisError> {
    let next = match paging.get("Next") {
        Some(Value::String(next)) if !next.trim().is_empty() => next.trim(),
        Some(Value::String(_) | Value::Null) => return Ok(More::No),
        // What is no link says nothing of whether there is more.
        None | Some(_) => return Ok(More::Untold),
    };
    let elsewhere = || SisError::NextElsewhere { what: asked.what.to_owned() };
    let target = asked.base.join(next).map_err(|_| elsewhere())?;
    if target.origin() != asked.base.origin() {
        return Err(elsewhere());
    }
    let back = page_in(&target).is_some_and(|page| page <= asked.page);
    Ok(if back { More::Back } else { More::Yes })
}

/// The page that a listing's URL asks for: the last segment but one, before the page size.
fn page_in(url: &Url) -> Option<u32> {
    let mut segments = url.path_segments()?.rev().filter(|segment| !segment.is_empty());
    segments.next()?.parse::<u32>().ok()?;
    segments.next()?.parse().ok()
}

/// A total, under whatever name it stands: the name is not public.
fn total_of(paging: &Map<String, Value>) -> Option<i64> {
    let named = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.contains("total") && !name.contains("page")
    };
    paging.iter().find(|(name, _)| named(name))?.1.as_i64().filter(|total| *total >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &str) -> Reply {
        Reply {
            status: 200,
            content_type: Some("text/html; charset=utf-8".to_owned()),
            retry_after: None,
            date: None,
            total_count: None,
            link: None,
            cache_control: None,
            body: body.to_owned().into(),
            room: crate::net::room::Taken::default(),
        }
    }

    fn read(page: u32, size: u32, body: &str) -> Result<PageFacts, SisError> {
        let base = Url::parse("https://x.example/XAPI").unwrap();
        facts(Asked { base: &base, what: "it", page, size }, &reply(body))
    }

    fn page(next: &str, rows: usize) -> String {
        let rows = vec![r#"{"A":1}"#; rows].join(",");
        format!(r#"{{"Paging":{{{next}}},"Objects":[{rows}]}}"#)
    }

    #[test]
    fn the_stop_rules() {
        // (page, Next, rows of 2 asked for) → (last, past the end)
        let cases = [
            (1, r#""Next":"/Custom/1/M/O/2/2""#, 2, (false, false)),
            (1, r#""Next":null"#, 2, (true, false)),
            (1, r#""Next":"""#, 2, (true, false)),
            (1, r#""Next":" ""#, 1, (true, false)),
            (3, r#""Next":"/Custom/1/M/O/3/2""#, 1, (true, false)),
            (3, r#""Next":"/Custom/1/M/O/2/2""#, 1, (true, false)),
            (3, r#""Next":"/Custom/1/M/O/3/2""#, 2, (false, false)),
            (3, r#""Next":"/Custom/1/M/O/4/2?SchoolYearID=7""#, 2, (false, false)),
            (3, r#""Next":"Custom/1/M/O/4/2/""#, 2, (false, false)),
            (1, "", 2, (false, false)),
            (1, "", 1, (false, false)),
            (1, r#""Next":false"#, 2, (false, false)),
            (1, r#""Next":{"Page":2}"#, 2, (false, false)),
            (2, r#""Next":0"#, 1, (true, false)),
            (2, "", 1, (true, false)),
            (2, "", 0, (true, true)),
            (2, r#""Next":"/Custom/1/M/O/2/2""#, 0, (true, true)),
            (2, r#""Next":null"#, 0, (true, true)),
            // Empty, and leads on.
            (2, r#""Next":"/Custom/1/M/O/3/2""#, 0, (false, false)),
            (1, r#""Next":"/Custom/1/M/O/2/2""#, 0, (false, false)),
        ];
        for (number, next, rows, expected) in cases {
            let facts = read(number, 2, &page(next, rows)).unwrap();
            assert_eq!((facts.last, facts.past_end), expected, "page {number}, {next:?}, {rows} rows");
            assert_eq!((facts.rows, facts.hollow), (rows as u32, rows == 0 && expected == (false, false)));
        }
    }

    #[test]
    fn a_short_first_page_loses_random_access() {
        assert!(read(1, 2, &page(r#""Next":"/1/2""#, 2)).unwrap().random_access);
        assert!(!read(1, 5, &page(r#""Next":"/2/2""#, 2)).unwrap().random_access);
    }

    #[test]
    fn next_never_leaves_the_origin() {
        for next in
            ["https://evil.example/XAPI/2/2", "http://x.example/2/2", "//evil.example/2/2", "https://x.example:444/2/2"]
        {
            let result = read(1, 2, &page(&format!(r#""Next":"{next}""#), 2));
            assert_eq!(result, Err(SisError::NextElsewhere { what: "it".to_owned() }), "{next}");
        }
        assert!(!read(1, 2, &page(r#""Next":"https://x.example/XAPI/Custom/1/M/O/2/2""#, 2)).unwrap().last);
    }

    #[test]
    fn a_total_is_found_under_any_name() {
        for (paging, total) in [
            (r#""TotalCount":7"#, Some(7)),
            (r#""total":0"#, Some(0)),
            (r#""TotalPages":3"#, None),
            (r#""TotalCount":-1"#, None),
            (r#""TotalCount":"7""#, None),
        ] {
            assert_eq!(read(1, 2, &page(paging, 1)).unwrap().total, total, "{paging}");
        }
    }

    #[test]
    fn equal_rows_have_equal_digests_whatever_next_says() {
        let digest = |next, rows| read(1, 2, &page(next, rows)).unwrap().digest;
        assert_eq!(digest(r#""Next":"/2/2""#, 2), digest(r#""Next":"/3/2""#, 2));
        assert_ne!(digest(r#""Next":"/2/2""#, 2), digest(r#""Next":"/2/2""#, 1));
    }

    #[test]
    fn what_is_no_page_is_named_without_its_content() {
        let secret = "Zebra";
        let html = read(1, 2, &format!("<html>{secret}</html>")).unwrap_err();
        assert_eq!(html, SisError::NotJson { what: "it".to_owned(), content_type: "text/html".to_owned() });
        let cut = page(r#""Next":null"#, 2);
        let texts = [
            &cut[..cut.len() - 4],
            r#"{"Objects":{"LastName":"Zebra"}}"#,
            r#"{"error":"Zebra"}"#,
            r#"{"Objects":["Zebra" "Zebra"]}"#,
        ];
        for text in texts {
            let error = read(1, 2, text).unwrap_err();
            assert!(matches!(error, SisError::Unreadable { .. }), "{error:?}");
            assert!(!error.explain().contains(secret), "{error}");
        }
        assert!(matches!(read(1, 2, ""), Err(SisError::NotJson { .. })));
    }

    #[test]
    fn a_byte_order_mark_is_no_obstacle() {
        assert_eq!(read(1, 2, &format!("\u{feff}{}", page("", 2))).unwrap().rows, 2);
    }
}
