//! Programs and participations of one district's Campus: read, and written one at a time.
//!
//! Role: the calls of the partner interface, paged, paced and retried. Neighbours: [`crate::partner`] spells them;
//! `rollcall-http` sends them.
//!
//! Invariants: no more requests a second than the district's rate, retries, reads and tokens included, and of these a share at most for
//! looks beside the work; within a unit of work none is begun that has no time, and what a unit before was told is not asked for
//! again ([`crate::unit`]); nothing is ever deleted.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{DefaultHasher, Hash, Hasher as _},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use governor::{DefaultKeyedRateLimiter, Quota};
use reqwest::Method;
use rollcall_http::{
    error::{Remedy, SisError, is_transient},
    limits::pause,
    net::Reply,
    session::{Call, Session, Turns},
    urls,
};
use rollcall_proto::{
    failpoint::{Side, Step, reached},
    id::DistrictId,
};
use rollcall_store::district::{Connection, ConnectionSecrets};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::Url;
use uuid::Uuid;

use crate::{
    diff::ActualFlag,
    failing::Row,
    partner::{CampusProgram, PartnerInterface},
    unit::{Asks, OLD, Question, Trying, Unit, YOUNG, out_of_time},
};

/// Tries of one call, where what failed may go well at once.
const TRIES: u32 = 2;

/// Readings of a list that has fewer rows than it says (wire/oneroster-campus.md 2.3), before what it showed has to do.
const READINGS: u32 = 3;

/// Pages of one list: more means that paging is stuck.
const MOST_PAGES: usize = 10_000;

/// A look beside the work has one in so many of the district's requests.
const ASIDE: u64 = 5;

/// Requests a second, for each district.
#[derive(Debug, Clone)]
pub struct Pace(Arc<DefaultKeyedRateLimiter<DistrictId>>);

impl Pace {
    /// So many requests a second, with bursts of a tenth of a second's after a rest: a district that goes from one worker
    /// to the next has little more than its rate, though each counts for itself.
    pub fn per_second(requests: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(requests.get() / 10).unwrap_or(NonZeroU32::MIN);
        Self(Arc::new(DefaultKeyedRateLimiter::keyed(Quota::per_second(requests).allow_burst(burst))))
    }

    /// A share of that, one at a time: for a look that people take beside the work, perhaps in a process of its own.
    pub fn aside(requests: NonZeroU32) -> Self {
        let every = Duration::from_secs(ASIDE) / requests.get();
        let quota = Quota::with_period(every).unwrap_or_else(|| Quota::per_second(requests));
        Self(Arc::new(DefaultKeyedRateLimiter::keyed(quota.allow_burst(NonZeroU32::MIN))))
    }

    async fn turn(&self, district: &DistrictId) {
        self.0.until_key_ready(district).await;
    }
}

/// What each request to a district's Campus waits for.
#[derive(Debug)]
struct DistrictsTurns {
    district: DistrictId,
    pace: Pace,
    /// Of a look beside the work, which keeps to both.
    aside: Option<Pace>,
    /// The unit of work that has to have time for it.
    unit: Option<Arc<Unit>>,
    asks: Asks,
    /// The token of one was refused.
    is_refused: AtomicBool,
    /// When one was let go, the last one of several.
    let_go: Mutex<Option<Instant>>,
}

impl DistrictsTurns {
    fn let_go(&self) -> Option<Instant> {
        *self.let_go.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns for DistrictsTurns {
    fn turn(&self) -> BoxFuture<'_, Result<(), SisError>> {
        async {
            let latest = self.unit.as_ref().and_then(|unit| unit.latest(self.asks));
            let turn = async {
                if let Some(aside) = &self.aside {
                    aside.turn(&self.district).await;
                }
                self.pace.turn(&self.district).await;
            };
            // What is too late takes no turn of those that are not.
            let too_late = || out_of_time("a request to Campus");
            match latest {
                Some(latest) if Instant::now() >= latest => return Err(too_late()),
                Some(latest) => timeout_at(latest, turn).await.map_err(|_| too_late())?,
                None => turn.await,
            }
            *self.let_go.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            Ok(())
        }
        .boxed()
    }

    fn token_refused(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }
}

/// What participations to read.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// All of a program, by its id in the SIS.
    OfProgram(&'a str),
    /// All of a student, by the SIS's id.
    OfStudent(&'a str),
}

/// Whose flag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// One of ours.
    Ours,
    /// One that was there before, which a take-over ends.
    Old,
}

impl Whose {
    /// As failpoints name it.
    const fn row(self) -> &'static str {
        match self {
            Self::Ours => "flag",
            Self::Old => "old flag",
        }
    }
}

