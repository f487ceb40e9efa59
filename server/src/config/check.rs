//! Bounds of the settings, and the combinations that are refused.

use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use tracing_subscriber::EnvFilter;

use super::server::{OriginFault, check_origin, is_loopback};
use crate::routes::is_reserved;
use crate::store::{Address, RedisAddress};

use super::{
    Config, CookieShape, Durability, Listen, ProxySettings, RotationKind, SameSite, StoreKind,
};

/// What is wrong with which setting.
pub(super) struct Wrong {
    pub(super) key: &'static str,
    pub(super) problem: String,
}

type Checked = Result<(), Wrong>;

/// Finds the first setting that is out of bounds or does not fit another one.
pub(super) fn check(config: &Config) -> Checked {
    origins(config)?;
    server(config)?;
    limits(config)?;
    auth_server(config)?;
    lifetimes(config)?;
    store_and_session(config)?;
    audit(config)?;
    gateway(config)?;
    config.proxy.iter().try_for_each(proxy)?;
    let prefixes: Vec<&str> = config.proxy.iter().map(|proxy| proxy.prefix.as_str()).collect();
    let twice =
        (1..).zip(&prefixes).any(|(rest, prefix)| prefixes.iter().skip(rest).any(|p| p == prefix));
    refuse(twice, "proxy.prefix", "two proxies have the same prefix")?;
    EnvFilter::try_new(&config.log.level).map(drop).map_err(|_| {
        wrong(
            "log.level",
            "a level like \"info\" or directives like \"info,hyper=warn\" are expected",
        )
    })
}

/// Names combinations that are allowed and worth a thought.
pub(super) fn doubts(config: &Config) -> Vec<String> {
    let base = config.auth_server.base_url.as_deref().and_then(|url| Url::parse(url).ok());
    let plain =
        base.is_some_and(|url| url.scheme() == "http" && !url.host_str().is_some_and(is_loopback));
    let anonymous = config.server.public_origins.is_empty()
        && config.server.tls.files().is_none()
        && config.server.cookie_shape() == CookieShape::Secure;
    let bare = config.server.public_origins.is_empty()
        && config.server.cookie_shape() == CookieShape::Loopback;
    let shared = match config.store.kind {
        StoreKind::Redb => false,
        StoreKind::Redis => !config.store.redis.sealing,
        StoreKind::Sqlite => !config.store.sqlite.sealing,
    };
    let lossy = matches!(config.store.durability, Durability::Interval(_));
    [
        (plain, "auth_server.base_url is plain http: passwords and tokens cross the network in the clear"),
        (anonymous, "server.public_origins is empty: the cookie needs https in front, and only Sec-Fetch-Site tells other sites apart"),
        (bare, "server.public_origins is empty: the cookie is for plain http on this machine; behind https, name the https origin"),
        (shared, "sealing is off: whoever reads the store has the tokens of everybody who is logged in"),
        (lossy, "store.durability: a power loss takes the last logins and refreshes with it"),
    ]
    .into_iter()
    .filter(|(applies, _)| *applies)
    .map(|(_, text)| text.to_owned())
    .collect()
}

fn origins(config: &Config) -> Checked {
    const KEY: &str = "server.public_origins";
    let mut secure = 0;
    for origin in &config.server.public_origins {
        match check_origin(origin) {
            Ok(https) => secure += usize::from(https),
            Err(OriginFault::Malformed) => {
                return Err(wrong(
                    KEY,
                    format!(
                        "{origin:?} is no origin, one like \"https://app.example\" is expected"
                    ),
                ));
            }
            Err(OriginFault::Insecure) => {
                return Err(wrong(
                    KEY,
                    format!("{origin:?} would send the cookie in the clear; use https"),
                ));
            }
        }
    }
    let count = config.server.public_origins.len();
    refuse(
        secure != 0 && secure != count,
        KEY,
        "https and http origins cannot share one cookie; keep one kind",
    )?;
    let plain = count != 0 && secure == 0;
    refuse(
        plain && config.server.tls.files().is_some(),
        KEY,
        "with server.tls browsers see https; use https origins",
    )?;
    refuse(
        plain && !config.server.listen.is_local(),
        KEY,
        "plain http needs server.listen on a loopback address; use https origins or listen on 127.0.0.1",
    )
}

