//! Query parameters, selection, order, and pages.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use url::form_urlencoded;

use super::errors::Minor;
use super::quirks::{BlankFilter, ChangeFilter, OneRosterQuirks};
use super::rows::{self, Row};
use super::{Collection, Dialect, Version, roster};
use crate::quirks::Quirks;
use crate::world::View;

/// Rows on a page where none are asked for: the standard's.
const DEFAULT_LIMIT: usize = 100;

/// Fields that may be asked for or filtered by, over all collections. A user's `role` is not among them: Campus refuses it.
const FIELDS: [&str; 29] = [
    "sourcedId",
    "status",
    "dateLastModified",
    "metadata",
    "enabledUser",
    "username",
    "givenName",
    "middleName",
    "familyName",
    "identifier",
    "grades",
    "userIds",
    "phone",
    "sms",
    "email",
    "roles",
    "orgs",
    "agents",
    "name",
    "type",
    "parent",
    "title",
    "startDate",
    "endDate",
    "schoolYear",
    "birthDate",
    "sex",
    "asian",
    "white",
];

/// What a collection is asked for with.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) limit: usize,
    pub(super) offset: usize,
    sort: Option<String>,
    descending: bool,
    filter: Option<String>,
    fields: Option<Vec<String>>,
}

impl Query {
    pub(super) fn read(query: &str) -> Result<Self, Minor> {
        let mut read = Self { limit: DEFAULT_LIMIT, ..Self::default() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "limit" => read.limit = value.parse().ok().filter(|limit| *limit > 0).ok_or(Minor::InvalidData)?,
                "offset" => read.offset = value.parse().map_err(|_| Minor::InvalidData)?,
                "sort" => read.sort = Some(value.into_owned()),
                "orderBy" => read.descending = value == "desc",
                "filter" => read.filter = Some(value.into_owned()),
                "fields" => read.fields = Some(value.split(',').map(str::to_owned).collect()),
                _ => {}
            }
        }
        Ok(read)
    }

    pub(super) fn check(&self, dialect: Dialect, quirks: &OneRosterQuirks) -> Result<(), Minor> {
        let blank = self.filter.as_ref().is_some_and(|filter| filter.trim().is_empty());
        let unknown = |filter: &Filter| filter.clauses.iter().any(|(field, ..)| !dialect.filters_by(field, quirks));
        let filter = self.filter.as_deref().filter(|_| !blank).map(Filter::read).transpose()?;
        let refused = (blank && quirks.blank_filter == BlankFilter::Refused)
            || (self.is_by_change() && quirks.change_filter == ChangeFilter::Refused)
            || filter.as_ref().is_some_and(unknown);
        if refused { Err(Minor::InvalidFilterField) } else { Ok(()) }
    }

    /// Whether it asks for what has changed.
    pub(super) fn is_by_change(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.trim_start().starts_with("dateLastModified"))
    }

    pub(super) fn forget_filter(&mut self) {
        self.filter = None;
    }

    /// What the selection and its order hang on.
    pub(super) fn key(&self) -> String {
        format!("{:?}|{}|{:?}", self.sort, self.descending, self.filter)
    }

    /// The row with the fields asked for.
    pub(super) fn columns(&self, dialect: Dialect, row: Value) -> Result<Value, Minor> {
        let Some(fields) = &self.fields else { return Ok(row) };
        if fields.iter().any(|field| !FIELDS.contains(&field.as_str())) {
            // 1.1 answers with everything and a warning.
            return if dialect.version == Version::V11 { Ok(row) } else { Err(Minor::InvalidSelectionField) };
        }
        let Value::Object(mut map) = row else { return Ok(row) };
        map.retain(|name, _| fields.contains(name));
        Ok(Value::Object(map))
    }

    fn sort_field(&self) -> Option<&str> {
        // A field that nobody knows is passed over: data in default order.
        self.sort.as_deref().filter(|field| FIELDS.contains(field))
    }
}

/// `field<op>'value'`, one or two joined by AND or OR.
struct Filter {
    clauses: Vec<(String, String, String)>,
    any: bool,
}

impl Filter {
    fn read(text: &str) -> Result<Self, Minor> {
        let any = text.contains(" OR ");
        let parts = text.split(if any { " OR " } else { " AND " });
        let clauses = parts.map(clause).collect::<Result<_, _>>()?;
        Ok(Self { clauses, any })
    }

    fn admits(&self, row: &Value) -> bool {
        let holds = |(field, op, value): &(String, String, String)| compare(&text_at(row, field), op, value);
        if self.any { self.clauses.iter().any(holds) } else { self.clauses.iter().all(holds) }
    }
}

fn clause(text: &str) -> Result<(String, String, String), Minor> {
    let at = text.find(['=', '!', '<', '>', '~']).ok_or(Minor::InvalidFilterField)?;
    let (field, rest) = text.split_at(at);
    let op = ["!=", ">=", "<=", "=", ">", "<", "~"].into_iter().find(|op| rest.starts_with(op));
    let op = op.ok_or(Minor::InvalidFilterField)?;
    let value = rest[op.len()..].trim().strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
    let value = value.ok_or(Minor::InvalidFilterField)?.replace("''", "'");
    let first = field.trim().split('.').next().unwrap_or_default();
    if !FIELDS.contains(&first) {
        return Err(Minor::InvalidFilterField);
    }
    Ok((field.trim().to_owned(), op.to_owned(), value))
}

