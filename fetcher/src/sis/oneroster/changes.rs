//! Asking for changes by `dateLastModified`, and whether the answers can be trusted (wire page 1.4). Pure.
//!
//! Role: the filter, what a server must show to be asked by it, and what is noted of a source so that a later night
//! notices that it is not the same any more: what is switched off in Campus ("Data to Share") or flipped (the active
//! year) changes rows without touching the time of their change.
//!
//! Deliberately absent: when to ask for everything, see [`crate::delta`].

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rollcall_store::{READING, district::Connection, run::Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ACADEMIC_SESSIONS, KEY, ORGS, SAMPLE, Sample, body};
use crate::turn::Turn;

/// When a row was changed last.
const CHANGED: &str = "dateLastModified";

/// The server refuses the filter.
pub(super) const REFUSED: &str = "the server refuses a filter by dateLastModified";
/// No answer to the filter that could be read.
pub(super) const UNTRIED: &str = "a filter by dateLastModified gets no answer that can be read";
const UNDATED: &str = "not every row tells its dateLastModified";
const IGNORED: &str = "the server passes over a filter by dateLastModified";
const SILENT: &str = "the server shows nothing where it is asked by dateLastModified";
const MISCOUNTED: &str = "the server counts all rows where it is asked for changes";
const PARTIAL: &str = "the server leaves rows out where it is asked by dateLastModified";

/// Never blank: a blank filter is refused by some servers.
pub(super) fn filter(since: DateTime<Utc>) -> String {
    format!("{CHANGED}>='{}'", since.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// What the first rows of an answer tell of changes since an instant, as a discovery keeps it: rows by the digests of their ids
/// ([`Turn::digest_of_id`]).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    rows: usize,
    /// Rows that there are, where the server counts them.
    pub(super) total: Option<i64>,
    /// Each row tells when it was changed.
    is_dated: bool,
    /// A row was changed before the instant.
    is_older: bool,
    ids: BTreeSet<u64>,
    /// Rows that were changed since the instant, however the server compares its times.
    due: BTreeSet<u64>,
}

impl Told {
    pub(super) fn of(sample: &Sample, since: DateTime<Utc>, turn: &Turn<'_>) -> Self {
        let changed: Vec<_> = sample.rows.iter().map(changed_at).collect();
        let id = |row: &Value| row[KEY].as_str().map(|id| turn.digest_of_id(id));
        let due = sample.rows.iter().zip(&changed).filter(|(_, at)| at.is_some_and(|at| at >= since + ZONES));
        Self {
            rows: sample.rows.len(),
            total: sample.total(),
            is_dated: changed.iter().all(Option::is_some),
            is_older: changed.iter().flatten().any(|at| *at < since),
            ids: sample.rows.iter().filter_map(id).collect(),
            due: due.filter_map(|(row, _)| id(row)).collect(),
        }
    }
}

/// Why a filter cannot be trusted: by the first rows of all, of those changed since an instant, and of those ever changed.
pub(super) fn distrust(all: &Told, changed: &Told, ever: &Told) -> Option<&'static str> {
    if !all.is_dated || !changed.is_dated {
        return Some(UNDATED);
    }
    if changed.is_older {
        return Some(IGNORED);
    }
    if all.rows > 0 && ever.rows == 0 {
        return Some(SILENT);
    }
    let miscounted = |total| Some(total) == all.total && (changed.rows as i64) < total;
    if changed.total.is_some_and(miscounted) {
        return Some(MISCOUNTED);
    }
    // Rows without a date, or with one that the server compares in a way of its own, are admitted by no filter.
    let fewer = all.total.zip(ever.total).is_some_and(|(all, ever)| ever < all);
    (fewer || !is_whole(all, changed)).then_some(PARTIAL)
}

/// How far apart from what it shows a server may compare its times: a zone's offset at most, which the overlap forgives.
const ZONES: TimeDelta = TimeDelta::hours(14);

/// Whether those of the first rows of all that were changed since then are among the changed ones, where these are on one
/// page.
fn is_whole(all: &Told, changed: &Told) -> bool {
    if changed.rows >= SAMPLE as usize || changed.total.is_some_and(|total| total > changed.rows as i64) {
        return true;
    }
    all.due.is_subset(&changed.ids)
}

fn changed_at(row: &Value) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(row[CHANGED].as_str()?.trim()).ok().map(|at| at.to_utc())
}

