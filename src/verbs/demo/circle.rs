//! The demo's second half, in a district on Infinite Campus: a roster comes in, a plan document completes, the flag
//! appears in Campus, and a click on it opens the document.
//!
//! Nothing is short-cut: the document comes over the JSON API, the flag over the partner interface, and the click is an
//! LTI launch over HTTP, with the site and the workers of this very process.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rollcall_proto::{
    clock::{Clock as _, SystemClock},
    id::{DistrictId, StudentId},
    roster::Status,
};
use rollcall_sandbox::{Sandbox as Sis, lti::LtiPlatform};
use rollcall_store::{
    district::ConnectionSecrets,
    flag::FlagState,
    integrations::{Scope, Scopes},
    lti::{Place, Registration, RegistrationDetails, StaffAccess, StudentScope, UserAccess},
    roster::StudentFilter,
};
use rollcall_web::{WebConfig, api::integration, lti::tool_keys};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

use super::{
    ACTOR, apply,
    browser::{Browser, attribute, text_of},
    launched,
};
use crate::{
    context::Context,
    host::{HostLock, Services, signal},
    output::say,
    verbs::sandbox::{CLIENT, COUNSELOR, DEPLOYMENT, campus_file, flagged, platform},
};

/// The district.
pub(super) const DISTRICT: &str = "campus-isd";

const PROGRAM: &str = "Special Education";

/// Requests in flight at once.
const CONCURRENCY: u16 = 64;

/// Longer than a flag takes on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_mins(1);

/// How often Campus is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The plan that the demo hands in.
const PLAN: &str = "<!DOCTYPE html><html lang=\"en\"><head><title>Plan</title></head><body>\
    <h1>Individualized Education Program</h1><p>Invented by rollcall demo.</p></body></html>";

/// The district with everything it needs, up.
pub(super) struct Circle<'a> {
    context: Context,
    district: DistrictId,
    sis: &'a Sis,
    site: WebConfig,
    platform: LtiPlatform,
    services: Services,
    _lock: HostLock,
}

impl<'a> Circle<'a> {
    /// Applies the district, starts workers, site and platform, and registers the platform.
    pub(super) async fn start(context: &Context, sis: &'a Sis) -> anyhow::Result<Self> {
        let mut context = context.clone();
        // Tokens of a launch live by the machine's clock.
        context.clock = Arc::new(SystemClock);
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening for HTTP on loopback")?;
        let url: Url = format!("http://localhost:{}/", listener.local_addr()?.port()).parse()?;
        context.settings.public_url = Some(url.clone());
        let site = WebConfig::new(url, true)?;
        let secrets = ConnectionSecrets {
            client_secret: sis.client_secret().into(),
            vendor_secret: Some(sis.campus_vendor().1.into()),
            ..ConnectionSecrets::default()
        };
        let district = apply(&context, &campus_file(DISTRICT, sis), secrets).await?;
        let lock = context.take_host().await?.context("another process hosts the demo's directory")?;
        let mut services = Services::new();
        services.start_all(&context, CONCURRENCY, false);
        services.serve_web(&context, listener, None)?;
        let platform = platform(&district, &site, Vec::new()).await?;
        register(&context, &district, &platform).await?;
        Ok(Self { context, district, sis, site, platform, services, _lock: lock })
    }

    /// Goes round, and tells.
    pub(super) async fn show(&self) -> anyhow::Result<()> {
        say!("\nThe whole circle, in a district on Infinite Campus")?;
        let run = launched(&self.context, &self.district).await?;
        say!("  a roster comes in over OneRoster 1.2: {} students added", run.counts.added)?;
        let student = self.student().await?;
        let began = Instant::now();
        self.hand_in(&student).await?;
        say!("  a plan document completes: IEP of student {student}, {PROGRAM}, from {} on", self.sis.today())?;
        self.flag(&student, began).await?;
        self.click(&student).await
    }

