//! The address of a Redis with what is needed to log in there.

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
    let password = match (&redis.password, &redis.password_file) {
        (Some(password), _) => zeroize::Zeroizing::new(password.expose().to_owned()),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| zeroize::Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            .map_err(|cause| StoreFailure::Password { path: path.clone(), cause })?,
        (None, None) => return Ok(address),
    };
    Ok(address.with_login(redis.username.as_deref(), &password))
}
