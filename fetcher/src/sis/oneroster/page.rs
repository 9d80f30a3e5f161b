//! What a page tells about its listing, without reading its rows (wire page 1.4). Pure.
//!
//! `X-Total-Count` and `Link` are optional. A listing ends at a page without rows; where `Link` tells of pages, at the page that
//! has no `next`; and with a total at a page that reaches it, with fewer rows than were asked for, once page 1 has told how many a
//! page really holds. A total that says otherwise keeps the listing open, so that half of it never looks like the whole; where
//! nothing of all this is told, only a page without rows ends it.
//!
//! A `next` that counts rows like us is only looked at; one that does not (a cursor) is followed, within the same origin.
//!
//! Pages stand where so many whole ones end. One behind the first that [lacks] rows, and says that there are more, is filled up
//! with those behind its last, as whoever follows `next` would get them: what still lacks some is said to be short.

use std::collections::{BTreeMap, HashSet};

use rollcall_store::board::PageFacts;
use serde::Deserialize;
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
    /// How it is reached.
    pub(super) place: Place,
    /// Rows before this page.
    pub(super) offset: u64,
    /// Rows asked for.
    pub(super) size: u32,
}

/// How a page is reached, and those behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is page 1, which tells how many rows a page holds.
    First,
    /// By a cursor: the next begins wherever the server says.
    Led,
    /// By counting rows, one page after another: the next begins where a whole one ends, unless a cursor is named.
    Counted,
    /// By counting rows, in any order: the next begins where a whole one ends.
    AnyOrder,
}

impl Place {
    const fn is_counted(self) -> bool {
        matches!(self, Self::Counted | Self::AnyOrder)
    }
}

/// Rows of a page that are to be asked for by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    /// Rows before them.
    pub(super) offset: u64,
    /// How many.
    pub(super) size: u32,
}

/// What a page lacks that came short in the middle of its listing, where the SIS counts rows as we do: its `next` leads to the
/// row behind its last one, its total is not reached, or it tells neither. What cannot be read lacks nothing.
pub(super) fn lacks(asked: Asked<'_>, reply: &Reply) -> Option<Rest> {
    if !asked.place.is_counted() {
        return None;
    }
    // Most pages are told to be whole by their headers: the rows of the others are counted.
    let tells = reply.link.as_deref().and_then(|header| link(header, "next"));
    let whole = asked.offset + u64::from(asked.size);
    let next = tells.and_then(|target| asked.url.join(target).ok());
    if next.is_some_and(|url| offset_of(&url) == Some(whole)) {
        return None;
    }
    let looked = look(asked, reply).ok()?;
    let follows = looked.is_short(asked) && !matches!(looked.next, Next::Cursor(_));
    let held = u64::from(looked.rows.number);
    follows.then(|| Rest { offset: asked.offset + held, size: asked.size - looked.rows.number })
}

/// A page and what it [lacks] as one answer. `None` where this is not what was asked for: it holds nothing, more rows than it was
/// asked for, or some that were there before.
pub(super) fn joined(asked: Asked<'_>, page: &Reply, rest: Rest, part: Reply) -> Result<Option<Reply>, SisError> {
    let raw = |reply| rows_of(asked.envelope, asked.what, json_of(asked.what, reply)?);
    let texts = [raw(page)?, raw(&part)?];
    let keys = |raw| serde_json::from_str::<Vec<Keyed<'_>>>(raw).map_err(|error| unreadable(asked.what, &error));
    let (held, more) = (keys(texts[0])?, keys(texts[1])?);
    let known: HashSet<&str> = held.iter().filter_map(Keyed::key).collect();
    let again = more.iter().filter_map(Keyed::key).any(|key| known.contains(key));
    if more.is_empty() || more.len() > rest.size as usize || again {
        return Ok(None);
    }
    let [first, second] =
        texts.map(|raw| raw.strip_prefix('[').and_then(|raw| raw.strip_suffix(']')).unwrap_or_default());
    let name = asked.envelope.first().copied().unwrap_or_default();
    let body = format!(r#"{{"{name}":[{first},{second}]}}"#).into();
    let room = if page.room.is_large() { page.room.clone() } else { part.room };
    let total_count = page.total_count.clone();
    Ok(Some(Reply { total_count, body, room, ..part }))
}

/// A row of which only the key is read.
#[derive(Deserialize)]
struct Keyed<'a> {
    #[serde(rename = "sourcedId", borrow)]
    key: Option<&'a RawValue>,
}

impl<'a> Keyed<'a> {
    fn key(&self) -> Option<&'a str> {
        self.key.map(RawValue::get)
    }
}

/// A page as far as its rows, its total and its `next` go.
struct Looked<'a> {
    raw: &'a str,
    rows: Rows<'a>,
    total: Option<i64>,
    next: Next,
}

