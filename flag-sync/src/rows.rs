//! Our own flags as Campus has them, just before they are written, and after.
//!
//! Role: what a PUT replaces is read first, so that what staff added to a flag of ours, such as a User Warning, stays; what was written
//! is read back. Neighbours: [`crate::push`] sends and reads back, [`crate::partner`] puts our fields into the row.
//!
//! Invariants: of a few flags each is read when its turn comes; of many the program is listed, page by page, for a share of a turn
//! each time, and gone on with by this process: reading costs next to nothing of the rate that writes are sent at, and a turn ends with its
//! time. What a page shows is believed for [`BELIEVED`]. No list, read out or not, and no answer to one id, is believed of a flag
//! that it does not show: that one is looked for by itself. By a list that flags are read back by, none was written since it began,
//! by whatever process; one that never comes to its end for that is not begun again and again. Only rows of ours are kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rollcall_http::error::SisError;
use rollcall_proto::id::DistrictId;
use rollcall_store::flag::{Flag, PushedFlag};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    campus::{Listing, Which, is_of_one_student},
    comparison::Turn,
    context::Work,
};

/// Up to so many flags are read one by one; more, program by program.
pub(crate) const ONE_BY_ONE: usize = 20;

/// So long after it was read, a page of a program's flags is as good as a look at each of them; and so long a list that was not read
/// out in time is not begun again.
const BELIEVED: Duration = Duration::from_mins(2);

/// Lists have one in so many of a turn's seconds at a time.
const SHARE: u32 = 3;

/// A page's rows, as JSON, by their ids.
type Page = Arc<BTreeMap<Uuid, Box<str>>>;

/// What a list is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum For {
    /// Rows that are about to be written.
    Writing,
    /// Rows that were written.
    ReadingBack,
}

/// Whose list: district, program's id in Campus, and what for.
type Key = (DistrictId, String, For);

/// How far a list is.
#[derive(Debug)]
enum Progress {
    /// It goes on here.
    On(Box<Listing>),
    /// It was read to its end.
    Out,
    /// Campus does not list it, or it was overtaken before its end: what is not in it is looked for by itself.
    GivenUp,
}

/// One program's rows, as far as its list was read.
#[derive(Debug)]
struct Listed {
    /// Each with when it was read.
    pages: Vec<(Instant, Page)>,
    progress: Progress,
    /// When it was read on last, or begun.
    read_at: Instant,
    /// The last write of the district when it began.
    after: i64,
}

impl Listed {
    fn begun(after: i64) -> Self {
        Self { pages: Vec::new(), progress: Progress::On(Box::default()), read_at: Instant::now(), after }
    }

    fn lacks(&self, flags: &[Uuid]) -> usize {
        flags.iter().filter(|id| !self.pages.iter().any(|(_, page)| page.contains_key(id))).count()
    }

    /// For reading back, after the last write of all. One that a write has overtaken before its end would be overtaken again.
    fn since(self, after: i64) -> Self {
        match self.progress {
            _ if self.after == after => self,
            Progress::Out => Self::begun(after),
            Progress::On(_) if self.pages.is_empty() => Self::begun(after),
            Progress::On(_) | Progress::GivenUp => {
                Self { pages: Vec::new(), progress: Progress::GivenUp, after, ..self }
            }
        }
    }
}

/// Lists that are still believed. A pass that ends while others are left to push leaves them to the next one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lists(Arc<Mutex<BTreeMap<Key, Listed>>>);

impl Lists {
    /// Whoever takes one keeps it again.
    fn take(&self, key: &Key) -> Option<Listed> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, listed| listed.read_at.elapsed() < BELIEVED);
        let mut listed = all.remove(key)?;
        listed.pages.retain(|(read_at, _)| read_at.elapsed() < BELIEVED);
        Some(listed)
    }

    fn keep(&self, key: Key, listed: Listed) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, listed);
    }

    /// Nothing is left to push.
    pub(crate) fn forget(&self, district: &DistrictId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(whose, ..), _| whose != district);
    }
}

/// What is known of the rows that are about to be written, or were.
#[derive(Debug)]
pub(crate) enum Rows {
    /// Each is read when its turn comes.
    OneByOne,
    /// By program.
    Listed(Vec<Page>),
}

