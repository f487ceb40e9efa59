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
        warnings.push(format!("{name} sets {section}.{key}; {own_name} is its name here"));
        insert(table, section, key, value);
    }
    if let Some(stack) = env.get("AUTH_DB_STACK") {
        if stack != "redis" && stack != "sqlite" {
            return Err(variable("AUTH_DB_STACK", "redis or sqlite is expected".to_owned()));
        }
        warnings.push(format!(
            "AUTH_DB_STACK={stack} has no effect: sessions are kept by the embedded engine in store.data_dir"
        ));
    }
    for name in REDIS.iter().filter(|name| env.contains_key(**name)) {
        warnings.push(format!("{name} has no effect: sessions are kept by the embedded engine"));
    }
    Ok(())
}

type Reading = fn(&str) -> Option<Value>;

const NAMES: &[(&str, &str, &str, Reading)] = &[
    ("BASE_URL", "auth_server", "base_url", |text| Some(text.into())),
    ("ACCESS_TOKEN_LIFETIME", "auth_server", "access_lifetime", minutes),
    ("REFRESH_TOKEN_LIFETIME", "auth_server", "refresh_lifetime", minutes),
    ("INTERNAL_FASTAPI_PORT", "server", "listen", loopback_port),
];

const REDIS: [&str; 3] = ["REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"];

fn minutes(text: &str) -> Option<Value> {
    let minutes: u32 = text.trim().parse().ok()?;
    Some(format!("{minutes}m").into())
}

fn loopback_port(text: &str) -> Option<Value> {
    let port: u16 = text.trim().parse().ok()?;
    Some(format!("127.0.0.1:{port}").into())
}
