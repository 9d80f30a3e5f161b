//! A proxy that ends TLS before the site, as docs/LTI.md has it run.

use std::{net::SocketAddr, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::PublicKeyData as _;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

/// See the module. It goes with the test's runtime.
pub struct Proxy {
    pub port: u16,
    /// SHA-256 of the certificate's public key, as browsers are told to trust it.
    pub key_hash: String,
}

impl Proxy {
    /// Listens, and leads on to `site`.
    pub async fn start(site: SocketAddr) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key_hash = STANDARD.encode(digest(&SHA256, &made.signing_key.subject_public_key_info()));
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(lead_on(stream, acceptor.clone(), site));
            }
        });
        Self { port, key_hash }
    }
}

/// A browser opens connections that it does not use, and ends them as it likes.
async fn lead_on(stream: TcpStream, acceptor: TlsAcceptor, site: SocketAddr) {
    let Ok(mut outside) = acceptor.accept(stream).await else { return };
    let Ok(mut inside) = TcpStream::connect(site).await else { return };
    let _ = copy_bidirectional(&mut outside, &mut inside).await;
}
