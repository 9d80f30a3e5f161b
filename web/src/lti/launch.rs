//! Hop 3: the platform posts a token; whoever may see the document gets a page with it.
//!
//! In the order of the Security Framework: the state says which registration is expected, the browser must be the one
//! that began, the state is used up, then signature, claims, access. The page names the file by a ticket, so that it
//! works without any cookie from here on.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, header},
    response::Response,
};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::{
    id::{ConnectionNo, StudentId},
    roster::Person,
};
use rollcall_store::{
    document::{Document, FileType},
    flag::Flag,
    lti::{Digest, Login, NewView, Place, Registration, Shown, StaffMember, Subject, ViewOutcome},
};

use super::{
    claims::{Expected, Launch},
    id_token::Unverified,
    login::{ATTRIBUTES, cookie_name, is_form},
    site::{Site, frame_ancestors},
    whose::{Names, Words},
};
use crate::{
    access::{self, Facts},
    contents::demographics,
    fields::Fields,
    pages, random,
    refusal::Refusal,
    server::App,
};

/// How long the page's ticket for the file is good.
const TICKET_GOOD_FOR: TimeDelta = TimeDelta::seconds(60);

/// The launch.
pub(crate) async fn launch(
    State(app): State<App>,
    Path(district): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let site = match Site::find(&app, &district).await {
        Ok(site) => site,
        Err(answer) => return answer,
    };
    match answer(&app, &site, &headers, &body).await {
        Ok(answer) => answer,
        Err(refusal) => site.refuse(refusal),
    }
}

