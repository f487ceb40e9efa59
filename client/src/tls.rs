//! How the client makes sure whom it talks to.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// TLS with ring and the operating system's certificates.
///
/// The provider is named here, so that it neither depends on nor touches the process-wide default.
pub(crate) fn config(scheme: &str) -> Result<ClientConfig, rustls::Error> {
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
