//! A bad network: a proxy between a process under test and a server, which delays, goes silent, cuts and lies.
//!
//! It knows nothing of what it passes on, with one exception: it recognises a `COMMIT` on its way to PostgreSQL (a simple
//! query, as the protocol's documentation has it under "Message Formats"), so that a connection can be cut on either
//! side of it, or the server's disk be full.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};
use url::Url;

/// Read and passed on at once at most.
const CHUNK: usize = 64 * 1024;

/// A chunk of at least so many bytes is long enough to be cut in its middle.
const LONG_ENOUGH: usize = 200;

/// A part that was lost is sent again after this long: what TCP waits at least.
const SENT_AGAIN: Duration = Duration::from_millis(200);

const COMMIT: &[u8] = b"Q\x00\x00\x00\x0bCOMMIT\x00";
const ROLLBACK: &[u8] = b"Q\x00\x00\x00\x0dROLLBACK\x00";

/// What the network does to everything that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Passes on.
    Clear,
    /// Passes on, each part this much later.
    Slow(Duration),
    /// Half-open: takes connections and bytes, and nothing ever comes of them. No end is told.
    Silent,
    /// What is connected now is half-open for good; new connections are served.
    Lost,
    /// One of so many parts is lost on its way, and comes when it is sent again.
    Lossy(u64),
    /// Nobody gets through: connections are closed.
    Closed,
}

/// What happens once, at the next opportunity, as often as it is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    /// The connection breaks in the middle of what the client sends.
    CutRequest,
    /// The connection breaks in the middle of what the server sends.
    CutAnswer,
    /// The connection breaks before the server got the COMMIT.
    CutBeforeCommit,
    /// The connection breaks after the server has committed and before it could say so.
    CutAfterCommit,
    /// A part is lost for good, and its connection with it: nothing passes any more, and no end is told. Where it is [`Weather::Lossy`].
    Vanish,
    /// Instead of committing, the server says that its disk is full (SQLSTATE 53100) and rolls back.
    DiskFull,
}

/// Where the other side is.
#[derive(Debug, Clone)]
enum Target {
    Tcp(String),
    Unix(PathBuf),
}

/// A running proxy. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    weather: watch::Sender<Weather>,
    trap: Mutex<Option<(Trap, u64)>>,
    sprung: AtomicU64,
    closed: AtomicU64,
    generation: AtomicU64,
    passed: AtomicU64,
    lost: AtomicU64,
}