    /// Says where to click, and stays up until a person has seen enough.
    pub(super) async fn stay(&self) -> anyhow::Result<()> {
        say!("\nTo click it by hand, open {}/ in a browser. Enter, or Ctrl-C, ends the demo.", self.platform.origin())?;
        let (ended, enter) = tokio::sync::oneshot::channel();
        // A thread of its own: one that waits for the keyboard would keep the runtime from ending.
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_line(&mut String::new());
            let _ = ended.send(());
        });
        tokio::select! {
            _ = enter => {}
            () = signal() => {}
        }
        Ok(())
    }

    /// Ends everything in order.
    pub(super) async fn stop(self) {
        self.services.stop().await;
    }

    /// One who is enrolled.
    async fn student(&self) -> anyhow::Result<StudentId> {
        let filter = StudentFilter { status: Some(Status::Enrolled), limit: Some(1), ..StudentFilter::default() };
        let mut students = self.context.store.students(&self.district, &filter).await?;
        Ok(students.pop().context("nobody is enrolled")?.student_id)
    }

    /// As special-programs software does: a draft, then completed, over the JSON API.
    async fn hand_in(&self, student: &StudentId) -> anyhow::Result<()> {
        let (store, now) = (&self.context.store, self.context.clock.now());
        let added =
            integration::add(store, &self.district, "Plans", Scopes([Scope::Documents].into()), ACTOR, now).await?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let at = |path: &str| self.site.public_url().join(path);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", added.client_id.as_str()),
            ("client_secret", added.client_secret.expose_secret()),
        ];
        let token: Value = http.post(at("oauth2/token")?).form(&form).send().await?.error_for_status()?.json().await?;
        let document = json!({
            "document_id": "IEP-1", "student_id": student, "program": PROGRAM, "kind": "IEP", "status": "draft",
            "start": self.sis.today(), "file": STANDARD.encode(PLAN),
        });
        let calls =
            [("api/v1/documents", "draft", Some(document)), ("api/v1/documents/IEP-1/complete", "complete", None)];
        for (path, key, body) in calls {
            let mut call = http.post(at(path)?).bearer_auth(token["access_token"].as_str().unwrap_or_default());
            if let Some(body) = &body {
                call = call.json(body);
            }
            let answer = call.header("Idempotency-Key", key).send().await?;
            ensure!(answer.status().is_success(), "the document was refused: {}", answer.text().await?);
        }
        Ok(())
    }

    /// Waits until Campus shows the flag, and until it is read back.
    async fn flag(&self, student: &StudentId, began: Instant) -> anyhow::Result<()> {
        loop {
            let flags = self.context.store.flags(&self.district, Some(student), Some(PROGRAM)).await?;
            if flags.iter().any(|flag| flag.state == FlagState::Pushed) {
                break;
            }
            if began.elapsed() > LIMIT {
                let problem = self.context.store.flags_problem(&self.district).await?;
                anyhow::bail!("no flag after {LIMIT:?}: {}", problem.unwrap_or_default());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let flag = self.sis.campus_flags().pop().context("Campus shows no flag")?;
        say!("  the flag appears in Campus after {:.2} s: from {} on, and leads to", elapsed(began), flag.begins)?;
        say!("    {}", flag.link.unwrap_or_default())?;
        Ok(())
    }

    /// What a counselor does, on the SIS's page of flags.
    async fn click(&self, student: &StudentId) -> anyhow::Result<()> {
        self.platform.configure(|config| config.students = flagged(self.sis));
        let mut browser = Browser::new()?;
        let page = browser.open(self.platform.flag_url(&student.0, PROGRAM).parse()?).await?;
        ensure!(page.status.is_success(), "the click ended at {} ({})", page.url.path(), page.hops.join(", "));
        say!("  a counselor clicks on it ({}/):", self.platform.origin())?;
        say!("    {}", page.hops.join(" > "))?;
        let frame = page.text.split("<iframe").nth(1).and_then(|tag| attribute(tag, "src"));
        let document = browser.open(page.url.join(&frame.context("the page shows no document")?)?).await?;
        let heading = |html: &str, element| text_of(html, element).unwrap_or_default();
        say!(
            "  and sees \"{}: {}\" ({}) with \"{}\" in it",
            heading(&page.text, "h1"),
            heading(&page.text, "p"),
            document.kind,
            heading(&document.text, "h1")
        )?;
        let views = self.context.store.document_views(&self.district, Some(student), 1).await?;
        let view = views.first().context("the access log is empty")?;
        say!("  the access log has it: {} {}", view.user_id, view.outcome)?;
        Ok(())
    }
}

fn elapsed(began: Instant) -> f64 {
    began.elapsed().as_secs_f64()
}

/// What an administrator does once.
async fn register(context: &Context, district: &DistrictId, platform: &LtiPlatform) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let new = Registration {
        district: district.clone(),
        id: Uuid::now_v7(),
        issuer: platform.origin(),
        client_id: CLIENT.to_owned(),
        auth_url: platform.auth_url().parse()?,
        jwks_url: platform.jwks_url().parse()?,
        details: RegistrationDetails {
            deployments: vec![DEPLOYMENT.to_owned()],
            student: Place::Flag,
            program: Place::Flag,
            user: Place::LisPerson,
            connection: None,
            staff: StaffAccess::OwnSchools,
            frame_origins: Vec::new(),
        },
        created_at: now,
    };
    let new = Registration { id: context.store.register_platform(&new, ACTOR).await??, ..new };
    tool_keys::ensure(&context.store, district, ACTOR, now).await?;
    let everybody = UserAccess { students: StudentScope::Everybody, programs: Vec::new() };
    let namer = new.namer(&context.store.district(district).await?)?;
    Ok(context.store.put_lti_user(district, (&namer, COUNSELOR), &everybody, ACTOR, now).await?)
}
