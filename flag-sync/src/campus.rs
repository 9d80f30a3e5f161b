//! Programs and participations of one district's Campus: read, and written one at a time.
//!
//! Role: the calls of the partner interface, paged, paced and retried. Neighbours: [`crate::partner`] spells them;
//! `rollcall-http` sends them.
//!
//! Invariants: no more requests a second than the district's rate, retries and reads included; nothing is ever deleted.

use std::{collections::BTreeSet, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{DefaultKeyedRateLimiter, Quota};
use reqwest::Method;
use rollcall_http::{
    error::{Remedy, SisError, is_transient},
    limits::pause,
    net::Reply,
    session::{Call, Session},
    urls,
};
use rollcall_proto::{
    failpoint::{Side, Step, reached},
    id::DistrictId,
};
use rollcall_store::district::{Connection, ConnectionSecrets};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use crate::{
    diff::ActualFlag,
    partner::{CampusProgram, PartnerInterface},
};

/// Tries of one call, where what failed may go well at once.
const TRIES: u32 = 2;

/// Pages of one list: more means that paging is stuck.
const MOST_PAGES: u32 = 10_000;

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

    async fn turn(&self, district: &DistrictId) {
        self.0.until_key_ready(district).await;
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
        Ok(Self { district, session, base, table, pace })
    }

    /// The partner interface.
    pub(crate) fn table(&self) -> &PartnerInterface {
        &self.table
    }

    /// The programs that Campus shows us.
    pub async fn programs(&self) -> Result<Vec<CampusProgram>, SisError> {
        let table = &self.table;
        let read = |row: &Value| table.program(row);
        self.list(&table.programs_path, &table.programs_envelope, None, "the programs", read).await
    }

    /// Participations, deleted ones left out.
    pub async fn participations(&self, which: Which<'_>) -> Result<Vec<ActualFlag>, SisError> {
        self.listed(which, |_, flag| Some(flag)).await
    }

    /// Those whose ids may be ours, as Campus gave them.
    pub(crate) async fn rows(&self, which: Which<'_>) -> Result<Vec<(Uuid, Box<str>)>, SisError> {
        let kept = |row: &Value, flag: ActualFlag| Some((flag.id.parse().ok()?, row.to_string().into_boxed_str()));
        self.listed(which, kept).await
    }

    async fn listed<T>(
        &self,
        which: Which<'_>,
        of_row: impl Fn(&Value, ActualFlag) -> Option<T>,
    ) -> Result<Vec<T>, SisError> {
        let table = &self.table;
        let (field, id) = match which {
            Which::OfProgram(id) => (&table.program_filter, id),
            Which::OfStudent(id) => (&table.student_filter, id),
        };
        let filter = filter(field, id);
        let (path, envelope) = (&table.participations_path, &table.participations_envelope);
        // A server that does not know the filter may answer with all.
        let is_wanted = |flag: &ActualFlag| match which {
            Which::OfProgram(id) => flag.program_sis_id.eq_ignore_ascii_case(id),
            Which::OfStudent(id) => flag.sis_id.eq_ignore_ascii_case(id),
        };
        let read = |row: &Value| of_row(row, table.participation(row).filter(is_wanted)?);
        self.list(path, envelope, filter.as_deref(), "the program participations", read).await
    }

    /// One participation: as we read it, and as Campus gave it. `None`: there is none, or it is deleted.
    pub async fn participation(&self, id: &str) -> Result<Option<(ActualFlag, Value)>, SisError> {
        let call =
            self.call(Method::GET, &self.table.participations_path, Some(id), None, "a program participation")?;
        let reply = self.send(&call).await?;
        match reply.status {
            200 => {}
            404 => return Ok(None),
            status => return Err(SisError::Status { what: call.what, status }),
        }
        let mut body = read(&call, &reply)?;
        let row = body.get_mut(&self.table.participation_envelope).map(Value::take).unwrap_or(body);
        Ok(self.table.participation(&row).map(|flag| (flag, row)))
    }

    /// One participation as its student's list has it: as we read it, and as Campus gave it.
    async fn participation_in_list(&self, student: &str, id: &str) -> Result<Option<(ActualFlag, Value)>, SisError> {
        let table = &self.table;
        let filter = filter(&table.student_filter, student);
        let (path, envelope) = (&table.participations_path, &table.participations_envelope);
        let read = |row: &Value| {
            let found = table.participation(row).filter(|flag| flag.id.eq_ignore_ascii_case(id))?;
            Some((found, row.clone()))
        };
        Ok(self.list(path, envelope, filter.as_deref(), "the program participations", read).await?.pop())
    }

    /// One participation, looked for by its id and then among its student's: a single answer is not enough for it to count as
    /// gone, and one that Campus fails at is no reason to read no other.
    pub(crate) async fn look_for(&self, student: &str, id: &str) -> Result<Option<(ActualFlag, Value)>, SisError> {
        match self.participation(id).await {
            Ok(None) | Err(SisError::Status { .. }) => self.participation_in_list(student, id).await,
            answer => answer,
        }
    }

    /// One participation by its id. `None`: there is none, or Campus refuses to tell.
    pub(crate) async fn participation_if_told(&self, id: &str) -> Result<Option<(ActualFlag, Value)>, SisError> {
        match self.participation(id).await {
            Err(SisError::Status { status, .. }) if is_for_good(status) => Ok(None),
            answer => answer,
        }
    }

    /// Creates or replaces a participation.
    pub async fn put(&self, whose: Whose, id: &str, body: Value) -> Result<Written, SisError> {
        let path = &self.table.participations_path;
        let call = self.call(Method::PUT, path, Some(id), Some(body), "a program participation")?;
        reached(Step::Campus, whose.row(), Side::Before);
        let reply = self.send(&call).await?;
        reached(Step::Campus, whose.row(), Side::After);
        Ok(match reply.status {
            status @ 200..=299 => Written::Accepted(status),
            status if is_transient(status) => return Err(SisError::Status { what: call.what, status }),
            status => Written::Refused(status),
        })
    }

    /// Reads a list to its end; of each row only what `read` makes of it is kept.
    async fn list<T>(
        &self,
        path: &str,
        envelope: &str,
        filter: Option<&str>,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, SisError> {
        let (mut kept, mut rows, mut seen, mut filter) = (Vec::new(), 0, BTreeSet::new(), filter);
        for _ in 0..MOST_PAGES {
            let call = self.page_call(path, filter, rows, what)?;
            let page = match self.page(&call, envelope).await {
                Err(SisError::Status { status: 400, .. }) if filter.is_some() && rows == 0 => {
                    tracing::warn!(district = %self.district, what, "Campus refuses the filter; all are read instead");
                    filter = None;
                    continue;
                }
                page => page?,
            };
            // Only an empty page ends a list for certain: servers clamp page sizes without a word.
            let Some(first) = page.first() else { return Ok(kept) };
            if !seen.insert(first.get(&self.table.id).map(Value::to_string)) {
                return Err(stuck(&call));
            }
            rows += page.len();
            kept.extend(page.iter().filter_map(&read));
        }
        Err(stuck(&self.page_call(path, filter, rows, what)?))
    }

    fn page_call(&self, path: &str, filter: Option<&str>, offset: usize, what: &str) -> Result<Call, SisError> {
        let mut call = self.call(Method::GET, path, None, None, what)?;
        call.url
            .query_pairs_mut()
            .append_pair("limit", &self.table.page_size.to_string())
            .append_pair("offset", &offset.to_string())
            .append_pair("sort", &self.table.id)
            .append_pair("orderBy", "asc")
            .extend_pairs(filter.map(|filter| ("filter", filter)));
        Ok(call)
    }

    async fn page(&self, call: &Call, envelope: &str) -> Result<Vec<Value>, SisError> {
        let reply = self.send(call).await?;
        if reply.status != 200 {
            return Err(SisError::Status { what: call.what.clone(), status: reply.status });
        }
        match read(call, &reply)?.get_mut(envelope).map(Value::take) {
            Some(Value::Array(rows)) => Ok(rows),
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
        let mut tries = 1;
        loop {
            self.pace.turn(&self.district).await;
            match self.session.exchange(call).await {
                Err(error) if tries < TRIES && may_go_well_at_once(&error) => {
                    self.session.pause(pause(0, false, 0.0).min(Duration::from_millis(500))).await;
                    tries += 1;
                }
                answer => return answer,
            }
        }
    }
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
}
