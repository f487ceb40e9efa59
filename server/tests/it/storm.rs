//! A thousand requests at once with one dead access token.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use reqwest::StatusCode;
use tokenkeep_core::Credential;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::whole::{Whole, cookie};
use crate::world::PATIENCE;

/// One connection with many requests on it: a thousand of those need no thousand sockets.
struct Client {
    sender: SendRequest<Empty<bytes::Bytes>>,
    tasks: Tasks,
}

/// The tasks of one connection, so that it can be dropped with all that it holds.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap().push(tokio::spawn(task));
    }
}

impl Client {
    async fn connect(whole: &Whole) -> Self {
        let stream = TcpStream::connect(whole.address).await.unwrap();
        let tasks = Tasks::default();
        let made = http2::handshake(tasks.clone(), TokioIo::new(stream)).await;
        let (sender, connection) = made.unwrap();
        tasks.execute(async move { drop(connection.await) });
        Self { sender, tasks }
    }

    /// Closes the connection without a word.
    async fn hang_up(self) {
        let tasks = std::mem::take(&mut *self.tasks.0.lock().unwrap());
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
    }

    /// Sends a request; the answer comes later, or not at all.
    fn send(
        &mut self,
        whole: &Whole,
        path: &str,
        credential: &Credential,
    ) -> impl Future<Output = Option<(StatusCode, String)>> + Send + use<> {
        let uri = format!("http://{}{path}", whole.address);
        let request = http::Request::get(uri).header("cookie", cookie(credential));
        let answer = self.sender.send_request(request.body(Empty::new()).unwrap());
        async move {
            let answer = answer.await.ok()?;
            let token = answer.headers().get("authorization");
            let token = token.map_or(String::new(), |token| token.to_str().unwrap().to_owned());
            let status = answer.status();
            answer.into_body().collect().await.ok()?;
            Some((status, token))
        }
    }
}

/// A status and the token that came with it, or nothing at all.
type Awaited = JoinHandle<Option<(StatusCode, String)>>;

/// The answers to a thousand requests on eight connections, of which all are under way when this
/// returns: the auth server holds the refresh that they wait for.
struct Storm {
    clients: Vec<Client>,
    answers: Vec<Vec<Awaited>>,
}

impl Storm {
    async fn break_loose(whole: &mut Whole, credential: &Credential) -> Self {
        whole.auth_server.hold().await;
        let (mut clients, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS {
            let mut client = Client::connect(whole).await;
            let send = |_| tokio::spawn(client.send(whole, "/authz/nginx", credential));
            answers.push((0..REQUESTS_EACH).map(send).collect());
            // Requests of one connection are taken in order: after this one, all are under way.
            let (status, _) = client.send(whole, "/livez", credential).await.unwrap();
            assert_eq!(status, StatusCode::OK);
            clients.push(client);
        }
        assert_eq!(whole.sessions.stats().refreshes_in_flight, 1);
        Self { clients, answers }
    }
}

#[tokio::test]
async fn a_thousand_requests_on_a_dead_token_cost_one_refresh() {
    let mut whole = Whole::new().await;
    let ada = whole.join("ada@example.org").await;
    whole.outlive_access();
    let storm = Storm::break_loose(&mut whole, &ada).await;
    whole.auth_server.come_back();
    let answers = storm.answers.into_iter().flatten();
    let mut tokens = Vec::new();
    for answer in tokio::time::timeout(PATIENCE, join_all(answers)).await.unwrap() {
        let (status, token) = answer.unwrap().expect("an answer");
        assert_eq!(status, StatusCode::OK);
        tokens.push(token);
    }
    assert_eq!(tokens.len(), CONNECTIONS * REQUESTS_EACH);
    tokens.dedup();
    assert_eq!(tokens, [whole.client.token(&ada).await.unwrap().header().to_str().unwrap()]);
    let stats = whole.demo.stats();
    assert_eq!((stats.refresh_calls, stats.refreshes, stats.reuses), (1, 1, 0));
}

#[tokio::test]
async fn clients_that_hang_up_take_the_refresh_from_nobody() {
    let mut whole = Whole::new().await;
    let ada = whole.join("ada@example.org").await;
    whole.outlive_access();
    let mut storm = Storm::break_loose(&mut whole, &ada).await;
    // The first half goes, and with it the request that began the refresh.
    for client in storm.clients.drain(..CONNECTIONS / 2) {
        client.hang_up().await;
    }
    for answer in storm.answers.drain(..CONNECTIONS / 2).flatten() {
        assert_eq!(answer.await.unwrap(), None);
    }
    whole.auth_server.come_back();
    let answers = storm.answers.into_iter().flatten();
    for answer in tokio::time::timeout(PATIENCE, join_all(answers)).await.unwrap() {
        assert_eq!(answer.unwrap().expect("an answer").0, StatusCode::OK);
    }
    assert_eq!(whole.demo.stats().refresh_calls, 1);
    assert_eq!(whole.sessions.stats().refreshes_done, 1);
    whole.outlive_access();
    whole.reaches_the_resource(&ada).await;
    let stats = whole.demo.stats();
    assert_eq!((stats.refresh_calls, stats.reuses), (2, 0), "the pair in the store is the last");
}

#[tokio::test]
async fn a_refresh_that_everybody_left_is_stored() {
    let mut whole = Whole::new().await;
    let ada = whole.join("ada@example.org").await;
    whole.outlive_access();
    let mut storm = Storm::break_loose(&mut whole, &ada).await;
    for client in storm.clients.drain(..) {
        client.hang_up().await;
    }
    for answer in storm.answers.drain(..).flatten() {
        assert_eq!(answer.await.unwrap(), None);
    }
    whole.auth_server.come_back();
    let stored = async {
        while whole.sessions.stats().refreshes_done == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, stored).await.expect("the pair is stored");
    whole.reaches_the_resource(&ada).await;
    assert_eq!(whole.demo.stats().refresh_calls, 1);
}

const CONNECTIONS: usize = 8;
const REQUESTS_EACH: usize = 125;
