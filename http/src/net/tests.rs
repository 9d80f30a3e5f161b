#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::*;

fn http(change: impl FnOnce(&mut HttpConfig)) -> Http {
    let mut config = HttpConfig { allow_private_addresses: true, ..HttpConfig::default() };
    change(&mut config);
    Http::new(config).unwrap()
}

async fn get(http: &Http, url: &str) -> Result<Reply, SisError> {
    http.send(http.request(Method::GET, Url::parse(url).unwrap()).build().unwrap()).await
}

#[tokio::test]
async fn private_addresses_are_refused_however_they_are_spelled() {
    let guarded = http(|config| config.allow_private_addresses = false);
    let urls = [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://10.0.0.1:8443/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[fe80::1]/",
        "https://0.0.0.0/",
        "https://100.64.0.1/",
        "https://224.0.0.1/",
        "https://localhost/",
    ];
    for url in urls {
        let error = get(&guarded, url).await.unwrap_err();
        assert!(matches!(error, SisError::ForbiddenAddress { .. }), "{url}: {error:?}");
        assert_eq!(error.remedy(), crate::error::Remedy::GiveUp);
    }
}

#[tokio::test]
async fn plain_http_is_refused() {
    let guarded = http(|config| config.allow_private_addresses = false);
    for url in ["http://sis.example/", "http://8.8.8.8/"] {
        assert!(matches!(get(&guarded, url).await, Err(SisError::PlainHttp { .. })), "{url}");
    }
}

#[test]
fn one_bad_address_condemns_a_name() {
    let mixed = vec!["8.8.8.8:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
    assert!(judge(mixed.clone(), false).unwrap_err().is::<NotPublic>());
    assert_eq!(judge(mixed, true).unwrap().len(), 2);
    assert!(judge(Vec::new(), true).unwrap_err().is::<NoAddress>());
}

/// A name that resolves to each of these in turn, and then to the last for ever.
struct Turning(std::sync::Mutex<Vec<SocketAddr>>);

impl Names for Turning {
    fn addresses(&self, _name: &str) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
        let mut left = self.0.lock().unwrap();
        let address = if left.len() > 1 { left.remove(0) } else { left[0] };
        Box::pin(async move { Ok(vec![address]) })
    }
}

