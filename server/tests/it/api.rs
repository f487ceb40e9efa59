//! An API that believes in one access token, and shows what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

type UpstreamBody = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// An API that believes in one access token, and shows what it was asked.
pub struct Api {
    pub address: SocketAddr,
    good_token: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    /// What a stream under `/api/stream` says.
    pub voice: mpsc::Sender<Bytes>,
}

impl Api {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let good_token = Arc::new(Mutex::new("access-1-1".to_owned()));
        let asked = Arc::new(AtomicUsize::new(0));
        let (voice, ears) = mpsc::channel(8);
        let ears = Arc::new(Mutex::new(Some(ears)));
        let (good, count) = (Arc::clone(&good_token), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (good, count, ears) = (good.clone(), count.clone(), ears.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        count.fetch_add(1, Ordering::SeqCst);
                        answer(request, good.lock().unwrap().clone(), ears.clone())
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let connection = http.serve_connection(TokioIo::new(stream), service);
                    let _ = connection.with_upgrades().await;
                });
            }
        });
        Self { address, good_token, asked, voice }
    }

    pub fn times_asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn expect(&self, token: &str) {
        token.clone_into(&mut self.good_token.lock().unwrap());
    }
}

async fn answer(
    mut request: http::Request<Incoming>,
    good: String,
    ears: Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>,
) -> Result<http::Response<UpstreamBody>, hyper::Error> {
    if request.headers().contains_key("upgrade") {
        return Ok(switched(&mut request));
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if path.ends_with("/stream") {
        let mut ears = ears.lock().unwrap().take().unwrap();
        let stream = futures_util::stream::poll_fn(move |cx| {
            ears.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
        });
        return Ok(http::Response::new(StreamBody::new(stream).boxed_unsync()));
    }
    let body = body.collect().await?.to_bytes();
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let seen = serde_json::json!({
        "method": parts.method.as_str(),
        "path": parts.uri.path_and_query().unwrap().as_str(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let full = Full::new(Bytes::from(seen.to_string())).map_err(|never| match never {});
    let mut response = http::Response::new(full.boxed_unsync());
    let presented = parts.headers.get("authorization").map(|value| value.as_bytes().to_vec());
    if presented != Some(format!("Bearer {good}").into_bytes()) {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    let headers = response.headers_mut();
    for cookie in ["theme=dark", "device_id=planted; Path=/", "__Host-device_id=planted"] {
        headers.append("set-cookie", cookie.parse().unwrap());
    }
    headers.insert("connection", "x-internal".parse().unwrap());
    headers.insert("x-internal", "1".parse().unwrap());
    if path == "/api/moved" {
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert("location", "http://elsewhere.example/".parse().unwrap());
    }
    Ok(response)
}

/// Goes over to a protocol of echoes, whose first word is the token that it was asked with.
fn switched(request: &mut http::Request<Incoming>) -> http::Response<UpstreamBody> {
    let empty = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
    let mut response = http::Response::new(empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for name in ["connection", "upgrade"] {
        response.headers_mut().insert(name, request.headers()[name].clone());
    }
    let token = request.headers().get("authorization").cloned();
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await.unwrap());
        let token = token.as_ref().map_or(b"".as_slice(), |token| token.as_bytes());
        let _ = stream.write_all(&[token, b"|"].concat()).await;
        let (mut reads, mut writes) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut reads, &mut writes).await;
    });
    response
}

/// The values under which the API has seen a header.
pub fn seen<'a>(answer: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = answer["headers"].as_array().unwrap().iter();
    let named = headers.filter(|pair| pair[0] == name);
    named.map(|pair| pair[1].as_str().unwrap()).collect()
}
