//! The address of a Redis with what is needed to log in there.

use std::path::Path;

use zeroize::Zeroizing;

use super::{RedisAddress, StoreFailure};
use crate::config::Config;

/// The Redis of the settings, with what is needed to log in there.
pub(super) fn redis_address(config: &Config) -> Result<RedisAddress, StoreFailure> {
    let redis = &config.store.redis;
    let mut address = RedisAddress::parse(&redis.url).map_err(StoreFailure::Address)?;
    address.prefix.clone_from(&redis.prefix);
    address.cluster = redis.cluster;
    address.sentinel_master.clone_from(&redis.sentinel_master);
    address.sealing = redis.sealing;
    logged_in(config, address)
}

/// `address` with the certificates, the user and the password of the settings, if it is their server.
pub(super) fn logged_in(
    config: &Config,
    mut address: RedisAddress,
) -> Result<RedisAddress, StoreFailure> {
    let redis = &config.store.redis;
    let theirs = RedisAddress::parse(&redis.url).map_err(StoreFailure::Address)?;
    if !theirs.is_same_server(&address) {
        return Ok(address);
    }
    if let Some(path) = &redis.ca_file {
        let pem = std::fs::read(path);
        let pem = pem.map_err(|cause| StoreFailure::Unreadable { path: path.clone(), cause })?;
        address.authorities = Some(pem);
    }
    address.nodes.clone_from(&redis.nodes);
    if let Some(path) = &redis.sentinel_password_file {
        address.sentinel_login = Some((redis.sentinel_username.clone(), password_in(path)?));
    }
    let password = match (&redis.password, &redis.password_file) {
        (Some(password), _) => Zeroizing::new(password.expose().to_owned()),
        (None, Some(path)) => password_in(path)?,
        (None, None) => return Ok(address),
    };
    Ok(address.with_login(redis.username.as_deref(), &password))
}

fn password_in(path: &Path) -> Result<Zeroizing<String>, StoreFailure> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|cause| StoreFailure::Password { path: path.to_owned(), cause })?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
