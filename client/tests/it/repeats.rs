//! Which calls are made again, and when.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokenkeep_client::{Password, ServiceKey, SessionClient};

use crate::stub::{self, Answer, Stub, credential};

/// Sends the first `misses` connections to where nobody listens.
struct Detour {
    misses: usize,
    tried: Arc<AtomicUsize>,
    server: SocketAddr,
}

impl Resolve for Detour {
    fn resolve(&self, _: Name) -> Resolving {
        let missed = self.tried.fetch_add(1, Ordering::SeqCst) < self.misses;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let address = if missed { nowhere } else { self.server };
        Box::pin(async move { Ok(Box::new(std::iter::once(address)) as Addrs) })
    }
}

fn http() -> reqwest::ClientBuilder {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder().tls_backend_preconfigured(tls).no_proxy()
}

/// A client of the caller's own, for upstreams.
pub(crate) fn plain_http() -> Client {
    http().build().unwrap()
}

/// A client whose first `misses` connections are refused, and the count of connections.
fn detoured(server: &Stub, misses: usize) -> (SessionClient, Arc<AtomicUsize>) {
    let tried = Arc::new(AtomicUsize::new(0));
    let address = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    let detour = Detour { misses, tried: Arc::clone(&tried), server: address };
    let client = SessionClient::builder("http://session.test")
        .service_key(ServiceKey::new(stub::KEY).unwrap())
        .http_client(http().dns_resolver(Arc::new(detour)).build().unwrap())
        .build()
        .unwrap();
    (client, tried)
}

async fn serving(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Stub {
    Stub::start(move |_| {
        let answer = answer();
        async { answer }
    })
    .await
}

#[tokio::test]
async fn a_refused_connection_is_tried_twice_more() {
    let credential = credential();
    let given = credential.clone();
    let server = serving(move || stub::token(&given, "token", 600)).await;
    let (client, tried) = detoured(&server, 2);
    client.token(&credential).await.unwrap();
    assert_eq!(tried.load(Ordering::SeqCst), 3);

    let (client, tried) = detoured(&server, 9);
    let error = client.token(&credential).await.unwrap_err();
    assert!(error.is_unavailable() && !error.is_logged_out());
    assert_eq!(tried.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_login_is_tried_once_whatever_happens() {
    let server = serving(|| stub::problem(503, "shutting_down", &[("retry-after", "0")])).await;
    let (client, tried) = detoured(&server, 9);
    let password = Password::new("p");
    assert!(client.login(stub::EMAIL, &password).await.unwrap_err().is_unavailable());
    assert_eq!(tried.load(Ordering::SeqCst), 1);
    assert!(server.client().login(stub::EMAIL, &password).await.unwrap_err().is_unavailable());
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_read_is_repeated_if_the_server_asks_to_come_back_shortly() {
    let credential = credential();
    for (headers, calls) in
        [(vec![("retry-after", "0")], 3), (vec![("retry-after", "60")], 1), (vec![], 1)]
    {
        let server =
            serving(move || stub::problem(503, "store_unavailable", headers.as_slice())).await;
        let error = server.client().session(&credential).await.unwrap_err();
        assert!(error.is_unavailable());
        assert_eq!(server.asked().len(), calls, "{error:?}");
    }
}

#[tokio::test]
async fn changes_are_made_once() {
    let (credential, email) = (credential(), stub::EMAIL.parse().unwrap());
    let server = serving(|| stub::problem(503, "shutting_down", &[("retry-after", "0")])).await;
    let client = server.client();
    assert!(client.logout(&credential).await.unwrap_err().is_unavailable());
    let device = credential.device_id();
    assert!(client.end_device(&credential, device).await.unwrap_err().is_unavailable());
    assert!(client.end_all_of(&email).await.unwrap_err().is_unavailable());
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let server = Stub::start(|_| std::future::pending()).await;
    let client = server.builder().timeout(std::time::Duration::from_millis(50)).build().unwrap();
    let error = client.token(&credential()).await.unwrap_err();
    assert!(error.is_timeout() && error.is_unavailable() && !error.is_logged_out());
}
