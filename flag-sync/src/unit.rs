//! One unit of work: how long a message may ask Campus, and what Campus had told when its time was up.
//!
//! Role: a student or a flag takes several requests, and a slow Campus long over each. A request is begun only while it can end within the
//! unit, and is given up at its end ([`SisError::OutOfTime`]). The work is left there; what Campus had answered is kept by this
//! process for the next message. Neighbours: [`crate::campus`] asks; [`crate::handler`] begins units and leaves them.
//!
//! Invariants: the first request of a unit is begun in any case and has all its time, where it comes at once or the unit before got no
//! answer, so that a unit gets an answer which the next one need not ask for, or Campus fails as it does for anybody; time that is up is nobody's failure, and is told nowhere; a write is begun
//! with two fifths of the unit ahead, none is begun that would take longer than is left if Campus is as slow as it was last, and after one of
//! that flag was given up in the middle only with all the time of a request; of what was
//! kept nothing is believed of a flag of ours that the ledger says was written since, by whatever process, nor after something else was
//! asked for, and by nothing that was read more than [`YOUNG`] ago is written. A message that was not cut off goes by what it asks
//! itself, and leaves nothing.

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
use uuid::Uuid;

use crate::{campus::refusal, failing::Row};

/// What a write goes by is believed for so long after it was read, and so are programs.
pub(crate) const YOUNG: Duration = Duration::from_mins(2);

/// What a comparison or a take-over goes by, beside that. One student may take many messages.
pub(crate) const OLD: Duration = Duration::from_mins(10);

/// What the first request of a unit has beside its own longest time: it waits for its turn.
const SLACK: Duration = Duration::from_secs(1);

/// The first request comes at once where it comes within so long: with its longest time that is 20 s.
const AT_ONCE: Duration = Duration::from_secs(2);

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

/// What is tried with flags, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trying {
    /// To find those that lists lack.
    Looking,
    /// To send those that are due.
    Sending,
    /// To read back those that were sent.
    ReadingBack,
    /// To end old ones.
    Ending,
}

/// What Campus answered.
#[derive(Debug, Clone)]
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
#[derive(Debug, Default, Clone)]
pub(crate) struct Told {
    answers: BTreeMap<Question, Answer>,
    /// Lists that were not read out: when they were begun, how far they are, and their rows, as JSON.
    lists: BTreeMap<Question, (Instant, String)>,
    /// Flags that it failed at, of which it is to be seen whether it fails at everything.
    failed: BTreeMap<(Trying, String), SisError>,
    /// Flags that were written, and are not done with.
    writes: BTreeMap<String, Write>,
    /// Flags that it failed at in a row, of what was cut off.
    rows: BTreeMap<Trying, (Instant, Row)>,
    /// Requests whose token was refused, and renewed since.
    refused: BTreeSet<String>,
    /// How long its last answers took.
    slow: Duration,
    /// The last message got none, nor an error that Campus gives.
    is_starved: bool,
}

/// Whom a unit's answers are kept for.
#[derive(Debug)]
struct Kept {
    as_of: AsOf,
    at: Instant,
    told: Told,
}

/// What has to be as it was, for anything that was kept to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AsOf {
    /// Which Campus.
    pub(crate) base_url: String,
    /// The last write of the district.
    pub(crate) after: i64,
    /// The last request for a comparison.
    pub(crate) asked: Option<Uuid>,
}

/// What units of a process left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leftovers(Arc<Mutex<BTreeMap<DistrictId, Kept>>>);

impl Leftovers {
    fn all(&self) -> MutexGuard<'_, BTreeMap<DistrictId, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is kept of the district. What is too old is forgotten: of a district that nobody goes on with, or another process, say.
    pub(crate) fn has(&self, district: &DistrictId) -> bool {
        let mut all = self.all();
        all.retain(|_, kept| kept.at.elapsed() < OLD);
        all.contains_key(district)
    }

    /// What is kept of the district.
    pub(crate) fn take(&self, district: &DistrictId, as_of: &AsOf) -> Option<Told> {
        let kept = self.all().remove(district)?;
        (kept.as_of == *as_of).then_some(kept.told)
    }

