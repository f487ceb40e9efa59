//! The upstreams, and the HTTP client that speaks with them.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Uri};
use http_body_util::BodyExt as _;

use super::{GatewayError, Outgoing, Path, Progress, headers};
use crate::failure::Failure;
use crate::settings::{GatewayLimits, Proxy};
use crate::surface::AnyBody;

/// An upstream and the paths that go there.
#[derive(Debug)]
pub(crate) struct Upstream {
    prefix: Vec<Box<[u8]>>,
    /// The address, without a slash at its end.
    base: Box<str>,
    strip_prefix: bool,
}

impl Upstream {
    pub(super) fn new(proxy: &Proxy) -> Result<Self, GatewayError> {
        let invalid = || GatewayError::InvalidPrefix(proxy.prefix.clone());
        let prefix = Path::parse(&proxy.prefix).map_err(|_| invalid())?.into_segments();
        let invalid = || GatewayError::InvalidUpstream(proxy.upstream.clone());
        let address: Uri = proxy.upstream.parse().map_err(|_| invalid())?;
        let http = matches!(address.scheme_str(), Some("http" | "https"));
        if !http || address.query().is_some() || address.host().is_none() {
            return Err(invalid());
        }
        let base = proxy.upstream.trim_end_matches('/').into();
        Ok(Self { prefix, base, strip_prefix: proxy.strip_prefix })
    }

    /// The number of segments of the prefix.
    pub(super) fn depth(&self) -> usize {
        self.prefix.len()
    }

    pub(super) fn takes(&self, path: &Path<'_>) -> bool {
        path.is_under(&self.prefix)
    }

    /// Where a request goes: the path as the client has sent it, which is plain by now.
    pub(super) fn url_of(&self, uri: &Uri) -> String {
        let path = match self.strip_prefix {
            // By count, because the client may have written the segments in another spelling.
            true => self.prefix.iter().fold(uri.path(), |path, _| {
                let rest = path.strip_prefix('/').unwrap_or(path);
                rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
            }),
            false => uri.path(),
        };
        match uri.query() {
            Some(query) => format!("{}{path}?{query}", self.base),
            None => format!("{}{path}", self.base),
        }
    }
}

/// Speaks with upstreams over kept connections. Follows no redirect, decodes nothing.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    answer: Duration,
}

impl Client {
    pub(super) fn new(limits: &GatewayLimits) -> Result<Self, GatewayError> {
        // The process may have a provider already; then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .http1_only()
            .connect_timeout(limits.connect)
            .pool_idle_timeout(POOL_IDLE)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| GatewayError::Client(error.into()))?;
        Ok(Self { http, answer: limits.answer })
    }

    /// Sends a request; the answer streams. The upstream has its time for the head of the
    /// answer once the body is with it.
    pub(super) async fn send(
        &self,
        outgoing: &Outgoing<'_>,
        authorization: HeaderValue,
        body: reqwest::Body,
        progress: Option<Progress>,
    ) -> Result<http::Response<AnyBody>, Failure> {
        let mut headers = outgoing.headers.clone();
        headers.insert(AUTHORIZATION, authorization);
        let request = self.http.request(outgoing.method.clone(), &outgoing.url).headers(headers);
        let sending = request.body(body).send();
        let late = async {
            if let Some(progress) = &progress {
                progress.done.cancelled().await;
            }
            tokio::time::sleep(self.answer).await;
        };
        let sent = tokio::select! {
            sent = sending => sent,
            () = late => return Err(Failure::UpstreamFailed(Arc::new(Late))),
        };
        let response = sent.map_err(|error| {
            let cut_off = progress.as_ref().and_then(|progress| progress.failure.get());
            cut_off.cloned().unwrap_or_else(|| failure(error, outgoing.upstream))
        })?;
        let mut response = http::Response::<reqwest::Body>::from(response);
        headers::from_upstream(response.headers_mut());
        Ok(response.map(|body| AnyBody::Upstream(body.map_err(Into::into).boxed_unsync())))
    }
}

/// The upstream took too long.
#[derive(Debug, thiserror::Error)]
#[error("the upstream took too long")]
struct Late;

fn failure(error: reqwest::Error, upstream: &Upstream) -> Failure {
    tracing::debug!(upstream = %upstream.base, "an upstream failed");
    // The address of the request holds its query, which is nobody's business.
    let (unreachable, timed_out) = (error.is_connect(), error.is_timeout());
    let cause = Arc::new(error.without_url());
    match unreachable || !timed_out {
        true => Failure::UpstreamUnreachable(cause),
        false => Failure::UpstreamFailed(cause),
    }
}

const POOL_IDLE: Duration = Duration::from_secs(60);