fn text_at(row: &Value, field: &str) -> String {
    let found = field.split('.').try_fold(row, |value, name| value.get(name));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

fn compare(own: &str, op: &str, value: &str) -> bool {
    match op {
        "=" => own == value,
        "!=" => own != value,
        ">" => own > value,
        ">=" => own >= value,
        "<" => own < value,
        "<=" => own <= value,
        _ => own.contains(value),
    }
}

/// The rows that the query asks for, each with the value it is sorted by.
pub(super) fn select(
    view: &View<'_>,
    dialect: Dialect,
    collection: Collection,
    query: &Query,
) -> Result<Vec<(String, Row)>, Minor> {
    let filter = query.filter.as_deref().map(str::trim).filter(|filter| !filter.is_empty());
    let filter = filter.map(Filter::read).transpose()?;
    let rows = roster::rows(view, dialect, collection).into_iter();
    let admitted =
        rows.filter(|row| filter.as_ref().is_none_or(|filter| filter.admits(&rows::json(view, dialect, row))));
    let key = |row: &Row| match query.sort_field() {
        Some("sourcedId") => rows::sourced_id(view, dialect, row),
        Some(field) => text_at(&rows::json(view, dialect, row), field),
        None => String::new(),
    };
    let mut selected: Vec<(String, Row)> = admitted.map(|row| (key(&row), row)).collect();
    selected.sort_by(|a, b| if query.descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
    Ok(selected)
}

type Key = (Dialect, &'static str, String);

/// Selections made, until the night or the quirks change.
#[derive(Default)]
pub(crate) struct Listings(HashMap<Key, Arc<Vec<(String, Row)>>>);

impl std::fmt::Debug for Listings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listings({})", self.0.len())
    }
}

impl Listings {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn get(
        &mut self,
        key: Key,
        make: impl FnOnce() -> Result<Vec<(String, Row)>, Minor>,
    ) -> Result<Arc<Vec<(String, Row)>>, Minor> {
        if let Some(known) = self.0.get(&key) {
            return Ok(Arc::clone(known));
        }
        let rows = Arc::new(make()?);
        self.0.insert(key, Arc::clone(&rows));
        Ok(rows)
    }
}

/// A page, and what its headers tell.
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    pub(super) total: usize,
}

/// Cuts the page out. Rows with equal keys stand in another order at each call.
pub(super) fn cut(all: &[(String, Row)], query: &Query, quirks: &Quirks, number_call: impl FnOnce() -> u64) -> Page {
    let most = quirks.paging.max_page_size.unwrap_or(usize::MAX);
    let turn = if quirks.paging.stable_order { 0 } else { number_call() as usize };
    let end = query.offset.saturating_add(query.limit.min(most)).min(all.len());
    let rows = (query.offset..broken_off(query.offset, end, &quirks.oneroster))
        .map(|place| turned(all, place, turn))
        .collect();
    Page { rows, total: all.len() }
}

/// Where an answer from `begin` on ends that is to end at `end`.
fn broken_off(begin: usize, end: usize, quirks: &OneRosterQuirks) -> usize {
    match quirks.breaks_at_row {
        Some(row) if begin < row => end.min(row),
        Some(row) if begin == row && quirks.gap_at_break => begin,
        _ => end,
    }
}

/// The row at `place` once the run of equal keys around it is turned by `turn`.
fn turned(all: &[(String, Row)], place: usize, turn: usize) -> Row {
    let key = &all[place].0;
    let start = all[..place].iter().rposition(|(other, _)| other != key).map_or(0, |before| before + 1);
    let end = all[place..].iter().position(|(other, _)| other != key).map_or(all.len(), |after| place + after);
    all[start + (place - start + turn) % (end - start)].1
}

impl Page {
    pub(super) fn headers(
        &self,
        dialect: Dialect,
        quirks: &Quirks,
        path: &str,
        query: &Query,
    ) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        let counts = dialect.counts(&quirks.oneroster);
        if counts && !quirks.oneroster.no_total {
            let total = self.total as i64 + quirks.paging.total_off_by;
            headers.push(("x-total-count", total.to_string()));
        }
        if counts && !quirks.oneroster.no_link {
            headers.push(("link", self.links(dialect, quirks, path, query)));
        }
        headers
    }

    fn links(&self, dialect: Dialect, quirks: &Quirks, path: &str, query: &Query) -> String {
        let host = if quirks.oneroster.foreign_link { "https://elsewhere.example" } else { "" };
        let link = |offset: usize, rel: &str| {
            format!("<{host}{}{path}?limit={}&offset={offset}>; rel=\"{rel}\"", dialect.vendor.root(), query.limit)
        };
        let next = query.offset + self.rows.len();
        let mut links = vec![link(0, "first")];
        if next < self.total && !self.rows.is_empty() {
            links.push(link(next, "next"));
        }
        links.join(", ")
    }
}
