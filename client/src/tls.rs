//! How the client makes sure whom it talks to.

use std::sync::Arc;

use reqwest::{ClientBuilder, redirect};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::Error;

/// Begins a [`reqwest::Client`] for upstreams that is good to carry tokens: TLS with ring and the
/// operating system's certificates, and no redirects. It sets no time-outs.
///
/// [`reqwest::Client::new`] panics in a program that has not chosen a TLS provider, because this
/// crate takes reqwest without one; this never does.
///
/// # Errors
/// [`Error::is_misconfigured`] if the system has no certificates to trust.
pub fn upstream_http() -> Result<ClientBuilder, Error> {
    builder("https")
}

/// Begins a client for addresses of `scheme`.
pub(crate) fn builder(scheme: &str) -> Result<ClientBuilder, Error> {
    let tls = config(scheme).map_err(Error::misconfigured)?;
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls);
    // A redirect would carry secrets to a place that nobody chose.
    Ok(builder.redirect(redirect::Policy::none()))
}

/// TLS with a provider that is named here, so that it neither depends on nor touches the
/// process-wide default.
fn config(scheme: &str) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    // An image without certificates is no obstacle to plain http. No root: nothing is trusted.
    let config = match scheme {
        "http" => config.with_root_certificates(RootCertStore::empty()),
        _ => config.with_platform_verifier()?,
    };
    Ok(config.with_no_client_auth())
}
