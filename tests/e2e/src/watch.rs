//! Looks at the roster again and again while something goes wrong: nobody who belongs in it may be anything else than what the
//! nights make of them, not even for a moment. So every removal is seen that `Holds` of the contract counts: to INACTIVE, from
//! ENROLLED to PRE_ENROLLED, and a row that is gone; and a graduation that nobody was told of.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::Path,
    time::Duration,
};

use rollcall_sandbox::{SKIPPED, Sandbox};
use sqlx::{Connection as _, PgPool, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

/// Statuses that each of these students may be seen in; with [`SKIPPED`] among them, they may not be there.
pub type Allowed = BTreeMap<String, BTreeSet<String>>;

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// How often the roster could be looked at.
    pub looks: u64,
    /// Students who were something else than any of the nights makes of them, and what.
    pub wrongly_removed: BTreeSet<String>,
}

/// A look-out at work.
#[derive(Debug)]
pub struct Watch {
    stop: CancellationToken,
    task: JoinHandle<Watched>,
}

/// What the nights make of the students who are in on any of them. Whoever is not listed on one of them may leave.
pub fn statuses_of(sis: &Sandbox, nights: &[u32]) -> Allowed {
    let mut allowed = Allowed::new();
    let stories: Vec<_> = nights.iter().map(|night| sis.expected_students(*night)).collect();
    let students: BTreeSet<_> = stories.iter().flat_map(BTreeMap::keys).collect();
    for student in students {
        let of_nights: BTreeSet<&str> =
            stories.iter().map(|night| night.get(student).map_or(SKIPPED, |story| story.status)).collect();
        if !of_nights.iter().any(|status| is_in(status)) {
            continue;
        }
        let mut statuses: BTreeSet<String> = of_nights.iter().map(|status| (*status).to_owned()).collect();
        if of_nights.contains(SKIPPED) {
            statuses.insert("INACTIVE".to_owned());
        }
        allowed.insert(student.to_string(), statuses);
    }
    allowed
}

/// The same while the first of these nights writes everybody: whoever belongs in is not there yet.
pub fn from_nothing(mut allowed: Allowed) -> Allowed {
    for statuses in allowed.values_mut() {
        statuses.insert(SKIPPED.to_owned());
    }
    allowed
}

fn is_in(status: &str) -> bool {
    matches!(status, "ENROLLED" | "PRE_ENROLLED")
}

/// Those of whom something else is seen, and what.
fn wrong(allowed: &Allowed, seen: &BTreeMap<String, String>) -> BTreeSet<String> {
    let of = |student: &String| seen.get(student).map_or(SKIPPED, String::as_str);
    let wrong = allowed.iter().filter(|(student, statuses)| !statuses.contains(of(student)));
    wrong.map(|(student, _)| format!("{student} was {}", seen.get(student).map_or("gone", String::as_str))).collect()
}

impl Watch {
    /// Begins to look. A database that cannot be reached is looked at again later.
    pub fn begin(database: &PgPool, district: &str, allowed: Allowed) -> Self {
        let (database, district) = (database.clone(), district.to_owned());
        Self::looking(allowed, move || {
            let (database, district) = (database.clone(), district.clone());
            let sql = "SELECT student_id, status FROM student WHERE district = $1";
            async move { sqlx::query_as(sql).bind(&district).fetch_all(&database).await.ok() }
        })
    }

    /// As [`Watch::begin`], at an embedded store, which holds one district.
    pub fn begin_in(store: &Path, allowed: Allowed) -> Self {
        let options = SqliteConnectOptions::new().filename(store).read_only(true);
        Self::looking(allowed, move || {
            let options = options.clone();
            async move {
                let mut store = SqliteConnection::connect_with(&options).await.ok()?;
                sqlx::query_as("SELECT student_id, status FROM student").fetch_all(&mut store).await.ok()
            }
        })
    }

    /// Looks again and again by `look`, which sees nothing where the store cannot be read.
    fn looking<F, L>(allowed: Allowed, look: L) -> Self
    where
        F: Future<Output = Option<Vec<(String, String)>>> + Send,
        L: Fn() -> F + Send + 'static,
    {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut watched = Watched::default();
            while !stopped.is_cancelled() {
                if let Some(seen) = look().await {
                    watched.looks += 1;
                    watched.wrongly_removed.extend(wrong(&allowed, &seen.into_iter().collect()));
                }
                tokio::time::sleep(LOOK).await;
            }
            watched
        });
        Self { stop, task }
    }

    /// Ends looking.
    pub async fn end(self) -> Watched {
        self.stop.cancel();
        self.task.await.expect("the look-out does not panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_removal_is_seen_and_what_a_night_asks_for_is_none() {
        let allowed: Allowed =
            [("1", vec!["ENROLLED"]), ("2", vec!["ENROLLED", "PRE_ENROLLED"]), ("3", vec![SKIPPED, "ENROLLED"])]
                .into_iter()
                .map(|(student, statuses)| (student.to_owned(), statuses.into_iter().map(str::to_owned).collect()))
                .collect();
        let seen = |rows: &[(&str, &str)]| {
            let rows = rows.iter().map(|(student, status)| ((*student).to_owned(), (*status).to_owned())).collect();
            wrong(&allowed, &rows).into_iter().collect::<Vec<_>>()
        };
        let none: [String; 0] = [];
        assert_eq!(seen(&[("1", "ENROLLED"), ("2", "PRE_ENROLLED"), ("9", "INACTIVE")]), none);
        for status in ["INACTIVE", "PRE_ENROLLED", "GRADUATED"] {
            assert_eq!(seen(&[("1", status), ("2", "ENROLLED")]), [format!("1 was {status}")]);
        }
        assert_eq!(seen(&[("1", "ENROLLED"), ("3", "ENROLLED")]), ["2 was gone"]);
        let first = from_nothing(allowed.clone());
        assert!(wrong(&first, &BTreeMap::new()).is_empty(), "nobody is there yet");
        assert_eq!(wrong(&first, &[("1".to_owned(), "INACTIVE".to_owned())].into()).len(), 1);
    }

    #[tokio::test]
    async fn whoever_is_in_on_any_night_is_watched() {
        let config = rollcall_sandbox::SandboxConfig { change_percent: 25.0, ..crate::pair::small(7) };
        let sis = Sandbox::start(config).await.unwrap();
        let (one, both) = (statuses_of(&sis, &[1]), statuses_of(&sis, &[1, 2]));
        let stories = sis.expected_students(1).into_iter().filter(|(_, story)| is_in(story.status));
        assert!(
            stories.into_iter().all(|(id, story)| one[&id.to_string()] == BTreeSet::from([story.status.to_owned()]))
        );
        assert!(both.len() >= one.len() && both.values().any(|statuses| statuses.len() > 1), "some change");
        assert!(one.keys().all(|student| both.contains_key(student)));
        sis.shutdown().await;
    }
}
