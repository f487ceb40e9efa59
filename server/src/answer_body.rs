//! The bodies of answers, whoever made them.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use crate::reply;

/// Any error of a body.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer of an upstream.
pub(crate) type UpstreamBody = UnsyncBoxBody<Bytes, BodyError>;

/// The body of a response, whoever made it.
#[derive(Debug)]
pub(crate) enum AnyBody {
    /// None.
    Empty,
    /// One of our own answers.
    Own(OwnBody),
    /// An upstream's.
    Upstream(UpstreamBody),
}

/// Names the body of warp's responses, which warp itself does not export.
pub(crate) trait BodyOf {
    type Body;
}

impl<B> BodyOf for http::Response<B> {
    type Body = B;
}

type OwnBody = <reply::Response as BodyOf>::Body;

/// The answer to HEAD: what GET would get, without the body.
pub(crate) fn headless(response: http::Response<AnyBody>) -> http::Response<AnyBody> {
    let length = response.body().size_hint().exact().filter(|length| *length > 0);
    let mut response = response.map(|_| AnyBody::Empty);
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

impl Body for AnyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Own(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            Self::Upstream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Own(body) => body.is_end_stream(),
            Self::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Own(body) => body.size_hint(),
            Self::Upstream(body) => body.size_hint(),
        }
    }
}
