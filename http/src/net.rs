//! HTTP to what a district configures: guarded, bounded, and nothing followed.
//!
//! Role: one client for tokens and pages. Neighbours: [`crate::auth`] and [`crate::session`] send through it.
//!
//! Invariants: plain http and addresses that are not public are refused unless the process allows them; names are
//! judged when the connection is made, on the very addresses connected to, so a name that changes its mind does not
//! help; redirects are not followed; a body is never read beyond its limit, counted after decompression, and where the
//! process has a budget of bytes ([`room`]) never beyond what is left of that.
//!
//! Deliberately absent: proxies from the environment. A proxy would resolve names out of the guard's sight.

mod address;
pub mod room;

use std::{error::Error as _, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, future::BoxFuture};
use reqwest::{
    Client, ClientBuilder, Request, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderMap, LINK, RETRY_AFTER},
    redirect,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use url::{Host, Url};

pub use address::is_public;

use self::room::{Room, Taken, Taking};

use crate::{
    error::SisError,
    telemetry::{self, Purpose},
};

/// Bounds of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpConfig {
    /// Plain http and addresses that are not public are allowed. For trying things out, never for a district's sake.
    pub allow_private_addresses: bool,
    /// Longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Longest silence within an answer.
    pub read_timeout: Duration,
    /// Longest time from request to the last byte. Of the 20 s of a unit of work the rest is for what comes before and after.
    pub total_timeout: Duration,
    /// Most bytes of an answer, after decompression.
    pub body_limit: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allow_private_addresses: false,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(15),
            total_timeout: Duration::from_secs(17),
            body_limit: 64 << 20,
        }
    }
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Retry-After`, as sent.
    pub retry_after: Option<String>,
    /// `Date`, as sent.
    pub date: Option<String>,
    /// `X-Total-Count`, as sent.
    pub total_count: Option<String>,
    /// `Link`, as sent; several joined by commas.
    pub link: Option<String>,
    /// `Cache-Control`, as sent.
    pub cache_control: Option<String>,
    /// The body, decompressed.
    pub body: Bytes,
    /// What the body takes of the process's room for bodies.
    pub room: Taken,
}

/// Something that answers requests in place of the network: a simulated SIS.
pub trait Transport: Send + Sync + std::fmt::Debug {
    /// Answers a request, or fails as the network would.
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Reply, SisError>>;
}

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    config: HttpConfig,
    /// Asked in place of the network.
    transport: Option<Arc<dyn Transport>>,
    /// One for each request that may be under way at once; none where there is no limit.
    places: Option<Arc<Semaphore>>,
    /// For the bodies of answers; none where there is no limit.
    room: Option<Room>,
}

impl Http {
    /// A client with these bounds.
    pub fn new(config: HttpConfig) -> Result<Self, SisError> {
        Self::built(builder(&config, SystemNames), config)
    }

    fn built(client: ClientBuilder, config: HttpConfig) -> Result<Self, SisError> {
        let broken = |_| SisError::Invalid { host: "any host".to_owned(), detail: "the TLS library does not start" };
        Ok(Self { client: client.build().map_err(broken)?, config, transport: None, places: None, room: None })
    }

    /// The same client, answered by `transport` and never by the network.
    pub fn over(self, transport: Arc<dyn Transport>) -> Self {
        Self { transport: Some(transport), ..self }
    }

    /// The same client with at most so many requests under way at once, all its clones together; the others wait for their
    /// turn, which is no part of what a request may take.
    pub fn limited(self, requests: u16) -> Self {
        Self { places: Some(Arc::new(Semaphore::new(usize::from(requests.max(1))))), ..self }
    }

    /// The same client with room for so many bytes of answers that are read or still in somebody's hands, all its clones
    /// together. An answer for which there is none is dropped and asked for again when there is: requests have to be such
    /// that this does no harm.
    pub fn with_room(self, bytes: u64) -> Self {
        Self { room: Some(Room::of(bytes)), ..self }
    }

    /// Room to keep so many bytes of answers, beside those that are read; none where there is too little.
    pub fn keep(&self, bytes: usize) -> Option<Taken> {
        self.room.as_ref().map_or_else(|| Some(Taken::default()), |room| room.keep(bytes))
    }

    /// The longest that a request takes, once it has its place.
    pub const fn longest(&self) -> Duration {
        self.config.total_timeout
    }

    /// Starts a request. Nothing is sent before [`Http::send`] has judged its URL.
    pub fn request(&self, method: reqwest::Method, url: Url) -> reqwest::RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request and reads its answer, whatever its status; spans and metrics tell what it was for.
    pub async fn send_for(&self, purpose: &Purpose<'_>, request: Request) -> Result<Reply, SisError> {
        let Some(room) = &self.room else { return self.send_in(purpose, request, Taking::default()).await };
        Box::pin(self.send_by_room(room, purpose, request)).await
    }

    async fn send_by_room(&self, room: &Room, purpose: &Purpose<'_>, request: Request) -> Result<Reply, SisError> {
        let spare = request.try_clone();
        match (self.send_in(purpose, request, Taking::default()).await, spare) {
            (Err(error @ SisError::NoRoom { .. }), Some(request)) => {
                let Some(alone) = room.for_one(self.config.body_limit).await else { return Err(error) };
                self.send_in(purpose, request, alone).await
            }
            (first, _) => first,
        }
    }

    async fn send_in(&self, purpose: &Purpose<'_>, request: Request, taking: Taking) -> Result<Reply, SisError> {
        let _place = self.place().await;
        telemetry::exchange(purpose, request, |request| self.exchange(request, taking)).await
    }

    /// Sends a request and reads its answer, whatever its status.
    pub async fn send(&self, request: Request) -> Result<Reply, SisError> {
        let _place = self.place().await;
        self.exchange(request, Taking::default()).await
    }

    /// Waits for the turn of a request.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it, so there is no error.
        self.places.as_ref()?.acquire().await.ok()
    }

    async fn exchange(&self, request: Request, taking: Taking) -> Result<Reply, SisError> {
        let host = host_of(request.url());
        admit(request.url(), self.config.allow_private_addresses)?;
        if let Some(transport) = &self.transport {
            return transport.exchange(request).await;
        }
        let response = self.client.execute(request).await.map_err(|error| failure(&host, &error))?;
        self.read(&host, response, taking).await
    }

    async fn read(&self, host: &str, response: Response, taking: Taking) -> Result<Reply, SisError> {
        let status = response.status().as_u16();
        let text = |headers: &HeaderMap, name| headers.get(name)?.to_str().ok().map(str::to_owned);
        let headers = response.headers();
        let mut reply = Reply {
            status,
            content_type: text(headers, CONTENT_TYPE),
            retry_after: text(headers, RETRY_AFTER),
            date: text(headers, DATE),
            total_count: headers.get("x-total-count").and_then(|value| value.to_str().ok()).map(str::to_owned),
            link: links(headers),
            cache_control: text(headers, CACHE_CONTROL),
            body: Bytes::new(),
            room: Taken::default(),
        };
        (reply.body, reply.room) = self.body(host, response, taking).await?;
        Ok(reply)
    }

    async fn body(&self, host: &str, response: Response, mut taking: Taking) -> Result<(Bytes, Taken), SisError> {
        let limit = self.config.body_limit;
        let too_large = || SisError::TooLarge { host: host.to_owned(), limit };
        let told = response.content_length();
        if told.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        // What is announced and does not come takes no room.
        let told = told.and_then(|length| usize::try_from(length).ok()).unwrap_or(64 << 10);
        let mut body = Vec::with_capacity(told.min(room::SMALL));
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| broken(host, &error))?;
            let length = body.len() + chunk.len();
            if length as u64 > limit {
                return Err(too_large());
            }
            if length > body.capacity() {
                let wanted = length.max((body.capacity() / 2 * 3).min(usize::try_from(limit).unwrap_or(usize::MAX)));
                if self.room.as_ref().is_some_and(|room| !room.take(&mut taking, wanted)) {
                    return Err(SisError::NoRoom { host: host.to_owned() });
                }
                body.reserve_exact(wanted - body.len());
            }
            body.extend_from_slice(&chunk);
        }
        body.shrink_to_fit();
        let taken = taking.ended(body.len());
        Ok((body.into(), taken))
    }
}

/// The library's client, bounded; it asks `names` for addresses, and what they say is judged.
fn builder(config: &HttpConfig, names: impl Names) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .gzip(true)
        .connect_timeout(config.connect_timeout)
        .read_timeout(config.read_timeout)
        .timeout(config.total_timeout)
        .dns_resolver(Guard { allow: config.allow_private_addresses, names: Arc::new(names) })
}

/// `Link` headers, joined.
fn links(headers: &HeaderMap) -> Option<String> {
    let values: Vec<&str> = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// The host of a URL, for messages.
pub fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or("(no host)").to_owned()
}

/// Whether a URL may be asked at all. Names are judged later, when they resolve.
pub fn admit(url: &Url, allow_private_addresses: bool) -> Result<(), SisError> {
    let host = host_of(url);
    match url.scheme() {
        "https" => {}
        "http" if allow_private_addresses => {}
        "http" => return Err(SisError::PlainHttp { host }),
        _ => return Err(SisError::Invalid { host, detail: "neither https nor http" }),
    }
    let literal = match url.host() {
        Some(Host::Ipv4(address)) => Some(address.into()),
        Some(Host::Ipv6(address)) => Some(address.into()),
        _ => None,
    };
    if !allow_private_addresses && literal.is_some_and(|address| !is_public(address)) {
        return Err(SisError::ForbiddenAddress { host });
    }
    Ok(())
}

/// Who knows the addresses of names.
trait Names: Send + Sync + 'static {
    /// Those of one name, as of now.
    fn addresses(&self, name: &str) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>>;
}

/// The operating system's resolver.
struct SystemNames;

impl Names for SystemNames {
    fn addresses(&self, name: &str) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
        let name = name.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

/// Resolves names, and refuses those with an address that is not public.
struct Guard {
    allow: bool,
    names: Arc<dyn Names>,
}

/// A name has an address that is not public.
#[derive(Debug, thiserror::Error)]
#[error("an address that is not public")]
struct NotPublic;

/// A name has no address.
#[derive(Debug, thiserror::Error)]
#[error("no address")]
struct NoAddress;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (allow, found) = (self.allow, self.names.addresses(name.as_str()));
        Box::pin(async move {
            let addresses = found.await.map_err(|_| NoAddress)?;
            Ok(Box::new(judge(addresses, allow)?.into_iter()) as Addrs)
        })
    }
}

/// One bad address condemns the name: what else it resolves to cannot be trusted either.
fn judge(addresses: Vec<SocketAddr>, allow: bool) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
    if addresses.is_empty() {
        return Err(NoAddress.into());
    }
    if !allow && !addresses.iter().all(|address| is_public(address.ip())) {
        return Err(NotPublic.into());
    }
    Ok(addresses)
}

/// Resolves a name as the client would.
pub async fn resolve(url: &Url, allow: bool) -> Result<Vec<SocketAddr>, SisError> {
    admit(url, allow)?;
    let host = host_of(url);
    let bare = host.trim_matches(['[', ']']).to_owned();
    let dns = || SisError::Dns { host: host.clone() };
    let found = tokio::net::lookup_host((bare, url.port_or_known_default().unwrap_or(443))).await.map_err(|_| dns())?;
    let refused = || SisError::ForbiddenAddress { host: host.clone() };
    judge(found.collect(), allow).map_err(|error| if error.is::<NotPublic>() { refused() } else { dns() })
}

/// What a failed request means. The library's own text is kept out: it repeats the URL.
fn failure(host: &str, error: &reqwest::Error) -> SisError {
    let host = host.to_owned();
    if caused_by::<NotPublic>(error) {
        return SisError::ForbiddenAddress { host };
    }
    if caused_by::<NoAddress>(error) {
        return SisError::Dns { host };
    }
    if let Some(detail) = certificate_trouble(error) {
        return SisError::Certificate { host, detail };
    }
    if error.is_timeout() {
        return SisError::Timeout { host };
    }
    if error.is_builder() {
        return SisError::Invalid { host, detail: "a header or the URL is malformed" };
    }
    if error.is_connect() { SisError::Connect { host } } else { SisError::Interrupted { host } }
}

fn broken(host: &str, error: &reqwest::Error) -> SisError {
    let host = host.to_owned();
    if error.is_timeout() { SisError::Timeout { host } } else { SisError::Interrupted { host } }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |error: &&(dyn std::error::Error + 'static)| (*error).source())
}

fn caused_by<E: std::error::Error + 'static>(error: &reqwest::Error) -> bool {
    causes(error).any(<dyn std::error::Error>::is::<E>)
}

/// The TLS library's word on a certificate. It names hosts and dates, never what is sent.
fn certificate_trouble(error: &reqwest::Error) -> Option<String> {
    let text = causes(error).last()?.to_string();
    let (_, detail) = text.split_once("invalid peer certificate: ")?;
    Some(detail.chars().filter(|letter| !letter.is_control()).take(120).collect())
}

/// Reads an HTTP date (RFC 9110, 5.6.7; the obsolete forms are not in use).
pub fn http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text.trim()).ok().map(|time| time.to_utc())
}

#[cfg(test)]
#[path = "net/tests.rs"]
mod tests;