impl Proxy {
    /// A proxy to the host and port of a URL; of PostgreSQL's, to the socket in its `host` parameter where it has one.
    pub async fn to(url: &Url) -> Self {
        let socket = url.query_pairs().find(|(key, _)| key == "host").map(|(_, folder)| folder.into_owned());
        let target = if let Some(folder) = socket.filter(|folder| folder.starts_with('/')) {
            Target::Unix(PathBuf::from(folder).join(".s.PGSQL.5432"))
        } else {
            let host = url.host_str().expect("the URL of a server has a host");
            Target::Tcp(format!("{host}:{}", url.port().expect("the URL of a test's server has a port")))
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback can be listened on");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            target,
            weather: watch::channel(Weather::Clear).0,
            trap: Mutex::default(),
            sprung: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// The same URL by way of this proxy.
    pub fn url(&self, url: &Url) -> String {
        let mut url = url.clone();
        url.set_host(Some("127.0.0.1")).expect("a host can be set");
        url.set_port(Some(self.address.port())).expect("a port can be set");
        if url.scheme().starts_with("postgres") {
            url.set_query(Some("sslmode=disable"));
        }
        url.into()
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        if weather == Weather::Lost {
            self.shared.generation.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.weather.send_replace(weather);
    }

    /// Lays a trap for the next so many opportunities.
    pub fn lay(&self, trap: Trap, times: u64) {
        *self.shared.trap.lock().unwrap_or_else(PoisonError::into_inner) = Some((trap, times));
    }

    /// How many parts were lost.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// How many connections the weather has closed.
    pub fn closed(&self) -> u64 {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// How many traps have sprung.
    pub fn sprung(&self) -> u64 {
        self.shared.sprung.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Whether the trap lies for this; springs it if so.
    fn springs(&self, admits: impl Fn(Trap) -> bool) -> Option<Trap> {
        let mut trap = self.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let (kind, left) = trap.as_mut().filter(|(trap, left)| *left > 0 && admits(*trap))?;
        *left -= 1;
        self.sprung.fetch_add(1, Ordering::Relaxed);
        Some(*kind)
    }

    /// Whether the next part is lost, where one of so many is.
    fn loses(&self, every: u64) -> bool {
        let is_lost = self.passed.fetch_add(1, Ordering::Relaxed) % every.max(1) == every.saturating_sub(1);
        self.lost.fetch_add(u64::from(is_lost), Ordering::Relaxed);
        is_lost
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _ = client.set_nodelay(true);
            let generation = shared.generation.load(Ordering::Relaxed);
            match &shared.target {
                Target::Tcp(address) => {
                    let Ok(server) = TcpStream::connect(address).await else { return };
                    let _ = server.set_nodelay(true);
                    connect(client, server.into_split(), &shared, generation).await;
                }
                Target::Unix(path) => {
                    let Ok(server) = UnixStream::connect(path).await else { return };
                    connect(client, server.into_split(), &shared, generation).await;
                }
            }
        });
    }
}

/// What one connection has been through.
#[derive(Debug, Default)]
struct Fate {
    next: AtomicU8,
    vanished: AtomicBool,
}

const NOTHING: u8 = 0;
/// The server's next answer is not passed on: the connection ends there.
const CUT_ANSWER: u8 = 1;
/// The server's next answer is replaced by an error.
const DISK_FULL: u8 = 2;

/// Passes both directions on; when either ends, both do.
async fn connect<R, W>(client: TcpStream, server: (R, W), shared: &Shared, generation: u64)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server;
    let fate = Fate::default();
    let mut weather = shared.weather.subscribe();
    tokio::select! {
        _ = weather.wait_for(|weather| *weather == Weather::Closed) => {
            shared.closed.fetch_add(1, Ordering::Relaxed);
        }
        () = pump(from_client, to_server, shared, (generation, &fate), |chunk| request(chunk, shared, &fate)) => {}
        () = pump(from_server, to_client, shared, (generation, &fate), |chunk| answer(chunk, shared, &fate)) => {}
    }
}

/// What becomes of a chunk: what is passed on, and whether the connection ends then.
type Passed = (Vec<u8>, bool);

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    connection: (u64, &Fate),
    pass: impl Fn(&[u8]) -> Passed,
) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !let_through(shared, connection).await {
            return;
        }
        let (bytes, ends) = pass(&buffer[..read]);
        if to.write_all(&bytes).await.is_err() || ends {
            return;
        }
    }
    // An end of the stream is news, and no news gets through a silent network.
    let_through(shared, connection).await;
}

/// Waits as the weather wants. False: the connection ends.
async fn let_through(shared: &Shared, (generation, fate): (u64, &Fate)) -> bool {
    let mut weather = shared.weather.subscribe();
    loop {
        let is_lost = fate.vanished.load(Ordering::Relaxed) || generation < shared.generation.load(Ordering::Relaxed);
        let now = *weather.borrow_and_update();
        match now {
            Weather::Closed => return false,
            Weather::Slow(pause) if !is_lost => {
                tokio::time::sleep(pause).await;
                return true;
            }
            Weather::Lossy(every) if !is_lost => {
                if !shared.loses(every) {
                    return true;
                }
                if shared.springs(|trap| trap == Trap::Vanish).is_none() {
                    tokio::time::sleep(SENT_AGAIN).await;
                    return true;
                }
                fate.vanished.store(true, Ordering::Relaxed);
            }
            Weather::Clear | Weather::Lost if !is_lost => return true,
            _ => {}
        }
        if weather.changed().await.is_err() {
            return false;
        }
    }
}

