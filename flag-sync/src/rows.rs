//! Our own flags as Campus has them, just before they are written.
//!
//! Role: what a PUT replaces is read first, so that what staff added to a flag of ours, such as a User Warning, stays.
//! Neighbours: [`crate::push`] sends, [`crate::partner`] puts our fields into the row.
//!
//! Invariants: of a few flags each is read at the moment of its write; of many the program is listed, and such a list is
//! believed for [`BELIEVED`]: reading costs next to nothing of the rate that writes are sent at. No list, and no answer to one id,
//! is believed of a flag that it does not show: that one is looked for among its student's. Only rows of ours are kept.

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
    campus::{Which, is_of_one_student},
    context::Work,
};

/// Up to so many flags are read one by one; more, program by program.
pub(crate) const ONE_BY_ONE: usize = 20;

/// So long after it was asked for, a list of a program's flags is as good as a look at each of them.
const BELIEVED: Duration = Duration::from_mins(2);

/// One program's rows, as JSON, by their ids.
#[derive(Debug, Clone)]
struct Listed {
    read_at: Instant,
    rows: Arc<BTreeMap<Uuid, Box<str>>>,
}

/// Lists that are still believed, by district and the program's id in Campus. A pass that ends while others are left to push
/// leaves them to the next one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lists(Arc<Mutex<BTreeMap<(DistrictId, String), Listed>>>);

impl Lists {
    fn believed(&self, key: &(DistrictId, String)) -> Option<Listed> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, listed| listed.read_at.elapsed() < BELIEVED);
        all.get(key).cloned()
    }

    fn keep(&self, key: (DistrictId, String), listed: Listed) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, listed);
    }

    /// Nothing is left to push.
    pub(crate) fn forget(&self, district: &DistrictId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(whose, _), _| whose != district);
    }
}

/// What is known of the rows that are about to be written.
#[derive(Debug)]
pub(crate) enum Rows {
    /// Each is read when its turn comes.
    OneByOne,
    /// By program.
    Listed(Vec<Arc<BTreeMap<Uuid, Box<str>>>>),
}

impl Work {
    /// Reads what of these flags is there already.
    pub(crate) async fn rows(&self, flags: &[Flag]) -> Result<Rows, SisError> {
        let there: Vec<_> = flags.iter().filter_map(|flag| flag.pushed.as_ref()).collect();
        if there.len() <= ONE_BY_ONE {
            return Ok(Rows::OneByOne);
        }
        let programs: std::collections::BTreeSet<_> = there.iter().map(|pushed| &pushed.program_sis_id).collect();
        let mut listed = Vec::with_capacity(programs.len());
        for program in programs {
            match self.listed(program).await {
                // One that is not there any more, say, is no reason to push nothing: its flags are looked for one by one.
                Err(error) if is_of_one_student(&error) => {}
                rows => listed.push(rows?.rows),
            }
        }
        Ok(Rows::Listed(listed))
    }

    async fn listed(&self, program: &str) -> Result<Listed, SisError> {
        let (lists, key) = (&self.context.lists, (self.id().clone(), program.to_owned()));
        if let Some(listed) = lists.believed(&key) {
            return Ok(listed);
        }
        let rows = self.campus.rows(Which::OfProgram(program)).await?;
        // Not when it was asked: of a long list, nobody would ever believe anything.
        let listed = Listed { read_at: Instant::now(), rows: Arc::new(rows.into_iter().collect()) };
        lists.keep(key, listed.clone());
        Ok(listed)
    }

    /// The row of a flag that Campus has taken. `None`: it has none, neither by its id nor among the student's.
    pub(crate) async fn row(
        &self,
        flag: &Flag,
        pushed: &PushedFlag,
        target: &PushedFlag,
        rows: &Rows,
    ) -> Result<Option<Value>, SisError> {
        if let Rows::Listed(lists) = rows
            && let Some(text) = lists.iter().find_map(|rows| rows.get(&flag.id))
        {
            return Ok(serde_json::from_str(text).ok());
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
