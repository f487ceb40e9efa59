//! What a store says of itself: its format, its name, the keys it was sealed with.

use tokenkeep_core::codec::Sealing;
use tokenkeep_core::keyring::KeyId;
use tokenkeep_core::{KeyRing, StoreId};

use crate::driver::Driver;
use crate::fault::{Fault, OpenError};
use crate::row::{Row, hex, unhex};

/// Reads what the store under `key` says of itself, or makes it a store, and sees to it that
/// `sealing` fits. `fresh` is the name that a fresh store gets.
pub(crate) async fn open(
    driver: &Driver,
    key: &str,
    sealing: &Sealing,
    fresh: Option<StoreId>,
) -> Result<StoreId, OpenError> {
    let meta = match read(driver, key).await? {
        Some(meta) if meta.text("format").is_some() => meta,
        _ => {
            let id = fresh.map_or_else(StoreId::random, Ok).map_err(OpenError::Random)?;
            // Another process may be faster: the first of them names the store.
            put(driver, key, "HSETNX", "store", &id.to_string()).await?;
            put(driver, key, "HSETNX", "format", FORMAT).await?;
            read(driver, key).await?.ok_or(OpenError::Damaged)?
        }
    };
    let format: u8 = meta.text("format").and_then(|f| f.parse().ok()).ok_or(OpenError::Damaged)?;
    if format.to_string() != FORMAT {
        return Err(OpenError::NewerFormat { format });
    }
    let store = meta.text("store").and_then(unhex).ok_or(OpenError::Damaged)?;
    let store = StoreId::from_bytes(store);
    match sealing {
        Sealing::On(ring) => adopt(driver, key, &meta, ring, &store).await?,
        Sealing::Off if meta.text("active").is_some() => return Err(OpenError::Sealed),
        Sealing::Off => {}
    }
    Ok(store)
}

/// Takes the active key of `ring`, if it opens what is there.
async fn adopt(
    driver: &Driver,
    key: &str,
    meta: &Row,
    ring: &KeyRing,
    store: &StoreId,
) -> Result<(), OpenError> {
    ring.fits(store, &checks(meta).ok_or(OpenError::Damaged)?)?;
    let active = ring.active();
    if let Some(value) = ring.check_value(active, store) {
        let (active, check) = (active.to_string(), format!("check:{active}"));
        let words = ["HSET", key, "active", &active, &check, &hex(&value)];
        driver.command(&words.map(str::as_bytes)).await?;
    }
    Ok(())
}

/// The check values of all keys that anything may be sealed with.
pub(crate) fn checks(meta: &Row) -> Option<Vec<(KeyId, [u8; 32])>> {
    let check = |id: &str| Some((id.parse().ok()?, unhex(meta.text(&format!("check:{id}"))?)?));
    meta.names("check:").map(check).collect()
}

/// Warns of settings of Redis under which it would lose what it acknowledged.
pub(crate) async fn check_durability(driver: &Driver) {
    let masters = driver.masters().await.unwrap_or_default();
    for master in masters {
        let setting = async |name: &str| {
            let words: [&[u8]; 3] = [b"CONFIG", b"GET", name.as_bytes()];
            let reply = driver.command_on(&master, &words).await.ok()?;
            reply.at(1).text().map(str::to_owned)
        };
        for (name, good, why) in [
            ("appendonly", &["yes"][..], "a crash loses sessions"),
            ("appendfsync", &["always"], "a crash loses what was acknowledged last"),
            ("maxmemory-policy", &["noeviction"], "sessions are evicted when memory is short"),
        ] {
            if let Some(value) = setting(name).await
                && !good.contains(&value.as_str())
            {
                tracing::warn!(redis = %master.address, "redis has {name} {value}: {why}");
            }
        }
    }
}

pub(crate) async fn read(driver: &Driver, key: &str) -> Result<Option<Row>, Fault> {
    let reply = driver.command(&[b"HGETALL", key.as_bytes()]).await?;
    Ok(Row::read(&reply))
}

async fn put(driver: &Driver, key: &str, how: &str, field: &str, value: &str) -> Result<(), Fault> {
    let words = [how, key, field, value].map(str::as_bytes);
    driver.command(&words).await.map(|_| ())
}

pub(crate) const FORMAT: &str = "1";
