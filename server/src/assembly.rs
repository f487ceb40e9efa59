//! Puts a server together from its settings: the store, the flow, the HTTP surface.

use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt as _;
use std::time::Duration;

use tokenkeep_core::sessions;

use crate::config::{self, Config, CookieShape, StoreSettings};
use crate::settings::{
    ConnectionLimits, CookiePolicy, GatewayLimits, LoginLimits, Proxy, Rate, RequestLimits,
    SameSite, ServerSettings,
};
use crate::store::{self, AnyStore, StoreFailure};

/// Opens the store of the settings, or makes it.
///
/// # Errors
/// [`StoreFailure`]; nothing was changed on the disk.
pub async fn open_store(config: &Config) -> Result<AnyStore, StoreFailure> {
    store::open_configured(config).await
}

/// Makes the data directory, for its owner only.
///
/// # Errors
/// What the operating system says.
pub fn make_data_dir(store: &StoreSettings) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&store.data_dir)
}

/// The settings of the flow.
#[must_use]
pub fn flow_settings(config: &Config) -> sessions::Settings {
    let (session, auth_server) = (&config.session, &config.auth_server);
    sessions::Settings {
        leeway: session.leeway(),
        ceiling: session.ceiling(),
        absolute_limit: session.absolute,
        idle_limit: session.idle,
        issuer_deadline: auth_server.deadline,
        concurrent_refreshes: NonZeroUsize::new(auth_server.concurrency)
            .unwrap_or(NonZeroUsize::MIN),
        cool_down: session.cool_down,
        touch_interval: session.touch_interval,
        ..sessions::Settings::default()
    }
}

/// The settings of the HTTP surface.
#[must_use]
pub fn server_settings(config: &Config) -> ServerSettings {
    let (server, limits) = (&config.server, &config.limits);
    ServerSettings {
        cookie: match server.cookie_shape() {
            CookieShape::Secure => CookiePolicy::Secure,
            CookieShape::Loopback => CookiePolicy::Loopback,
        },
        same_site: match server.same_site {
            config::SameSite::Strict => SameSite::Strict,
            // `None` was refused with the settings.
            config::SameSite::Lax | config::SameSite::None => SameSite::Lax,
        },
        public_origins: server.public_origins.clone(),
        login_page: server.login_page.clone(),
        oauth2_paths: server.oauth2_paths,
        trusted_proxies: server.trusted_proxies.clone(),
        connections: ConnectionLimits {
            connections: limits.connections,
            first_request: limits.first_request,
            header_read: limits.header_read,
            idle: limits.idle,
            stall: limits.stall,
            per_address: limits.connections_per_address,
            header_bytes: limits.header_bytes,
            ..ConnectionLimits::default()
        },
        requests: RequestLimits {
            in_flight: limits.in_flight,
            gateway_streams: limits.gateway_streams,
            body_bytes: limits.body_bytes,
            body_time: limits.body_time,
            uri_bytes: limits.uri_bytes,
            ..RequestLimits::default()
        },
        logins: LoginLimits {
            per_address: per_minute(limits.logins_per_address),
            per_email: per_minute(limits.logins_per_email),
            ..LoginLimits::default()
        },
        proxies: config.proxy.iter().map(proxy).collect(),
        gateway: GatewayLimits {
            body_bytes: config.gateway.body_bytes as u64,
            body_stall: config.gateway.body_stall,
            kept_bytes: config.gateway.kept_bytes as u64,
            connect: config.gateway.connect,
            answer: config.gateway.answer,
        },
        drain_delay: limits.drain_delay,
        shutdown_limit: limits.shutdown_limit,
    }
}

/// A client for calls to a server that runs: no redirects, no proxy, no waiting for ever.
///
/// # Errors
/// If TLS cannot be set up.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    // A provider that is installed already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(30))
        .build()
}

fn per_minute(count: u32) -> Rate {
    let burst = count.max(1);
    Rate { burst, every: Duration::from_secs(60) / burst }
}

fn proxy(settings: &config::ProxySettings) -> Proxy {
    Proxy {
        prefix: settings.prefix.clone(),
        upstream: settings.upstream.clone(),
        strip_prefix: settings.strip_prefix,
    }
}
