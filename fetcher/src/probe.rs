//! `rollcall district test`: asks a connection what a run would ask, and says what to mend.
//!
//! Role: one step after the other, from the name server to the school year; a step that fails ends the test where the
//! next ones rest on it. Nothing is stored.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::{
    clock::Clock,
    id::{ConnectionNo, PageNo},
};
use rollcall_store::district::{Connection, ConnectionSecrets, District, SisKind};

use crate::{
    auth::{Credentials, token_url},
    error::SisError,
    net::{Http, HttpConfig, Reply, host_of, http_date, resolve},
    session::{Session, Shared},
    sis::{
        Source as _,
        oneroster::{self, OneRoster, Sample},
        qmlativ::{Granted, Metadata, Placed, Qmlativ, entity_of_first, objects::ENTRY_WITHDRAWAL, wanted},
    },
    turn::Turn,
};

/// The SIS's clock may differ from ours this much before it is worth a word: tokens expire by it.
const SKEW: Duration = Duration::from_mins(2);

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// A run would go on, with less.
    Warn,
    /// A run would fail.
    Fail,
}

impl Outcome {
    /// As people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One step of the test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was tested, such as `token` or `listing Student/Student`.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// What was found; no student fact.
    pub detail: String,
    /// What to do, where something is to be done.
    pub mend: Option<String>,
}

impl Step {
    fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Ok, detail: detail.into(), mend: None }
    }

    fn failed(name: impl Into<String>, error: &SisError) -> Self {
        let mend = Some(error.mend().to_owned());
        Self { name: name.into(), outcome: Outcome::Fail, detail: error.to_string(), mend }
    }

    fn warn(name: impl Into<String>, detail: impl Into<String>, mend: &str) -> Self {
        Self { name: name.into(), outcome: Outcome::Warn, detail: detail.into(), mend: Some(mend.to_owned()) }
    }
}

/// Tests a connection.
pub async fn probe(
    district: &District,
    connection: &Connection,
    secrets: ConnectionSecrets,
    allow_private_addresses: bool,
    clock: &dyn Clock,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let _ = Probe { district, connection, secrets, allow: allow_private_addresses, clock }.all(&mut steps).await;
    steps
}

struct Probe<'a> {
    district: &'a District,
    connection: &'a Connection,
    secrets: ConnectionSecrets,
    allow: bool,
    clock: &'a dyn Clock,
}

/// The test cannot go on; the failed step says why.
struct Stop;