/// A list as far as Campus gives it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReadOut<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// How many more Campus says there are (`X-Total-Count`), however often the list was read: of a row that is not here it is not said
    /// that there is none.
    pub lacking: usize,
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Accepted; to be read back.
    Accepted(u16),
    /// Refused as it is: an unknown student or program, a conflict, bad dates.
    Refused(u16),
}

/// Whether a refusal stays one: asking again with the same brings the same. An unknown student may come in (404), and a
/// conflict may be over (409).
pub(crate) const fn is_for_good(status: u16) -> bool {
    status >= 400 && status < 500 && !matches!(status, 401 | 404 | 408 | 409 | 429) && !is_transient(status)
}

/// The status by which Campus refuses to tell of something; it answers all the same. A 401 is of the vendor pair
/// (wire/oneroster-campus.md 2.2), and so of everything; a 403 may be of this alone.
pub(crate) const fn refusal(error: &SisError) -> Option<u16> {
    match error {
        SisError::Status { status, .. } if *status == 404 || is_for_good(*status) => Some(*status),
        SisError::AccessRefused { status: 403, .. } => Some(403),
        _ => None,
    }
}

/// Campus answers, and not with what was asked for: it may do so of this alone, and is asked for the rest.
pub(crate) const fn is_of_one(error: &SisError) -> bool {
    matches!(error, SisError::Status { .. } | SisError::NotJson { .. } | SisError::Unreadable { .. })
        || refusal(error).is_some()
}

/// Campus fails at one student's list, though perhaps at nothing else: no answer and one without end are such too, as long as
/// nobody says that all of it is away. Of a refused token, a limit or an open circuit it is no student's matter.
pub(crate) const fn is_of_one_student(error: &SisError) -> bool {
    let is_no_answer =
        matches!(error, SisError::Timeout { .. } | SisError::Interrupted { .. } | SisError::TooLarge { .. });
    is_of_one(error) || is_no_answer
}

