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
    check_ring(meta, ring, store)?;
    let active = ring.active();
    if let Some(value) = ring.check_value(active, store) {
        let (active, check) = (active.to_string(), format!("check:{active}"));
        let words = ["HSET", key, "active", &active, &check, &hex(&value)];
        driver.command(&words.map(str::as_bytes)).await?;
    }
    Ok(())
}

/// Checks that `ring` opens what is there: it has every key that anything may be sealed with, and
/// none of its keys goes by the name of another.
pub(crate) fn check_ring(meta: &Row, ring: &KeyRing, store: &StoreId) -> Result<(), OpenError> {
    let needed = meta.names("check:").map(|id| id.parse().map_err(|_| OpenError::Damaged));
    let needed: Vec<KeyId> = needed.collect::<Result<_, _>>()?;
    let has_none = !ring.ids().any(|id| needed.contains(&id));
    for key in needed {
        let known = meta.text(&format!("check:{key}"));
        match ring.check_value(key, store).map(|value| hex(&value)) {
            Some(value) if known == Some(&value) => {}
            None if !has_none => return Err(OpenError::KeyMissing { key }),
            _ => return Err(OpenError::WrongKeyRing { key }),
        }
    }
    Ok(())
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
