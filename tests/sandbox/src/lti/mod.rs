//! An LTI 1.3 platform: a page of students with flags to click on, an OIDC authentication endpoint, a key set, and every
//! attack of the test list, switchable.
//!
//! Written from the published specifications alone; it knows nothing of the tool but what a person would enter: the
//! tool's login and launch URLs.

mod attack;
mod http;
mod keys;
mod pages;
mod token;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::{Url, form_urlencoded};

pub use attack::Attack;
use keys::SigningKey;

/// What the platform is.
#[derive(Debug, Clone)]
pub struct LtiPlatformConfig {
    /// Loopback port; 0 takes a free one.
    pub port: u16,
    /// The client id that it gave the tool.
    pub client_id: String,
    /// The tool's deployment.
    pub deployment_id: String,
    /// Where the tool takes logins.
    pub tool_login_url: Url,
    /// Where the tool takes launches; the only place a token is posted to.
    pub tool_launch_url: Url,
    /// Who is signed in.
    pub user: LtiPerson,
    /// The students of the page.
    pub students: Vec<FlaggedStudent>,
    /// What flags' links carry beside student and program.
    pub extra_query: Vec<(String, String)>,
    /// Where platforms differ.
    pub manners: Manners,
}

/// The person who clicks.
#[derive(Debug, Clone)]
pub struct LtiPerson {
    /// `sub`.
    pub subject: String,
    /// `lis.person_sourcedid`.
    pub sourced_id: String,
    /// `name`.
    pub name: String,
    /// Role URIs.
    pub roles: Vec<String>,
}

/// A student with flags.
#[derive(Debug, Clone)]
pub struct FlaggedStudent {
    /// The SIS's id.
    pub id: String,
    /// For the page.
    pub name: String,
    /// Programs.
    pub flags: Vec<String>,
    /// Where a click leads, by program, for flags that carry a link of their own. The others lead to the launch URL with
    /// student and program.
    pub links: BTreeMap<String, Url>,
}

/// Where real platforms differ, all of it legal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own, switched in tests by its name")]
pub struct Manners {
    /// Logins begin with a GET; otherwise a form is posted.
    pub login_by_get: bool,
    /// Keys come without `use` and `alg`.
    pub bare_keys: bool,
    /// Tokens carry `azp`.
    pub sends_azp: bool,
    /// `aud` is a list of one.
    pub audience_list: bool,
    /// Logins name neither client nor deployment.
    pub terse_login: bool,
    /// Seconds that a token lives; 0: 300.
    pub token_life_seconds: i64,
    /// No `custom` and no `lis` claim.
    pub no_custom: bool,
}

impl LtiPlatformConfig {
    /// Where a click on a flag leads.
    fn link(&self, student: &str, program: &str) -> Url {
        let flagged = self.students.iter().find(|one| one.id == student);
        if let Some(link) = flagged.and_then(|one| one.links.get(program)) {
            return link.clone();
        }
        let mut link = self.tool_launch_url.clone();
        link.query_pairs_mut().append_pair("sid", student).append_pair("program", program);
        link.query_pairs_mut().extend_pairs(&self.extra_query);
        link
    }
}

/// A platform on 127.0.0.1. It stops when dropped.
#[derive(Debug)]
pub struct LtiPlatform {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    config: Mutex<LtiPlatformConfig>,
    address: SocketAddr,
    attack: Mutex<Attack>,
    key: Mutex<SigningKey>,
    key_set_fetches: AtomicU64,
}

