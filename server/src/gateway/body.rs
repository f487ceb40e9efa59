//! Request bodies that stream through: bounded in size, and not allowed to dribble.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::answer_body::BodyError;
use crate::failure::Failure;
use crate::settings::GatewayLimits;

/// How far a body has come, for who waits for the upstream's answer.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Why the body was cut off, if it was.
    pub(super) failure: OnceLock<Failure>,
    /// Cancelled when nothing more comes.
    pub(super) done: CancellationToken,
}

/// A request body on its way through.
#[derive(Debug)]
pub(super) struct Streamed {
    body: Incoming,
    left: u64,
    stall: Duration,
    /// Until when something must come. A piece buys as much time as its length should take, up to
    /// `stall` from its coming: who sends a byte now and then buys next to nothing.
    until: Instant,
    timer: Pin<Box<Sleep>>,
    progress: Arc<Progress>,
    _done: DropGuard,
}

impl Streamed {
    pub(super) fn new(body: Incoming, limits: &GatewayLimits) -> Self {
        let progress = Arc::new(Progress::default());
        let until = Instant::now() + limits.body_stall;
        Self {
            until,
            body,
            left: limits.body_bytes,
            stall: limits.body_stall,
            timer: Box::pin(tokio::time::sleep_until(until)),
            _done: progress.done.clone().drop_guard(),
            progress,
        }
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    fn cut_off(&self, failure: Failure) -> BodyError {
        let error = failure.to_string().into();
        // Only the first reason counts.
        let _ = self.progress.failure.set(failure);
        error
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => {
                let broken = Failure::BadRequest("the body broke off");
                let _ = this.progress.failure.set(broken);
                return Poll::Ready(Some(Err(error.into())));
            }
            Poll::Ready(None) => {
                this.progress.done.cancel();
                return Poll::Ready(None);
            }
            Poll::Pending if this.timer.as_mut().poll(cx).is_ready() => {
                return Poll::Ready(Some(Err(this.cut_off(Failure::BodyTooSlow))));
            }
            Poll::Pending => return Poll::Pending,
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        match this.left.checked_sub(length) {
            Some(left) => this.left = left,
            None => return Poll::Ready(Some(Err(this.cut_off(Failure::BodyTooLarge)))),
        }
        let bought = Duration::from_micros(length.saturating_mul(MICROS_FOR_A_BYTE));
        this.until = (this.until + bought).min(Instant::now() + this.stall);
        this.timer.as_mut().reset(this.until);
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// 4 KiB in a second.
const MICROS_FOR_A_BYTE: u64 = 1_000_000 / 4096;
