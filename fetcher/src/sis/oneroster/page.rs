//! What a page tells about its listing, without reading its rows (wire page 1.4). Pure.
//!
//! `X-Total-Count` and `Link` are optional. A listing ends at a page without rows; where `Link` tells of pages, at the page that
//! has no `next`; and otherwise at a page with fewer rows than were asked for, once page 1 has told how many a page really
//! holds. A total that says otherwise keeps the listing open, so that half of it never looks like the whole.
//!
//! A `next` that counts rows like us is only looked at; one that does not (a cursor) is followed, within the same origin.

use std::collections::BTreeMap;

use rollcall_store::board::PageFacts;
use serde_json::value::RawValue;
use url::Url;

use crate::{
    error::SisError,
    net::Reply,
    sis::body::{Rows, json_of, unreadable},
};

/// A page asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The URL asked.
    pub(super) url: &'a Url,
    /// What was asked for, for messages.
    pub(super) what: &'a str,
    /// Keys under which the rows may stand.
    pub(super) envelope: &'a [&'a str],
    /// Page, from 1.
    pub(super) page: u32,
    /// Rows before this page.
    pub(super) offset: u64,
    /// Rows asked for.
    pub(super) size: u32,
}

/// Reads the facts of a page.
pub(super) fn facts(asked: Asked<'_>, reply: &Reply) -> Result<PageFacts, SisError> {
    let body = json_of(asked.what, reply)?;
    let raw = rows_of(asked, body)?;
    let found: Rows<'_> = serde_json::from_str(raw).map_err(|error| unreadable(asked.what, &error))?;
    let (rows, digest) = (found.number, found.digest(raw.as_bytes()));
    let total = reply.total_count.as_deref().and_then(|total| total.trim().parse::<i64>().ok());
    let total = total.filter(|total| *total >= 0);
    let next = next_of(asked, rows, reply)?;
    let full = rows >= asked.size;
    let read = i64::try_from(asked.offset).unwrap_or(i64::MAX).saturating_add(i64::from(rows));
    let reached = total.is_none_or(|total| read >= total);
    let cursor = match &next {
        Next::Cursor(url) => Some(url.to_string()),
        _ => None,
    };
    // Empty, and leads on: the page behind decides, as it does where a server always announces more.
    let hollow = rows == 0 && matches!(next, Next::Counted | Next::Cursor(_));
    Ok(PageFacts {
        rows,
        last: rows > 0
            && match next {
                Next::Counted | Next::Cursor(_) => false,
                Next::None => reached,
                Next::Untold => asked.page > 1 && !full && reached,
            },
        past_end: rows == 0 && !hollow,
        total,
        random_access: full && cursor.is_none(),
        cursor,
        digest: Some(digest),
        hollow,
    })
}

/// The rows' text. Servers differ in the envelope's key (`/schools` answers with `orgs`).
pub(super) fn rows_of<'a>(asked: Asked<'_>, body: &'a [u8]) -> Result<&'a str, SisError> {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_slice(body).map_err(|error| unreadable(asked.what, &error))?;
    let named = |name: &&str| members.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
    let found = asked.envelope.iter().find_map(named).map(|(_, raw)| raw.get());
    found.ok_or_else(|| SisError::Unreadable {
        what: asked.what.to_owned(),
        problem: "it holds none of the lists that were asked for",
        line: 1,
        column: 1,
    })
}

/// What `Link` says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// Nothing of pages: there is no such header, or one of other things (a proxy's `preload`).
    Untold,
    /// It tells of pages, and names no next one.
    None,
    /// The next page begins where this one ends.
    Counted,
    /// The next page is behind a URL of the server's own making.
    Cursor(Url),
}

fn next_of(asked: Asked<'_>, rows: u32, reply: &Reply) -> Result<Next, SisError> {
    let Some(header) = &reply.link else { return Ok(Next::Untold) };
    let Some(target) = link(header, "next") else {
        let tells_of_pages =
            ["prev", "previous", "first", "last"].iter().any(|relation| link(header, relation).is_some());
        return Ok(if tells_of_pages { Next::None } else { Next::Untold });
    };
    let elsewhere = || SisError::NextElsewhere { what: asked.what.to_owned() };
    let url = asked.url.join(target).map_err(|_| elsewhere())?;
    if url.origin() != asked.url.origin() {
        return Err(elsewhere());
    }
    let offset = url.query_pairs().find(|(name, _)| name == "offset");
    let offset = offset.and_then(|(_, value)| value.parse::<u64>().ok());
    // An empty page leads on by as many rows as were asked for; to itself is nowhere.
    let next = asked.offset + u64::from(if rows == 0 { asked.size } else { rows });
    Ok(match offset {
        Some(offset) if offset == next => Next::Counted,
        Some(offset) if rows == 0 && offset == asked.offset => Next::None,
        _ => Next::Cursor(url),
    })
}

