//! Answers of upstreams on their way through: sealed against caches, and cut off if the client
//! does not take them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::answer_body::{AnyBody, BodyError, UpstreamBody};
use crate::app::Places;
use crate::failure::Failure;

/// Sends the answer of an upstream on; it takes a place until its end.
pub(super) fn pass_on(
    mut response: http::Response<Incoming>,
    streams: &Arc<Places>,
    stall: Duration,
) -> Result<http::Response<AnyBody>, Failure> {
    seal(response.headers_mut());
    if response.body().is_end_stream() {
        return Ok(response.map(|_| AnyBody::Empty));
    }
    let place = streams.take().ok_or(Failure::Busy)?;
    Ok(response.map(|body| AnyBody::Upstream(passing(body, place, stall))))
}

/// What an upstream answered depends on the session: no cache may give it to somebody else.
fn seal(headers: &mut HeaderMap) {
    if !headers.get_all(VARY).iter().any(|vary| vary == "*") {
        headers.append(VARY, HeaderValue::from_static("Cookie"));
    }
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let mut directives = lines.flat_map(|line| line.split(',')).map(str::trim);
    let is_private =
        |word: &str| word.eq_ignore_ascii_case("no-store") || word.eq_ignore_ascii_case("private");
    if !directives.any(is_private) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    // Caches that know these (RFC 9213) do not look at the other one.
    let targeted = |name: &&HeaderName| {
        name.as_str().ends_with("cdn-cache-control") || name.as_str() == "surrogate-control"
    };
    let targeted: Vec<HeaderName> = headers.keys().filter(targeted).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
}

fn passing<G: Send + 'static>(body: Incoming, place: G, stall: Duration) -> UpstreamBody {
    let (size, done) = (body.size_hint(), CancellationToken::new());
    let source = Source { body, _place: place };
    let flow = Flow { source: Some(source), waits: false, asked_at: Instant::now() };
    let flow = Arc::new(Mutex::new(flow));
    tokio::spawn(watch(Arc::clone(&flow), stall, done.clone()));
    Passing { flow, rest: Bytes::new(), size, _done: done.drop_guard() }.boxed_unsync()
}

/// Drops the upstream's side, and gives its place back, once the client has taken nothing for
/// too long. The client's side cannot do it: it is not asked as long as nothing can be sent.
async fn watch<G>(flow: Arc<Mutex<Flow<G>>>, stall: Duration, done: CancellationToken) {
    let mut until = Instant::now() + stall;
    loop {
        tokio::select! {
            () = done.cancelled() => return,
            () = tokio::time::sleep_until(until) => {}
        }
        let mut flow = locked(&flow);
        until = if flow.waits { Instant::now() + stall } else { flow.asked_at + stall };
        if until <= Instant::now() {
            tracing::debug!("the answer of an upstream is not taken");
            flow.source = None;
            return;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What comes from the upstream, and the place that it takes.
#[derive(Debug)]
struct Source<G> {
    body: Incoming,
    _place: G,
}

#[derive(Debug)]
struct Flow<G> {
    /// Gone once the client has taken nothing for too long.
    source: Option<Source<G>>,
    /// The upstream has nothing to give at the moment.
    waits: bool,
    /// When the client last asked for more.
    asked_at: Instant,
}

/// The body of an answer of an upstream, in pieces of a size that a slow client can take in time.
#[derive(Debug)]
struct Passing<G> {
    flow: Arc<Mutex<Flow<G>>>,
    rest: Bytes,
    size: SizeHint,
    _done: DropGuard,
}

impl<G> Body for Passing<G> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut flow = locked(&this.flow);
        flow.asked_at = Instant::now();
        let Some(source) = &mut flow.source else {
            return Poll::Ready(Some(Err("the answer was not taken for too long".into())));
        };
        if this.rest.is_empty() {
            let polled = Pin::new(&mut source.body).poll_frame(cx);
            flow.waits = polled.is_pending();
            match polled {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

const PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(upstream: &[(&'static str, &str)], expected: &[&str]) {
        let mut headers = HeaderMap::new();
        for (name, value) in upstream {
            headers.append(*name, value.parse().unwrap());
        }
        seal(&mut headers);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let control: Vec<String> = headers.get_all(CACHE_CONTROL).iter().map(text).collect();
        assert_eq!(control, expected);
        assert!(headers.get_all(VARY).iter().any(|vary| vary == "Cookie" || vary == "*"));
        assert_eq!(headers.keys().filter(|name| name.as_str().contains("cdn")).count(), 0);
    }

    #[test]
    fn no_cache_keeps_what_depends_on_a_cookie() {
        check(&[], &["no-store"]);
        check(&[("vary", "*")], &["no-store"]);
        for public in ["max-age=600", "public, max-age=600", "s-maxage=9", "", "private=\"x\""] {
            check(&[("cache-control", public)], &["no-store"]);
        }
        for private in ["no-store", "private, max-age=600", "max-age=5,No-Store", "PRIVATE"] {
            check(&[("cache-control", private)], &[private]);
        }
        let two = [("cache-control", "max-age=5"), ("cache-control", "private")];
        check(&two, &["max-age=5", "private"]);
        check(
            &[("cdn-cache-control", "max-age=5"), ("x-cdn-cache-control", "max-age=5")],
            &["no-store"],
        );
    }
}