impl Written {
    /// The status, for the ledger.
    pub const fn status(self) -> u16 {
        match self {
            Self::Accepted(status) | Self::Refused(status) => status,
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Campus {
    district: DistrictId,
    session: Session,
    base: Url,
    table: Arc<PartnerInterface>,
    pace: Pace,
    aside: Option<Pace>,
    /// None: it takes as long as it takes.
    unit: Option<Arc<Unit>>,
}

/// What `x-vendor-authorization` carries (wire/oneroster-campus.md 2.2).
pub(crate) fn vendor_authorization(connection: &Connection, secrets: &ConnectionSecrets) -> Option<SecretString> {
    let (key, secret) = (connection.vendor_key.as_ref()?, secrets.vendor_secret.as_ref()?);
    Some(SecretString::from(format!("{key}:{}", secret.expose_secret())))
}

impl Campus {
    /// A district's Campus, through a session with its connection.
    pub fn new(
        district: DistrictId,
        session: Session,
        vendor: &SecretString,
        table: Arc<PartnerInterface>,
        pace: Pace,
    ) -> Result<Self, SisError> {
        let base = urls::server(session.connection());
        let session = session.with_secret_header(&table.vendor_header, vendor)?;
        Ok(Self { district, session, base, table, pace, aside: None, unit: None }.in_turn())
    }

    /// For a look beside the work: it waits for its own pace as well.
    #[must_use]
    pub(crate) fn aside(self, pace: Pace) -> Self {
        Self { aside: Some(pace), ..self }.in_turn()
    }

    /// For one message's work.
    #[must_use]
    pub(crate) fn within(self, unit: Arc<Unit>) -> Self {
        Self { unit: Some(unit), ..self }.in_turn()
    }

    /// The message's, where it is one's.
    pub(crate) fn unit(&self) -> Option<&Unit> {
        self.unit.as_deref()
    }

    fn in_turn(self) -> Self {
        let turns = Arc::new(self.turns(Asks::Reads));
        Self { session: self.session.with_turns(turns), ..self }
    }

    fn turns(&self, asks: Asks) -> DistrictsTurns {
        let (district, pace, aside) = (self.district.clone(), self.pace.clone(), self.aside.clone());
        let unit = self.unit.clone();
        DistrictsTurns {
            district,
            pace,
            aside,
            unit,
            asks,
            is_refused: AtomicBool::new(false),
            let_go: Mutex::default(),
        }
    }

    /// The partner interface.
    pub(crate) fn table(&self) -> &PartnerInterface {
        &self.table
    }

    /// The programs that Campus shows us.
    pub async fn programs(&self) -> Result<Vec<CampusProgram>, SisError> {
        let question = Question::Programs;
        self.answer(question.clone(), YOUNG, self.list_programs(&question)).await
    }

    /// Asks for the programs whatever was told of them before: whether Campus answers at all.
    pub(crate) async fn lists_programs(&self) -> Result<(), SisError> {
        self.list_programs(&Question::IsUp).await.map(drop)
    }

    async fn list_programs(&self, question: &Question) -> Result<Vec<CampusProgram>, SisError> {
        let table = &self.table;
        let (path, envelope) = (&table.programs_path, &table.programs_envelope);
        let list = List { path, envelope, filter: None, what: "the programs" };
        Ok(self.list(list, question, |row| table.program(row)).await?.rows)
    }

    /// Participations, deleted ones left out.
    pub async fn participations(&self, which: Which<'_>) -> Result<ReadOut<ActualFlag>, SisError> {
        let question = match which {
            Which::OfProgram(id) => Question::OfProgram(id.to_owned()),
            Which::OfStudent(id) => Question::OfStudent(id.to_owned()),
        };
        let list = self.list(self.list_of(which), &question, |row| self.wanted(which, row));
        self.answer(question.clone(), OLD, list).await
    }

    /// What a unit before was told, or what comes of asking.
    async fn answer<T: Serialize + DeserializeOwned>(
        &self,
        question: Question,
        believed: Duration,
        ask: impl Future<Output = Result<T, SisError>>,
    ) -> Result<T, SisError> {
        let Some(unit) = &self.unit else { return Box::pin(ask).await };
        if let Some(known) = unit.known(&question, believed) {
            return known;
        }
        let answer = Box::pin(ask).await;
        unit.note(question, &answer);
        answer
    }

    /// See [`Unit::judge_later`].
    pub(crate) fn judge_later(&self, trying: Trying, flag: &str, error: &SisError) {
        if let Some(unit) = &self.unit {
            unit.judge_later(trying, flag, error);
        }
    }

    /// See [`Unit::has_unjudged`].
    pub(crate) fn has_unjudged(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.has_unjudged())
    }

    /// See [`Unit::is_at`].
    pub(crate) fn is_at(&self, flag: &str) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.is_at(flag))
    }