/// What the first rows of a collection tell of it: names and counts, no value of a person.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FirstRows {
    /// When they were asked for, by the SIS's clock or ours, whichever was behind.
    pub(super) at: DateTime<Utc>,
    /// Rows that there are, where the server counts them.
    pub(super) total: Option<i64>,
    /// The district's name, of orgs.
    pub(super) district_name: Option<String>,
    /// Ending years, of sessions.
    pub(super) school_years: Vec<String>,
    shape: BTreeSet<String>,
    is_dated: bool,
}

impl FirstRows {
    /// Which keys have values, and which roles there are.
    pub(super) fn of(resource: &str, sample: &Sample, at: DateTime<Utc>) -> Self {
        let mut rows = Self {
            at,
            total: sample.total(),
            district_name: sample.district_name().filter(|_| resource == ORGS),
            school_years: if resource == ACADEMIC_SESSIONS { sample.school_years() } else { Vec::new() },
            shape: BTreeSet::new(),
            is_dated: sample.rows.iter().all(|row| changed_at(row).is_some()),
        };
        let values = sample.rows.iter().filter_map(Value::as_object).flatten();
        for (key, value) in values.filter(|(_, value)| holds(value)) {
            rows.shape.insert(format!("{resource}.{key}"));
            if key == "role" || key == "roles" {
                rows.roles(resource, value);
            }
        }
        rows
    }

    fn roles(&mut self, resource: &str, value: &Value) {
        let many = value.as_array().into_iter().flatten().map(|role| &role["role"]);
        for word in many.chain([value]).filter_map(Value::as_str) {
            self.shape.insert(format!("{resource}/{word}"));
        }
    }
}

/// What the first rows of a source show.
#[derive(Debug, Default)]
pub(super) struct Shown {
    at: DateTime<Utc>,
    shape: BTreeSet<String>,
    undated: bool,
}

impl Shown {
    /// Nothing yet, of a pull that begins at `at`.
    pub(super) fn at(at: DateTime<Utc>) -> Self {
        Self { at, ..Self::default() }
    }

    /// Notes a collection's first rows.
    pub(super) fn add(&mut self, rows: &FirstRows) {
        self.undated |= !rows.is_dated;
        self.shape.extend(rows.shape.iter().cloned());
    }

    /// Notes the school years that are served.
    pub(super) fn add_years(&mut self, years: &[String]) {
        self.shape.extend(years.iter().map(|year| format!("school year {year}")));
    }

    /// Notes that nobody can say which school years are served. No other pull shows itself like this one then.
    pub(super) fn years_unknown(&mut self) {
        self.shape.insert(format!("school years unknown, as of {}", self.at.to_rfc3339()));
    }

    /// What a later pull is compared with; `None` where the rows do not tell when they were changed.
    pub(super) fn snapshot(self, connection: &Connection) -> Option<Snapshot> {
        let settings = settings(connection)?;
        (!self.undated).then_some(Snapshot { at: self.at, settings, shape: self.shape })
    }
}

