//! One connection: HTTP/1.1 or HTTP/2 on it, its limits, and its end.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokenkeep_core::{Issuer, TokenStore};
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activity::{self, End};
use super::listener::Socket;
use super::noted::{Answer, Noted};
use super::places::{Place, Places};
use crate::client_address::Peer;
use crate::settings::ConnectionLimits;
use crate::surface::{Door, Surface};

/// The connections of a server.
pub(super) struct Connections<S, I> {
    surface: Arc<Surface<S, I>>,
    limits: ConnectionLimits,
    http: auto::Builder<TokioExecutor>,
    places: Arc<Places>,
    /// Of the admin listener, which must answer when the public one is full.
    admin_places: Arc<Places>,
    tasks: TaskTracker,
    /// Cancelled when connections must finish what they are doing.
    pub(super) stop: CancellationToken,
    /// Cancelled when connections must end at once.
    pub(super) kill: CancellationToken,
}

impl<S: TokenStore, I: Issuer> Connections<S, I> {
    pub(super) fn new(surface: Surface<S, I>) -> Self {
        let limits = surface.app().settings.connections;
        Self {
            http: http(&limits, surface.app().settings.requests.body_bytes),
            surface: Arc::new(surface),
            places: Places::new(&limits),
            admin_places: Places::new(&limits),
            limits,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }

    /// Waits for a place for one more connection at `door`; nothing if its address has had enough.
    pub(super) async fn place(&self, door: Door, peer: Peer) -> Option<Place> {
        let places = if door == Door::Admin { &self.admin_places } else { &self.places };
        // A proxy brings many clients, and this machine is not who it is guarded against.
        let address = peer.address();
        let proxies = &self.surface.app().settings.trusted_proxies;
        let counted = !address.is_loopback() && !peer.is_trusted(proxies);
        places.take(counted.then_some(address)).await
    }

    /// Serves a connection in a task of its own.
    pub(super) fn start(
        self: &Arc<Self>,
        stream: Socket,
        tls: Option<TlsAcceptor>,
        peer: Peer,
        door: Door,
        place: Place,
    ) {
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            this.run(stream, tls, peer, door, &place).await;
            drop(place);
        });
    }

    /// Waits until every connection has ended.
    pub(super) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn run(
        &self,
        stream: Socket,
        tls: Option<TlsAcceptor>,
        peer: Peer,
        door: Door,
        place: &Place,
    ) {
        let activity = &place.activity;
        // From here on: the handshake is a part of the way to the first request.
        let mut outstayed = std::pin::pin!(activity::outstay(Arc::clone(activity), self.limits));
        let stream = match tls {
            None => Either::Left(stream),
            Some(tls) => tokio::select! {
                shaken = tls.accept(stream) => match shaken {
                    Ok(stream) => Either::Right(Box::new(stream)),
                    Err(error) => {
                        tracing::debug!(%error, "a TLS handshake failed");
                        return;
                    }
                },
                () = self.stop.cancelled() => return,
                () = place.leave.cancelled() => return,
                _ = outstayed.as_mut() => return,
            },
        };
        let stream = TokioIo::new(Noted::new(stream, Arc::clone(activity)));
        let (surface, busy_on) = (Arc::clone(&self.surface), Arc::clone(activity));
        let service = service_fn(move |request: http::Request<Incoming>| {
            let busy = busy_on.begin(request.version(), request.body().is_end_stream());
            let surface = Arc::clone(&surface);
            async move {
                let response = surface.answer(request, peer, door).await;
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, busy)))
            }
        });
        let mut connection = std::pin::pin!(self.http.serve_connection(stream, service));
        let (mut finishing, mut idle, mut leaving) = (false, false, false);
        loop {
            tokio::select! {
                done = connection.as_mut() => {
                    if let Err(error) = done {
                        tracing::debug!(%error, "a connection broke");
                    }
                    return;
                }
                () = self.kill.cancelled() => return,
                () = self.stop.cancelled(), if !finishing => {}
                end = outstayed.as_mut(), if !idle => match end {
                    End::Idle if !finishing => idle = true,
                    End::Idle | End::Slow => return,
                },
                () = place.leave.cancelled(), if !leaving => {
                    if activity.is_unused() {
                        return;
                    }
                    leaving = true;
                }
                // An idle client that does not close its side has had its chance.
                () = tokio::time::sleep(LINGER), if idle => return,
                () = tokio::time::sleep(LEAVE), if leaving => {
                    if activity.resting_since().is_some() {
                        return;
                    }
                }
            }
            finishing = true;
            connection.as_mut().graceful_shutdown();
        }
    }
}

impl<S, I> fmt::Debug for Connections<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The protocols with their limits. hyper's own header time-out stays off: it would also count
/// the idle time between two requests, and does not begin before the protocol is known.
fn http(limits: &ConnectionLimits, body_bytes: usize) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes.max(8 * 1024));
    // hyper's own limit is as many, and costs it less than one that was set.
    if limits.headers != HYPERS_HEADERS {
        http.http1().max_headers(limits.headers);
    }
    // What may come before anybody reads it: about a body for each request, a few for all.
    let window =
        u32::try_from(body_bytes).unwrap_or(LARGEST_WINDOW).clamp(SMALLEST_WINDOW, LARGEST_WINDOW);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .initial_stream_window_size(window)
        .initial_connection_window_size(window * 4)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    http
}

const HYPERS_HEADERS: usize = 100;
/// The window that HTTP/2 begins with (RFC 9113, 6.9.2).
const SMALLEST_WINDOW: u32 = 65_535;
const LARGEST_WINDOW: u32 = 1 << 20;
/// What waits of one answer until HTTP/2 may send it.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that were taken back before anybody looked at them, and streams with errors of the
/// client's: beyond, the connection ends.
const RESETS: usize = 32;
/// How long a connection may take to close that makes room for another.
const LEAVE: Duration = Duration::from_millis(250);
/// How long a connection may take to close after it was idle.
const LINGER: Duration = Duration::from_secs(5);
