//! A server made from a closure, which remembers what it was asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokenkeep_client::{Credential, ServiceKey, SessionClient};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A request as the server got it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// Method, path and query, e.g. `GET /v1/session`.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Counts from 1 over all requests.
    pub(crate) number: usize,
}

impl Ask {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) struct Stub {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Ask>>>,
    serving: JoinHandle<()>,
}

impl Stub {
    /// Serves `answer` on a port of its own until it is dropped.
    pub(crate) async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Ask) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                    async move {
                        let ask = remember(&log, request).await;
                        Ok::<_, Infallible>(answer(ask).await)
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(http.serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { url, asked, serving }
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Ask> {
        self.asked.lock().unwrap().clone()
    }

    /// A client of this server, with a service key.
    pub(crate) fn client(&self) -> SessionClient {
        self.builder().build().unwrap()
    }

    pub(crate) fn builder(&self) -> tokenkeep_client::Builder {
        SessionClient::builder(&self.url).service_key(ServiceKey::new(KEY).unwrap())
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn remember(log: &Mutex<Vec<Ask>>, request: Request<Incoming>) -> Ask {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let line = format!("{} {}", head.method, head.uri.path_and_query().unwrap());
    let mut log = log.lock().unwrap();
    let ask = Ask { line, headers: head.headers, body, number: log.len() + 1 };
    log.push(ask.clone());
    ask
}

/// An answer with a JSON body.
pub(crate) fn ok(body: &Value) -> Answer {
    answer(200, "application/json", &[], body.to_string())
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> Answer {
    answer(status, "text/plain", &[], String::new())
}

/// An error as the session server writes it.
pub(crate) fn problem(status: u16, code: &str, headers: &[(&str, &str)]) -> Answer {
    let body = json!({
        "type": "about:blank", "title": "t", "status": status, "detail": "d", "code": code,
    });
    answer(status, "application/problem+json", headers, body.to_string())
}

pub(crate) fn answer(
    status: u16,
    media_type: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Answer {
    let mut response = Response::builder().status(status).header("content-type", media_type);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(Bytes::from(body)).boxed()).unwrap()
}

/// A stream of server-sent events; it ends with its sender.
pub(crate) fn events(receiver: UnboundedReceiver<String>) -> Answer {
    let frames = stream::unfold(receiver, |mut receiver| async {
        let text = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), receiver))
    });
    let body = StreamBody::new(frames).boxed();
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

/// The answer to a token call of `credential`.
pub(crate) fn token(credential: &Credential, access_token: &str, seconds_left: u64) -> Answer {
    ok(&json!({
        "token_type": "bearer",
        "access_token": access_token,
        "access_expires_at": "2030-01-01T00:00:00Z",
        "access_seconds_left": seconds_left,
        "device_id": credential.device_id(),
        "email": EMAIL,
    }))
}

/// A session as its device sees it.
pub(crate) fn session(credential: &Credential) -> Value {
    json!({
        "device_id": credential.device_id(),
        "email": EMAIL,
        "access_expires_at": "2030-01-01T00:00:00Z",
        "refresh_expires_at": "2030-01-02T00:00:00Z",
        "session_expires_at": "2030-01-02T00:00:00Z",
        "access_seconds_left": 60,
        "session_seconds_left": 120,
    })
}

pub(crate) fn credential() -> Credential {
    Credential::random().unwrap()
}

pub(crate) const KEY: &str = "canary-service-key";
pub(crate) const EMAIL: &str = "ann@example.org";