fn request(chunk: &[u8], shared: &Shared, fate: &Fate) -> Passed {
    if chunk.len() >= LONG_ENOUGH && shared.springs(|trap| trap == Trap::CutRequest).is_some() {
        return (chunk[..chunk.len() / 2].to_vec(), true);
    }
    let Some(at) = chunk.windows(COMMIT.len()).position(|window| window == COMMIT) else {
        return (chunk.to_vec(), false);
    };
    let about_commit = |trap| matches!(trap, Trap::CutBeforeCommit | Trap::CutAfterCommit | Trap::DiskFull);
    match shared.springs(about_commit) {
        Some(Trap::CutBeforeCommit) => (chunk[..at].to_vec(), true),
        Some(Trap::CutAfterCommit) => {
            fate.next.store(CUT_ANSWER, Ordering::SeqCst);
            (chunk.to_vec(), false)
        }
        Some(Trap::DiskFull) => {
            fate.next.store(DISK_FULL, Ordering::SeqCst);
            ([&chunk[..at], ROLLBACK, &chunk[at + COMMIT.len()..]].concat(), false)
        }
        _ => (chunk.to_vec(), false),
    }
}

fn answer(chunk: &[u8], shared: &Shared, fate: &Fate) -> Passed {
    match fate.next.swap(NOTHING, Ordering::SeqCst) {
        CUT_ANSWER => (Vec::new(), true),
        DISK_FULL => (disk_full(), false),
        _ if chunk.len() >= LONG_ENOUGH && shared.springs(|trap| trap == Trap::CutAnswer).is_some() => {
            (chunk[..chunk.len() / 2].to_vec(), true)
        }
        _ => (chunk.to_vec(), false),
    }
}

/// `ErrorResponse` and `ReadyForQuery`, idle.
fn disk_full() -> Vec<u8> {
    let fields = b"SERROR\0VERROR\0C53100\0Mcould not extend a file: No space left on device\0\0";
    let mut message = vec![b'E'];
    message.extend((fields.len() as u32 + 4).to_be_bytes());
    message.extend(fields);
    message.extend(b"Z\x00\x00\x00\x05I");
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(trap: Trap, times: u64) -> Shared {
        Shared {
            target: Target::Tcp(String::new()),
            weather: watch::channel(Weather::Clear).0,
            trap: Mutex::new(Some((trap, times))),
            sprung: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    #[test]
    fn a_commit_is_recognised_and_cut_on_either_side() {
        let (fate, sent) = (Fate::default(), [b"C1234", COMMIT].concat());
        let before = shared(Trap::CutBeforeCommit, 1);
        assert_eq!(request(&sent, &before, &fate), (b"C1234".to_vec(), true));
        assert_eq!(request(&sent, &before, &fate), (sent.clone(), false), "once");
        let after = shared(Trap::CutAfterCommit, 1);
        assert_eq!(request(&sent, &after, &fate), (sent.clone(), false));
        assert_eq!(answer(b"C", &after, &fate), (Vec::new(), true));
        assert_eq!(after.sprung.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_full_disk_rolls_back_and_says_so() {
        let (fate, full) = (Fate::default(), shared(Trap::DiskFull, 1));
        assert_eq!(request(COMMIT, &full, &fate), (ROLLBACK.to_vec(), false));
        let (told, ends) = answer(b"C\0\0\0\x0dROLLBACK\0Z\0\0\0\x05I", &full, &fate);
        assert!(!ends && told.windows(5).any(|window| window == b"53100"));
        assert_eq!(answer(b"C", &full, &fate), (b"C".to_vec(), false), "once");
    }

    #[test]
    fn a_cut_goes_through_the_middle_of_something_long() {
        let (fate, cut) = (Fate::default(), shared(Trap::CutAnswer, 1));
        assert_eq!(answer(b"short", &cut, &fate), (b"short".to_vec(), false));
        assert_eq!(answer(&[7; 400], &cut, &fate), (vec![7; 200], true));
    }
}
