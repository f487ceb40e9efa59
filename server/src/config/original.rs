//! The original application's names, so that its environment can be kept.
//!
//! They are general words that other programs use as well, so they fill in only what neither the
//! file nor a `TOKENKEEP_*` variable sets, and each one that counts is told at the start.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::ConfigError;
use super::environment::{has, insert, variable};

/// Fills the gaps of `table` from the original names in `env`.
pub(super) fn fill_in(
    table: &mut Table,
    env: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    for (name, section, key, read) in NAMES {
        let Some(text) = env.get(*name).filter(|text| !text.is_empty()) else { continue };
        let own_name = format!("TOKENKEEP_{section}__{key}").to_ascii_uppercase();
        if has(table, section, key) || env.contains_key(&own_name) {
            continue;
        }
        let value = read(text).ok_or_else(|| variable(name, "not understood".to_owned()))?;
        let place = key.replace("__", ".");
        warnings.push(format!("{name} sets {section}.{place}; {own_name} is its name here"));
        insert(table, section, key, value);
    }
    redis_address(table, env, warnings)
}

/// `REDIS_HOST` and `REDIS_PORT` make one address.
fn redis_address(
    table: &mut Table,
    env: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let said = |name| env.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let (host, port) = (said("REDIS_HOST"), said("REDIS_PORT"));
    if (host.is_none() && port.is_none())
        || has(table, "store", "redis__url")
        || env.contains_key("TOKENKEEP_STORE__REDIS__URL")
    {
        return Ok(());
    }
    let host = host.unwrap_or("localhost");
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if !host.bytes().all(is_name) {
        return Err(variable("REDIS_HOST", "the name of a host is expected".to_owned()));
    }
    let port: u16 = port
        .map_or(Ok(6379), str::parse)
        .map_err(|_| variable("REDIS_PORT", "the number of a port is expected".to_owned()))?;
    warnings.push(
        "REDIS_HOST and REDIS_PORT set store.redis.url; TOKENKEEP_STORE__REDIS__URL is its name \
         here"
            .to_owned(),
    );
    insert(table, "store", "redis__url", format!("redis://{host}:{port}").into());
    Ok(())
}

type Reading = fn(&str) -> Option<Value>;

const NAMES: &[(&str, &str, &str, Reading)] = &[
    ("BASE_URL", "auth_server", "base_url", |text| Some(text.into())),
    ("ACCESS_TOKEN_LIFETIME", "auth_server", "access_lifetime", minutes),
    ("REFRESH_TOKEN_LIFETIME", "auth_server", "refresh_lifetime", minutes),
    ("INTERNAL_FASTAPI_PORT", "server", "listen", loopback_port),
    ("AUTH_DB_STACK", "store", "kind", stack),
    ("REDIS_PASSWORD", "store", "redis__password", |text| Some(text.into())),
];

fn stack(text: &str) -> Option<Value> {
    matches!(text, "redis" | "sqlite").then(|| text.into())
}

fn minutes(text: &str) -> Option<Value> {
    let minutes: u32 = text.trim().parse().ok()?;
    Some(format!("{minutes}m").into())
}

fn loopback_port(text: &str) -> Option<Value> {
    let port: u16 = text.trim().parse().ok()?;
    Some(format!("127.0.0.1:{port}").into())
}
