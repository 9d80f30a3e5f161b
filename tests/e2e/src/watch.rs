//! Looks at the roster again and again while something goes wrong: nobody may be out of it, not even for a moment, who
//! is in it before and after.

use std::{collections::BTreeSet, time::Duration};

use rollcall_sandbox::Sandbox;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// How often the roster could be looked at.
    pub looks: u64,
    /// Students who were INACTIVE although they are enrolled on every night in question.
    pub wrongly_removed: BTreeSet<String>,
}

/// A look-out at work.
#[derive(Debug)]
pub struct Watch {
    stop: CancellationToken,
    task: JoinHandle<Watched>,
}

/// Students who are in on all of these nights.
pub fn enrolled_throughout(sis: &Sandbox, nights: &[u32]) -> BTreeSet<String> {
    let is_in = |status: &str| matches!(status, "ENROLLED" | "PRE_ENROLLED");
    let of_night = |night: &u32| {
        let students = sis.expected_students(*night).into_iter();
        students.filter(|(_, story)| is_in(story.status)).map(|(id, _)| id.to_string()).collect::<BTreeSet<_>>()
    };
    nights.iter().map(of_night).reduce(|all, night| &all & &night).unwrap_or_default()
}

impl Watch {
    /// Begins to look. A database that cannot be reached is looked at again later.
    pub fn begin(database: &PgPool, district: &str, enrolled: BTreeSet<String>) -> Self {
        let (database, district, stop) = (database.clone(), district.to_owned(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut watched = Watched::default();
            let sql = "SELECT student_id FROM student WHERE district = $1 AND status = 'INACTIVE'";
            while !stopped.is_cancelled() {
                let out: Result<Vec<String>, _> = sqlx::query_scalar(sql).bind(&district).fetch_all(&database).await;
                if let Ok(out) = out {
                    watched.looks += 1;
                    watched.wrongly_removed.extend(out.into_iter().filter(|id| enrolled.contains(id)));
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