/// The target of a relation in a `Link` header (RFC 8288): `<url>; rel="next", …`.
fn link<'a>(header: &'a str, relation: &str) -> Option<&'a str> {
    header.split('<').skip(1).find_map(|part| {
        let (target, parameters) = part.split_once('>')?;
        let is_it = parameters.split([';', ',']).any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else { return false };
            let relations = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && relations.split_whitespace().any(|own| own.eq_ignore_ascii_case(relation))
        });
        is_it.then(|| target.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &str, total: Option<&str>, link: Option<&str>) -> Reply {
        Reply {
            status: 200,
            content_type: Some("application/json".to_owned()),
            retry_after: None,
            date: None,
            total_count: total.map(str::to_owned),
            link: link.map(str::to_owned),
            cache_control: None,
            body: body.to_owned().into(),
            room: crate::net::room::Taken::default(),
        }
    }

    fn body(rows: usize) -> String {
        format!(r#"{{"users":[{}]}}"#, vec![r#"{"sourcedId":"a"}"#; rows].join(","))
    }

    fn read(page: u32, rows: usize, total: Option<&str>, link: Option<&str>) -> Result<PageFacts, SisError> {
        let url = Url::parse("https://x.example/v1p2/users?limit=2&offset=0").unwrap();
        let offset = u64::from(page - 1) * 2;
        let asked = Asked { url: &url, what: "users", envelope: &["users", "user"], page, offset, size: 2 };
        facts(asked, &reply(&body(rows), total, link))
    }

    #[test]
    fn the_stop_rules() {
        let next = |offset: u32| format!("<https://x.example/v1p2/users?offset={offset}&limit=2>; rel=\"next\"");
        let first = "</v1p2/users?offset=0>; rel=\"first\"".to_owned();
        let styles = "</next.css>; rel=preload; as=style".to_owned();
        // (page, rows of 2 asked for, total, link) → (last, past the end)
        let cases = [
            (1, 2, None, None, (false, false)),
            (1, 1, None, None, (false, false)),
            (2, 1, None, None, (true, false)),
            (2, 2, None, None, (false, false)),
            (2, 0, None, None, (false, true)),
            // A total that is not reached keeps the listing open, one that is reached ends it with a short page only.
            (2, 1, Some("9"), None, (false, false)),
            (2, 1, Some("3"), None, (true, false)),
            (2, 2, Some("4"), None, (false, false)),
            (1, 1, Some("1"), None, (false, false)),
            (2, 1, Some("-1"), None, (true, false)),
            (2, 1, Some("many"), None, (true, false)),
            // Where links are sent, the last page is the one without a next.
            (1, 2, None, Some(next(2)), (false, false)),
            (1, 1, None, Some(next(1)), (false, false)),
            (1, 2, None, Some(first.clone()), (true, false)),
            (1, 1, Some("1"), Some(first.clone()), (true, false)),
            (1, 2, Some("5"), Some(first.clone()), (false, false)),
            // Empty, and leads on, or only to itself.
            (2, 0, Some("5"), Some(next(4)), (false, false)),
            (2, 0, None, Some("</v1p2/users?after=xyz>; rel=next".to_owned()), (false, false)),
            (2, 0, Some("5"), Some(next(2)), (false, true)),
            (2, 0, None, Some(first.clone()), (false, true)),
            (2, 2, None, Some("</v1p2/users?offset=0>; rel=\"prev\"".to_owned()), (true, false)),
            (1, 2, None, Some("</v1p2/users?offset=0>; rel=last".to_owned()), (true, false)),
            // A header that says nothing of pages is none.
            (1, 2, None, Some(styles.clone()), (false, false)),
            (1, 1, None, Some(styles.clone()), (false, false)),
            (2, 2, None, Some(styles.clone()), (false, false)),
            (2, 1, None, Some(styles.clone()), (true, false)),
            (2, 1, Some("9"), Some(styles.clone()), (false, false)),
            (2, 2, None, Some(format!("{styles}, {first}")), (true, false)),
        ];
        for (page, rows, total, link, expected) in cases {
            let facts = read(page, rows, total, link.as_deref()).unwrap();
            assert_eq!((facts.last, facts.past_end), expected, "page {page}, {rows} rows, {total:?}, {link:?}");
            assert_eq!((facts.rows as usize, facts.hollow), (rows, rows == 0 && !facts.past_end));
        }
    }

    #[test]
    fn a_clamped_first_page_loses_random_access() {
        assert!(read(1, 2, Some("9"), None).unwrap().random_access);
        assert!(!read(1, 1, Some("9"), None).unwrap().random_access);
    }

    #[test]
    fn a_next_that_does_not_count_rows_is_followed_within_the_origin() {
        let facts =
            read(1, 2, None, Some("</v1p2/users?after=xyz>; rel=next; title=\"a, b\", </>; rel=first")).unwrap();
        assert_eq!(facts.cursor.as_deref(), Some("https://x.example/v1p2/users?after=xyz"));
        assert!(!facts.random_access && !facts.last);
        for elsewhere in ["https://evil.example/v1p2/users?offset=2", "http://x.example/users", "//evil.example/"] {
            let result = read(1, 2, None, Some(&format!("<{elsewhere}>; rel=\"next\"")));
            assert_eq!(result, Err(SisError::NextElsewhere { what: "users".to_owned() }), "{elsewhere}");
        }
    }

    #[test]
    fn what_is_no_page_is_named_without_its_content() {
        let url = Url::parse("https://x.example/").unwrap();
        let asked = Asked { url: &url, what: "users", envelope: &["users"], page: 1, offset: 0, size: 2 };
        for body in [r#"{"error":"Zebra"}"#, r#"{"users":{"Zebra":1}}"#, r#"{"users":["Zebra""#, "[1]", "{}"] {
            let error = facts(asked, &reply(body, None, None)).unwrap_err();
            assert!(matches!(error, SisError::Unreadable { .. }), "{body}: {error:?}");
            assert!(!error.explain().contains("Zebra"), "{error}");
        }
        let html = facts(asked, &reply("<html>Zebra", None, None)).unwrap_err();
        assert!(matches!(html, SisError::NotJson { .. }), "{html:?}");
    }
}
