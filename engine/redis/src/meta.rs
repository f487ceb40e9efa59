//! What a store says of itself: its format, its name, the keys it was sealed with.

use tokenkeep_core::codec::Sealing;
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

/// Checks that `ring` opens what is there: it has the key that sealed last, and none of its keys
/// goes by the name of another. Then takes its active key.
async fn adopt(
    driver: &Driver,
    key: &str,
    meta: &Row,
    ring: &KeyRing,
    store: &StoreId,
) -> Result<(), OpenError> {
    for id in ring.ids() {
        let known = meta.text(&format!("check:{id}"));
        let value = ring.check_value(id, store).map(|value| hex(&value));
        if known.is_some_and(|known| Some(known) != value.as_deref()) {
            return Err(OpenError::WrongKeyRing { key: id });
        }
    }
    if let Some(last) = meta.text("active") {
        let last = last.parse().map_err(|_| OpenError::Damaged)?;
        if ring.check_value(last, store).is_none() {
            return Err(OpenError::WrongKeyRing { key: last });
        }
    }
    let active = ring.active();
    if let Some(value) = ring.check_value(active, store) {
        put(driver, key, "HSETNX", &format!("check:{active}"), &hex(&value)).await?;
        put(driver, key, "HSET", "active", &active.to_string()).await?;
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

async fn read(driver: &Driver, key: &str) -> Result<Option<Row>, Fault> {
    let reply = driver.command(&[b"HGETALL", key.as_bytes()]).await?;
    Ok(Row::read(&reply))
}

async fn put(driver: &Driver, key: &str, how: &str, field: &str, value: &str) -> Result<(), Fault> {
    let words = [how, key, field, value].map(str::as_bytes);
    driver.command(&words).await.map(|_| ())
}

const FORMAT: &str = "1";