impl Rows {
    /// A flag's row, where a list showed it.
    pub(crate) fn shown(&self, flag: Uuid) -> Option<Value> {
        let Self::Listed(pages) = self else { return None };
        pages.iter().find_map(|page| page.get(&flag)).and_then(|text| serde_json::from_str(text).ok())
    }
}

impl Work {
    /// Until when lists may be read on, from now.
    pub(crate) fn lists_until(&self, turn: Turn) -> Instant {
        turn.until.min(Instant::now() + self.context.config.unit / SHARE)
    }

    /// Reads what of these flags is there already, before they are written.
    pub(crate) async fn rows(&self, flags: &[Flag], turn: Turn) -> Result<Rows, SisError> {
        if flags.iter().filter(|flag| flag.pushed.is_some()).count() <= ONE_BY_ONE {
            return Ok(Rows::OneByOne);
        }
        let until = self.lists_until(turn);
        self.listed(flags, For::Writing, until, |before| before.unwrap_or_else(|| Listed::begun(0))).await
    }

    /// Reads flags that were written, the last of them with the line `after` of the ledger.
    pub(crate) async fn rows_since(&self, flags: &[Flag], after: i64, until: Instant) -> Result<Rows, SisError> {
        let since = |before: Option<Listed>| before.map_or_else(|| Listed::begun(after), |listed| listed.since(after));
        self.listed(flags, For::ReadingBack, until, since).await
    }

    async fn listed(
        &self,
        flags: &[Flag],
        what_for: For,
        until: Instant,
        goes_on: impl Fn(Option<Listed>) -> Listed,
    ) -> Result<Rows, SisError> {
        let mut programs: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
        for (flag, pushed) in flags.iter().filter_map(|flag| Some((flag.id, flag.pushed.as_ref()?))) {
            programs.entry(&pushed.program_sis_id).or_default().push(flag);
        }
        let (lists, mut pages) = (&self.context.lists, Vec::new());
        let mut lacking: usize = programs.values().map(Vec::len).sum();
        for (program, flags) in programs {
            let key = (self.id().clone(), program.to_owned(), what_for);
            let mut listed = goes_on(lists.take(&key));
            lacking -= flags.len();
            let read = self.read_on(program, &mut listed, until, |listed| lacking + listed.lacks(&flags)).await;
            lacking += listed.lacks(&flags);
            pages.extend(listed.pages.iter().map(|(_, page)| Arc::clone(page)));
            lists.keep(key, listed);
            read?;
        }
        Ok(Rows::Listed(pages))
    }

    /// Reads on in a program's list while there is time, and many flags are `lacking`.
    async fn read_on(
        &self,
        program: &str,
        listed: &mut Listed,
        until: Instant,
        lacking: impl Fn(&Listed) -> usize,
    ) -> Result<(), SisError> {
        while Instant::now() < until && lacking(listed) > ONE_BY_ONE {
            let Progress::On(listing) = &mut listed.progress else { break };
            match self.campus.more_rows(Which::OfProgram(program), listing).await {
                Ok(Some(rows)) => listed.pages.push((Instant::now(), Arc::new(rows.into_iter().collect()))),
                Ok(None) => listed.progress = Progress::Out,
                // One that is not there any more, say, is no reason to push nothing.
                Err(error) if is_of_one_student(&error) => listed.progress = Progress::GivenUp,
                Err(error) => return Err(error),
            }
            listed.read_at = Instant::now();
        }
        Ok(())
    }

    /// The row of a flag that Campus has taken. `None`: it has none, neither by its id nor among the student's.
    pub(crate) async fn row(
        &self,
        flag: &Flag,
        pushed: &PushedFlag,
        target: &PushedFlag,
        rows: &Rows,
    ) -> Result<Option<Value>, SisError> {
        if let Some(row) = rows.shown(flag.id) {
            return Ok(Some(row));
        }
        // Its student may have another id by now.
        let known = self.row_among(&pushed.sis_id, flag).await?;
        if known.is_none() && !pushed.sis_id.eq_ignore_ascii_case(&target.sis_id) {
            return self.row_among(&target.sis_id, flag).await;
        }
        Ok(known)
    }

    /// A flag's row, by its id or among a student's.
    pub(crate) async fn row_among(&self, student: &str, flag: &Flag) -> Result<Option<Value>, SisError> {
        Ok(self.campus.look_for(student, &flag.id.to_string()).await?.map(|(_, row)| row))
    }
}