fn server(config: &Config) -> Checked {
    let server = &config.server;
    refuse(
        server.same_site == SameSite::None,
        "server.same_site",
        "\"none\" sends the cookie with every site's requests; use \"lax\" or \"strict\"",
    )?;
    let page = server.login_page.as_deref();
    refuse(
        page.is_some_and(|page| !is_path(page) && !is_whole_address(page)),
        "server.login_page",
        "a path like \"/login\", an address like \"https://app.example/login\" or \"off\" is expected",
    )?;
    refuse(
        server.admin_listen.as_ref().is_some_and(|admin| admin.collides_with(&server.listen)),
        "server.admin_listen",
        "another address than server.listen is expected, or \"off\"",
    )?;
    refuse(
        server.tls.certificate.is_some() && server.tls.key.is_none(),
        "server.tls.key",
        "the certificate needs its private key",
    )?;
    refuse(
        server.tls.key.is_some() && server.tls.certificate.is_none(),
        "server.tls.certificate",
        "the private key needs its certificate",
    )?;
    refuse(
        server.tls.files().is_some() && matches!(server.listen, Listen::Unix(_)),
        "server.tls.certificate",
        "nobody speaks TLS over a unix socket; listen on an address, or leave TLS to the proxy",
    )
}

/// Whether `page` is the address of a page that a browser reaches without a cleartext hop.
fn is_whole_address(page: &str) -> bool {
    let Ok(url) = Url::parse(page) else { return false };
    let safe = match url.scheme() {
        "https" => true,
        "http" => url.host_str().is_some_and(is_loopback),
        _ => false,
    };
    safe && url.username().is_empty() && url.password().is_none() && url.as_str().is_ascii()
}

fn limits(config: &Config) -> Checked {
    let limits = &config.limits;
    for (key, value) in [
        ("limits.header_read", limits.header_read),
        ("limits.first_request", limits.first_request),
        ("limits.body_time", limits.body_time),
        ("limits.idle", limits.idle),
        ("limits.stall", limits.stall),
        ("limits.shutdown_limit", limits.shutdown_limit),
    ] {
        refuse(value.is_zero(), key, "more than 0s is expected")?;
    }
    for (key, value, least, most) in [
        ("limits.body_bytes", limits.body_bytes, 1 << 10, 64 << 20),
        ("limits.connections", limits.connections, 1, 1 << 20),
        ("limits.connections_per_address", limits.connections_per_address, 1, 1 << 20),
        ("limits.in_flight", limits.in_flight, 1, 1 << 20),
        ("limits.gateway_streams", limits.gateway_streams, 1, 1 << 20),
        ("limits.header_bytes", limits.header_bytes, 8 << 10, 1 << 20),
        ("limits.uri_bytes", limits.uri_bytes, 256, 64 << 10),
    ] {
        refuse(!(least..=most).contains(&value), key, format!("{least} to {most} is expected"))?;
    }
    refuse(limits.logins_per_address == 0, "limits.logins_per_address", "at least 1 is expected")?;
    refuse(limits.logins_per_email == 0, "limits.logins_per_email", "at least 1 is expected")
}

