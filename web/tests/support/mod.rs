//! A site, a platform and a browser for one test.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unreachable_pub)]

pub mod caller;
pub mod tls;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::{Client, Response, StatusCode, header, redirect};
use rollcall_proto::{
    bus::{SharedBus, embedded::EmbeddedBus},
    clock::ManualClock,
    id::{DistrictId, StudentId},
};
use rollcall_sandbox::lti::{FlaggedStudent, LtiPerson, LtiPlatform, LtiPlatformConfig, Manners};
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
    document::{Author, DocumentFile, NewDocument, SaveMode},
    flag::{ApprovedTakeOver, TakeOverPlan, TakeOverRefused, TakeOverState},
    lti::{Namer, Place, Registration, RegistrationDetails, StaffAccess, UserAccess},
    secret::Keyring,
};
use rollcall_web::{Resources, TakeOverError, TakeOvers, WebConfig, lti::tool_keys};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::SqlitePool;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

pub const STUDENT: &str = "3f2b8a52-0000-4000-8000-00000000000a";
pub const OTHER_STUDENT: &str = "3f2b8a52-0000-4000-8000-00000000000b";
pub const TEACHER: &str = "7c0d1e9f-0000-4000-8000-0000000000f1";
pub const PROGRAM: &str = "Special Education";
pub const INSTRUCTOR: &str = "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor";
pub const LEARNER: &str = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner";

/// A document that tries to run script.
pub const HOSTILE_HTML: &str = "<!DOCTYPE html><html><body><h1>Plan of the year</h1>\
    <p id=\"mark\">unchanged</p><script>document.getElementById('mark').textContent='owned';\
    parent.document.title='owned'</script></body></html>";