/// Why the platform does not sign anybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the authentication request is not one that this platform answers: {0}")]
pub struct NotAuthenticated(&'static str);

impl LtiPlatform {
    /// Starts.
    ///
    /// # Errors
    /// The port is taken, or there is no randomness for a key.
    pub async fn start(config: LtiPlatformConfig) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            config: Mutex::new(config),
            attack: Mutex::new(Attack::None),
            key: Mutex::new(SigningKey::generate("platform-key-1")?),
            key_set_fetches: AtomicU64::new(0),
        });
        let routes = http::router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the sandbox's LTI platform stopped serving");
            }
        });
        Ok(Self { shared, server })
    }

    /// Its origin, and its issuer.
    pub fn origin(&self) -> String {
        self.shared.origin()
    }

    /// OIDC authentication URL.
    pub fn auth_url(&self) -> String {
        format!("{}/auth", self.origin())
    }

    /// Public key set URL.
    pub fn jwks_url(&self) -> String {
        format!("{}/jwks", self.origin())
    }

    /// The page that begins a launch within a frame.
    pub fn framed_url(&self, student: &str, program: &str) -> String {
        self.page_url("framed", student, program)
    }

    /// The page that begins a launch in the same tab.
    pub fn flag_url(&self, student: &str, program: &str) -> String {
        self.page_url("flag", student, program)
    }

    fn page_url(&self, page: &str, student: &str, program: &str) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("student", student)
            .append_pair("program", program)
            .finish();
        format!("{}/{page}?{query}", self.origin())
    }

    /// Tokens are made like this from now on.
    pub fn set_attack(&self, attack: Attack) {
        *lock(&self.shared.attack) = attack;
    }

    /// Changes what the platform is.
    pub fn configure(&self, change: impl FnOnce(&mut LtiPlatformConfig)) {
        change(&mut lock(&self.shared.config));
    }

    /// A new key under this id; the old one is not published any more.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn rotate_key(&self, kid: &str) -> std::io::Result<()> {
        *lock(&self.shared.key) = SigningKey::generate(kid)?;
        Ok(())
    }

    /// How often the key set was fetched.
    pub fn key_set_fetches(&self) -> u64 {
        self.shared.key_set_fetches.load(Ordering::Relaxed)
    }

    /// What the platform sends to begin a login when a flag is clicked.
    pub fn click(&self, student: &str, program: &str) -> Vec<(&'static str, String)> {
        self.shared.click(student, program)
    }

    /// What it posts to the launch URL after an authentication request.
    ///
    /// # Errors
    /// The request is not one that it answers.
    pub fn authenticate(&self, query: &str) -> Result<Vec<(&'static str, String)>, NotAuthenticated> {
        self.shared.authenticate(query)
    }
}

impl Drop for LtiPlatform {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    fn click(&self, student: &str, program: &str) -> Vec<(&'static str, String)> {
        let config = lock(&self.config);
        let link = config.link(student, program);
        let mut fields = vec![
            ("iss", self.origin()),
            ("login_hint", config.user.subject.clone()),
            ("target_link_uri", link.to_string()),
            ("lti_message_hint", link.query().unwrap_or_default().to_owned()),
            ("canvas_region", "nowhere".to_owned()),
        ];
        if !config.manners.terse_login {
            fields.push(("client_id", config.client_id.clone()));
            fields.push(("lti_deployment_id", config.deployment_id.clone()));
        }
        fields
    }

    fn authenticate(&self, query: &str) -> Result<Vec<(&'static str, String)>, NotAuthenticated> {
        let fields: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let get = |name: &'static str| {
            let found = fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            found.ok_or(NotAuthenticated(name))
        };
        let config = lock(&self.config).clone();
        let fixed = [
            ("scope", "openid"),
            ("response_type", "id_token"),
            ("response_mode", "form_post"),
            ("prompt", "none"),
            ("client_id", config.client_id.as_str()),
            ("redirect_uri", config.tool_launch_url.as_str()),
            ("login_hint", config.user.subject.as_str()),
        ];
        for (name, expected) in fixed {
            if get(name)? != expected {
                return Err(NotAuthenticated(name));
            }
        }
        let request = token::AuthenticationRequest {
            nonce: get("nonce")?.to_owned(),
            message_hint: get("lti_message_hint")?.to_owned(),
        };
        let attack = lock(&self.attack).clone();
        let id_token = token::mint(&config, &self.origin(), &lock(&self.key), &request, &attack);
        Ok(attack.form(get("state")?.to_owned(), id_token))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
