//! One unit of work: how long a message may ask Campus, and what Campus had told when its time was up.
//!
//! Role: a student or a flag takes several requests, and a slow Campus long over each. A request is begun only while it can end within the
//! unit, and is given up at its end ([`SisError::OutOfTime`]). The work is left there; what Campus had answered is kept by this
//! process for the next message. Neighbours: [`crate::campus`] asks; [`crate::handler`] begins units and leaves them.
//!
//! Invariants: the first request of a unit is begun in any case and has all its time, so that a unit gets an answer which the next one need
//! not ask for, or Campus fails as it does for anybody; time that is up is nobody's failure, and is told nowhere; a write is begun
//! with two fifths of the unit ahead, and after one of that flag was given up in the middle only with all the time of a request; of what was
//! kept nothing is believed of a flag that was written since, by whatever process, and by nothing that was read more than
//! [`YOUNG`] ago is written. A message that was not cut off goes by what it asks itself, and leaves nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rollcall_http::error::SisError;
use rollcall_proto::id::DistrictId;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use crate::campus::refusal;

/// What a write goes by is believed for so long after it was read, and so are programs.
pub(crate) const YOUNG: Duration = Duration::from_mins(2);

/// What a comparison or a take-over goes by, beside that. One student may take many messages.
pub(crate) const OLD: Duration = Duration::from_mins(10);

/// What the first request of a unit has beside its own longest time: it waits for its turn.
const SLACK: Duration = Duration::from_secs(1);

/// What Campus is asked, where the answer is kept. Ids are the SIS's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Question {
    /// Which programs there are.
    Programs,
    /// The same, to see whether it answers at all after it failed at a flag. Only how far that came is kept.
    IsUp,
    /// A student's flags.
    OfStudent(String),
    /// A program's flags.
    OfProgram(String),
    /// A flag by its id.
    ById(String),
    /// A flag among a student's.
    Among {
        /// The flag.
        flag: String,
        /// The student.
        student: String,
    },
}

impl Question {
    fn is_about(&self, id: &str) -> bool {
        matches!(self, Self::ById(flag) | Self::Among { flag, .. } if flag == id)
    }
}

/// How a request wants to be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// It reads. Given up, it costs its time.
    Reads,
    /// It writes. Given up, nobody knows whether that was done.
    Writes,
    /// It writes what was given up before.
    WritesAgain,
}

/// What Campus answered.
#[derive(Debug)]
struct Answer {
    at: Instant,
    /// To a message before this one.
    was_kept: bool,
    /// As JSON, or that it refuses.
    what: Result<String, SisError>,
}

/// What became of a flag's write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    Answered,
    GivenUp,
}

/// What Campus has told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    answers: BTreeMap<Question, Answer>,
    /// Lists that were not read out: when they were begun, how far they are, and their rows, as JSON.
    lists: BTreeMap<Question, (Instant, String)>,
    /// Flags that it failed at, of which it is to be seen whether it fails at everything.
    failed: BTreeMap<String, SisError>,
    /// Flags that were written, and are not done with.
    writes: BTreeMap<String, Write>,
    /// Requests whose token was refused, and renewed since.
    refused: BTreeSet<String>,
}

/// Whom a unit's answers are kept for.
#[derive(Debug)]
struct Kept {
    /// Which Campus.
    base_url: String,
    /// The last write of the district.
    after: i64,
    at: Instant,
    told: Told,
}

/// What units of a process left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leftovers(Arc<Mutex<BTreeMap<DistrictId, Kept>>>);

impl Leftovers {
    fn all(&self) -> MutexGuard<'_, BTreeMap<DistrictId, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is kept of the district.
    pub(crate) fn has(&self, district: &DistrictId) -> bool {
        self.all().contains_key(district)
    }

    /// What is kept of the district, which nobody has written to since its write `after`.
    pub(crate) fn take(&self, district: &DistrictId, base_url: &str, after: i64) -> Option<Told> {
        let kept = self.all().remove(district)?;
        (kept.base_url == base_url && kept.after == after).then_some(kept.told)
    }