fn look<'a>(asked: Asked<'_>, reply: &'a Reply) -> Result<Looked<'a>, SisError> {
    let raw = rows_of(asked.envelope, asked.what, json_of(asked.what, reply)?)?;
    let rows: Rows<'_> = serde_json::from_str(raw).map_err(|error| unreadable(asked.what, &error))?;
    let next = next_of(asked, rows.number, reply)?;
    Ok(Looked { raw, rows, total: total_of(reply), next })
}

impl Looked<'_> {
    /// The total, where there is one, says that there are no more.
    fn reaches_total(&self, asked: Asked<'_>) -> bool {
        let read = i64::try_from(asked.offset).unwrap_or(i64::MAX).saturating_add(i64::from(self.rows.number));
        self.total.is_none_or(|total| read >= total)
    }

    /// It lacks rows that it says to be there, and the page behind it begins behind them.
    fn is_short(&self, asked: Asked<'_>) -> bool {
        let leads_on = match &self.next {
            Next::Counted => true,
            Next::None => !self.reaches_total(asked),
            // Whether there are more, nobody says: the page behind it will.
            Next::Untold => self.total.is_none() || !self.reaches_total(asked),
            // A server that counts what it was asked for, whatever it shows of it, counts as we do.
            Next::Cursor(url) => {
                asked.place == Place::AnyOrder && offset_of(url) != Some(asked.offset + u64::from(asked.size))
            }
        };
        asked.place.is_counted() && leads_on && self.rows.number > 0 && self.rows.number < asked.size
    }
}

fn total_of(reply: &Reply) -> Option<i64> {
    let total = reply.total_count.as_deref().and_then(|total| total.trim().parse::<i64>().ok());
    total.filter(|total| *total >= 0)
}

fn offset_of(url: &Url) -> Option<u64> {
    let offset = url.query_pairs().find(|(name, _)| name == "offset");
    offset.and_then(|(_, value)| value.parse::<u64>().ok())
}

/// Reads the facts of a page.
pub(super) fn facts(asked: Asked<'_>, reply: &Reply) -> Result<PageFacts, SisError> {
    let looked = look(asked, reply)?;
    let (rows, digest) = (looked.rows.number, looked.rows.digest(looked.raw.as_bytes()));
    let (reached, short) = (looked.reaches_total(asked), looked.is_short(asked));
    let Looked { total, next, .. } = looked;
    let full = rows >= asked.size;
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
                // Where nobody says that it is the end, only a page without rows is one: half a listing would be lost behind
                // a page that came short in its middle.
                Next::Untold => asked.page > 1 && !full && reached && (total.is_some() || asked.place == Place::Led),
            },
        past_end: rows == 0 && !hollow,
        total,
        random_access: full && cursor.is_none(),
        cursor,
        digest: Some(digest),
        hollow,
        short,
    })
}

