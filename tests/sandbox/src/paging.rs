//! Which rows a page holds, and what it says of the next one. Pure: the quirks of paging live here.

use std::ops::Range;

use crate::quirks::{NextStyle, ObjectPage, PagingQuirks, PastEnd};

/// A page asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageCall<'a> {
    /// Name of the object.
    pub(crate) object: &'a str,
    /// From 1.
    pub(crate) page: u64,
    /// As asked for.
    pub(crate) size: usize,
    /// Path of the listing, without page and size, from the base URL on.
    pub(crate) path: &'a str,
    /// Query string of the call.
    pub(crate) query: &'a str,
}

/// What the page holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Rows, by place in the listing.
    pub(crate) rows: Range<usize>,
    /// `Paging.Next`; `None` leaves it null.
    pub(crate) next: Option<String>,
    /// Whether `Paging` has a `Next` at all.
    pub(crate) has_next_key: bool,
}

/// The status of a page that lies so far behind the end that it is an error.
pub(crate) fn refused(call: &PageCall<'_>, rows: usize, quirks: &PagingQuirks) -> Option<u16> {
    match quirks.past_end {
        PastEnd::Status(status) if call.page > last_page(call, rows, quirks) => Some(status),
        _ => None,
    }
}

/// A listing without rows has one page.
fn last_page(call: &PageCall<'_>, rows: usize, quirks: &PagingQuirks) -> u64 {
    rows.div_ceil(size_of(call, quirks)).max(1) as u64
}

fn size_of(call: &PageCall<'_>, quirks: &PagingQuirks) -> usize {
    quirks.max_page_size.map_or(call.size, |most| call.size.min(most)).max(1)
}

/// The window of a page over a listing of so many rows.
pub(crate) fn window(call: &PageCall<'_>, rows: usize, quirks: &PagingQuirks) -> Window {
    let again = (quirks.past_end == PastEnd::LastAgain).then(|| last_page(call, rows, quirks));
    let call = &PageCall { page: again.map_or(call.page, |last| call.page.min(last)), ..*call };
    let size = size_of(call, quirks);
    let repeated = repeated_page(call, quirks);
    let page = repeated.unwrap_or(call.page).max(1);
    let listing = if is_emptied(call, quirks) { 0 } else { rows };
    let begin = shifted(call, page, (page as usize - 1).saturating_mul(size), quirks).min(listing);
    let end = begin.saturating_add(size).min(listing);
    let always = quirks.next == NextStyle::Always;
    let has_more = always || end < listing || (quirks.next_after_full_page && end - begin == size);
    let next_page = if repeated.is_some() { Some(page) } else { has_more.then(|| call.page.saturating_add(1)) };
    let is_hollow = |hollow: &ObjectPage| hollow.object.eq_ignore_ascii_case(call.object) && hollow.page == call.page;
    let hollow = end < listing && quirks.hollow.iter().any(is_hollow);
    Window {
        rows: if hollow { begin..begin } else { begin..end },
        next: next(call, next_page, size, quirks),
        has_next_key: quirks.next != NextStyle::Absent,
    }
}

fn is_emptied(call: &PageCall<'_>, quirks: &PagingQuirks) -> bool {
    quirks.empty.iter().any(|object| object.eq_ignore_ascii_case(call.object))
}

fn repeated_page(call: &PageCall<'_>, quirks: &PagingQuirks) -> Option<u64> {
    let of_object = quirks.repeat.iter().find(|repeat| repeat.object.eq_ignore_ascii_case(call.object))?;
    (call.page >= of_object.page).then_some(of_object.page)
}

/// Rows gone from the front pull the later pages forward, new ones push them back.
fn shifted(call: &PageCall<'_>, page: u64, begin: usize, quirks: &PagingQuirks) -> usize {
    let of_object = quirks.drift.iter().filter(|drift| drift.object.eq_ignore_ascii_case(call.object));
    of_object
        .filter(|drift| page > drift.after_page)
        .fold(begin, |begin, drift| begin.saturating_add(drift.removed).saturating_sub(drift.inserted))
}