/// Now, to the second.
#[expect(clippy::disallowed_methods, reason = "tokens of the sandbox live by the machine's clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Stands in for flag-sync, which has tests of its own: one plan for whoever asks, and a note of who did.
#[derive(Default)]
pub struct FakeTakeOvers {
    /// Each call: what, of which district, by whom.
    pub calls: Mutex<Vec<(&'static str, String, String)>>,
    /// The next answer, in place of the plan.
    pub fails: Mutex<Option<TakeOverError>>,
}

/// Digest of the one plan.
pub const PLAN_HASH: &str = "0123456789abcdef0123456789abcdef";

impl FakeTakeOvers {
    fn note(&self, what: &'static str, district: &DistrictId, who: &str) -> Result<(), TakeOverError> {
        self.calls.lock().unwrap().push((what, district.to_string(), who.to_owned()));
        self.fails.lock().unwrap().take().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl TakeOvers for FakeTakeOvers {
    async fn plan(&self, district: &DistrictId, program: Option<&str>) -> Result<Vec<TakeOverPlan>, TakeOverError> {
        self.note("plan", district, program.unwrap_or("all"))?;
        Ok(vec![TakeOverPlan {
            program: PROGRAM.to_owned(),
            cutover: "2026-08-15".parse().unwrap(),
            to_end: Vec::new(),
            without_new: 0,
            warnings: vec!["high-share: look".to_owned()],
            state: TakeOverState::AwaitingApproval,
            hash: PLAN_HASH.to_owned(),
        }])
    }

    async fn approve(
        &self,
        district: &DistrictId,
        program: &str,
        plan_hash: &str,
        actor: &str,
    ) -> Result<ApprovedTakeOver, TakeOverError> {
        self.note("approve", district, actor)?;
        if plan_hash != PLAN_HASH {
            return Err(TakeOverRefused::PlanChanged { program: program.to_owned(), now: PLAN_HASH.to_owned() }.into());
        }
        Ok(ApprovedTakeOver {
            program: program.to_owned(),
            cutover: "2026-08-15".parse().unwrap(),
            to_end: 3,
            hash: plan_hash.to_owned(),
            warnings: Vec::new(),
            again: false,
        })
    }
}

/// The HTTP side on a directory of its own.
pub struct Site {
    pub store: Store,
    pub bus: SharedBus,
    pub clock: ManualClock,
    pub config: WebConfig,
    pub base: Url,
    pub dir: TempDir,
    pub take_overs: Arc<FakeTakeOvers>,
    /// Before the site, where people reach it over TLS.
    pub proxy: Option<tls::Proxy>,
    key: SecretString,
    shutdown: CancellationToken,
}

impl Site {
    pub async fn start() -> Self {
        Self::start_on(false).await
    }

    /// Behind a proxy that ends TLS, as people reach it.
    pub async fn start_behind_tls() -> Self {
        Self::start_on(true).await
    }

    async fn start_on(over_tls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = SecretString::from(Keyring::generate().unwrap());
        let store = Store::open_embedded(dir.path(), Keyring::from_base64(&key).unwrap()).await.unwrap();
        let bus: SharedBus = Arc::new(EmbeddedBus::open(dir.path().join("bus.db")).await.unwrap());
        let clock = ManualClock::new(now());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = if over_tls { Some(tls::Proxy::start(address).await) } else { None };
        let base = match &proxy {
            Some(proxy) => format!("https://localhost:{}/", proxy.port),
            None => format!("http://localhost:{}/", address.port()),
        };
        let base: Url = base.parse().unwrap();
        let config = WebConfig::new(base.clone(), true).unwrap();
        let take_overs = Arc::default();
        let shutdown = CancellationToken::new();
        let site = Self { store, bus, clock, config, base, dir, take_overs, proxy, key, shutdown };
        site.serve(listener, site.store.clone());
        site
    }

    /// Another process of the same site, on another port: only the store is shared.
    pub async fn another_process(&self) -> Url {
        let store = Store::open_embedded(self.dir.path(), Keyring::from_base64(&self.key).unwrap()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
        self.serve(listener, store);
        url
    }

    fn serve(&self, listener: TcpListener, store: Store) {
        let resources = Resources {
            bus: Arc::clone(&self.bus),
            store,
            clock: Arc::new(self.clock.clone()),
            take_overs: Arc::clone(&self.take_overs) as _,
        };
        let run = rollcall_web::run(listener, self.config.clone(), resources, self.shutdown.clone());
        tokio::spawn(run);
    }

    /// A district with two students of school 010 (entity 1) and 020 (entity 2), and a teacher of entity 1.
    pub async fn district(&self, id: &str) -> DistrictId {
        let district = self.connections(id, &[None]).await;
        self.roster(id).await;
        district
    }

    /// The district with connections whose students stand after these prefixes.
    pub async fn connections(&self, id: &str, prefixes: &[Option<&str>]) -> DistrictId {
        let connection = |prefix: Option<&str>| {
            let url = "https://sis.example/API";
            json!({"kind": "oneroster", "base_url": url, "client_id": "rollcall", "id_prefix": prefix,
                "staff": "active"})
        };
        let connections: Vec<Value> = prefixes.iter().copied().map(connection).collect();
        let json = json!({
            "id": id, "name": format!("District {id}"), "time_zone": "America/Chicago", "connection": connections
        });
        let district: District = serde_json::from_value(json).unwrap();
        let secrets = vec![ConnectionSecrets::default(); prefixes.len()];
        self.store.apply_district(&district, &secrets, "test", now()).await.unwrap();
        district.id
    }

    /// A student of school 010, of the first connection.
    pub async fn another_student(&self, district: &str, student: &str) {
        let path = self.dir.path().join("store.db");
        let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        add_student(&pool, district, 0, (student, "Cy", "010", "1")).await;
        pool.close().await;
    }

    /// A student, or a teacher if there is no name, of a connection, at its entity 1, which is school 010.
    pub async fn person_of(&self, district: &DistrictId, connection: u16, id: &str, name: Option<&str>) {
        let path = self.dir.path().join("store.db");
        let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        match name {
            Some(name) => add_student(&pool, district.as_str(), connection, (id, name, "010", "1")).await,
            None => add_teacher(&pool, district.as_str(), connection, id).await,
        }
        pool.close().await;
    }

    /// The student is called otherwise from now on.
    pub async fn rename(&self, student: &str, first_name: &str) {
        let path = self.dir.path().join("store.db");
        let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let query =
            sqlx::query("UPDATE student SET first_name = $2 WHERE student_id = $1").bind(student).bind(first_name);
        assert_eq!(query.execute(&pool).await.unwrap().rows_affected(), 1);
        pool.close().await;
    }

    /// What is stored of the day when a document was made is spoiled.
    pub async fn spoil(&self, part: &str, document: &str) {
        let path = self.dir.path().join("store.db");
        let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let sql = "UPDATE document_content SET sealed = x'00' WHERE document_id = $1 AND part = $2";
        assert_ne!(sqlx::query(sql).bind(document).bind(part).execute(&pool).await.unwrap().rows_affected(), 0);
        pool.close().await;
    }

    async fn roster(&self, id: &str) {
        let path = self.dir.path().join("store.db");
        let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        for student in [(STUDENT, "Ana <b>de</b> Vries", "010", "1"), (OTHER_STUDENT, "Bo", "020", "2")] {
            add_student(&pool, id, 0, student).await;
        }
        add_teacher(&pool, id, 0, TEACHER).await;
        pool.close().await;
    }

    /// The enrollment that the student has is of the school year `was`, and nobody has closed it; one more is of `is`, at entity 2.
    pub async fn moved_on(&self, student: &str, was: i32, is: i32) {
        let path = self.dir.path().join("store.db");
        let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let sql = "UPDATE enrollment SET school_year = $2 WHERE student_id = $1";
        assert_eq!(sqlx::query(sql).bind(student).bind(was).execute(&pool).await.unwrap().rows_affected(), 1);
        let sql = "INSERT INTO enrollment (district, student_id, enrollment_id, position, entity, school, school_year, entry_date, \
             default_entity, no_show, listed) \
             SELECT district, student_id, 'f', 1, '2', '020', $2, '2020-08-14', 0, 0, 1 FROM enrollment WHERE student_id = $1";
        sqlx::query(sql).bind(student).bind(is).execute(&pool).await.unwrap();
        pool.close().await;
    }

    /// A flag of the student.
    pub async fn flag(&self, district: &str, id: Uuid) {
        let path = self.dir.path().join("store.db");
        let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let sql = "INSERT INTO flag (district, flag, participation, student_id, program, starts_on, state, due, updated_at) \
             VALUES ($1, $2, $2, $3, $4, '2026-09-01', 'wanted', 0, '2026-09-01T00:00:00+00:00')";
        let query = sqlx::query(sql).bind(district).bind(id).bind(STUDENT).bind(PROGRAM);
        query.execute(&pool).await.unwrap();
        pool.close().await;
    }

    /// The database itself, for what nobody does by the store.
    pub async fn database(&self) -> SqlitePool {
        let path = self.dir.path().join("store.db");
        SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap()
    }

    /// The district's one login stands there so many times more.
    pub async fn repeat_logins(&self, district: &DistrictId, times: u32) {
        let pool = self.database().await;
        let sql = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $2) \
             INSERT INTO lti_login (district, state_digest, registration, nonce, browser_digest, request, created_at, \
             expires_at) SELECT district, randomblob(32), registration, nonce, browser_digest, request, created_at, \
             expires_at FROM (SELECT * FROM lti_login WHERE district = $1 ORDER BY created_at DESC LIMIT 1), n";
        let query = sqlx::query(sql).bind(district.as_str()).bind(times);
        assert_eq!(query.execute(&pool).await.unwrap().rows_affected(), u64::from(times));
        pool.close().await;
    }

    /// A completed document of the student.
    pub async fn document(&self, district: &DistrictId, id: &str, file: Option<&[u8]>) {
        self.document_with(district, id, file, |_| {}).await;
    }

    /// A document that differs from a completed one of the student.
    pub async fn document_with(
        &self,
        district: &DistrictId,
        id: &str,
        file: Option<&[u8]>,
        change: impl FnOnce(&mut NewDocument),
    ) {
        self.save_document(district, id, file, SaveMode::Create, change).await;
    }

    /// The same, made or replaced.
    pub async fn save_document(
        &self,
        district: &DistrictId,
        id: &str,
        file: Option<&[u8]>,
        mode: SaveMode,
        change: impl FnOnce(&mut NewDocument),
    ) {
        let mut new = NewDocument {
            id: id.parse().unwrap(),
            student: StudentId(STUDENT.to_owned()),
            program: PROGRAM.to_owned(),
            kind: "IEP".to_owned(),
            completed: true,
            starts_on: "2026-09-01".parse().unwrap(),
            ends_on: None,
            data: None,
            file: file.map(|file| DocumentFile::check(file.to_vec()).unwrap()),
        };
        change(&mut new);
        let author = Author { actor: "test", key: None, at: now() };
        self.store.save_document(district, &new, mode, author).await.unwrap().unwrap();
    }

    /// A platform that is registered for the district.
    pub async fn platform(&self, district: &DistrictId) -> LtiPlatform {
        self.platform_with(district, |_| {}).await
    }

    pub async fn platform_with(
        &self,
        district: &DistrictId,
        change: impl FnOnce(&mut RegistrationDetails),
    ) -> LtiPlatform {
        let platform = LtiPlatform::start(LtiPlatformConfig {
            port: 0,
            client_id: "tool-1".to_owned(),
            deployment_id: "deployment-1".to_owned(),
            tool_login_url: self.config.login_url(district),
            tool_launch_url: self.config.launch_url(district),
            user: LtiPerson {
                subject: "user-9".to_owned(),
                sourced_id: TEACHER.to_owned(),
                name: "Terry".to_owned(),
                roles: vec![INSTRUCTOR.to_owned()],
            },
            students: vec![FlaggedStudent {
                id: STUDENT.to_owned(),
                name: "Ana".to_owned(),
                flags: vec![PROGRAM.to_owned()],
                links: BTreeMap::new(),
            }],
            extra_query: Vec::new(),
            manners: Manners::default(),
        })
        .await
        .unwrap();
        self.register(district, &platform, change).await;
        platform
    }

    pub async fn register(
        &self,
        district: &DistrictId,
        platform: &LtiPlatform,
        change: impl FnOnce(&mut RegistrationDetails),
    ) -> Uuid {
        self.register_as(district, platform, |new| change(&mut new.details)).await
    }

    /// As a person may enter it.
    pub async fn register_as(
        &self,
        district: &DistrictId,
        platform: &LtiPlatform,
        change: impl FnOnce(&mut Registration),
    ) -> Uuid {
        let details = RegistrationDetails {
            deployments: vec!["deployment-1".to_owned()],
            student: Place::TargetLinkQuery("sid".to_owned()),
            program: Place::TargetLinkQuery("program".to_owned()),
            user: Place::LisPerson,
            connection: None,
            staff: StaffAccess::OwnSchools,
            frame_origins: Vec::new(),
        };
        let mut new = Registration {
            district: district.clone(),
            id: Uuid::now_v7(),
            issuer: platform.origin(),
            client_id: "tool-1".to_owned(),
            auth_url: platform.auth_url().parse().unwrap(),
            jwks_url: platform.jwks_url().parse().unwrap(),
            details,
            created_at: now(),
        };
        change(&mut new);
        let id = self.store.register_platform(&new, "test").await.unwrap().unwrap();
        tool_keys::ensure(&self.store, district, "test", now()).await.unwrap();
        id
    }

    /// What an administrator says of a person of the district's platform, which was registered last.
    pub async fn say(&self, district: &DistrictId, user: &str, access: &UserAccess) {
        let namer = self.namer(district, user).await;
        self.store.put_lti_user(district, (&namer, user), access, "test", now()).await.unwrap();
    }

    /// Takes it back. Returns whether anything was said.
    pub async fn unsay(&self, district: &DistrictId, user: &str) -> bool {
        let namer = self.namer(district, user).await;
        self.store.remove_lti_user(district, (&namer, user), "test", now()).await.unwrap()
    }

    async fn namer(&self, district: &DistrictId, user: &str) -> Namer {
        let file = self.store.district(district).await.unwrap();
        self.store.registrations(district).await.unwrap().last().unwrap().namer_of(&file, user).unwrap()
    }

    /// The access log: student, program, document, user, outcome; newest first.
    pub async fn views(&self, district: &DistrictId) -> Vec<(String, Option<String>, String, String)> {
        let views = self.store.document_views(district, None, 100).await.unwrap();
        views.into_iter().map(|view| (view.student_id.0, view.document_id, view.user_id, view.outcome)).collect()
    }
}

/// Of entity 1.
async fn add_teacher(pool: &SqlitePool, id: &str, connection: u16, teacher: &str) {
    let sql = "INSERT INTO staff (district, staff_id, connection, name_id, phones, emails, addresses, teacher, entities, run) \
         VALUES ($1, $2, $3, 'n', '[]', '[{\"id\":\"1\",\"rank\":1,\"kind\":null,\"address\":\"T1@example.org\"}]', '[]', 1, \
         '[\"1\"]', x'00000000000000000000000000000001')";
    sqlx::query(sql).bind(id).bind(teacher).bind(connection).execute(pool).await.unwrap();
}

/// Id, first name, school, entity.
async fn add_student(
    pool: &SqlitePool,
    id: &str,
    connection: u16,
    (student, name, school, entity): (&str, &str, &str, &str),
) {
    let student_sql = "INSERT INTO student (district, student_id, connection, status, status_since, run_seq, run, \
         status_run, fingerprint, rule, evidence, name_id, first_name, school, phones, emails, addresses) \
         VALUES ($1, $2, $6, 'ENROLLED', '2026-08-15', 1, x'00000000000000000000000000000001', \
         x'00000000000000000000000000000001', x'00000000000000000000000000000001', $3, '[]', 'n', $4, $5, \
         '[]', '[]', '[]')";
    let rule = rollcall_proto::roster::Rule::Current.as_str();
    let query = sqlx::query(student_sql).bind(id).bind(student).bind(rule).bind(name).bind(school).bind(connection);
    query.execute(pool).await.unwrap();
    let enrollment_sql = "INSERT INTO enrollment (district, student_id, enrollment_id, position, entity, school, \
         default_entity, no_show, listed) VALUES ($1, $2, 'e', 0, $3, $4, 1, 0, 1)";
    let query = sqlx::query(enrollment_sql).bind(id).bind(student).bind(entity).bind(school);
    query.execute(pool).await.unwrap();
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: header::HeaderMap,
    pub text: String,
}

impl Page {
    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// The form that a platform posts.
pub type Form = Vec<(&'static str, String)>;

/// A browser that keeps the site's cookies and follows nothing by itself.
#[derive(Default)]
pub struct Browser {
    client: Option<Client>,
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    pub fn new() -> Self {
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build().unwrap();
        Self { client: Some(client), cookies: BTreeMap::new() }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    fn cookie_line(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub async fn get(&mut self, url: impl AsRef<str>) -> Page {
        let request = self.client().get(url.as_ref()).header(header::COOKIE, self.cookie_line());
        self.keep(request.send().await.unwrap()).await
    }

    pub async fn post(&mut self, url: impl AsRef<str>, form: &[(&'static str, String)]) -> Page {
        self.post_as(url, form, "document").await
    }

    pub async fn post_as(&mut self, url: impl AsRef<str>, form: &[(&'static str, String)], dest: &str) -> Page {
        let request = self.client().post(url.as_ref()).form(form).header(header::COOKIE, self.cookie_line());
        self.keep(request.header("sec-fetch-dest", dest).send().await.unwrap()).await
    }

    async fn keep(&mut self, response: Response) -> Page {
        for value in response.headers().get_all(header::SET_COOKIE) {
            let text = value.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Page::read(response).await
    }

    /// Hops 1 and 2, and what the platform then posts.
    pub async fn login(&mut self, site: &Site, district: &DistrictId, platform: &LtiPlatform, student: &str) -> Form {
        let page = self.post(site.config.login_url(district), &platform.click(student, PROGRAM)).await;
        assert_eq!(page.status, StatusCode::FOUND, "{}", page.text);
        let location: Url = page.header(header::LOCATION).parse().unwrap();
        assert_eq!(location.origin().ascii_serialization(), platform.origin());
        platform.authenticate(location.query().unwrap()).unwrap()
    }

    /// All hops.
    pub async fn click(&mut self, site: &Site, district: &DistrictId, platform: &LtiPlatform, student: &str) -> Page {
        let form = self.login(site, district, platform, student).await;
        self.post(site.config.launch_url(district), &form).await
    }
}

/// The value of an attribute in the first tag that contains `mark`.
pub fn attribute(html: &str, mark: &str, name: &str) -> Option<String> {
    let tag = html.split('<').find(|tag| tag.contains(mark))?;
    let wanted = format!("{name}=\"");
    let mut parts = tag.split(&wanted).map(str::to_owned);
    let before = parts.next()?;
    assert!(before.ends_with(char::is_whitespace), "a part of another attribute's name");
    Some(parts.next()?.split('"').next()?.to_owned())
}
