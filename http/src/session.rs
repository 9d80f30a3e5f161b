//! Authenticated calls to one connection of a district.
//!
//! Role: puts token and headers on a request, renews the token once when the SIS no longer takes it, keeps the host's
//! circuit, sits out short waits and repeats what failed fast. Neighbours: the services build the requests.
//!
//! Invariants: only what is transient is repeated, and at once only what failed fast, so that no call takes several time-outs for
//! one answer that is slow to fail. A call may take longer than one all the same: a token is fetched or renewed, it waits for its
//! turn, for room, or for who tries a host. Whoever must not count as lost meanwhile says that it is at work.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::{FutureExt as _, future::BoxFuture};
use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use rollcall_proto::clock::SharedClock;
use rollcall_store::district::Connection;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::Url;

use crate::{
    auth::{Credentials, Token, Tokens},
    error::{Remedy, SisError},
    gate::Gate,
    limits::SHORT_WAIT,
    net::{Http, Reply, host_of, room::Taken},
    status_info,
    telemetry::Purpose,
};

/// What servers say of a token that is too old, whatever the status (wire/skyward.md A1).
const EXPIRED: &[u8] = b"token has expired";

/// What took longer to fail is not repeated at once.
const FAST: Duration = Duration::from_secs(2);

/// Most repetitions of a call.
const REPETITIONS: usize = 2;

/// What all sessions of a process share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The HTTP client.
    pub http: Http,
    /// Tokens in use.
    pub tokens: Tokens,
    /// The circuits of the hosts, and the time.
    pub gate: Gate,
}

impl Shared {
    /// Nothing held yet.
    pub fn new(http: Http, clock: SharedClock) -> Self {
        let gate = Gate::new(clock);
        Self { http, tokens: Tokens::new(gate.clone()), gate }
    }
}

/// A request before it has a token.
#[derive(Debug, Clone)]
pub struct Call {
    /// HTTP method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// JSON to send.
    pub body: Option<serde_json::Value>,
    /// What is asked for, for messages; no student fact.
    pub what: String,
}

/// How often requests may be sent, where somebody has said so.
pub trait Turns: std::fmt::Debug + Send + Sync {
    /// Waits until one more may be.
    ///
    /// # Errors
    /// None may be any more: there is no time left for it ([`SisError::OutOfTime`]). Nothing was sent then.
    fn turn(&self) -> BoxFuture<'_, Result<(), SisError>>;

    /// Hears that a request's token was refused, which is to be sent once more with another one.
    fn token_refused(&self) {}
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Session {
    shared: Shared,
    credentials: Credentials,
    /// What each request of this session waits for, tokens and repetitions included.
    turns: Option<Arc<dyn Turns>>,
    /// Headers of this session's calls alone, beside those of the connection; never sent for a token.
    headers: HeaderMap,
}

impl Session {
    /// A session with a connection.
    pub fn new(shared: Shared, credentials: Credentials) -> Self {
        Self { shared, credentials, turns: None, headers: HeaderMap::new() }
    }

    /// The same session, of which each request waits for its turn: also one that is sent once more, and one for a token.
    #[must_use]
    pub fn with_turns(self, turns: Arc<dyn Turns>) -> Self {
        Self { turns: Some(turns), ..self }
    }

    /// The same session with a secret header on each of its calls.
    pub fn with_secret_header(mut self, name: &str, value: &SecretString) -> Result<Self, SisError> {
        let invalid = |detail| SisError::Invalid { host: host_of(&self.credentials.connection.base_url), detail };
        let name = HeaderName::try_from(name).map_err(|_| invalid("a header's name"))?;
        let mut value = HeaderValue::try_from(value.expose_secret()).map_err(|_| invalid("a header's value"))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.credentials.connection
    }

    /// The time by our clock.
    pub fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.shared.gate.now()
    }

    /// Room for so many bytes of an answer, with which in hand another one is asked for.
    ///
    /// # Errors
    /// There is too little now ([`SisError::NoRoom`]).
    pub fn keep(&self, bytes: usize) -> Result<Taken, SisError> {
        let no_room = || SisError::NoRoom { host: host_of(&self.credentials.connection.base_url) };
        self.shared.http.keep(bytes).ok_or_else(no_room)
    }

    /// Waits by the clock that was passed in.
    pub async fn pause(&self, wait: Duration) {
        self.shared.gate.pause(wait).await;
    }

    /// Fetches a token, or finds that there is one.
    pub async fn authenticate(&self) -> Result<(), SisError> {
        self.token().await.map(drop)
    }