fn auth_server(config: &Config) -> Checked {
    const BASE: &str = "auth_server.base_url";
    let auth = &config.auth_server;
    let Some(base) = &auth.base_url else {
        return Err(wrong(
            BASE,
            "the auth server's address is needed, e.g. \"https://auth.example\"",
        ));
    };
    web_address(BASE, base)?;
    refuse(
        auth.ca_file.is_some() && !base.starts_with("https://"),
        "auth_server.ca_file",
        "certificates need an https auth_server.base_url",
    )?;
    for (key, path) in [
        ("auth_server.register_path", Some(&auth.register_path)),
        ("auth_server.login_path", Some(&auth.login_path)),
        ("auth_server.refresh_path", Some(&auth.refresh_path)),
        ("auth_server.revoke_path", auth.revoke_path.as_ref()),
    ] {
        refuse(path.is_some_and(|path| !is_path(path)), key, "a path like \"/login\" is expected")?;
    }
    for (key, field) in [
        ("auth_server.username_field", &auth.username_field),
        ("auth_server.password_field", &auth.password_field),
        ("auth_server.register_email_field", &auth.register_email_field),
        ("auth_server.register_password_field", &auth.register_password_field),
        ("auth_server.access_token_field", &auth.access_token_field),
        ("auth_server.refresh_token_field", &auth.refresh_token_field),
        ("auth_server.token_type_field", &auth.token_type_field),
        ("auth_server.expires_in_field", &auth.expires_in_field),
        ("auth_server.refresh_expires_in_field", &auth.refresh_expires_in_field),
    ] {
        refuse(field.is_empty(), key, "a name is expected")?;
    }
    let verdicts = [400, 401, 403, 409, 410, 422];
    refuse(
        auth.refused_statuses.iter().any(|status| !verdicts.contains(status)),
        "auth_server.refused_statuses",
        format!("only {verdicts:?} can be a verdict"),
    )
}

fn lifetimes(config: &Config) -> Checked {
    let auth = &config.auth_server;
    let second = Duration::from_secs(1);
    for (key, value, most) in [
        ("auth_server.access_lifetime", auth.access_lifetime, auth.max_access_lifetime),
        ("auth_server.refresh_lifetime", auth.refresh_lifetime, auth.max_refresh_lifetime),
    ] {
        refuse(value < second || value > most, key, "1s up to the maximum beside it is expected")?;
    }
    refuse(auth.deadline.is_zero(), "auth_server.deadline", "more than 0s is expected")?;
    refuse(
        auth.connect.is_zero() || auth.connect > auth.deadline,
        "auth_server.connect",
        "more than 0s and at most auth_server.deadline is expected",
    )?;
    refuse(
        auth.rotation == RotationKind::Grace && auth.grace.is_zero(),
        "auth_server.grace",
        "more than 0s is expected with rotation = \"grace\"",
    )?;
    refuse(auth.concurrency == 0, "auth_server.concurrency", "at least 1 is expected")
}

fn store_and_session(config: &Config) -> Checked {
    let (store, session) = (&config.store, &config.session);
    refuse(store.data_dir.as_os_str().is_empty(), "store.data_dir", "a directory is expected")?;
    refuse(
        !(5..=95).contains(&store.garbage_share),
        "store.garbage_share",
        "5 to 95 percent is expected",
    )?;
    let is_bare = |text: &String| {
        RedisAddress::parse(text).is_ok_and(|url| !Address::Redis(url).has_password())
    };
    refuse(
        !is_bare(&store.redis.url),
        "store.redis.url",
        "an address like \"redis://127.0.0.1:6379\" is expected, the password apart from it",
    )?;
    refuse(
        !store.redis.nodes.iter().all(is_bare),
        "store.redis.nodes",
        "addresses like \"redis://127.0.0.1:6379\" are expected, the password apart from them",
    )?;
    refuse(
        !store.redis.nodes.is_empty()
            && !store.redis.cluster
            && store.redis.sentinel_master.is_none(),
        "store.redis.nodes",
        "several addresses are for cluster or sentinel_master",
    )?;
    refuse(
        store.redis.sentinel_password_file.is_none() && store.redis.sentinel_username.is_some(),
        "store.redis.sentinel_password_file",
        "the user at the Sentinels needs a password",
    )?;
    refuse(
        store.redis.password.is_some() && store.redis.password_file.is_some(),
        "store.redis.password_file",
        "store.redis.password is set, too; keep one",
    )?;
    refuse(
        store.redis.ca_file.is_some() && !store.redis.url.starts_with("rediss://"),
        "store.redis.ca_file",
        "store.redis.url is without TLS: rediss:// is expected, or \"off\"",
    )?;
    refuse(
        store.move_to.as_ref().is_some_and(Address::is_original),
        "store.move_to",
        "a server does not keep its sessions in the original application's data",
    )?;
    refuse(session.leeway_percent > 90, "session.leeway_percent", "0 to 90 is expected")?;
    refuse(
        session.absolute.is_some_and(|limit| limit.is_zero()),
        "session.absolute",
        "more than 0s is expected, or \"off\"",
    )?;
    // The last use is noted at this interval only: an idle limit below it would end used sessions.
    refuse(
        session.idle.is_some_and(|limit| limit < session.touch_interval * 2),
        "session.idle",
        "at least twice session.touch_interval is expected, or \"off\"",
    )
}