    /// Keeps it for the next message.
    pub(crate) fn keep(&self, district: &DistrictId, base_url: String, after: i64, mut told: Told) {
        told.answers.values_mut().for_each(|answer| answer.was_kept = true);
        let mut all = self.all();
        // Of a district that nobody goes on with, say.
        all.retain(|_, kept| kept.at.elapsed() < OLD);
        all.insert(district.clone(), Kept { base_url, after, at: Instant::now(), told });
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Unit {
    ends_at: Instant,
    length: Duration,
    /// The longest that a request takes by itself.
    request: Duration,
    has_begun: AtomicBool,
    told: Mutex<Told>,
}

impl Unit {
    /// One that begins now. `request`: the longest that a request takes by itself. `told`: what the last one left.
    pub(crate) fn begin(length: Duration, request: Duration, told: Told) -> Self {
        let ends_at = Instant::now() + length;
        Self { ends_at, length, request, has_begun: AtomicBool::new(false), told: Mutex::new(told) }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What Campus has told, for [`Leftovers::keep`].
    pub(crate) fn end(&self) -> Told {
        std::mem::take(&mut self.told())
    }

    /// When it is too late to begin a request that is about to. `None`: it is the first one, for which it is never too late.
    pub(crate) fn latest(&self, asks: Asks) -> Option<Instant> {
        if !self.has_begun.swap(true, Ordering::Relaxed) {
            return None;
        }
        let needed = match asks {
            Asks::Reads => self.length / 4,
            Asks::Writes => self.length * 2 / 5,
            Asks::WritesAgain => self.request,
        };
        // One that needs more than all of it has had its time before it began.
        Some(self.ends_at.checked_sub(needed).unwrap_or(self.ends_at - self.length))
    }

    /// When a request is given up that comes now.
    pub(crate) fn gives_up_at(&self) -> Instant {
        if self.has_begun.load(Ordering::Relaxed) {
            return self.ends_at;
        }
        self.ends_at.max(Instant::now() + self.request + SLACK)
    }

    /// What a message before this one was answered, where that is believed for so long.
    pub(crate) fn known<T: DeserializeOwned>(
        &self,
        question: &Question,
        believed: Duration,
    ) -> Option<Result<T, SisError>> {
        let told = self.told();
        let answer = told.answers.get(question).filter(|answer| answer.was_kept && answer.at.elapsed() < believed)?;
        match &answer.what {
            Ok(json) => serde_json::from_str(json).ok().map(Ok),
            Err(error) => Some(Err(error.clone())),
        }
    }

    /// Notes an answer. One that came to nothing is asked for again.
    pub(crate) fn note<T: Serialize>(&self, question: Question, answer: &Result<T, SisError>) {
        let what = match answer {
            Ok(answer) => serde_json::to_string(answer).ok().map(Ok),
            Err(error) => refusal(error).map(|_| Err(error.clone())),
        };
        if let Some(what) = what {
            self.told().answers.insert(question, Answer { at: Instant::now(), was_kept: false, what });
        }
    }

    /// How far a list is that a message before this one did not read out, with its rows, and when it was begun.
    pub(crate) fn list_so_far<T: DeserializeOwned>(&self, question: &Question) -> Option<(Instant, T)> {
        let (begun, json) = self.told().lists.remove(question)?;
        if begun.elapsed() < OLD { Some((begun, serde_json::from_str(&json).ok()?)) } else { None }
    }

    /// Keeps that.
    pub(crate) fn keep_list<T: Serialize>(&self, question: &Question, begun: Instant, so_far: &T) {
        if let Ok(json) = serde_json::to_string(so_far) {
            self.told().lists.insert(question.clone(), (begun, json));
        }
    }

    /// Campus failed at a flag. The flag's next request fails the same way without being sent, for somebody to judge it.
    pub(crate) fn judge_later(&self, flag: &str, error: &SisError) {
        self.told().failed.insert(flag.to_owned(), error.clone());
    }

    /// How Campus failed at a flag before, once.
    pub(crate) fn failed(&self, flag: &str) -> Option<SisError> {
        self.told().failed.remove(flag)
    }

    /// A request's token was refused, and there was no time to send it with a new one: that one's refusal is the last word.
    pub(crate) fn token_refused(&self, request: String) {
        self.told().refused.insert(request);
    }

    /// Whether that befell the request, once.
    pub(crate) fn was_token_refused(&self, request: &str) -> bool {
        self.told().refused.remove(request)
    }

    /// How a flag is to be written.
    pub(crate) fn write_of(&self, flag: &str) -> Asks {
        match self.told().writes.get(flag) {
            Some(Write::GivenUp) => Asks::WritesAgain,
            Some(Write::Answered) | None => Asks::Writes,
        }
    }

    /// A flag's write was sent: what was read before it is not believed of it any more, nor of any student.
    pub(crate) fn was_sent(&self, flag: &str, is_given_up: bool) {
        let mut told = self.told();
        told.forget(|question| question.is_about(flag) || matches!(question, Question::OfStudent(_)));
        let write = if is_given_up { Write::GivenUp } else { Write::Answered };
        told.writes.insert(flag.to_owned(), write);
    }

    /// A flag was begun with and is not done with.
    pub(crate) fn is_at(&self, flag: &str) -> bool {
        let told = self.told();
        let mut asked = told.answers.keys().chain(told.lists.keys());
        asked.any(|question| question.is_about(flag))
            || told.failed.contains_key(flag)
            || told.writes.contains_key(flag)
    }

    /// There may be such a flag.
    pub(crate) fn is_at_any(&self) -> bool {
        let told = self.told();
        !(told.answers.is_empty() && told.lists.is_empty() && told.failed.is_empty() && told.writes.is_empty())
    }

    /// A flag is done with, for now: whoever is at it another time asks.
    pub(crate) fn done_with(&self, flag: &str) {
        let mut told = self.told();
        told.forget(|question| question.is_about(flag));
        told.failed.remove(flag);
        told.writes.remove(flag);
    }

    /// Students are compared: whoever is compared another time is asked for.
    pub(crate) fn done_with_students(&self) {
        self.told().forget(|question| matches!(question, Question::OfStudent(_)));
    }
}

impl Told {
    fn forget(&mut self, is_over: impl Fn(&Question) -> bool) {
        self.answers.retain(|question, _| !is_over(question));
        self.lists.retain(|question, _| !is_over(question));
    }
}

/// There was no time left for something.
pub(crate) fn out_of_time(what: &str) -> SisError {
    SisError::OutOfTime { what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_as_old_as_its_beginning_however_often_it_is_gone_on_with() {
        let unit = Unit::begin(Duration::from_secs(19), Duration::from_secs(17), Told::default());
        let ago = |minutes| Instant::now().checked_sub(Duration::from_mins(minutes)).unwrap();
        let begun = ago(9);
        for rows in 0..3_u32 {
            unit.keep_list(&Question::Programs, begun, &rows);
            assert_eq!(unit.list_so_far(&Question::Programs), Some((begun, rows)));
        }
        unit.keep_list(&Question::Programs, ago(11), &3_u32);
        assert_eq!(unit.list_so_far::<u32>(&Question::Programs), None, "it is begun anew");
    }
}
