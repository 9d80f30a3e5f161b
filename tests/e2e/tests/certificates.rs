//! A SIS with a wrong certificate: the test of the connection and the run both say what is wrong with it, and the mend.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rollcall_e2e::{
    House,
    house::{self, DISTRICT},
};
use rollcall_sandbox::SandboxConfig;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server of this name whose certificate runs out at the beginning of a year: its port. It shakes hands, and hangs up.
async fn serve(authority: &Authority, name: &str, until: i32) -> (u16, JoinHandle<()>) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    (port, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_fails_test_and_run_and_names_the_mend() {
    let config = SandboxConfig { students: 60, seed: 3, today: house::today(), ..SandboxConfig::default() };
    let mut house = House::embedded(config).await;
    let (trusted, stranger) = (authority("Trusted"), authority("Stranger"));
    let file = house.folder().join("authority.pem");
    std::fs::write(&file, trusted.pem()).unwrap();
    house.extra.push(("SSL_CERT_FILE".to_owned(), file.to_string_lossy().into_owned()));
    let mend = "ask the district to renew or complete the certificate";
    for (what, authority, name, until, wrong) in [
        ("expired", &trusted, "localhost", 2020, Some("expired")),
        ("another name", &trusted, "other.example", 2199, Some("not valid for name")),
        ("an unknown issuer", &stranger, "localhost", 2199, Some("UnknownIssuer")),
        ("a right one", &trusted, "localhost", 2199, None),
    ] {
        let (port, server) = serve(authority, name, until).await;
        house.district.base_url = format!("https://localhost:{port}/API");
        house.apply().await;
        let steps = house.rollcall(&["district", "test", DISTRICT, "--format", "json"]).await.expect_code(1).json();
        let last = steps.as_array().unwrap().last().unwrap();
        let word = |column: &str| last[column].as_str().unwrap_or_default();
        assert_eq!((word("step"), word("outcome")), ("connection", "fail"), "{what}: {steps}");
        let Some(wrong) = wrong else {
            assert!(!steps.to_string().contains("certificate"), "{what}: it is the handshake that went well: {steps}");
            continue;
        };
        assert!(["localhost", "certificate", wrong].iter().all(|part| word("detail").contains(part)), "{what}: {last}");
        assert!(last["mend"].as_str().is_some_and(|text| text.contains(mend)), "{what}: {last}");
        let run = house.night().await;
        assert_eq!((run.state.as_str(), run.added), ("failed", 0), "{what}: {run:#?}");
        let said = ["certificate-untrusted", "localhost", wrong, mend];
        assert!(said.iter().all(|part| run.why().contains(part)), "{what}: {}", run.why());
        server.abort();
    }
    house.close().await;
}