    /// Keeps it for the next message.
    pub(crate) fn keep(&self, district: &DistrictId, as_of: AsOf, mut told: Told) {
        told.answers.values_mut().for_each(|answer| answer.was_kept = true);
        self.all().insert(district.clone(), Kept { as_of, at: Instant::now(), told });
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Unit {
    began: Instant,
    ends_at: Instant,
    length: Duration,
    /// The longest that a request takes by itself.
    request: Duration,
    has_begun: AtomicBool,
    /// A request of this message has come to an end, whichever.
    has_got_something: AtomicBool,
    /// Campus has answered something well.
    has_answered: AtomicBool,
    told: Mutex<Told>,
}

impl Unit {
    /// One that begins now. `request`: the longest that a request takes by itself. `told`: what the last one left.
    pub(crate) fn begin(length: Duration, request: Duration, told: Told) -> Self {
        let (began, told) = (Instant::now(), Mutex::new(told));
        let [has_begun, has_got_something, has_answered] = [(); 3].map(|()| AtomicBool::new(false));
        Self { began, ends_at: began + length, length, request, has_begun, has_got_something, has_answered, told }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What Campus has told so far, for [`Leftovers::keep`].
    pub(crate) fn so_far(&self) -> Told {
        let is_starved = !self.has_got_something.load(Ordering::Relaxed);
        Told { is_starved, ..self.told().clone() }
    }

    /// The first request has all its time. What the store took before it is not taken off that twice in a row.
    fn is_first_free(&self) -> bool {
        self.began.elapsed() <= AT_ONCE || self.told().is_starved
    }

    /// Campus has answered, which took so long.
    pub(crate) fn answered(&self, took: Duration) {
        self.got_something();
        self.has_answered.store(true, Ordering::Relaxed);
        let slow = &mut self.told().slow;
        *slow = took.max(*slow / 2);
    }

    /// A request failed, and not as time was up.
    pub(crate) fn got_something(&self) {
        self.has_got_something.store(true, Ordering::Relaxed);
    }

    /// Campus answers, and nothing that it failed at is still to be judged.
    pub(crate) fn is_well(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed) && self.told().failed.is_empty()
    }

    /// When it is too late to begin a request that is about to. `None`: it is the first one, for which it is never too late.
    pub(crate) fn latest(&self, asks: Asks) -> Option<Instant> {
        if !self.has_begun.swap(true, Ordering::Relaxed) && self.is_first_free() {
            return None;
        }
        let needed = match asks {
            Asks::Reads => self.length / 4,
            Asks::Writes => self.length * 2 / 5,
            Asks::WritesAgain => self.request,
        };
        let needed = needed.max(self.told().slow);
        // One that needs more than all of it has had its time before it began.
        Some(self.ends_at.checked_sub(needed).unwrap_or(self.ends_at - self.length))
    }

    /// When a request is given up that comes now.
    pub(crate) fn gives_up_at(&self) -> Instant {
        if self.has_begun.load(Ordering::Relaxed) || !self.is_first_free() {
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
    pub(crate) fn judge_later(&self, trying: Trying, flag: &str, error: &SisError) {
        self.told().failed.insert((trying, flag.to_owned()), error.clone());
    }

    /// There are such flags.
    pub(crate) fn has_unjudged(&self) -> bool {
        !self.told().failed.is_empty()
    }

    /// It is still to be judged that Campus failed before at a flag that was sent.
    pub(crate) fn has_failed(&self, flag: &str) -> bool {
        self.told().failed.contains_key(&(Trying::Sending, flag.to_owned()))
    }

    /// How Campus failed at a flag before, once.
    pub(crate) fn failed(&self, trying: Trying, flag: &str) -> Option<SisError> {
        self.told().failed.remove(&(trying, flag.to_owned()))
    }

    /// Flags that it failed at in a row where a message before was cut off, once.
    pub(crate) fn row(&self, trying: Trying) -> Row {
        let kept = self.told().rows.remove(&trying);
        kept.filter(|(at, _)| at.elapsed() < YOUNG).map(|(_, row)| row).unwrap_or_default()
    }

    /// Keeps them: this one is cut off.
    pub(crate) fn keep_row(&self, trying: Trying, row: Row) {
        self.told().rows.insert(trying, (Instant::now(), row));
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

    /// A flag's write was answered, and it is not done with: asked before this message writes, whether one before it did.
    pub(crate) fn was_written(&self, flag: &str) -> bool {
        self.told().writes.get(flag) == Some(&Write::Answered)
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
            || told.failed.keys().any(|(_, one)| one == flag)
            || told.writes.contains_key(flag)
    }

    /// There may be such a flag.
    pub(crate) fn is_at_any(&self) -> bool {
        let told = self.told();
        let mut asked = told.answers.keys().chain(told.lists.keys());
        let is_about_one = |question: &Question| matches!(question, Question::ById(_) | Question::Among { .. });
        asked.any(is_about_one) || !(told.failed.is_empty() && told.writes.is_empty())
    }

    /// A flag is done with, for now: whoever is at it another time asks.
    pub(crate) fn done_with(&self, flag: &str) {
        let mut told = self.told();
        told.forget(|question| question.is_about(flag));
        told.failed.retain(|(_, one), _| one != flag);
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
    fn what_was_kept_is_believed_of_the_same_campus_writes_and_wish_alone() {
        let (leftovers, district): (_, DistrictId) = (Leftovers::default(), "d".parse().unwrap());
        let as_of = AsOf { base_url: "https://sis.example/".to_owned(), after: 7, asked: None };
        let others = [
            AsOf { base_url: "https://other.example/".to_owned(), ..as_of.clone() },
            AsOf { after: 8, ..as_of.clone() },
            AsOf { asked: Some(Uuid::from_u128(1)), ..as_of.clone() },
        ];
        for other in others {
            leftovers.keep(&district, as_of.clone(), Told::default());
            assert!(leftovers.take(&district, &other).is_none(), "{other:?}");
            assert!(!leftovers.has(&district), "it is not kept for another message either");
        }
        leftovers.keep(&district, as_of.clone(), Told::default());
        assert!(leftovers.take(&district, &as_of).is_some());
        leftovers.keep(&district, as_of.clone(), Told::default());
        leftovers.all().get_mut(&district).unwrap().at = Instant::now().checked_sub(OLD).unwrap();
        assert!(!leftovers.has(&district), "it is too old");
    }

    #[test]
    fn the_first_request_has_all_its_time_where_it_comes_at_once_or_the_last_message_got_none() {
        let late = |told: Told| {
            let unit = Unit::begin(Duration::from_secs(19), Duration::from_secs(17), told);
            Unit { began: unit.began.checked_sub(Duration::from_secs(9)).unwrap(), ..unit }
        };
        let unit = late(Told::default());
        assert_eq!(unit.gives_up_at(), unit.ends_at);
        assert!(unit.latest(Asks::Reads).is_some());
        let unit = late(unit.so_far());
        assert!(unit.gives_up_at() >= Instant::now() + Duration::from_secs(17) && unit.latest(Asks::Reads).is_none());
        unit.answered(Duration::ZERO);
        let unit = late(unit.so_far());
        assert_eq!(unit.gives_up_at(), unit.ends_at, "an answer is there");
        assert!(unit.latest(Asks::Reads).is_some());
    }

    #[test]
    fn nothing_is_begun_that_would_take_longer_than_is_left() {
        let unit = Unit::begin(Duration::from_secs(19), Duration::from_secs(17), Told::default());
        let ends_at = unit.ends_at;
        assert_eq!(unit.latest(Asks::Writes), None, "the first one is begun in any case");
        let left = |asks| ends_at - unit.latest(asks).unwrap();
        assert_eq!(
            [Asks::Reads, Asks::Writes, Asks::WritesAgain].map(left).map(|left| left.as_millis()),
            [4_750, 7_600, 17_000]
        );
        unit.answered(Duration::from_secs(10));
        assert_eq!([Asks::Reads, Asks::Writes].map(left).map(|left| left.as_secs()), [10, 10]);
        unit.answered(Duration::from_secs(1));
        assert_eq!(
            [Asks::Reads, Asks::Writes].map(left).map(|left| left.as_millis()),
            [5_000, 7_600],
            "it may be faster by now"
        );
    }

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
