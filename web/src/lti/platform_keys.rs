//! Platforms' key sets (RFC 7517), fetched from the registered URL only and cached for a while.
//!
//! A key id that is not in the cached set, or a signature that its key did not make, is reason to fetch once more, but
//! no oftener than twice a minute for each URL: else tokens with invented key ids would make us hammer the platform.
//! While a platform cannot be reached its last good set goes on, for a day at most. Requests that arrive together share
//! one fetch. A new set takes the place of the old one whole.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::DecodingKey;
use rollcall_http::{
    error::SisError,
    net::{Http, HttpConfig},
};
use rollcall_proto::clock::SharedClock;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

/// Largest key set, in bytes.
const BODY_LIMIT: u64 = 256 << 10;
/// Most keys of a set.
const MOST_KEYS: usize = 50;
/// Fewest bits of a modulus (1EdTech Security Framework).
const FEWEST_BITS: usize = 2_048;
/// How long a set is good where the platform does not say.
const GOOD_FOR: TimeDelta = TimeDelta::hours(1);
/// No sooner asked again, whatever the platform says.
const GOOD_AT_LEAST: TimeDelta = TimeDelta::minutes(5);
/// No longer believed, whatever the platform says, and while it cannot be reached.
const GOOD_AT_MOST: TimeDelta = TimeDelta::hours(24);
/// Between two fetches of the same URL.
const BETWEEN_FETCHES: TimeDelta = TimeDelta::seconds(30);

/// Why a key set was not got. Carries no content of it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The platform cannot be asked, or does not answer.
    #[error("the platform's key set cannot be fetched")]
    Unreachable(#[source] SisError),
    /// An answer without keys.
    #[error("the platform's key set came with HTTP status {0}")]
    Status(u16),
    /// Not a key set.
    #[error("the platform's key set is not of its form (RFC 7517), or has too many keys")]
    Form,
}

/// A platform's public key.
#[derive(Clone)]
pub struct PlatformKey {
    decoding: DecodingKey,
    fetched_at: DateTime<Utc>,
}

impl PlatformKey {
    pub(super) const fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

/// The cache. Cheap to clone.
#[derive(Clone)]
pub struct PlatformKeys {
    http: Http,
    clock: SharedClock,
    sets: Arc<std::sync::Mutex<HashMap<Url, Arc<Mutex<CachedSet>>>>>,
}

#[derive(Default)]
struct CachedSet {
    keys: HashMap<String, PlatformKey>,
    /// Of the keys.
    fetched_at: Option<DateTime<Utc>>,
    good_until: Option<DateTime<Utc>>,
    /// The last attempt, successful or not.
    tried_at: Option<DateTime<Utc>>,
}

impl CachedSet {
    /// A key of the set, while that is believed: whether the platform was asked again, or lately in vain, its age counts.
    fn key(&self, kid: &str, now: DateTime<Utc>) -> Option<PlatformKey> {
        self.keys.get(kid).filter(|key| now - key.fetched_at <= GOOD_AT_MOST).cloned()
    }
}

impl PlatformKeys {
    /// An empty cache.
    pub fn new(allow_private_addresses: bool, clock: SharedClock) -> Result<Self, FetchError> {
        let http = Http::new(HttpConfig {
            allow_private_addresses,
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(5),
            body_limit: BODY_LIMIT,
        });
        Ok(Self { http: http.map_err(FetchError::Unreachable)?, clock, sets: Arc::default() })
    }

    /// The key that a token names.
    pub async fn key(&self, url: &Url, kid: &str) -> Option<PlatformKey> {
        let set = self.set(url);
        let mut set = set.lock().await;
        let now = self.clock.now();
        if set.good_until.is_none_or(|until| until <= now) {
            self.refresh(&mut set, url, now).await;
        }
        if !set.keys.contains_key(kid) {
            self.refresh(&mut set, url, now).await;
        }
        set.key(kid, now)
    }