impl Probe<'_> {
    async fn all(&self, steps: &mut Vec<Step>) -> Result<(), Stop> {
        if self.connection.kind == SisKind::SkywardSms2 {
            let error = SisError::Unsupported { kind: self.connection.kind.as_str() };
            return stop(steps, "kind", &error);
        }
        self.addresses(steps).await?;
        let session = match self.session() {
            Ok(session) => session,
            Err(error) => return stop(steps, "client", &error),
        };
        self.token(&session, steps).await?;
        if self.connection.kind == SisKind::OneRoster {
            return self.oneroster(&OneRoster::new(session), steps).await;
        }
        let qmlativ = Qmlativ::new(session, self.district.status.school_years);
        let metadata = self.metadata(&qmlativ, steps).await?;
        let granted = self.grants(&qmlativ, steps).await?;
        let placed = self.years(&qmlativ, &metadata, &granted, steps).await?;
        self.listings(&qmlativ, &granted, &placed, steps).await;
        Ok(())
    }

    fn session(&self) -> Result<Session, SisError> {
        let bounds = HttpConfig { allow_private_addresses: self.allow, ..HttpConfig::default() };
        let credentials = Credentials {
            district: self.district.id.clone(),
            number: ConnectionNo(0),
            connection: Arc::new(self.connection.clone()),
            secrets: Arc::new(self.secrets.clone()),
        };
        let clock = Arc::new(Frozen(self.clock.now()));
        Ok(Session::new(Shared::new(Http::new(bounds)?, clock), credentials))
    }

    async fn addresses(&self, steps: &mut Vec<Step>) -> Result<(), Stop> {
        let token = match token_url(self.connection) {
            Ok(url) => url,
            Err(error) => return stop(steps, "name", &error),
        };
        let mut urls = vec![&self.connection.base_url];
        if token.host_str() != self.connection.base_url.host_str() {
            urls.push(&token);
        }
        for url in urls {
            let name = format!("name {}", host_of(url));
            match resolve(url, self.allow).await {
                Ok(found) => {
                    let plural = if found.len() == 1 { "address" } else { "addresses" };
                    steps.push(Step::ok(name, format!("{} {plural}", found.len())));
                }
                Err(error) => return stop(steps, &name, &error),
            }
        }
        Ok(())
    }

    /// The first request: connection, TLS and token at once; the error tells them apart.
    async fn token(&self, session: &Session, steps: &mut Vec<Step>) -> Result<(), Stop> {
        match session.authenticate().await {
            Ok(()) => {
                let secured = self.connection.base_url.scheme() == "https";
                let tls = if secured { "connected, certificate trusted" } else { "connected, without TLS" };
                steps.push(Step::ok("connection", tls));
                steps.push(Step::ok("token", "granted"));
                Ok(())
            }
            Err(error) => {
                let reached = matches!(
                    error,
                    SisError::TokenRefused { .. } | SisError::TokenUnreadable { .. } | SisError::Busy { .. }
                );
                if reached {
                    steps.push(Step::ok("connection", "connected"));
                }
                stop(steps, if reached { "token" } else { "connection" }, &error)
            }
        }
    }

    async fn metadata(&self, qmlativ: &Qmlativ, steps: &mut Vec<Step>) -> Result<Metadata, Stop> {
        match qmlativ.metadata().await {
            Ok((metadata, reply)) => {
                let name = metadata.name().unwrap_or_else(|| "(no name)".to_owned());
                steps.push(Step::ok("system metadata", name));
                steps.push(clock_step(&reply, self.clock.now()));
                Ok(metadata)
            }
            Err(error) => stop(steps, "system metadata", &error),
        }
    }

    async fn grants(&self, qmlativ: &Qmlativ, steps: &mut Vec<Step>) -> Result<Granted, Stop> {
        let granted = match qmlativ.grants(&Turn::endless()).await {
            Ok(granted) => granted,
            Err(error) => return stop(steps, "grants", &error),
        };
        for (resource, gaps) in &granted.gaps {
            let what = gaps.join(", ");
            let mend = "ask the district to grant it to the integration access, or live without it";
            steps.push(Step::warn(format!("grant {resource}"), format!("not granted: {what}"), mend));
        }
        if !granted.discovery.fatal.is_empty() {
            return stop(steps, "grants", &SisError::NotGranted { missing: granted.discovery.fatal.clone() });
        }
        steps.push(Step::ok(
            "grants",
            format!("{} objects granted, {} with gaps", granted.discovery.granted.len(), granted.gaps.len()),
        ));
        Ok(granted)
    }

    async fn years(
        &self,
        qmlativ: &Qmlativ,
        metadata: &Metadata,
        granted: &Granted,
        steps: &mut Vec<Step>,
    ) -> Result<Placed, Stop> {
        match qmlativ.school_years(metadata, granted, &Turn::endless()).await {
            Ok(placed) => {
                let ids: Vec<String> = placed.years.iter().map(i64::to_string).collect();
                steps.push(Step::ok("school years", format!("SchoolYearID {}", ids.join(", "))));
                Ok(placed)
            }
            Err(error) => stop(steps, "school years", &error),
        }
    }

    /// The first rows of every listing. Users and orgs must be there; the rest is said, and lived without.
    async fn oneroster(&self, sis: &OneRoster, steps: &mut Vec<Step>) -> Result<(), Stop> {
        for resource in [oneroster::ORGS, oneroster::USERS, oneroster::DEMOGRAPHICS, oneroster::ACADEMIC_SESSIONS] {
            let name = format!("listing {resource}");
            match sis.sample(resource).await {
                Ok(sample) => {
                    steps.push(sampled(&name, resource, &sample));
                    if resource == oneroster::ORGS {
                        steps.push(clock_step(&sample.reply, self.clock.now()));
                    }
                    steps.extend(guardians(resource, &sample));
                }
                Err(SisError::AccessRefused { status, .. }) if resource == oneroster::DEMOGRAPHICS => {
                    let mend = "grant the scope roster-demographics.readonly; until then birth dates stay unknown";
                    steps.push(Step::warn(&name, format!("refused (status {status})"), mend));
                }
                Err(error) if resource == oneroster::ACADEMIC_SESSIONS => {
                    steps.push(Step::warn(&name, error.to_string(), "nothing rests on it; ask the district"));
                }
                Err(error) => {
                    steps.push(refused(&name, &error));
                    return Err(Stop);
                }
            }
        }
        steps.push(self.changes(sis).await);
        Ok(())
    }

    /// Whether nights between two pulls of everything may ask for changes alone.
    async fn changes(&self, sis: &OneRoster) -> Step {
        let (name, days) = ("changes since yesterday", self.connection.full_every_days);
        let full = |why: &str| Step::ok(name, format!("not asked for: every night pulls everything ({why})"));
        if days <= 1 {
            return full("full_every_days = 1");
        }
        match sis.tries_changes(self.clock.now() - TimeDelta::days(1), &Turn::endless()).await {
            Ok(Ok(_)) => Step::ok(name, format!("told; everything is pulled every {days} days, and after any trouble")),
            Ok(Err(why)) => full(why),
            Err(error) => refused(name, &error),
        }
    }

    /// The first row of every listing.
    async fn listings(&self, qmlativ: &Qmlativ, granted: &Granted, placed: &Placed, steps: &mut Vec<Step>) {
        let mut unplaced = BTreeSet::new();
        for entity in &self.connection.entities {
            for object in wanted(self.connection) {
                let Some(ask) = granted.sample(object.resource, *entity, &placed.years) else { continue };
                let name = format!("listing {} of entity {entity}", object.resource);
                let asked = qmlativ.ask(&ask, PageNo(1), 1).await;
                let told = asked.and_then(|(reply, what)| {
                    let of_enrollment =
                        (object.resource == ENTRY_WITHDRAWAL).then(|| entity_of_first(&reply)).flatten();
                    unplaced.extend(of_enrollment.filter(|of| !placed.entities.contains(of)));
                    qmlativ.told(&what, PageNo(1), 1, &reply)
                });
                steps.push(match told {
                    Ok(facts) if facts.rows > 0 => Step::ok(name, "holds rows"),
                    Ok(_) => Step::warn(name, "empty", "ask the district whether that is right"),
                    Err(error) => Step::failed(name, &error),
                });
            }
        }
        // Where no entity tells its current year, all go by one.
        let unplaced = unplaced.into_iter().filter(|_| !placed.entities.is_empty());
        steps.extend(unplaced.map(entity_step));
    }
}

