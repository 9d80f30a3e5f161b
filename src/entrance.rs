//! The site's address before there is a site: while the store is opened, and while another process hosts the directory.
//!
//! It is taken first, so that an address that is not free is told at the start, and not when the other host has gone. Health and
//! metrics are answered there from then on; anything else hears that there is no site yet.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::host::listen;

/// How long answers that are on their way may take when the site takes over.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Entrance {
    listener: TcpListener,
    closing: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Entrance {
    /// Takes the address, and answers `probes` there.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub(crate) async fn open(address: SocketAddr, probes: Router) -> anyhow::Result<Self> {
        let listener = listen(address).await?.into_std()?;
        let (site, closing) = (TcpListener::from_std(listener.try_clone()?)?, CancellationToken::new());
        let routes = probes.fallback(no_site_yet);
        let serving = axum::serve(TcpListener::from_std(listener)?, routes)
            .with_graceful_shutdown(closing.clone().cancelled_owned())
            .into_future();
        eprintln!("health is served on {}; the site follows there", site.local_addr()?);
        Ok(Self { listener: site, closing, serving: tokio::spawn(serving) })
    }

    /// Ends the answers, and gives the listener to the site: who comes in between waits for that moment, and nobody is turned away.
    /// Connections that were kept open are closed, so that nobody goes on hearing that there is no site; one that has just been taken is
    /// too, before its request is read.
    pub(crate) async fn hand_over(mut self) -> anyhow::Result<TcpListener> {
        self.closing.cancel();
        match tokio::time::timeout(LAST_ANSWERS, &mut self.serving).await {
            Ok(ended) => ended?.context("serving health before the site")?,
            Err(_) => self.serving.abort(),
        }
        Ok(self.listener)
    }
}

async fn no_site_yet() -> impl IntoResponse {
    let text = "This process starts, or stands by until another one ends; the site is not served here yet.\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5"), (header::CONNECTION, "close")], text)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn an_address_is_taken_first_answers_probes_and_is_handed_over() {
        let probes = Router::new().route("/health/live", get(async || "alive"));
        let entrance = Entrance::open("127.0.0.1:0".parse().unwrap(), probes.clone()).await.unwrap();
        let address = entrance.listener.local_addr().unwrap();
        let taken = Entrance::open(address, probes).await.unwrap_err();
        assert!(taken.to_string().contains(&address.to_string()), "{taken:#}");

        let client = reqwest::Client::new();
        let asked = async |path: &str| client.get(format!("http://{address}{path}")).send().await.unwrap();
        assert_eq!(asked("/health/live").await.text().await.unwrap(), "alive");
        let other = asked("/lti/a/launch").await;
        assert_eq!(other.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(other.headers()["retry-after"], "5");
        assert!(other.text().await.unwrap().contains("not served here yet"));

        // A client that keeps its connection goes on with the site.
        assert_eq!(asked("/health/live").await.status(), StatusCode::OK);
        let listener = entrance.hand_over().await.unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        tokio::spawn(axum::serve(listener, Router::new().fallback(async || "the site")).into_future());
        assert_eq!(asked("/health/live").await.text().await.unwrap(), "the site");
    }
}