fn holds(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// The program, how it reads pages, and the settings that rows were read by. How fast a connection is asked makes no difference to them.
fn settings(connection: &Connection) -> Option<String> {
    let alike = Connection { page_size: 1, lanes: 1, full_every_days: 1, ..connection.clone() };
    let text = serde_json::to_string(&alike).ok()?;
    Some(format!("{} {READING} {:016x}", env!("CARGO_PKG_VERSION"), body::digest(&text)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::net::Reply;

    fn sample(rows: &[Value], total: Option<usize>) -> Sample {
        let reply = Reply {
            status: 200,
            content_type: None,
            retry_after: None,
            date: None,
            total_count: total.map(|total| total.to_string()),
            link: None,
            cache_control: None,
            body: bytes::Bytes::new(),
            room: crate::net::room::Taken::default(),
        };
        Sample { rows: rows.to_vec(), reply }
    }

    fn row(day: u32) -> Value {
        json!({"sourcedId": day.to_string(), "dateLastModified": format!("2026-09-{day:02}T04:00:00.000Z")})
    }

    fn since() -> DateTime<Utc> {
        "2026-09-10T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_filter_is_as_the_standard_writes_it() {
        assert_eq!(filter(since()), "dateLastModified>='2026-09-10T00:00:00.000Z'");
    }

    #[test]
    fn a_server_is_trusted_where_it_filters_and_dates_its_rows() {
        let all = [row(1), row(2), row(11)];
        let (whole, some) = (|| sample(&all, Some(3)), |total| sample(&all[2..], total));
        let none = || sample(&[], Some(0));
        let undated = || sample(&[json!({"sourcedId": "1"})], None);
        let cases = [
            (whole(), some(Some(1)), whole(), None),
            (whole(), some(None), whole(), None),
            (sample(&all[..2], Some(2)), none(), sample(&all[..2], Some(2)), None),
            (sample(&[], None), sample(&[], None), sample(&[], None), None),
            (sample(&all[2..], Some(1)), some(Some(1)), some(Some(1)), None),
            (undated(), none(), whole(), Some(UNDATED)),
            (whole(), undated(), whole(), Some(UNDATED)),
            (whole(), whole(), whole(), Some(IGNORED)),
            (whole(), none(), none(), Some(SILENT)),
            (whole(), some(Some(3)), whole(), Some(MISCOUNTED)),
            // More of each than the first rows show.
            (sample(&all[2..], Some(9)), some(Some(4)), some(Some(9)), None),
            (sample(&all[2..], Some(9)), some(Some(9)), some(Some(9)), Some(MISCOUNTED)),
            // Those marked as deleted are shown where changes are asked for; rows without a date are not.
            (whole(), some(Some(1)), sample(&all, Some(5)), None),
            (whole(), some(Some(1)), sample(&all, Some(2)), Some(PARTIAL)),
            (whole(), none(), whole(), Some(PARTIAL)),
            (whole(), sample(&[], None), whole(), Some(PARTIAL)),
            (whole(), sample(&[row(12)], Some(1)), whole(), Some(PARTIAL)),
            // Within a zone's offset: a server that compares local times.
            (sample(&[row(1), row(10)], Some(2)), none(), sample(&[row(1), row(10)], Some(2)), None),
        ];
        for (number, (all, changed, ever, expected)) in cases.into_iter().enumerate() {
            // As another process reads it.
            let of = |sample: &Sample| -> Told {
                let kept = serde_json::to_value(Told::of(sample, since(), &Turn::endless())).unwrap();
                serde_json::from_value(kept).unwrap()
            };
            assert_eq!(distrust(&of(&all), &of(&changed), &of(&ever)), expected, "case {number}");
        }
    }

    fn connection(extra: &Value) -> Connection {
        let mut connection =
            json!({"kind": "oneroster", "base_url": "https://x.example/ims/oneroster", "client_id": "c"});
        connection.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(connection).unwrap()
    }

    #[test]
    fn what_is_noted_is_names_and_never_values() {
        let mut shown = Shown::default();
        let roles = json!([{"role": "student", "roleType": "primary"}, {"role": "guardian"}]);
        let user = json!({"sourcedId": "1", "familyName": "Zebra", "email": " ", "agents": [], "phone": null, "roles": roles,
            "dateLastModified": "2026-09-10T00:00:00Z"});
        let parent = json!({"role": "parent", "dateLastModified": "2026-09-10T00:00:00Z"});
        let rows = FirstRows::of("users", &sample(&[user, parent], None), since());
        let kept = serde_json::to_string(&rows).unwrap();
        assert!(!kept.contains("Zebra") && !kept.contains("primary"), "{kept}");
        shown.add(&rows);
        shown.add_years(&["2027".to_owned()]);
        let snapshot = shown.snapshot(&connection(&json!({}))).unwrap();
        let shape: Vec<&str> = snapshot.shape.iter().map(String::as_str).collect();
        assert_eq!(
            shape,
            [
                "school year 2027",
                "users.dateLastModified",
                "users.familyName",
                "users.role",
                "users.roles",
                "users.sourcedId",
                "users/guardian",
                "users/parent",
                "users/student"
            ]
        );
    }

    #[test]
    fn other_settings_are_noticed_and_another_pace_is_none() {
        let of = |extra: &Value| Shown::default().snapshot(&connection(extra)).unwrap().settings;
        let plain = of(&json!({}));
        for same in [json!({"lanes": 7}), json!({"page_size": 7}), json!({"full_every_days": 1})] {
            assert_eq!(of(&same), plain, "{same}");
        }
        for other in [
            json!({"version": "1.1"}),
            json!({"id_prefix": "A"}),
            json!({"client_id": "d"}),
            json!({"staff": "active"}),
        ] {
            assert_ne!(of(&other), plain, "{other}");
        }
        let mut undated = Shown::default();
        undated.add(&FirstRows::of("users", &sample(&[json!({"sourcedId": "1"})], None), since()));
        assert_eq!(undated.snapshot(&connection(&json!({}))), None);
    }
}