#[tokio::test]
async fn a_name_that_turns_private_after_it_was_judged_is_not_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inside = listener.local_addr().unwrap();
    let names = Turning(std::sync::Mutex::new(vec!["8.8.8.8:0".parse().unwrap(), inside]));
    let guard = Guard { allow: false, names: Arc::new(names) };
    let resolve = || guard.resolve("rebound.example".parse().unwrap());
    assert!(resolve().await.is_ok(), "public when it is looked at first");
    assert!(resolve().await.is_err_and(|error| error.is::<NotPublic>()), "and judged anew each time");

    // The same of a whole client: what it connects to is what it judges.
    let config = HttpConfig::default();
    let guarded = Http::built(builder(&config, Turning(std::sync::Mutex::new(vec![inside]))), config).unwrap();
    let error = get(&guarded, &format!("https://rebound.example:{}/", inside.port())).await.unwrap_err();
    assert_eq!(error, SisError::ForbiddenAddress { host: "rebound.example".to_owned() });
    // Whoever had connected by now would be waiting.
    assert!(futures_util::FutureExt::now_or_never(listener.accept()).is_none(), "nobody has connected");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_from_a_host_that_is_down() {
    let error = get(&http(|_| {}), "https://no-such-host.invalid/").await.unwrap_err();
    assert_eq!(error, SisError::Dns { host: "no-such-host.invalid".to_owned() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = get(&http(|_| {}), &format!("http://{address}/")).await.unwrap_err();
    assert_eq!(error, SisError::Connect { host: "127.0.0.1".to_owned() });
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = MockServer::start().await;
    let moved = ResponseTemplate::new(302).insert_header("Location", "/elsewhere");
    Mock::given(path("/here")).respond_with(moved).expect(1).mount(&server).await;
    Mock::given(path("/elsewhere")).respond_with(ResponseTemplate::new(200)).expect(0).mount(&server).await;
    assert_eq!(get(&http(|_| {}), &format!("{}/here", server.uri())).await.unwrap().status, 302);
}

/// White space before every answer, gzip: a few KiB on the wire.
async fn serve_gzip(bytes: usize) -> rollcall_sandbox::Sandbox {
    use rollcall_sandbox::{Fault, FaultKind, Quirks, Sandbox, SandboxConfig};
    let sandbox = Sandbox::start(SandboxConfig { students: 20, ..SandboxConfig::default() }).await.unwrap();
    let fault = Fault { kind: FaultKind::Huge(bytes), object: None, page: None, times: None };
    sandbox.set_quirks(Quirks { gzip: true, faults: vec![fault], ..Quirks::default() });
    sandbox
}

#[tokio::test]
async fn a_body_is_counted_after_decompression() {
    let sandbox = serve_gzip(4 << 20).await;
    let tight = http(|config| config.body_limit = 1 << 20);
    let url = format!("{}/Custom/1/SkySys/State/1/10?searchFields=StateID", sandbox.base_url());
    let token = token_of(&sandbox).await;
    let ask = |http: &Http| {
        http.request(Method::GET, Url::parse(&url).unwrap()).header("Authorization", format!("Bearer {token}")).build()
    };
    let error = tight.send(ask(&tight).unwrap()).await.unwrap_err();
    assert_eq!(error, SisError::TooLarge { host: "127.0.0.1".to_owned(), limit: 1 << 20 });
    let wide = http(|_| {});
    assert!(wide.send(ask(&wide).unwrap()).await.unwrap().body.len() > 4 << 20);
}

async fn token_of(sandbox: &rollcall_sandbox::Sandbox) -> String {
    let http = http(|_| {});
    let request = http
        .request(Method::POST, Url::parse(&format!("{}/oauth/token", sandbox.base_url())).unwrap())
        .form(&[
            ("grant_type", "client_credentials"),
            ("client_id", sandbox.client_id()),
            ("client_secret", sandbox.client_secret()),
        ])
        .build()
        .unwrap();
    let reply = http.send(request).await.unwrap();
    let value: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    value["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn silence_within_an_answer_ends_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab").await.unwrap();
        let _ = stream.read(&mut request).await;
    });
    let hasty = http(|config| config.read_timeout = Duration::from_millis(100));
    let error = get(&hasty, &format!("http://{address}/")).await.unwrap_err();
    assert_eq!(error, SisError::Timeout { host: "127.0.0.1".to_owned() });
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab").await.unwrap();
    });
    let error = get(&http(|_| {}), &format!("http://{address}/")).await.unwrap_err();
    assert_eq!(error, SisError::Interrupted { host: "127.0.0.1".to_owned() });
    server.await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        assert!(acceptor.accept(stream).await.is_err(), "the client went on");
    });
    let error = get(&http(|_| {}), &format!("https://localhost:{port}/")).await.unwrap_err();
    assert!(matches!(&error, SisError::Certificate { host, .. } if host == "localhost"), "{error:?}");
    assert_eq!(error.remedy(), crate::error::Remedy::GiveUp);
    server.await.unwrap();
}

/// Answers one request behind a certificate of an authority, for a name and until the beginning of a year; whether the
/// client went on.
async fn serve_certified(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    until: i32,
) -> (u16, tokio::task::JoinHandle<bool>) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else { return false };
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_ok() && stream.shutdown().await.is_ok()
    });
    (port, server)
}