    /// Calls, and returns an answer of status 200. What fails fast and may go well is repeated a little later.
    pub async fn call(&self, call: &Call) -> Result<Reply, SisError> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(SHORT_WAIT)
            .with_max_times(REPETITIONS)
            .with_jitter();
        let mut pauses = pauses.build();
        let mut told = None;
        loop {
            let began = Instant::now();
            let error = match (self.attempt(call).boxed().await, told) {
                (Ok(reply), _) => return Ok(reply),
                // What closed the circuit is more to the point than that it is closed by now.
                (Err(SisError::CircuitOpen { .. }), Some(before)) => return Err(before),
                (Err(error), _) => error,
            };
            let pause = pauses.next().filter(|_| began.elapsed() < FAST && may_go_well_at_once(&error));
            let Some(pause) = pause else { return Err(error) };
            self.pause(no_sooner(&error, pause)).await;
            told = Some(error);
        }
    }

    /// Calls once, and returns an answer of any status but those of a SIS that is down, wants patience, or refuses this
    /// client even with a fresh token.
    pub async fn exchange(&self, call: &Call) -> Result<Reply, SisError> {
        let reply = self.renewed(call).await?;
        match reply.status {
            401 | 403 | 429 | 500.. => self.judge(call, reply),
            _ => Ok(reply),
        }
    }

    /// The same by the token that there is, which was renewed after it was refused: one that is refused again is not renewed.
    pub async fn exchange_by_this_token(&self, call: &Call) -> Result<Reply, SisError> {
        let token = self.token().await?;
        let reply = self.guarded(call, &token).await?;
        if says_expired(&reply) {
            self.shared.tokens.discard(&self.credentials, &token).await;
            return Err(SisError::TokenExpired { what: call.what.clone() });
        }
        match reply.status {
            401 | 403 | 429 | 500.. => self.judge(call, reply),
            _ => Ok(reply),
        }
    }

    async fn attempt(&self, call: &Call) -> Result<Reply, SisError> {
        self.judge(call, self.renewed(call).await?)
    }

    /// Sends, and once more with a fresh token where the one held is no longer taken.
    async fn renewed(&self, call: &Call) -> Result<Reply, SisError> {
        let token = self.token().await?;
        let reply = self.guarded(call, &token).await?;
        if !is_token_refusal(&reply) {
            return Ok(reply);
        }
        if let Some(turns) = &self.turns {
            turns.token_refused();
        }
        self.shared.tokens.discard(&self.credentials, &token).await;
        let fresh = self.token().await?;
        let reply = self.guarded(call, &fresh).await?;
        if says_expired(&reply) {
            // With several lanes on a token of few uses, another lane may have used it up.
            self.shared.tokens.discard(&self.credentials, &fresh).await;
            return Err(SisError::TokenExpired { what: call.what.clone() });
        }
        Ok(reply)
    }

    async fn token(&self) -> Result<Arc<Token>, SisError> {
        self.shared.tokens.get(&self.shared.http, &self.credentials, self.turns.as_deref()).await
    }

    /// Sends in its turn, under the host's circuit.
    async fn guarded(&self, call: &Call, token: &Token) -> Result<Reply, SisError> {
        if let Some(turns) = &self.turns {
            turns.turn().await?;
        }
        self.shared.gate.pass(&host_of(&call.url), self.send(call, token).boxed()).await
    }

    async fn send(&self, call: &Call, token: &Token) -> Result<Reply, SisError> {
        let host = || host_of(&call.url);
        let invalid = |detail| SisError::Invalid { host: host(), detail };
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.bearer.expose_secret()))
            .map_err(|_| invalid("the token holds characters that a header cannot"))?;
        bearer.set_sensitive(true);
        let mut request = self
            .shared
            .http
            .request(call.method.clone(), call.url.clone())
            .headers(extra_headers(&self.credentials)?)
            .headers(self.headers.clone())
            .header("Accept", "application/json")
            .header("Authorization", bearer);
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let request = request.build().map_err(|_| invalid("a header or the URL is malformed"))?;
        let purpose = Purpose::data(self.credentials.connection.kind, &call.what);
        self.shared.http.send_for(&purpose, request).await
    }

    fn judge(&self, call: &Call, reply: Reply) -> Result<Reply, SisError> {
        let what = || call.what.clone();
        let reply = self.shared.gate.unless_busy(&host_of(&call.url), reply)?;
        match reply.status {
            200 => Ok(reply),
            status @ (401 | 403) => Err(SisError::AccessRefused { what: what(), status }),
            status => Err(SisError::Status { what: with_code(&call.what, &reply), status }),
        }
    }
}

/// Whether a district's header can be sent as it is written.
pub fn is_header(name: &str, value: &str) -> bool {
    HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()
}

/// What was asked for, and the error code of the body where it is one of the standard's.
fn with_code(what: &str, reply: &Reply) -> String {
    status_info::code(&reply.body).map_or_else(|| what.to_owned(), |code| format!("{what} ({code})"))
}

/// Headers that the connection wants on every request, the secret ones included.
pub(crate) fn extra_headers(credentials: &Credentials) -> Result<HeaderMap, SisError> {
    let plain = credentials.connection.headers.iter().map(|(name, value)| (name, value.as_str()));
    let secret = credentials.secrets.secret_headers.iter().map(|(name, value)| (name, value.expose_secret()));
    let invalid = |detail| SisError::Invalid { host: host_of(&credentials.connection.base_url), detail };
    let mut headers = HeaderMap::new();
    for (name, value) in plain.chain(secret) {
        let name = HeaderName::try_from(name).map_err(|_| invalid("a header's name"))?;
        let mut value = HeaderValue::try_from(value).map_err(|_| invalid("a header's value"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn may_go_well_at_once(error: &SisError) -> bool {
    match error {
        SisError::Busy { after, .. } => *after <= SHORT_WAIT,
        SisError::Status { .. } => error.remedy() == Remedy::Again,
        SisError::Interrupted { .. } | SisError::TokenExpired { .. } => true,
        _ => false,
    }
}

/// Not before the SIS wants it.
fn no_sooner(error: &SisError, pause: Duration) -> Duration {
    match error {
        SisError::Busy { after, .. } => pause.max(*after),
        _ => pause,
    }
}

fn is_token_refusal(reply: &Reply) -> bool {
    matches!(reply.status, 401 | 403) || says_expired(reply)
}

/// Any 4xx that says so.
fn says_expired(reply: &Reply) -> bool {
    let start = &reply.body[..reply.body.len().min(4_096)];
    (400..500).contains(&reply.status)
        && start.windows(EXPIRED.len()).any(|window| window.eq_ignore_ascii_case(EXPIRED))
}

#[cfg(test)]
mod tests;
