//! An API behind the gateway that takes the tokens which the test has not declared dead.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use reqwest::StatusCode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use warp::Filter as _;

pub(super) struct Upstream {
    pub(super) url: String,
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    alive: HashSet<String>,
    dead: HashSet<String>,
    refusals: usize,
}

impl Seen {
    fn answer(&mut self, token: String) -> StatusCode {
        if self.dead.contains(&token) {
            self.refusals += 1;
            return StatusCode::UNAUTHORIZED;
        }
        self.alive.insert(token);
        StatusCode::OK
    }
}

impl Upstream {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Seen>>::default();
        let answering = Arc::clone(&seen);
        let answer =
            warp::header("authorization").map(move |token| answering.lock().unwrap().answer(token));
        let serving = tokio::spawn(warp::serve(answer).incoming(listener).run());
        Self { url, seen, serving }
    }

    /// Every token that came so far is dead.
    pub(super) fn forget(&self) {
        let mut seen = self.seen.lock().unwrap();
        let alive = std::mem::take(&mut seen.alive);
        seen.dead.extend(alive);
    }

    /// How many requests came with a dead token.
    pub(super) fn refusals(&self) -> usize {
        self.seen.lock().unwrap().refusals
    }

    /// How many tokens are alive that came so far.
    pub(super) fn alive(&self) -> usize {
        self.seen.lock().unwrap().alive.len()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
