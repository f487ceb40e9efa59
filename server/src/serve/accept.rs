//! The accept loop: as many connections as allowed, and no error that ends it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokenkeep_core::{Issuer, TokenStore};

use super::connection::Connections;
use super::listener::{Listener, Socket};
use super::tls::Tls;
use crate::client_address::Peer;
use crate::surface::Door;

/// Accepts connections until it is told to stop; then the listener closes.
pub(super) async fn run<S: TokenStore, I: Issuer>(
    listener: Listener,
    tls: Option<Tls>,
    connections: Arc<Connections<S, I>>,
    door: Door,
) {
    let stop = connections.stop.clone();
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        // Who cannot be served waits here, and everybody behind in the listener's queue.
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            place = connections.place(door, peer) => place,
        };
        if let Some(place) = place {
            connections.start(stream, tls.as_ref().map(Tls::acceptor), peer, door, place);
        }
    }
}

/// The next connection. Errors of one connection are its own; when the process is out of file
/// descriptors or memory, it waits for some to come back.
async fn accept(listener: &Listener) -> (Socket, Peer) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted at the moment");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

const BACK_OFF: Duration = Duration::from_millis(500);
