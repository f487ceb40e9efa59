//! The demo auth server at an address that stays its own while nobody listens there.

use std::net::SocketAddr;

use tokenkeep_server::demo::Demo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

pub struct AuthServer {
    pub address: SocketAddr,
    demo: Demo,
    /// Bound and never listening: nobody else gets the port, and whoever connects is refused.
    _reserved: TcpSocket,
    state: State,
}

enum State {
    Away,
    /// Connections are made and requests are taken in, and nobody reads them.
    Holding(TcpListener),
    Serving(JoinHandle<()>),
}

impl AuthServer {
    pub fn start(demo: Demo) -> Self {
        let reserved = bound("127.0.0.1:0".parse().unwrap());
        let address = reserved.local_addr().unwrap();
        let mut server = Self { address, demo, _reserved: reserved, state: State::Away };
        server.come_back();
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes the listener: connections are refused from here on.
    pub async fn go_away(&mut self) {
        if let State::Serving(serving) = std::mem::replace(&mut self.state, State::Away) {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Leaves every call unanswered until it comes back.
    pub async fn hold(&mut self) {
        self.go_away().await;
        self.state = State::Holding(self.listen());
    }

    /// Serves again, first what was held.
    pub fn come_back(&mut self) {
        let listener = match std::mem::replace(&mut self.state, State::Away) {
            State::Holding(listener) => listener,
            State::Away | State::Serving(_) => self.listen(),
        };
        let demo = self.demo.clone();
        self.state = State::Serving(tokio::spawn(async move {
            demo.serve(listener, std::future::pending()).await.unwrap();
        }));
    }

    fn listen(&self) -> TcpListener {
        bound(self.address).listen(1024).unwrap()
    }
}

impl Drop for AuthServer {
    fn drop(&mut self) {
        if let State::Serving(serving) = &self.state {
            serving.abort();
        }
    }
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