    /// The key of the same id, if fetching once more gives another set than `used` came from.
    pub async fn newer_key(&self, url: &Url, kid: &str, used: &PlatformKey) -> Option<PlatformKey> {
        let set = self.set(url);
        let mut set = set.lock().await;
        let now = self.clock.now();
        if set.fetched_at == Some(used.fetched_at) {
            self.refresh(&mut set, url, now).await;
        }
        set.key(kid, now).filter(|key| key.fetched_at != used.fetched_at)
    }

    fn set(&self, url: &Url) -> Arc<Mutex<CachedSet>> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sets.entry(url.clone()).or_default())
    }

    /// Fetches, unless that was tried a moment ago.
    async fn refresh(&self, set: &mut CachedSet, url: &Url, now: DateTime<Utc>) {
        if set.tried_at.is_some_and(|tried| now - tried < BETWEEN_FETCHES) {
            return;
        }
        set.tried_at = Some(now);
        match self.fetch(url, now).await {
            Ok((keys, good_for)) => {
                *set = CachedSet { keys, fetched_at: Some(now), good_until: Some(now + good_for), tried_at: Some(now) };
            }
            Err(error) => {
                let host = url.host_str().unwrap_or("-");
                tracing::warn!(host, error = &error as &dyn std::error::Error, "a platform's key set was not got");
            }
        }
    }

    async fn fetch(
        &self,
        url: &Url,
        now: DateTime<Utc>,
    ) -> Result<(HashMap<String, PlatformKey>, TimeDelta), FetchError> {
        let request = self.http.request(reqwest::Method::GET, url.clone()).build().map_err(|_| FetchError::Form)?;
        let reply = self.http.send(request).await.map_err(FetchError::Unreachable)?;
        if reply.status != 200 {
            return Err(FetchError::Status(reply.status));
        }
        Ok((read(&reply.body, now)?, good_for(reply.cache_control.as_deref())))
    }
}

/// `max-age`, within our bounds.
pub(crate) fn good_for(cache_control: Option<&str>) -> TimeDelta {
    let directives = cache_control.unwrap_or_default().split(',');
    let seconds = directives.filter_map(|directive| directive.trim().strip_prefix("max-age=")?.parse::<u32>().ok());
    let said = seconds.map(|seconds| TimeDelta::seconds(seconds.into())).next();
    said.map_or(GOOD_FOR, |said| said.clamp(GOOD_AT_LEAST, GOOD_AT_MOST))
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

/// What matters of a key; platforms differ in which of the optional members they send.
#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: String,
    n: String,
    e: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    key_ops: Option<Vec<String>>,
}

/// The keys that can have signed a token; others (of another type or use) are passed over.
pub(crate) fn read(body: &[u8], fetched_at: DateTime<Utc>) -> Result<HashMap<String, PlatformKey>, FetchError> {
    let set: KeySet = serde_json::from_slice(body).map_err(|_| FetchError::Form)?;
    if set.keys.len() > MOST_KEYS {
        return Err(FetchError::Form);
    }
    let mut keys = HashMap::new();
    for raw in set.keys.into_iter().filter_map(|value| serde_json::from_value::<RawKey>(value).ok()) {
        if let Some(decoding) = usable(&raw) {
            keys.entry(raw.kid).or_insert(PlatformKey { decoding, fetched_at });
        }
    }
    Ok(keys)
}

fn usable(raw: &RawKey) -> Option<DecodingKey> {
    let fits = raw.kty == "RSA"
        && raw.usage.as_deref().is_none_or(|usage| usage == "sig")
        && raw.alg.as_deref().is_none_or(|alg| alg == "RS256")
        && raw.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
    let modulus = URL_SAFE_NO_PAD.decode(&raw.n).ok()?;
    let leading = modulus.first().map_or(8, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(leading);
    if !fits || bits < FEWEST_BITS {
        return None;
    }
    DecodingKey::from_rsa_components(&raw.n, &raw.e).ok()
}

#[cfg(test)]
#[path = "platform_keys_tests.rs"]
mod tests;