async fn answer(app: &App, site: &Site, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refusal> {
    let form = Form::read(headers, body)?;
    let now = app.clock.now();
    let state = Digest::of(&form.state);
    let login = app.store.login(site.id(), state, now).await?.ok_or(Refusal::State)?;
    let registration = site.registration(login.registration).ok_or(Refusal::State)?;
    let cookie = cookie_name(&app.config, &form.state);
    if !same_browser(headers, &cookie, &login) {
        return no_cookie(app, site, registration, &login, headers);
    }
    if !app.store.use_login(site.id(), state, now).await? {
        return Err(Refusal::State);
    }
    let launch = verify(app, registration, &login, form.token()?, now).await?;
    let mut response = show(app, site, registration, &launch, now).await?;
    let spent = format!("{cookie}=; Max-Age=0; {ATTRIBUTES}");
    if let Ok(spent) = spent.parse() {
        response.headers_mut().append(header::SET_COOKIE, spent);
    }
    Ok(response)
}

/// What the platform posted.
pub(crate) struct Form {
    state: String,
    /// None: the platform reported an error.
    id_token: Option<String>,
}

impl Form {
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refusal> {
        if !is_form(headers) {
            return Err(Refusal::Malformed);
        }
        let fields = Fields::parse(body).map_err(|_| Refusal::Malformed)?;
        let state = fields.get("state").ok_or(Refusal::Malformed)?.to_owned();
        let failed = fields.get("error").is_some();
        let id_token = fields.get("id_token").filter(|_| !failed).map(str::to_owned);
        if id_token.is_none() && !failed {
            return Err(Refusal::Malformed);
        }
        Ok(Self { state, id_token })
    }

    pub(crate) fn token(&self) -> Result<&str, Refusal> {
        self.id_token.as_deref().ok_or(Refusal::PlatformError)
    }
}

fn same_browser(headers: &HeaderMap, name: &str, login: &Login) -> bool {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.any(|(key, value)| key == name && random::same(Digest::of(value), login.browser))
}

/// A browser that keeps no cookie within a frame is led to a tab of its own, where the login begins again; the state
/// stays unused. Anywhere else the missing cookie means that another browser began.
fn no_cookie(
    app: &App,
    site: &Site,
    registration: &Registration,
    login: &Login,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let framed = headers.get("sec-fetch-dest").is_none_or(|kind| kind == "iframe" || kind == "frame");
    if !framed {
        return Err(Refusal::Browser);
    }
    tracing::info!(district = %site.id(), reason = Refusal::Browser.code(), "a launch is led out of its frame");
    let login_url = app.config.login_url(site.id());
    Ok(pages::breakout(&login_url, &login.request, &frame_ancestors(registration)))
}

async fn verify(
    app: &App,
    registration: &Registration,
    login: &Login,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Launch, Refusal> {
    let token = Unverified::parse(token)?;
    let (keys, url) = (&app.platform_keys, &registration.jwks_url);
    let key = keys.key(url, token.kid()).await.ok_or(Refusal::Key)?;
    let claims = match token.verify(&key) {
        // Some platforms make a new key under the old name.
        Err(Refusal::Signature) => match keys.newer_key(url, token.kid(), &key).await {
            Some(newer) => token.verify(&newer)?,
            None => return Err(Refusal::Signature),
        },
        judged => judged?,
    };
    Launch::judge(claims, &Expected { registration, request: &login.request, nonce: &login.nonce, now })
}

/// Decides, logs, and shows.
async fn show(
    app: &App,
    site: &Site,
    registration: &Registration,
    launch: &Launch,
    now: DateTime<Utc>,
) -> Result<Response, Refusal> {
    let source = source(site, registration)?;
    let user = launch.value(&registration.details.user).ok_or(Refusal::Unnamed)?;
    let (sought, program) = sought(app, registration, launch).await?;
    let today = now.with_timezone(&site.district.time_zone).date_naive();
    let found = match &sought {
        Sought::Roster(id) => app.store.subject_with_id(site.id(), id, today).await?,
        Sought::Named(id) => app.store.subject(site.id(), source, id, today).await?,
    };
    let student = found.ok_or(Refusal::Student)?;
    let view = |outcome, shown| NewView {
        at: now,
        student_id: &student.student_id,
        program: &program,
        user_id: &user,
        registration,
        outcome,
        shown,
    };
    let clicker = Clicker { registration, source, id: &user, roles: &launch.roles() };
    if !allowed(app, site, &clicker, &student, &program).await? {
        app.store.log_view(&view(ViewOutcome::Refused, None)).await?;
        return Err(Refusal::Access);
    }
    let newest = app.store.newest_completed_document(site.id(), &student.student_id, &program).await?;
    let name = match &newest {
        Some(document) => name_in(app, site, document).await?,
        None => student_name(app, site, &student.student_id).await?,
    };
    let ticket = random::token()?;
    let shown = newest.as_ref().map(|document| Shown {
        document_id: document.id.as_str(),
        version: document.version,
        ticket: Digest::of(&ticket),
        expires_at: now + TICKET_GOOD_FOR,
    });
    let outcome = if shown.is_some() { ViewOutcome::Shown } else { ViewOutcome::NoDocument };
    app.store.log_view(&view(outcome, shown)).await?;
    // Whoever takes the right away from here on takes the ticket with it. Before, it may have been done since it was asked.
    if !still_allowed(app, site, &clicker, &student, &program).await? {
        app.store.use_ticket(site.id(), Digest::of(&ticket), now).await?;
        app.store.log_view(&view(ViewOutcome::Refused, None)).await?;
        return Err(Refusal::Access);
    }
    let ancestors = frame_ancestors(registration);
    Ok(match newest {
        Some(document) => viewer(&document, &name, &ticket, &ancestors),
        None => pages::no_document(&name, &program, &ancestors),
    })
}

/// Whose ids the launch speaks of.
fn source(site: &Site, registration: &Registration) -> Result<ConnectionNo, Refusal> {
    registration.details.source(&site.district).map_err(|unclear| {
        tracing::warn!(
            district = %site.id(),
            registration = %registration.id,
            error = &unclear as &dyn std::error::Error,
            "nobody can tell whose ids a platform's launches speak of"
        );
        Refusal::Source
    })
}

/// The student of a launch.
enum Sought {
    /// By the roster's own id, which a flag of ours is kept with.
    Roster(StudentId),
    /// As the platform names students.
    Named(String),
}

/// Which student and which program, as the launch names them.
async fn sought(app: &App, registration: &Registration, launch: &Launch) -> Result<(Sought, String), Refusal> {
    let details = &registration.details;
    let by_flag = [&details.student, &details.program].contains(&&Place::Flag);
    let flag = if by_flag { Some(flag(app, registration, launch).await?) } else { None };
    let student = match (&details.student, &flag) {
        (Place::Flag, Some(flag)) => Sought::Roster(flag.student.clone()),
        (place, _) => Sought::Named(launch.value(place).ok_or(Refusal::Unnamed)?),
    };
    let program = match (&details.program, &flag) {
        (Place::Flag, Some(flag)) => flag.program.clone(),
        (place, _) => launch.value(place).ok_or(Refusal::Unnamed)?,
    };
    Ok((student, program))
}

/// The flag that was clicked: one that we pushed for this district.
async fn flag(app: &App, registration: &Registration, launch: &Launch) -> Result<Flag, Refusal> {
    let id = launch.value(&Place::Flag).and_then(|id| id.parse().ok()).ok_or(Refusal::Unnamed)?;
    app.store.flag(&registration.district, id).await?.ok_or(Refusal::Unnamed)
}

/// Who clicked, as the decision needs it.
struct Clicker<'a> {
    registration: &'a Registration,
    /// Whose ids the launch speaks of.
    source: ConnectionNo,
    /// As the platform names the person.
    id: &'a str,
    roles: &'a [&'a str],
}

