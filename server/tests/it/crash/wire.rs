//! The way to one server or to several, which may be killed or lose their store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use tokenkeep_core::wire::{ErrorCode, Problem};
use tokenkeep_server::demo::Demo;

use crate::process::Server;

/// What the workers need to reach the servers.
#[derive(Clone)]
pub struct Wire {
    http: Client,
    /// The servers, which take turns.
    bases: Arc<[String]>,
    turn: Arc<AtomicUsize>,
    pub demo: Demo,
    pub killed: Arc<AtomicBool>,
    /// The store was away, so a server may say that it cannot help.
    pub away: Arc<AtomicBool>,
}

impl Wire {
    pub fn to(server: &Server, http: &Client, demo: &Demo) -> Self {
        Self::to_all(std::slice::from_ref(server), http, demo)
    }

    pub fn to_all(servers: &[Server], http: &Client, demo: &Demo) -> Self {
        Self {
            http: http.clone(),
            bases: servers.iter().map(|server| server.url("")).collect(),
            turn: Arc::default(),
            demo: demo.clone(),
            killed: Arc::default(),
            away: Arc::default(),
        }
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.bases.len();
        self.http.request(method, format!("{}{path}", self.bases[turn]))
    }

    /// The answer; none if the server was killed, or could not help without its store.
    pub async fn send(&self, request: RequestBuilder) -> Option<Response> {
        match request.send().await {
            Ok(answer)
                if answer.status() == StatusCode::SERVICE_UNAVAILABLE
                    && self.away.load(Ordering::SeqCst) =>
            {
                let problem: Problem = answer.json().await.unwrap();
                assert!(UNABLE.contains(&problem.code), "{problem:?}");
                None
            }
            Ok(answer) => Some(answer),
            Err(_) if self.killed.load(Ordering::SeqCst) => None,
            Err(error) => panic!("no answer, and nobody was killed: {error:?}"),
        }
    }
}

/// What a server says while its store is away, or a refresh waits for the store.
const UNABLE: [ErrorCode; 2] = [ErrorCode::StoreUnavailable, ErrorCode::AuthServerUnavailable];
