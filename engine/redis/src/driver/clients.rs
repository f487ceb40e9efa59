//! The clients of the driver, as the settings want them.

use redis::cluster::ClusterClient;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError, TlsCertificates,
    TlsMode,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::fault::OpenError;
use crate::settings::Settings;

/// All addresses of `settings`, with what is needed to log in there.
pub(super) fn nodes(settings: &Settings) -> Result<Vec<ConnectionInfo>, OpenError> {
    let certificates = certificates(settings)?;
    let node = |url: &String| node(url, settings, certificates.as_ref());
    let nodes: Vec<ConnectionInfo> = settings.nodes.iter().map(node).collect::<Result<_, _>>()?;
    if nodes.is_empty() { Err(OpenError::Address) } else { Ok(nodes) }
}

/// A cluster that `nodes` belong to.
pub(super) fn cluster(
    nodes: Vec<ConnectionInfo>,
    settings: &Settings,
) -> Result<ClusterClient, RedisError> {
    let certificates = nodes.iter().any(is_tls).then(|| trusted(settings)).flatten();
    let mut builder = ClusterClient::builder(nodes)
        .connection_timeout(settings.connect_timeout)
        .response_timeout(settings.response_timeout)
        .overall_response_timeout(Some(settings.response_timeout))
        .retries(6)
        // All of them fit into the time for an answer: what is wrong is told, not only that it
        // takes long.
        .min_retry_wait(20)
        .max_retry_wait(200);
    if let Some(certificates) = certificates {
        builder = builder.certs(certificates);
    }
    builder.build()
}

/// The sentinels at `nodes`, and how to speak to the master that they name.
pub(super) fn sentinel(
    nodes: &[ConnectionInfo],
    settings: &Settings,
    master: &str,
) -> Result<SentinelClient, RedisError> {
    let addresses = nodes.iter().map(|node| node.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
    if let Some((user, password)) = &settings.sentinel_login {
        builder = builder.set_client_to_sentinel_password(password.expose());
        if let Some(user) = user {
            builder = builder.set_client_to_sentinel_username(user);
        }
    }
    let Some(first) = nodes.first() else { return builder.build() };
    let redis = first.redis_settings();
    builder = builder.set_client_to_redis_db(redis.db());
    if let Some(user) = redis.username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = redis.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if is_tls(first) {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        if let Some(certificates) = trusted(settings) {
            builder = builder.set_client_to_redis_certificates(certificates);
        }
    }
    builder.build()
}

/// The node at `url`, with the user and password of `settings`.
fn node(
    url: &str,
    settings: &Settings,
    certificates: Option<&TlsCertificates>,
) -> Result<ConnectionInfo, OpenError> {
    let mut info = url.into_connection_info().map_err(|_| OpenError::Address)?;
    if let Some(certificates) = certificates.filter(|_| is_tls(&info)) {
        let client = Client::build_with_tls(info, certificates.clone());
        info = client.map_err(|_| OpenError::Authorities)?.get_connection_info().clone();
    }
    let mut redis = info.redis_settings().clone();
    if let Some(user) = &settings.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &settings.password {
        redis = redis.set_password(password.expose());
    }
    Ok(info.set_redis_settings(redis))
}

/// The certificate authorities of `settings`, if there is at least one in what claims to be some.
fn certificates(settings: &Settings) -> Result<Option<TlsCertificates>, OpenError> {
    if let Some(pem) = &settings.authorities {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        if read.is_err() || read.is_ok_and(|found| found.is_empty()) {
            return Err(OpenError::Authorities);
        }
    }
    Ok(trusted(settings))
}

fn trusted(settings: &Settings) -> Option<TlsCertificates> {
    let root_cert = Some(settings.authorities.clone()?);
    Some(TlsCertificates { client_tls: None, root_cert })
}

fn is_tls(node: &ConnectionInfo) -> bool {
    matches!(node.addr(), ConnectionAddr::TcpTls { .. })
}