/// A step that failed on a connection by OneRoster, which has neither a root nor entities.
fn refused(name: &str, error: &SisError) -> Step {
    let mend = match error {
        SisError::Status { status: 404, .. } => NOT_THERE,
        SisError::AccessRefused { .. } => NOT_GRANTED,
        _ => error.mend(),
    };
    Step { mend: Some(mend.to_owned()), ..Step::failed(name, error) }
}

/// What to do where a OneRoster server has nothing at its address.
const NOT_THERE: &str = "copy base_url anew from the SIS, and check version (Infinite Campus: \
                         …/campus/api/oneroster/v1p2/APP/ims/oneroster; one that ends in …/campus/api/ims/oneroster is of before)";
/// What to do where it refuses.
const NOT_GRANTED: &str =
    "ask the district to grant it, and whether the access is active and not expired; check base_url";

/// An entity that enrollments are of, and whose school year cannot be told.
fn entity_step(entity: i64) -> Step {
    let detail = "enrollments are of it, and District/Entity names no current school year of it: a run leaves their students out";
    let mend = "have the entity granted to the integration access, or add it to entities in the district's file";
    Step::warn(format!("entity {entity}"), detail, mend)
}

fn stop<T>(steps: &mut Vec<Step>, name: &str, error: &SisError) -> Result<T, Stop> {
    steps.push(Step::failed(name, error));
    Err(Stop)
}

