//! What a connection is doing, and how long it may go on doing nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::settings::ConnectionLimits;

/// What a connection is doing. Counters only, so that a request costs no look at a clock.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that have begun.
    begun: AtomicU64,
    /// Requests whose answers have ended.
    ended: AtomicU64,
    /// Reads that brought something.
    reads: AtomicU64,
    /// `reads` when the last request began or ended: what came later belongs to the next one.
    reads_of_requests: AtomicU64,
    /// HTTP/2 says things between requests, which are not the beginning of one.
    is_http2: AtomicBool,
}

/// A request under way; ended by its drop.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Activity {
    /// Notes that a request has come in whole.
    pub(super) fn begin(self: &Arc<Self>, version: Version) -> Busy {
        self.begun.fetch_add(1, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        self.note_reads();
        Busy(Arc::clone(self))
    }

    fn note_reads(&self) {
        self.reads_of_requests.store(self.reads.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn seen(&self) -> Seen {
        let begun = self.begun.load(Ordering::Relaxed);
        let in_head = self.reads.load(Ordering::Relaxed)
            != self.reads_of_requests.load(Ordering::Relaxed)
            && !self.is_http2.load(Ordering::Relaxed);
        Seen { begun, busy: begun != self.ended.load(Ordering::Relaxed), in_head }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.note_reads();
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    begun: u64,
    busy: bool,
    /// The head of a request has begun to come.
    in_head: bool,
}

/// How a connection that does nothing ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Gently: nothing is lost.
    Idle,
    /// At once: the client is too slow.
    Slow,
}

/// Waits until the connection has done nothing for too long.
pub(super) async fn outstay(activity: Arc<Activity>, limits: ConnectionLimits) -> End {
    let tick = limits.first_request.min(limits.header_read).min(limits.idle) / 4;
    let tick = tick.max(Duration::from_millis(1));
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(tick).await;
        if let Some(end) = watch.tick(activity.seen(), tick, &limits) {
            return end;
        }
    }
}

/// Measures in ticks how long a connection has been doing nothing.
#[derive(Debug, Default)]
struct Watch {
    last: Seen,
    lasted: Duration,
}

impl Watch {
    fn tick(&mut self, seen: Seen, tick: Duration, limits: &ConnectionLimits) -> Option<End> {
        let changed = seen != self.last;
        self.last = seen;
        if seen.busy || (changed && seen.begun > 0) {
            self.lasted = Duration::ZERO;
            return None;
        }
        self.lasted += tick;
        let (limit, end) = if seen.begun == 0 {
            (limits.first_request, End::Slow)
        } else if seen.in_head {
            (limits.header_read, End::Slow)
        } else {
            (limits.idle, End::Idle)
        };
        (self.lasted >= limit).then_some(end)
    }
}

/// A stream that notes its reads.
#[derive(Debug)]
pub(super) struct Noted<T> {
    stream: T,
    activity: Arc<Activity>,
}

impl<T> Noted<T> {
    pub(super) fn new(stream: T, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Noted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.reads.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Noted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// After how many seconds of `seen`, one after another, the connection ends.
    #[track_caller]
    fn check(phases: &[(u64, Seen)], expected: Option<(u64, End)>) {
        let limits = ConnectionLimits::default();
        let mut watch = Watch::default();
        let seconds = phases.iter().flat_map(|(count, seen)| (0..*count).map(move |_| *seen));
        let ended = seconds
            .zip(1..)
            .find_map(|(seen, at)| watch.tick(seen, SECOND, &limits).map(|end| (at, end)));
        assert_eq!(ended, expected);
    }

    #[test]
    fn a_connection_ends_when_it_does_nothing_for_too_long() {
        let silent = Seen::default();
        let dribbling = Seen { in_head: true, ..silent };
        let busy = Seen { begun: 1, busy: true, in_head: false };
        let idle = Seen { busy: false, ..busy };
        let next_head = Seen { in_head: true, ..idle };
        check(&[(100, silent)], Some((10, End::Slow)));
        check(&[(5, silent), (100, dribbling)], Some((10, End::Slow)));
        check(&[(1000, busy)], None);
        check(&[(1, busy), (200, idle)], Some((77, End::Idle)));
        check(&[(1, busy), (60, idle), (60, next_head)], Some((72, End::Slow)));
        let again = Seen { begun: 2, ..idle };
        check(&[(1, busy), (60, idle), (70, again)], None);
    }
}
