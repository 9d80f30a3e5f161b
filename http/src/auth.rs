//! OAuth 2.0 client credentials: one token per connection, fetched once however many pages wait for it.
//!
//! Role: [`Tokens`] hands out bearer tokens. Neighbours: [`crate::session`] asks for one before each call and discards
//! one that the SIS no longer takes.
//!
//! Invariants: one token request per connection at a time; a token is given up a margin before it expires; the server's
//! error text is never repeated, only its OAuth error code.
//!
//! Source: wire/skyward.md A1 (three client styles worked on real servers; the third value's wire form is not public,
//! hence the configurable parameters and headers).

mod request;

pub use request::token_url;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use moka::{future::Cache, ops::compute::Op};
use rollcall_proto::id::{ConnectionNo, DistrictId};
use rollcall_store::district::{Connection, ConnectionSecrets};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{error::SisError, gate::Gate, net::Http, session::Turns};

/// Lifetime of a token whose server does not tell: short, since nothing is known. One that tells 0 does not know either.
const UNTOLD_LIFETIME: Duration = Duration::from_mins(5);

/// No token is believed to be good for longer, whatever its server says.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);

/// A token is not used in the last part of its life: this long, or a tenth of it where that is shorter.
const MARGIN: Duration = Duration::from_secs(30);

/// A bearer token.
#[derive(Debug)]
pub struct Token {
    pub(crate) bearer: SecretString,
    good_until: DateTime<Utc>,
}

impl Token {
    fn new(bearer: SecretString, lifetime: Option<Duration>, now: DateTime<Utc>) -> Self {
        let told = lifetime.filter(|lifetime| !lifetime.is_zero());
        let lifetime = told.unwrap_or(UNTOLD_LIFETIME).min(LONGEST_LIFETIME);
        Self { bearer, good_until: now + lifetime.saturating_sub(MARGIN.min(lifetime / 10)) }
    }
}

/// Whose token it is. Another secret, client or address is another key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    district: DistrictId,
    connection: ConnectionNo,
    fingerprint: u64,
}

/// The tokens in use.
#[derive(Clone)]
pub struct Tokens {
    cache: Cache<Key, Arc<Token>>,
    gate: Gate,
    hasher: RandomState,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("held", &self.cache.entry_count()).finish_non_exhaustive()
    }
}

/// A connection, and what it takes to get a token for it.
#[derive(Clone)]
pub struct Credentials {
    /// Whose connection.
    pub district: DistrictId,
    /// Which of its connections.
    pub number: ConnectionNo,
    /// The connection.
    pub connection: Arc<Connection>,
    /// Its secrets.
    pub secrets: Arc<ConnectionSecrets>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, connection {})", self.district, self.number)
    }
}

impl Tokens {
    /// None held yet.
    pub fn new(gate: Gate) -> Self {
        Self { cache: Cache::new(10_000), gate, hasher: RandomState::new() }
    }

    /// A token that is good for now. Where one is asked for, that waits for its turn.
    pub async fn get(
        &self,
        http: &Http,
        credentials: &Credentials,
        turns: Option<&dyn Turns>,
    ) -> Result<Arc<Token>, SisError> {
        let key = self.key(credentials);
        let token = self.held_or_fetched(&key, http, credentials, turns).await?;
        if self.gate.now() < token.good_until {
            return Ok(token);
        }
        self.drop_if_same(key.clone(), &token).await;
        self.held_or_fetched(&key, http, credentials, turns).await
    }

    /// The SIS no longer takes `token`: the next caller fetches another, unless somebody has already.
    pub async fn discard(&self, credentials: &Credentials, token: &Arc<Token>) {
        self.drop_if_same(self.key(credentials), token).await;
    }

    async fn held_or_fetched(
        &self,
        key: &Key,
        http: &Http,
        credentials: &Credentials,
        turns: Option<&dyn Turns>,
    ) -> Result<Arc<Token>, SisError> {
        let fetch = async {
            if let Some(turns) = turns {
                turns.turn().await?;
            }
            let asked_at = self.gate.now();
            let (bearer, lifetime) = request::token(http, &self.gate, credentials).await?;
            Ok::<_, SisError>(Arc::new(Token::new(bearer, lifetime, asked_at)))
        };
        self.cache.try_get_with(key.clone(), fetch).await.map_err(|error| SisError::clone(&error))
    }

    async fn drop_if_same(&self, key: Key, token: &Arc<Token>) {
        let decide = |held: Option<moka::Entry<Key, Arc<Token>>>| {
            let same = held.is_some_and(|held| Arc::ptr_eq(held.value(), token));
            std::future::ready(if same { Op::Remove } else { Op::Nop })
        };
        self.cache.entry(key).and_compute_with(decide).await;
    }

    fn key(&self, credentials: &Credentials) -> Key {
        let connection = &credentials.connection;
        let fingerprint = self.hasher.hash_one((
            &connection.base_url,
            &connection.token_url,
            &connection.client_id,
            credentials.secrets.client_secret.expose_secret(),
        ));
        Key { district: credentials.district.clone(), connection: credentials.number, fingerprint }
    }
}

#[cfg(test)]
mod tests;