fn audit(config: &Config) -> Checked {
    const FILE: &str = "audit.file";
    let Some(file) = &config.audit.file else { return Ok(()) };
    refuse(
        file.file_name().is_none() || file.is_dir(),
        FILE,
        "a file like \"/var/log/tokenkeep/audit.jsonl\" is expected, or \"off\"",
    )?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    // The data directory is made at the start.
    let is_there = |directory: &Path| directory == config.store.data_dir || directory.is_dir();
    refuse(
        directory.is_some_and(|directory| !is_there(directory)),
        FILE,
        "its directory is not there",
    )
}

fn gateway(config: &Config) -> Checked {
    let gateway = &config.gateway;
    refuse(gateway.connect.is_zero(), "gateway.connect", "more than 0s is expected")?;
    refuse(gateway.answer.is_zero(), "gateway.answer", "more than 0s is expected")?;
    refuse(gateway.body_stall.is_zero(), "gateway.body_stall", "more than 0s is expected")?;
    refuse(gateway.kept_bytes > 64 << 20, "gateway.kept_bytes", "at most 64MiB is expected")
}

fn proxy(proxy: &ProxySettings) -> Checked {
    const PREFIX: &str = "proxy.prefix";
    let prefix = &proxy.prefix;
    let segments_fit = prefix.split('/').skip(1).all(|s| !s.is_empty() && s != "." && s != "..");
    let plain = !prefix.contains(['%', '\\', '?', '#']);
    refuse(
        prefix != "/" && !(is_path(prefix) && segments_fit && plain),
        PREFIX,
        format!("{prefix:?} is no prefix, a path like \"/api\" is expected"),
    )?;
    let first = prefix.split('/').nth(1).unwrap_or_default();
    refuse(is_reserved(first.as_bytes()), PREFIX, format!("{prefix:?} is ours; take another one"))?;
    web_address("proxy.upstream", &proxy.upstream)?;
    Ok(())
}

/// Checks an http address of another server. It is not repeated in the error: a user and a
/// password in it are one of the things that are refused.
fn web_address(key: &'static str, text: &str) -> Checked {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let url = Url::parse(text).ok().filter(|url| {
        plain
            && (text.starts_with("http://") || text.starts_with("https://"))
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    refuse(
        url.is_none(),
        key,
        "an address like \"https://auth.example\" is expected, without user, query or fragment",
    )
}

/// Whether `text` is a path on this site, as a browser would read it, too.
fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && !text.starts_with("//")
        && !text.contains('\\')
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn refuse(condition: bool, key: &'static str, problem: impl Into<String>) -> Checked {
    if condition { Err(wrong(key, problem)) } else { Ok(()) }
}

fn wrong(key: &'static str, problem: impl Into<String>) -> Wrong {
    Wrong { key, problem: problem.into() }
}
