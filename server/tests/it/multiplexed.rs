//! A client with many requests on one connection: a thousand of those need no thousand sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use reqwest::StatusCode;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A status and the token that came with it, or nothing at all.
pub type Answered = Option<(StatusCode, String)>;

/// One connection with many requests on it.
pub struct Client {
    address: SocketAddr,
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
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let tasks = Tasks::default();
        let made = http2::handshake(tasks.clone(), TokioIo::new(stream)).await;
        let (sender, connection) = made.unwrap();
        tasks.execute(async move { drop(connection.await) });
        Self { address, sender, tasks }
    }

    /// Closes the connection without a word.
    pub async fn hang_up(self) {
        let tasks = std::mem::take(&mut *self.tasks.0.lock().unwrap());
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
    }

    /// Sends a request; the answer comes later, or not at all.
    pub fn send(
        &mut self,
        path: &str,
        cookie: &str,
    ) -> impl Future<Output = Answered> + Send + use<> {
        let uri = format!("http://{}{path}", self.address);
        let request = http::Request::get(uri).header("cookie", cookie);
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