fn next(call: &PageCall<'_>, page: Option<u64>, size: usize, quirks: &PagingQuirks) -> Option<String> {
    let path = |page: u64| format!("{}/{page}/{size}", call.path);
    match &quirks.next {
        NextStyle::Absent => None,
        NextStyle::Path | NextStyle::Always => page.map(path),
        NextStyle::PathWithQuery => page.map(|page| format!("{}?{}", path(page), call.query)),
        NextStyle::SelfOnLast => Some(path(page.unwrap_or(call.page))),
        NextStyle::Origin(origin) => page.map(|page| format!("{}{}", origin.trim_end_matches('/'), path(page))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quirks::Drift;

    const CALL: PageCall<'static> =
        PageCall { object: "Student", page: 2, size: 10, path: "/Custom/1/Student/Student", query: "a=b" };

    fn at(page: u64) -> PageCall<'static> {
        PageCall { page, ..CALL }
    }

    #[test]
    fn pages_cover_the_listing_and_end_with_a_null() {
        let quirks = PagingQuirks::default();
        assert_eq!(window(&at(1), 25, &quirks).next.as_deref(), Some("/Custom/1/Student/Student/2/10"));
        let last = window(&at(3), 25, &quirks);
        assert_eq!((last.rows, last.next, last.has_next_key), (20..25, None, true));
        assert!(window(&at(4), 25, &quirks).rows.is_empty());
        assert!(window(&at(u64::MAX), 25, &quirks).rows.is_empty());
    }

    #[test]
    fn a_full_last_page_announces_another_one_only_when_told_to() {
        let eager = PagingQuirks { next_after_full_page: true, ..PagingQuirks::default() };
        assert_eq!(window(&at(2), 20, &PagingQuirks::default()).next, None);
        assert!(window(&at(2), 20, &eager).next.is_some());
        assert_eq!(window(&at(3), 20, &eager), Window { rows: 20..20, next: None, has_next_key: true });
    }

    #[test]
    fn what_is_behind_the_last_page_is_nothing_the_last_page_again_or_an_error() {
        let with = |past_end| PagingQuirks { past_end, ..PagingQuirks::default() };
        let (again, status) = (with(PastEnd::LastAgain), with(PastEnd::Status(404)));
        for page in [3, 4, 9] {
            let told = window(&at(page), 25, &again);
            assert_eq!(told, Window { rows: 20..25, next: None, has_next_key: true }, "{page}");
        }
        assert_eq!(window(&at(2), 25, &again).rows, 10..20);
        let told = |page, rows| refused(&at(page), rows, &status);
        assert_eq!([told(3, 25), told(4, 25), told(1, 0), told(2, 0)], [None, Some(404), None, Some(404)]);
        assert_eq!([told(2, 20), told(3, 20)], [None, Some(404)], "a last page exactly full");
        assert_eq!(refused(&at(9), 25, &again), None);
    }

    #[test]
    fn drift_skips_or_repeats_rows_after_its_page() {
        let drift = |removed, inserted| {
            let drift = Drift { object: "student".into(), after_page: 1, removed, inserted };
            PagingQuirks { drift: vec![drift], ..PagingQuirks::default() }
        };
        assert_eq!(window(&at(1), 30, &drift(1, 0)).rows, 0..10);
        assert_eq!(window(&at(2), 30, &drift(1, 0)).rows, 11..21);
        assert_eq!(window(&at(2), 30, &drift(0, 1)).rows, 9..19);
    }

    #[test]
    fn a_repeated_page_points_to_itself_for_ever() {
        let repeat = vec![ObjectPage { object: "Student".into(), page: 2 }];
        let quirks = PagingQuirks { repeat, ..PagingQuirks::default() };
        assert_eq!(window(&at(1), 50, &quirks).rows, 0..10);
        for page in [2, 3, 9] {
            let window = window(&at(page), 50, &quirks);
            assert_eq!((window.rows, window.next.as_deref()), (10..20, Some("/Custom/1/Student/Student/2/10")));
        }
    }

    #[test]
    fn the_styles_of_next() {
        let styled = |next| window(&at(1), 25, &PagingQuirks { next, ..PagingQuirks::default() });
        assert_eq!(styled(NextStyle::PathWithQuery).next.as_deref(), Some("/Custom/1/Student/Student/2/10?a=b"));
        assert!(!styled(NextStyle::Absent).has_next_key);
        let foreign = styled(NextStyle::Origin("http://198.51.100.7/".into()));
        assert_eq!(foreign.next.as_deref(), Some("http://198.51.100.7/Custom/1/Student/Student/2/10"));
        let own = PagingQuirks { next: NextStyle::SelfOnLast, ..PagingQuirks::default() };
        assert_eq!(window(&at(3), 25, &own).next.as_deref(), Some("/Custom/1/Student/Student/3/10"));
    }

    #[test]
    fn a_hollow_page_leads_on_where_there_is_more() {
        let hollow = |page| vec![ObjectPage { object: "student".into(), page }];
        let quirks = PagingQuirks { hollow: hollow(2), ..PagingQuirks::default() };
        let page = window(&at(2), 25, &quirks);
        assert_eq!((page.rows, page.next.as_deref()), (10..10, Some("/Custom/1/Student/Student/3/10")));
        assert_eq!(window(&at(3), 25, &quirks).rows, 20..25);
        let last = PagingQuirks { hollow: hollow(3), ..PagingQuirks::default() };
        assert_eq!(window(&at(3), 25, &last).rows, 20..25);
        let always = PagingQuirks { next: NextStyle::Always, ..PagingQuirks::default() };
        for page in [3, 4, 5] {
            assert!(
                window(&at(page), 25, &always).next.is_some_and(|next| next.ends_with(&format!("/{}/10", page + 1)))
            );
        }
    }

    #[test]
    fn the_size_is_clamped_and_the_next_path_says_so() {
        let quirks = PagingQuirks { max_page_size: Some(4), ..PagingQuirks::default() };
        let page = window(&at(2), 25, &quirks);
        assert_eq!((page.rows, page.next.as_deref()), (4..8, Some("/Custom/1/Student/Student/3/4")));
    }
}