/// The rows' text. Servers differ in the envelope's key (`/schools` answers with `orgs`).
pub(super) fn rows_of<'a>(envelope: &[&str], what: &str, body: &'a [u8]) -> Result<&'a str, SisError> {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_slice(body).map_err(|error| unreadable(what, &error))?;
    let named = |name: &&str| members.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
    let found = envelope.iter().find_map(named).map(|(_, raw)| raw.get());
    found.ok_or_else(|| SisError::Unreadable {
        what: what.to_owned(),
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
    // An empty page leads on by as many rows as were asked for; to itself is nowhere.
    let next = asked.offset + u64::from(if rows == 0 { asked.size } else { rows });
    Ok(match offset_of(&url) {
        Some(offset) if offset == next && asked.place != Place::Led => Next::Counted,
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
        facts(Asked { page, offset, size: 2, ..asked(&url) }, &reply(&body(rows), total, link))
    }

    fn asked(url: &Url) -> Asked<'_> {
        let place = Place::Counted;
        Asked { url, what: "users", envelope: &["users", "user"], page: 2, place, offset: 50, size: 50 }
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
            (2, 1, None, None, (false, false)),
            (2, 2, None, None, (false, false)),
            (2, 0, None, None, (false, true)),
            // A total that is not reached keeps the listing open, one that is reached ends it with a short page only.
            (2, 1, Some("9"), None, (false, false)),
            (2, 1, Some("3"), None, (true, false)),
            (2, 2, Some("4"), None, (false, false)),
            (1, 1, Some("1"), None, (false, false)),
            (2, 1, Some("-1"), None, (false, false)),
            (2, 1, Some("many"), None, (false, false)),
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
            (2, 1, None, Some(styles.clone()), (false, false)),
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
    fn what_a_page_lacks() {
        let url = Url::parse("https://x.example/v1p2/users?limit=50&offset=50").unwrap();
        let next = |offset: u32| Some(format!("</v1p2/users?offset={offset}&limit=50>; rel=\"next\""));
        let cursor = Some("</v1p2/users?after=xyz>; rel=next".to_owned());
        let first = Some("</v1p2/users?offset=0>; rel=first".to_owned());
        // (place, rows of 50 asked for, total, link) → (short, rows of it that can be asked for)
        let cases = [
            (Place::AnyOrder, 45, None, next(95), (true, Some(5))),
            (Place::Counted, 45, None, next(95), (true, Some(5))),
            (Place::AnyOrder, 45, Some("200"), next(95), (true, Some(5))),
            (Place::AnyOrder, 1, Some("200"), None, (true, Some(49))),
            (Place::AnyOrder, 45, Some("200"), first.clone(), (true, Some(5))),
            // The end, and whole pages.
            (Place::AnyOrder, 45, Some("95"), None, (false, None)),
            (Place::AnyOrder, 45, Some("95"), first.clone(), (false, None)),
            // Nobody tells whether it is the end.
            (Place::AnyOrder, 45, None, None, (true, Some(5))),
            (Place::Counted, 45, None, None, (true, Some(5))),
            (Place::Led, 45, None, None, (false, None)),
            (Place::AnyOrder, 45, None, first, (false, None)),
            (Place::AnyOrder, 50, Some("200"), next(100), (false, None)),
            (Place::AnyOrder, 50, Some("200"), None, (false, None)),
            (Place::AnyOrder, 51, Some("200"), None, (false, None)),
            // Hollow.
            (Place::AnyOrder, 0, Some("200"), next(100), (false, None)),
            // It counts what was asked for.
            (Place::AnyOrder, 45, None, next(100), (false, None)),
            // It leads where nobody who counts gets.
            (Place::AnyOrder, 45, None, cursor.clone(), (true, None)),
            (Place::AnyOrder, 45, None, next(97), (true, None)),
            // Followed.
            (Place::Counted, 45, None, cursor.clone(), (false, None)),
            (Place::Led, 45, None, next(95), (false, None)),
            (Place::Led, 45, Some("200"), cursor, (false, None)),
            // The first page tells how many rows a page holds.
            (Place::First, 45, Some("200"), next(95), (false, None)),
        ];
        for (place, rows, total, link, expected) in cases {
            let (asked, reply) = (Asked { place, ..asked(&url) }, reply(&body(rows), total, link.as_deref()));
            let rest = expected.1.map(|size| Rest { offset: 50 + rows as u64, size });
            let what = format!("{place:?}, {rows} rows, {total:?}, {link:?}");
            assert_eq!(facts(asked, &reply).unwrap().short, expected.0, "{what}");
            assert_eq!(lacks(asked, &reply), rest, "{what}");
        }
        assert_eq!(lacks(asked(&url), &reply("<html>", Some("200"), None)), None, "what cannot be read");
    }

    #[test]
    fn a_page_and_what_it_lacks_make_one() {
        let url = Url::parse("https://x.example/v1p2/users?limit=50&offset=50").unwrap();
        let page = reply(
            r#"{"users": [ {"sourcedId":"a","x":[1]}, {"sourcedId":"b"} ]}"#,
            Some("9"),
            Some("</?offset=52>; rel=next"),
        );
        let rest = Rest { offset: 52, size: 2 };
        let with = |body: &str| joined(asked(&url), &page, rest, reply(body, Some("8"), None));
        let whole = with(r#"{"user":[{"sourcedId":"c"},{"x":[2]}]}"#).unwrap().unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&whole.body).unwrap();
        let expected = serde_json::json!({"users": [{"sourcedId": "a", "x": [1]}, {"sourcedId": "b"}, {"sourcedId": "c"}, {"x": [2]}]});
        assert_eq!((rows, whole.total_count.as_deref(), whole.link), (expected, Some("9"), None));
        for other in [
            r#"{"users":[]}"#,
            r#"{"users":[{"sourcedId":"c"},{"sourcedId":"b"}]}"#,
            r#"{"users":[{"sourcedId":"c"},{"sourcedId":"d"},{"sourcedId":"e"}]}"#,
        ] {
            assert_eq!(with(other).unwrap().map(|reply| reply.body), None, "{other}");
        }
        for broken in ["<html>", "{}", r#"{"users":{}}"#, r#"{"users":["Zebra"#] {
            let error = with(broken).unwrap_err();
            assert!(!error.explain().contains("Zebra"), "{error}");
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
        let asked = Asked { page: 1, offset: 0, size: 2, ..asked(&url) };
        for body in [r#"{"error":"Zebra"}"#, r#"{"users":{"Zebra":1}}"#, r#"{"users":["Zebra""#, "[1]", "{}"] {
            let error = facts(asked, &reply(body, None, None)).unwrap_err();
            assert!(matches!(error, SisError::Unreadable { .. }), "{body}: {error:?}");
            assert!(!error.explain().contains("Zebra"), "{error}");
        }
        let html = facts(asked, &reply("<html>Zebra", None, None)).unwrap_err();
        assert!(matches!(html, SisError::NotJson { .. }), "{html:?}");
    }
}