fn sampled(name: &str, resource: &str, sample: &Sample) -> Step {
    let told = match resource {
        oneroster::ORGS => sample.district_name(),
        oneroster::ACADEMIC_SESSIONS => Some(sample.school_years().join(", ")).filter(|years| !years.is_empty()),
        _ => None,
    };
    match (sample.len(), told) {
        (0, _) => Step::warn(name, "empty", "ask the district whether that is right"),
        (_, Some(told)) => Step::ok(name, told),
        (rows, None) => Step::ok(name, format!("holds rows, {rows} on the first page")),
    }
}

/// Campus returns guardians only where a function is switched on.
fn guardians(resource: &str, sample: &Sample) -> Option<Step> {
    if resource != oneroster::USERS || sample.len() == 0 {
        return None;
    }
    let shown = sample.has_role(&["guardian", "parent", "relative"]);
    let mend = "Campus returns guardians only with Grade Book sync enabled; without them no contacts come in";
    Some(if shown {
        Step::ok("guardians", "shared")
    } else {
        Step::warn("guardians", "none among the first users", mend)
    })
}

/// Compares the SIS's clock with ours.
fn clock_step(reply: &Reply, now: DateTime<Utc>) -> Step {
    let Some(theirs) = reply.date.as_deref().and_then(http_date) else {
        return Step::warn("clock", "the SIS does not tell its time", "nothing to do, unless tokens expire early");
    };
    let skew = (theirs - now).abs();
    let seconds = skew.num_seconds();
    if skew.to_std().is_ok_and(|skew| skew > SKEW) {
        let mend = "set this machine's clock by NTP, or ask the district to do so";
        return Step::warn("clock", format!("{seconds} s apart"), mend);
    }
    Step::ok("clock", format!("{seconds} s apart"))
}

/// The time of the test: it takes seconds, and its tokens live longer.
struct Frozen(DateTime<Utc>);

impl Clock for Frozen {
    fn now(&self) -> DateTime<Utc> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(date: Option<&str>) -> Reply {
        Reply {
            status: 200,
            content_type: None,
            retry_after: None,
            date: date.map(str::to_owned),
            total_count: None,
            link: None,
            cache_control: None,
            body: bytes::Bytes::new(),
            room: crate::net::room::Taken::default(),
        }
    }

    /// A OneRoster connection has no root and no entities to look after.
    #[test]
    fn what_to_do_is_worded_by_the_kind_of_the_connection() {
        let mend = |error: &SisError| refused("listing orgs", error).mend.unwrap();
        let what = || "orgs page 1".to_owned();
        let (gone, refused) =
            (SisError::Status { what: what(), status: 404 }, SisError::AccessRefused { what: what(), status: 403 });
        assert!(mend(&gone).contains("copy base_url anew") && mend(&refused).contains("grant it"));
        assert!(!mend(&gone).contains("Qmlativ") && !mend(&refused).contains("Qmlativ"));
        let failing = SisError::Status { what: what(), status: 500 };
        assert_eq!(mend(&failing), failing.mend());
    }

    #[test]
    fn a_clock_far_off_is_worth_a_word() {
        let now = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let outcome = |date| clock_step(&reply(date), now).outcome;
        assert_eq!(outcome(Some("Sun, 06 Nov 1994 08:49:37 GMT")), Outcome::Ok);
        assert_eq!(outcome(Some("Sun, 06 Nov 1994 08:51:37 GMT")), Outcome::Ok);
        assert_eq!(outcome(Some("Sun, 06 Nov 1994 08:51:38 GMT")), Outcome::Warn);
        assert_eq!(outcome(Some("Sun, 06 Nov 1994 08:40:00 GMT")), Outcome::Warn);
        assert_eq!(outcome(None), Outcome::Warn);
    }
}