async fn allowed(
    app: &App,
    site: &Site,
    clicker: &Clicker<'_>,
    student: &Subject,
    program: &str,
) -> Result<bool, Refusal> {
    let (store, district, id) = (&app.store, site.id(), clicker.id);
    let details = &clicker.registration.details;
    // Only what names a person of the SIS finds the roster's staff; `sub` is the platform's own number.
    let staff = match &details.user {
        place if place.is_sis_id() => store.staff_by_id(district, clicker.source, id).await?,
        Place::Email => store.staff_by_email(district, clicker.source, id).await?,
        _ => None,
    };
    let words = said(app, site, clicker, staff.as_ref()).await?;
    if !words.doubtful.is_empty() {
        tracing::warn!(
            %district,
            registration = %clicker.registration.id,
            "what was said of a person before it was noted whose id it is, of one whom nobody names so any more, or of a sub in another \
             letter case, only takes away: say it again with its platform, as the platform spells it"
        );
    }
    let may = |user| {
        let (staff, staff_access, roles) = (staff.as_ref(), details.staff, clicker.roles);
        access::may_see(&Facts { user, staff, staff_access, roles, student, program })
    };
    // Of several words the strictest counts.
    let by_roster = words.certain.is_empty().then_some(None);
    Ok(words.certain.iter().chain(&words.doubtful).map(Some).chain(by_roster).all(may))
}

/// Asked once more, of the store as it is now.
async fn still_allowed(
    app: &App,
    site: &Site,
    clicker: &Clicker<'_>,
    student: &Subject,
    program: &str,
) -> Result<bool, Refusal> {
    let now = match Site::load(app, site.id()).await {
        // The last platform was taken away.
        Err(Refusal::UnknownPlatform) => return Ok(false),
        loaded => loaded?,
    };
    let is_unchanged = now.registration(clicker.registration.id) == Some(clicker.registration);
    Ok(is_unchanged && allowed(app, &now, clicker, student, program).await?)
}

/// What an administrator said of the person.
async fn said(app: &App, site: &Site, clicker: &Clicker<'_>, staff: Option<&StaffMember>) -> Result<Words, Refusal> {
    let names = Names::of(&site.district, clicker.registration, clicker.source, clicker.id, staff);
    let mut words = Words::default();
    for id in names.ids() {
        let said = app.store.lti_users_called(site.id(), id).await?;
        names.sort((&site.district, &site.registrations), id, said, &mut words);
    }
    Ok(words)
}

/// What the student is called today.
async fn student_name(app: &App, site: &Site, student: &StudentId) -> Result<String, Refusal> {
    let found = app.store.student(site.id(), &student.0).await?;
    Ok(called(found.as_ref().map(|detail| &detail.record.person)))
}

/// What the student was called when the document was made, which is what stands in it.
async fn name_in(app: &App, site: &Site, document: &Document) -> Result<String, Refusal> {
    match demographics(&app.store, site.id(), &document.id).await? {
        Some(of_its_day) => Ok(called(Some(&of_its_day.person))),
        None => student_name(app, site, &document.student).await,
    }
}

fn called(person: Option<&Person>) -> String {
    let parts = person.map(|person| [&person.first_name, &person.last_name]);
    let name: Vec<&str> = parts.into_iter().flatten().filter_map(|part| part.as_deref()).collect();
    if name.is_empty() { "this student".to_owned() } else { name.join(" ") }
}

fn viewer(document: &Document, student: &str, ticket: &str, ancestors: &[String]) -> Response {
    let (starts, ends) = (document.starts_on.to_string(), document.ends_on.map(|end| end.to_string()));
    let file = document.file.as_ref().map(|_| format!("document/{ticket}"));
    let page = pages::Viewer {
        style: pages::style_href(),
        student,
        program: &document.program,
        kind: &document.kind,
        starts: &starts,
        ends: ends.as_deref(),
        file: file.as_deref(),
        sandboxed: document.file.is_some_and(|file| file.kind == FileType::Html),
    };
    pages::viewer(&page, ancestors)
}
