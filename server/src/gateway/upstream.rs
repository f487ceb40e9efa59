//! The upstreams, and the HTTP client that speaks with them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Uri};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::body::Streamed;
use super::{GatewayError, Outgoing, Path, headers};
use crate::failure::Failure;
use crate::routes::is_reserved;
use crate::settings::{GatewayLimits, Proxy};

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
        let prefix = Path::parse(&proxy.prefix).map_err(|_| invalid())?;
        if prefix.first().is_some_and(is_reserved) {
            return Err(GatewayError::ReservedPrefix(proxy.prefix.clone()));
        }
        let prefix = prefix.into_segments();
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

    /// Where a request goes: path and query as the client has sent them.
    pub(super) fn uri_of(&self, uri: &Uri) -> Result<Uri, Failure> {
        let path = match self.strip_prefix {
            // By count, because the client may have written the segments in another spelling.
            true => self.prefix.iter().fold(uri.path(), |path, _| {
                let rest = path.strip_prefix('/').unwrap_or(path);
                rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
            }),
            false => uri.path(),
        };
        let whole = match uri.query() {
            Some(query) => format!("{}{path}?{query}", self.base),
            None => format!("{}{path}", self.base),
        };
        whole.parse().map_err(|_| Failure::BadRequest("the address cannot go on to an upstream"))
    }
}

/// A body on its way to an upstream: kept, or streaming.
pub(super) type RequestBody = Either<Full<Bytes>, Streamed>;

/// Speaks with upstreams over kept connections. Follows no redirect, decodes nothing, and adds
/// nothing to a request but `Host`.
#[derive(Debug)]
pub(super) struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, RequestBody>,
    answer: Duration,
}

impl Client {
    pub(super) fn new(limits: &GatewayLimits) -> Result<Self, GatewayError> {
        // The process may have a provider already; then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = rustls::ClientConfig::builder()
            .with_platform_verifier()
            .map_err(|error| GatewayError::Client(error.into()))?
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limits.connect));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { http, answer: limits.answer })
    }

    /// Sends a request. The upstream has its time for the head of the answer once the body is
    /// with it.
    pub(super) async fn send(
        &self,
        outgoing: &Outgoing<'_>,
        authorization: HeaderValue,
        body: RequestBody,
    ) -> Result<http::Response<Incoming>, Failure> {
        let progress = match &body {
            Either::Left(_) => None,
            Either::Right(streamed) => Some(streamed.progress()),
        };
        let mut request = http::Request::new(body);
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = outgoing.uri.clone();
        *request.headers_mut() = outgoing.headers.clone();
        request.headers_mut().insert(AUTHORIZATION, authorization);
        let late = async {
            if let Some(progress) = &progress {
                progress.done.cancelled().await;
            }
            tokio::time::sleep(self.answer).await;
        };
        let sent = tokio::select! {
            sent = self.http.request(request) => sent,
            () = late => return Err(Failure::UpstreamLate),
        };
        let mut response = sent.map_err(|error| {
            let cut_off = progress.as_ref().and_then(|progress| progress.failure.get());
            cut_off.cloned().unwrap_or_else(|| failure(error, outgoing.upstream))
        })?;
        if response.status().is_informational() {
            // Nobody asked to go over to another protocol.
            return Err(Failure::UpstreamBroke(Arc::new(Interim)));
        }
        headers::from_upstream(response.headers_mut());
        Ok(response)
    }
}

/// The upstream left HTTP.
#[derive(Debug, thiserror::Error)]
#[error("the upstream gave an interim answer as its last")]
struct Interim;

fn failure(error: legacy::Error, upstream: &Upstream) -> Failure {
    tracing::debug!(upstream = %upstream.base, "an upstream failed");
    match error.is_connect() {
        true => Failure::UpstreamUnreachable(Arc::new(error)),
        // It may have got the request, and done what was asked.
        false => Failure::UpstreamBroke(Arc::new(error)),
    }
}

const POOL_IDLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_beside_our_own_paths_can_have_an_upstream() {
        let open = |prefix: &str| {
            let upstream = "http://127.0.0.1:9".to_owned();
            Upstream::new(&Proxy { prefix: prefix.into(), upstream, strip_prefix: false })
        };
        for good in ["/", "/api", "/v1x", "/app/v1"] {
            assert!(open(good).is_ok(), "{good}");
        }
        for bad in ["/v1", "/%76%31/x", "/authz/x", "/metrics", "/oauth2", "/api_v1/auth"] {
            assert!(matches!(open(bad), Err(GatewayError::ReservedPrefix(_))), "{bad}");
        }
    }
}