    /// See [`Unit::is_at_any`].
    pub(crate) fn is_at_any(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.is_at_any())
    }

    /// See [`Unit::done_with`].
    pub(crate) fn done_with(&self, flag: &str) {
        if let Some(unit) = &self.unit {
            unit.done_with(flag);
        }
    }

    /// See [`Unit::done_with_students`].
    pub(crate) fn done_with_students(&self) {
        if let Some(unit) = &self.unit {
            unit.done_with_students();
        }
    }

    /// A flag at which Campus failed in a unit before that had no time to see whether it fails at everything: whoever begins with it
    /// hears that once more, in place of asking.
    pub(crate) fn failed_before(&self, trying: Trying, flag: &str) -> Result<(), SisError> {
        self.unit.as_ref().and_then(|unit| unit.failed(trying, flag)).map_or(Ok(()), Err)
    }

    /// See [`Unit::has_failed`].
    pub(crate) fn has_failed(&self, flag: &str) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.has_failed(flag))
    }

    /// See [`Unit::was_written`].
    pub(crate) fn was_written(&self, flag: &str) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.was_written(flag))
    }

    /// See [`Unit::row`].
    pub(crate) fn row_of(&self, trying: Trying) -> Row {
        self.unit.as_ref().map(|unit| unit.row(trying)).unwrap_or_default()
    }

    /// See [`Unit::keep_row`].
    pub(crate) fn keep_row(&self, trying: Trying, row: Row) {
        if let Some(unit) = &self.unit {
            unit.keep_row(trying, row);
        }
    }

    /// See [`Unit::is_well`].
    pub(crate) fn is_well(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.is_well())
    }

    /// Reads on by one page in the participations, deleted ones left out. `None`: that was all of them.
    pub(crate) async fn more_participations(
        &self,
        which: Which<'_>,
        listing: &mut Listing,
    ) -> Result<Option<Vec<ActualFlag>>, SisError> {
        let rows = self.read_on(self.list_of(which), listing).await?;
        Ok(rows.map(|rows| rows.iter().filter_map(|row| self.wanted(which, row)).collect()))
    }

    /// The same of those whose ids may be ours, as Campus gave them.
    pub(crate) async fn more_rows(
        &self,
        which: Which<'_>,
        listing: &mut Listing,
    ) -> Result<Option<Vec<(Uuid, Box<str>)>>, SisError> {
        let rows = self.read_on(self.list_of(which), listing).await?;
        let kept = |row: &Value| Some((self.wanted(which, row)?.id.parse().ok()?, row.to_string().into_boxed_str()));
        Ok(rows.map(|rows| rows.iter().filter_map(kept).collect()))
    }

    fn list_of<'a>(&'a self, which: Which<'_>) -> List<'a> {
        let table = &self.table;
        let (field, id) = match which {
            Which::OfProgram(id) => (&table.program_filter, id),
            Which::OfStudent(id) => (&table.student_filter, id),
        };
        List {
            path: &table.participations_path,
            envelope: &table.participations_envelope,
            filter: filter(field, id),
            what: "the program participations",
        }
    }

    /// A row's flag. A server that does not know the filter may answer with all.
    fn wanted(&self, which: Which<'_>, row: &Value) -> Option<ActualFlag> {
        self.table.participation(row).filter(|flag| match which {
            Which::OfProgram(id) => flag.program_sis_id.eq_ignore_ascii_case(id),
            Which::OfStudent(id) => flag.sis_id.eq_ignore_ascii_case(id),
        })
    }

    /// One participation: as we read it, and as Campus gave it. `None`: there is none, or it is deleted.
    pub async fn participation(&self, id: &str) -> Result<Option<(ActualFlag, Value)>, SisError> {
        let row = self.row(id).await?;
        Ok(row.and_then(|row| self.table.participation(&row).map(|flag| (flag, row))))
    }

    /// Campus has the participation by its id, and says that it was deleted.
    pub(crate) async fn says_deleted(&self, id: &str) -> Result<bool, SisError> {
        match self.row(id).await {
            Err(error) if is_of_one(&error) => Ok(false),
            row => Ok(row?.is_some_and(|row| self.table.is_deleted_one(&row, id))),
        }
    }

    /// The row of an id, deleted or not. `None`: there is none.
    async fn row(&self, id: &str) -> Result<Option<Value>, SisError> {
        let call =
            self.call(Method::GET, &self.table.participations_path, Some(id), None, "a program participation")?;
        let reply = self.send(&call).await?;
        match reply.status {
            200 => {}
            404 => return Ok(None),
            status => return Err(SisError::Status { what: call.what, status }),
        }
        let mut body = read(&call, &reply)?;
        Ok(Some(body.get_mut(&self.table.participation_envelope).map(Value::take).unwrap_or(body)))
    }

    /// One participation as its student's list has it: as we read it, and as Campus gave it.
    async fn participation_in_list(
        &self,
        student: &str,
        id: &str,
        question: &Question,
    ) -> Result<Option<(ActualFlag, Value)>, SisError> {
        let read = |row: &Value| {
            let found = self.table.participation(row).filter(|flag| flag.id.eq_ignore_ascii_case(id))?;
            Some((found, row.clone()))
        };
        Ok(self.list(self.list_of(Which::OfStudent(student)), question, read).await?.rows.pop())
    }

    /// One participation, looked for by its id and then among its student's: a single answer is not enough for it to count as
    /// gone, one that Campus fails at is no reason to read no other, and whether it answers for one at all is not written down.
    pub async fn look_for(&self, student: &str, id: &str) -> Result<Option<(ActualFlag, Value)>, SisError> {
        self.look_for_believing(student, id, YOUNG).await
    }

    /// The same, where what a unit before was told is believed for so long.
    pub(crate) async fn look_for_believing(
        &self,
        student: &str,
        id: &str,
        believed: Duration,
    ) -> Result<Option<(ActualFlag, Value)>, SisError> {
        let by_id = async {
            match self.participation(id).await {
                Err(
                    SisError::Status { .. }
                    | SisError::AccessRefused { .. }
                    | SisError::NotJson { .. }
                    | SisError::Unreadable { .. },
                ) => Ok(None),
                answer => answer,
            }
        };
        if let Some(found) = self.answer(Question::ById(id.to_owned()), believed, by_id).await? {
            return Ok(Some(found));
        }
        let question = Question::Among { flag: id.to_owned(), student: student.to_owned() };
        self.answer(question.clone(), believed, self.participation_in_list(student, id, &question)).await
    }

    /// Creates or replaces a participation.
    pub async fn put(&self, whose: Whose, id: &str, body: Value) -> Result<Written, SisError> {
        let path = &self.table.participations_path;
        let call = self.call(Method::PUT, path, Some(id), Some(body), "a program participation")?;
        let turns = self.turns(self.unit.as_ref().map_or(Asks::Writes, |unit| unit.write_of(id)));
        reached(Step::Campus, whose.row(), Side::Before);
        let (turns, reply) = self.send_in(turns, &call).await;
        if let Some(unit) = self.unit.as_ref().filter(|_| turns.let_go().is_some()) {
            unit.was_sent(id, reply.as_ref().is_err_and(SisError::is_out_of_time));
        }
        let reply = reply?;
        reached(Step::Campus, whose.row(), Side::After);
        Ok(match reply.status {
            status @ 200..=299 => Written::Accepted(status),
            status if is_transient(status) => return Err(SisError::Status { what: call.what, status }),
            status => Written::Refused(status),
        })
    }

    /// Reads a list, from where a unit before had come; of each row only what `read` makes of it is kept.
    async fn list<T: Serialize + DeserializeOwned>(
        &self,
        list: List<'_>,
        question: &Question,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<ReadOut<T>, SisError> {
        let so_far: Option<(_, (Listing, Vec<T>))> = self.unit.as_ref().and_then(|unit| unit.list_so_far(question));
        let (begun, (mut listing, mut kept)) = so_far.unwrap_or_else(|| (Instant::now(), Default::default()));
        loop {
            match self.read_on(list.clone(), &mut listing).await {
                Ok(Some(rows)) => kept.extend(rows.iter().filter_map(&read)),
                Ok(None) => return Ok(ReadOut { rows: kept, lacking: listing.lacking() }),
                Err(error) => {
                    if let Some(unit) = self.unit.as_ref().filter(|_| error.is_out_of_time()) {
                        unit.keep_list(question, begun, &(listing, kept));
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Reads on by one page, and gives the rows that were not seen before. A list that has fewer rows than it said is read again, as
    /// long as that brings more. `None`: it was read to its end.
    async fn read_on(&self, list: List<'_>, listing: &mut Listing) -> Result<Option<Vec<Value>>, SisError> {
        let filter = list.filter.as_deref().filter(|_| !listing.is_unfiltered);
        let size = self.table.page_size as usize;
        let call = self.page_call(&list, filter, listing.offset, size)?;
        if listing.pages.len() >= MOST_PAGES {
            return Err(stuck(&call));
        }
        // There was no time to find out.
        if listing.paging == Paging::Doubtful && self.is_unpaged(&list, filter, listing).await? {
            return Ok(if self.is_read(list.what, listing) { None } else { Some(Vec::new()) });
        }
        let (page, total) = match self.page(&call, list.envelope).await {
            Err(SisError::Status { status: 400, .. }) if filter.is_some() && listing.offset == 0 => {
                tracing::warn!(district = %self.district, what = list.what, "Campus refuses the filter; all are read instead");
                listing.is_unfiltered = true;
                return Ok(Some(Vec::new()));
            }
            // Some refuse what lies behind the end.
            Err(SisError::Status { status: 400 | 404, .. }) if listing.may_be_over(size) => (Vec::new(), None),
            page => page?,
        };
        // The page behind the end may count what is on it.
        listing.total = listing.total.max(total);
        // Only an empty page ends a list for certain: servers clamp page sizes without a word.
        if page.is_empty() {
            return Ok(if self.is_read(list.what, listing) { None } else { Some(Vec::new()) });
        }
        let ids: Vec<_> =
            page.iter().map(|row| row.get(&self.table.id).map_or(0, |id| hashed(&id.to_string()))).collect();
        let is_second = listing.pages.len() == 1;
        if is_second && ids.iter().all(|id| listing.ids.contains(id)) && self.is_unpaged(&list, filter, listing).await?
        {
            return Ok(if self.is_read(list.what, listing) { None } else { Some(Vec::new()) });
        }
        if !listing.pages.insert(hashed(&ids)) {
            return Err(stuck(&call));
        }
        listing.offset += page.len();
        listing.last_page = page.len();
        let rows = ids.into_iter().zip(page);
        Ok(Some(rows.filter_map(|(id, row)| listing.ids.insert(id).then_some(row)).collect()))
    }

    /// The second page has nothing that the first one had not: whether Campus gives all of a list, whatever part of it is asked for. A
    /// single row is asked for then: whoever gives more does not know how to give less, and whoever gives one may have stood still.
    async fn is_unpaged(&self, list: &List<'_>, filter: Option<&str>, listing: &mut Listing) -> Result<bool, SisError> {
        if listing.offset == 1 || listing.total.is_some_and(|total| listing.ids.len() >= total) {
            return Ok(true);
        }
        if listing.paging == Paging::Paged {
            return Ok(false);
        }
        listing.paging = Paging::Doubtful;
        let (rows, _) = self.page(&self.page_call(list, filter, 0, 1)?, list.envelope).await?;
        let is_unpaged = rows.len() > 1;
        if is_unpaged {
            tracing::debug!(district = %self.district, what = list.what, "Campus gives all of a list at once");
        }
        listing.paging = if is_unpaged { Paging::Unknown } else { Paging::Paged };
        Ok(is_unpaged)
    }

    /// After the end of a list. False: it is to be read once more, from its beginning.
    fn is_read(&self, what: &str, listing: &mut Listing) -> bool {
        listing.readings += 1;
        let (rows, total) = (listing.ids.len(), listing.total);
        let brought_more = listing.readings == 1 || rows > listing.before;
        if listing.is_whole() {
            return true;
        }
        if !brought_more || listing.readings >= READINGS {
            tracing::warn!(district = %self.district, what, rows, total, "Campus lists fewer rows than it says there are");
            return true;
        }
        let (readings, is_unfiltered) = (listing.readings, listing.is_unfiltered);
        let ids = std::mem::take(&mut listing.ids);
        *listing = Listing { readings, is_unfiltered, before: rows, ids, ..Listing::default() };
        false
    }

    fn page_call(&self, list: &List<'_>, filter: Option<&str>, offset: usize, limit: usize) -> Result<Call, SisError> {
        let mut call = self.call(Method::GET, list.path, None, None, list.what)?;
        call.url
            .query_pairs_mut()
            .append_pair("limit", &limit.to_string())
            .append_pair("offset", &offset.to_string())
            .append_pair("sort", &self.table.id)
            .append_pair("orderBy", "asc")
            .extend_pairs(filter.map(|filter| ("filter", filter)));
        Ok(call)
    }

    /// A page's rows, and how many the list has where Campus says so.
    async fn page(&self, call: &Call, envelope: &str) -> Result<(Vec<Value>, Option<usize>), SisError> {
        let reply = self.send(call).await?;
        if reply.status != 200 {
            return Err(SisError::Status { what: call.what.clone(), status: reply.status });
        }
        let total = reply.total_count.as_deref().and_then(|total| total.trim().parse().ok());
        match read(call, &reply)?.get_mut(envelope).map(Value::take) {
            Some(Value::Array(rows)) => Ok((rows, total)),
            _ => Err(SisError::Unreadable { what: call.what.clone(), problem: "no such envelope", line: 1, column: 1 }),
        }
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        id: Option<&str>,
        body: Option<Value>,
        what: &str,
    ) -> Result<Call, SisError> {
        let mut url = self.base.clone();
        let host = url.host_str().unwrap_or_default().to_owned();
        url.path_segments_mut()
            .map_err(|()| SisError::Invalid { host, detail: "base_url has no path" })?
            .pop_if_empty()
            .extend(path.split('/').filter(|part| !part.is_empty()))
            .extend(id);
        Ok(Call { method, url, body, what: what.to_owned() })
    }

    async fn send(&self, call: &Call) -> Result<Reply, SisError> {
        self.send_in(self.turns(Asks::Reads), call).await.1
    }

    /// Sends in these turns, and says what became of them.
    async fn send_in(&self, turns: DistrictsTurns, call: &Call) -> (Arc<DistrictsTurns>, Result<Reply, SisError>) {
        let turns = Arc::new(turns);
        let session = self.session.clone().with_turns(Arc::clone(&turns) as Arc<dyn Turns>);
        let Some(unit) = &self.unit else { return (turns, self.send_by(&session, call, false).await) };
        let request = format!("{} {}", call.method, call.url);
        let was_refused = unit.was_token_refused(&request);
        let reply = self.send_by(&session, call, was_refused).await;
        let is_refused = was_refused || turns.is_refused.load(Ordering::Relaxed);
        if is_refused && reply.as_ref().is_err_and(SisError::is_out_of_time) {
            unit.token_refused(request);
        }
        match (&reply, turns.let_go()) {
            (Ok(_), Some(begun)) => unit.answered(begun.elapsed()),
            (Err(error), _) if !error.is_out_of_time() => unit.got_something(),
            _ => {}
        }
        (turns, reply)
    }

    async fn send_by(&self, session: &Session, call: &Call, by_this_token: bool) -> Result<Reply, SisError> {
        let (mut tries, mut told) = (1, None);
        loop {
            let error = match (self.try_by(session, call, by_this_token).await, told) {
                (Ok(reply), _) => return Ok(reply),
                // What closed the circuit is more to the point than that it is closed by now, or that there is no time to try again.
                (Err(SisError::CircuitOpen { .. } | SisError::OutOfTime { .. }), Some(before)) => return Err(before),
                (Err(error), _) => error,
            };
            // Who has no unit waited for a token that is fetched for somebody else's.
            let was_for_another = self.unit.is_none() && error.is_out_of_time();
            if tries == TRIES || !(was_for_another || may_go_well_at_once(&error)) {
                return Err(error);
            }
            self.session.pause(pause(0, false, 0.0).min(Duration::from_millis(500))).await;
            tries += 1;
            told = Some(error);
        }
    }

    /// Tries once: the token too, which is a request of its own where it is not there yet.
    async fn try_by(&self, session: &Session, call: &Call, by_this_token: bool) -> Result<Reply, SisError> {
        self.in_time(&call.what, self.session.authenticate().boxed()).await?;
        let exchange =
            if by_this_token { session.exchange_by_this_token(call).boxed() } else { session.exchange(call).boxed() };
        self.in_time(&call.what, exchange).await
    }

    /// Gives up at the end of the unit of work. A request that fails by itself does so before, where it is the first one.
    async fn in_time<T>(&self, what: &str, ask: impl Future<Output = Result<T, SisError>>) -> Result<T, SisError> {
        let Some(unit) = &self.unit else { return ask.await };
        timeout_at(unit.gives_up_at(), ask).await.unwrap_or_else(|_| Err(out_of_time(what)))
    }
}

/// Whether a list comes in pages, where that was in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
enum Paging {
    #[default]
    Unknown,
    /// The second page had nothing new: it is to be found out.
    Doubtful,
    Paged,
}

/// A list of Campus.
#[derive(Debug, Clone)]
struct List<'a> {
    path: &'a str,
    envelope: &'a str,
    filter: Option<String>,
    what: &'a str,
}

/// How far a list was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// Rows of this reading.
    offset: usize,
    /// Rows of its last page.
    #[serde(default)]
    last_page: usize,
    /// Digests of the pages of this reading.
    pages: BTreeSet<u64>,
    /// Digests of the ids seen: of an order that changes between pages a row may come twice.
    ids: HashSet<u64>,
    /// How many rows there are, where Campus says so.
    total: Option<usize>,
    /// Readings that are over.
    readings: u32,
    /// Rows seen before this reading.
    before: usize,
    /// Campus refuses the filter.
    is_unfiltered: bool,
    #[serde(default)]
    paging: Paging,
}

impl Listing {
    fn is_whole(&self) -> bool {
        self.lacking() == 0
    }

    /// How many rows Campus says there are and has not given.
    fn lacking(&self) -> usize {
        self.total.map_or(0, |total| total.saturating_sub(self.ids.len()))
    }

    /// What comes behind the last page may be nothing: all rows are there that Campus says there are, or it says nothing and gave fewer
    /// than the `asked` ones.
    fn may_be_over(&self, asked: usize) -> bool {
        self.offset > 0 && self.is_whole() && (self.total.is_some() || self.last_page < asked)
    }
}

/// A short digest of an id, or of a page's. Another version's may differ: then rows of a list under way count twice.
fn hashed(ids: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    ids.hash(&mut hasher);
    hasher.finish()
}

/// None without a field to filter by.
fn filter(field: &str, id: &str) -> Option<String> {
    (!field.is_empty()).then(|| format!("{field}='{}'", id.replace('\'', "''")))
}

fn may_go_well_at_once(error: &SisError) -> bool {
    error.remedy() == Remedy::Again && !matches!(error, SisError::CircuitOpen { .. } | SisError::Timeout { .. })
}

fn read(call: &Call, reply: &Reply) -> Result<Value, SisError> {
    serde_json::from_slice(&reply.body).map_err(|error| SisError::Unreadable {
        what: call.what.clone(),
        problem: "not JSON, or cut off",
        line: error.line(),
        column: error.column(),
    })
}

fn stuck(call: &Call) -> SisError {
    SisError::Unreadable { what: call.what.clone(), problem: "the same page again", line: 1, column: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Told;

    #[tokio::test]
    async fn no_second_has_more_requests_than_the_rate_and_a_small_burst() {
        let (pace, district) = (Pace::per_second(NonZeroU32::new(50).unwrap()), "d".parse().unwrap());
        let began = std::time::Instant::now();
        for _ in 0..30 {
            pace.turn(&district).await;
        }
        // Five at once, then one every 20 ms.
        assert!(began.elapsed() >= Duration::from_millis(490), "{:?}", began.elapsed());
        let (other, began) = ("e".parse().unwrap(), std::time::Instant::now());
        pace.turn(&other).await;
        assert!(began.elapsed() < Duration::from_millis(400), "another district has a rate of its own");
    }

    #[tokio::test]
    async fn a_look_beside_the_work_has_a_share_of_the_rate() {
        let (pace, district) = (Pace::aside(NonZeroU32::new(50).unwrap()), "d".parse().unwrap());
        let began = std::time::Instant::now();
        for _ in 0..6 {
            pace.turn(&district).await;
        }
        assert!(began.elapsed() >= Duration::from_millis(490), "ten a second, none at once: {:?}", began.elapsed());
    }

    /// The first request of a unit waits as long as it has to.
    #[tokio::test]
    async fn what_is_too_late_for_its_unit_waits_no_longer_and_takes_no_turn() {
        let (pace, district): (_, DistrictId) = (Pace::per_second(NonZeroU32::new(1).unwrap()), "d".parse().unwrap());
        let began = std::time::Instant::now();
        pace.turn(&district).await;
        let unit = Arc::new(Unit::begin(Duration::from_secs(1), Duration::from_secs(17), Told::default()));
        let turns = |unit: &Arc<Unit>, asks| DistrictsTurns {
            district: district.clone(),
            pace: pace.clone(),
            aside: None,
            unit: Some(Arc::clone(unit)),
            asks,
            is_refused: AtomicBool::new(false),
            let_go: Mutex::default(),
        };
        assert_eq!(turns(&unit, Asks::WritesAgain).turn().await, Ok(()), "the first one, after a second");
        for asks in [Asks::Writes, Asks::WritesAgain] {
            let late = turns(&unit, asks);
            assert!(late.turn().await.is_err_and(|error| error.is_out_of_time()), "{asks:?}");
            assert_eq!(late.let_go(), None);
        }
        assert!(began.elapsed() < Duration::from_millis(1_900), "they left in time: {:?}", began.elapsed());
        let next = Arc::new(Unit::begin(Duration::ZERO, Duration::from_secs(17), Told::default()));
        assert_eq!(turns(&next, Asks::Writes).turn().await, Ok(()));
        let waited = began.elapsed();
        assert!((Duration::from_millis(1_950)..Duration::from_millis(3_900)).contains(&waited), "its turn: {waited:?}");
    }

    #[test]
    fn a_filter_needs_a_field() {
        assert_eq!(filter("student.sourcedId", "O'Hara").as_deref(), Some("student.sourcedId='O''Hara'"));
        assert_eq!(filter("", "1"), None);
    }

    #[test]
    fn some_refusals_are_for_good() {
        let for_good: Vec<u16> = (200..600).filter(|status| is_for_good(*status)).collect();
        assert!([400, 403, 405, 410, 422].iter().all(|status| for_good.contains(status)), "{for_good:?}");
        assert!(![201, 401, 404, 408, 409, 425, 429, 500, 503].iter().any(|status| for_good.contains(status)));
    }

    #[test]
    fn what_campus_answers_may_be_of_one_thing_alone() {
        let what = || "a list".to_owned();
        let status = |status| SisError::Status { what: what(), status };
        let access = |status| SisError::AccessRefused { what: what(), status };
        let busy = SisError::Busy { host: what(), status: 429, after: Duration::from_secs(1) };
        let table = [
            (status(404), Some(404), true),
            (status(400), Some(400), true),
            (status(409), None, true),
            (status(500), None, true),
            (access(403), Some(403), true),
            (access(401), None, false),
            (SisError::Timeout { host: what() }, None, false),
            (busy, None, false),
        ];
        for (error, refused, of_one) in table {
            assert_eq!((refusal(&error), is_of_one(&error)), (refused, of_one), "{error}");
            let is_no_answer = matches!(error, SisError::Timeout { .. });
            assert_eq!(is_of_one_student(&error), of_one || is_no_answer, "{error}");
        }
    }
}