#[tokio::test]
async fn a_certificate_that_has_expired_or_is_of_another_name_is_refused_and_told_apart() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let config = HttpConfig { allow_private_addresses: true, ..HttpConfig::default() };
    let trusted = reqwest::Certificate::from_der(authority.der()).unwrap();
    let client = Http::built(builder(&config, SystemNames).tls_certs_merge([trusted]), config).unwrap();
    for (name, until, word) in [
        ("localhost", 2199, None),
        ("localhost", 2020, Some("expired")),
        ("other.example", 2199, Some("not valid for name")),
    ] {
        let (port, server) = serve_certified(&authority, name, until).await;
        let answer = get(&client, &format!("https://localhost:{port}/")).await;
        assert_eq!(server.await.unwrap(), word.is_none(), "{name} until {until}: whether the client goes on");
        let Some(word) = word else {
            assert_eq!(answer.unwrap().status, 204, "the authority is trusted");
            continue;
        };
        let error = answer.unwrap_err();
        let SisError::Certificate { host, detail } = &error else { panic!("{name} until {until}: {error:?}") };
        assert!(host == "localhost" && detail.contains(word), "{name} until {until}: {error:?}");
        assert_eq!((error.code(), error.remedy()), ("certificate-untrusted", crate::error::Remedy::GiveUp));
        assert!(error.mend().contains("renew or complete the certificate"), "{}", error.mend());
    }
}

/// Answers every request on one connection: over HTTP/2, if the client has agreed to it. Returns the protocol and the
/// number of requests.
async fn serve_one_connection(listener: TcpListener, acceptor: TlsAcceptor) -> (Vec<u8>, usize) {
    let (stream, _) = listener.accept().await.unwrap();
    let stream = acceptor.accept(stream).await.unwrap();
    let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
    let (mut connection, mut requests) = (h2::server::handshake(stream).await.unwrap(), 0);
    while let Some(request) = connection.accept().await {
        // A client that has closed the connection is done.
        let Ok((request, mut respond)) = request else { break };
        assert_eq!(request.version(), reqwest::Version::HTTP_2);
        requests += 1;
        let response = oauth2::http::Response::builder().status(200).body(()).unwrap();
        respond.send_response(response, false).unwrap().send_data(Bytes::from_static(b"[]"), true).unwrap();
    }
    (protocol, requests)
}

#[tokio::test]
async fn http_2_is_spoken_where_the_server_offers_it_and_several_requests_share_a_connection() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    let mut tls = tls.unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let server = tokio::spawn(serve_one_connection(listener, TlsAcceptor::from(Arc::new(tls))));
    // As it is but for whom it trusts.
    let config = HttpConfig { allow_private_addresses: true, ..HttpConfig::default() };
    let trusted = reqwest::Certificate::from_der(made.cert.der()).unwrap();
    let client = Http::built(builder(&config, SystemNames).tls_certs_only([trusted]), config).unwrap();
    assert_eq!(get(&client, &url).await.unwrap().status, 200);
    let together = futures_util::future::join_all((0..4).map(|_| get(&client, &url))).await;
    assert!(together.into_iter().all(|reply| &reply.unwrap().body[..] == b"[]"));
    drop(client);
    assert_eq!(server.await.unwrap(), (b"h2".to_vec(), 5));
}

#[tokio::test]
async fn names_are_judged_before_anything_is_sent() {
    let url = Url::parse("https://localhost/").unwrap();
    assert!(matches!(resolve(&url, false).await, Err(SisError::ForbiddenAddress { .. })));
    assert!(!resolve(&url, true).await.unwrap().is_empty());
    let url = Url::parse("https://no-such-host.invalid/").unwrap();
    assert!(matches!(resolve(&url, true).await, Err(SisError::Dns { .. })));
}

/// Answers after a moment, and counts how many it answers at once.
#[derive(Debug, Default)]
struct Counting {
    now: std::sync::atomic::AtomicUsize,
    most: std::sync::atomic::AtomicUsize,
}

impl Transport for Counting {
    fn exchange(&self, _: Request) -> BoxFuture<'_, Result<Reply, SisError>> {
        use std::sync::atomic::Ordering::SeqCst;
        Box::pin(async {
            self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.now.fetch_sub(1, SeqCst);
            Err(SisError::Interrupted { host: "sis.example".to_owned() })
        })
    }
}

#[tokio::test]
async fn no_more_requests_than_the_limit_are_under_way_at_once() {
    for (limit, expected) in [(Some(3), 3), (Some(1), 1), (Some(0), 1), (None, 20)] {
        let sis = Arc::new(Counting::default());
        let free = http(|_| {}).over(Arc::clone(&sis) as _);
        let client = limit.map_or(free.clone(), |limit| free.limited(limit));
        // A clone counts with its original, and a failed request leaves its place to the next.
        let clones: Vec<Http> = (0..20).map(|_| client.clone()).collect();
        let requests = clones.iter().map(|client| get(client, "https://sis.example/"));
        futures_util::future::join_all(requests).await;
        assert_eq!(sis.most.load(std::sync::atomic::Ordering::SeqCst), expected, "{limit:?}");
    }
}

/// Serves `bodies` of these sizes to whoever asks for `/SIZE`, as fast as it can.
async fn served(sizes: &[usize]) -> MockServer {
    let server = MockServer::start().await;
    for size in sizes {
        let answer = ResponseTemplate::new(200).set_body_bytes(vec![b'x'; *size]);
        Mock::given(path(format!("/{size}"))).respond_with(answer).mount(&server).await;
    }
    server
}

async fn page(http: &Http, server: &MockServer, size: usize) -> Result<Reply, SisError> {
    let url = Url::parse(&format!("{}/{size}", server.uri())).unwrap();
    let request = http.request(Method::GET, url).build().unwrap();
    http.send_for(&Purpose::data(rollcall_store::district::SisKind::OneRoster, "a page"), request).await
}

const MIB: usize = 1 << 20;

/// Waits until so many requests have come in.
async fn until_asked(server: &MockServer, times: usize) {
    let asked = async {
        while server.received_requests().await.unwrap().len() < times {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asked).await.expect("all of them ask");
}

/// Sixteen answers just under the limit, and room for two: never more are in hand, each comes in, and none is failed.
#[tokio::test(flavor = "multi_thread")]
async fn large_answers_wait_for_room() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let size = 4 * MIB - 1;
    let server = Arc::new(served(&[size]).await);
    let http = http(|config| config.body_limit = 4 * MIB as u64).with_room(24 * MIB as u64);
    let (in_hand, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let lanes = (0..16).map(|_| {
        let (http, server, in_hand, most) = (http.clone(), server.clone(), in_hand.clone(), most.clone());
        tokio::spawn(async move {
            let reply = page(&http, &server, size).await.unwrap();
            assert_eq!((reply.body.len(), reply.room.is_large()), (size, true));
            most.fetch_max(in_hand.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            until_asked(&server, 16).await;
            in_hand.fetch_sub(1, Ordering::SeqCst);
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)), "{most:?} in hand at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_larger_than_all_room_passes_alone_and_small_ones_beside_it() {
    let (huge, small) = (20 * MIB, 100 << 10);
    let server = Arc::new(served(&[huge, small]).await);
    let http = http(|config| config.body_limit = 32 * MIB as u64).with_room(6 * MIB as u64);
    let one = page(&http, &server, huge).await.unwrap();
    assert_eq!(one.body.len(), huge);
    assert_eq!(page(&http, &server, small).await.unwrap().body.len(), small);
    let asked = server.received_requests().await.unwrap().len();
    let (clone, other) = (http.clone(), server.clone());
    let waits = tokio::spawn(async move { page(&clone, &other, huge).await });
    until_asked(&server, asked + 1).await;
    assert!(!waits.is_finished(), "one is in hand");
    drop(one);
    assert_eq!(waits.await.unwrap().unwrap().body.len(), huge);
}
