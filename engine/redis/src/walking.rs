//! Walks over all keys: scan, stats, purge, and taking over what the original application wrote.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::try_join_all;
use tokenkeep_core::codec::{CodecError, Sealing};
use tokenkeep_core::{Cursor, DeviceId, Page, StoreError, StoreStats, Timestamp, TokenRecord};

use crate::driver::Master;
use crate::fault::Fault;
use crate::row::Row;
use crate::store::{Inner, RedisStore};

/// A place in a walk over all masters: a master, what is left to hand out of the last batch that it
/// gave, and the cursor that follows.
///
/// No batch is asked for twice: where Redis grows or shrinks its table between, others are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    slot: u16,
    address: String,
    cursor: u64,
    rest: Vec<Vec<u8>>,
}

/// A part of a walk.
pub(crate) struct Step {
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) next: Option<Place>,
}

impl Place {
    fn start_of(master: &Master) -> Self {
        let Master { slot, address } = master.clone();
        Self { slot, address, cursor: 0, rest: Vec::new() }
    }

    fn read(cursor: &Cursor) -> Option<Self> {
        let text = std::str::from_utf8(&cursor.0).ok()?;
        let mut words = text.splitn(4, ' ');
        Some(Self {
            slot: words.next()?.parse().ok()?,
            cursor: words.next()?.parse().ok()?,
            address: words.next()?.to_owned(),
            rest: words.next()?.lines().map(|key| key.as_bytes().to_vec()).collect(),
        })
    }

    fn write(&self) -> Cursor {
        let rest = self.rest.join(&b'\n');
        let rest = String::from_utf8_lossy(&rest);
        let text = format!("{} {} {} {rest}", self.slot, self.cursor, self.address);
        Cursor(text.into_bytes().into())
    }
}

impl RedisStore {
    /// Takes over what the original application wrote: each of its rows gets our own fields, is
    /// sealed if sealing is on, and is listed from then on. Returns how many rows it took over.
    /// The walk is proportional to the store, and may be repeated at any time.
    ///
    /// # Errors
    /// [`StoreError`] if Redis cannot help. A row that cannot be read stays as it is.
    pub async fn take_over(&self, now: Timestamp) -> Result<usize, StoreError> {
        let (mut taken, mut place) = (0, None);
        loop {
            let pattern = self.inner.keys.records_pattern();
            let step = self.inner.step(place, &pattern, BATCH).await?;
            for key in &step.keys {
                let Some(device) = self.inner.keys.device_in(key) else { continue };
                match self.inner.take_over(device, now).await {
                    Ok(true) => taken += 1,
                    Ok(false) | Err(StoreError::Unreadable { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            place = step.next;
            if place.is_none() {
                return Ok(taken);
            }
        }
    }
}

impl Inner {
    pub(crate) async fn scan(
        &self,
        after: Option<Cursor>,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        let place = after.map(|cursor| Place::read(&cursor).ok_or(OtherCursor)).transpose();
        let place = place.map_err(StoreError::unavailable)?;
        let step = self.step(place, &self.keys.records_pattern(), limit.get()).await?;
        let rows = self.rows_under(&step.keys).await?;
        let records = rows.into_iter().filter_map(|(device, row)| {
            let record = self.decode(device, &row, now).ok()?;
            (!record.is_dead(now)).then(|| Arc::new(record))
        });
        Ok(Page { records: records.collect(), next: step.next.map(|place| place.write()) })
    }

    pub(crate) async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        let (mut devices, mut users, mut place) = (0, HashSet::new(), None);
        // A walk may see a record twice.
        let mut seen: HashSet<DeviceId> = HashSet::new();
        loop {
            let step = self.step(place, &self.keys.records_pattern(), BATCH).await?;
            for (device, row) in self.rows_under(&step.keys).await? {
                let dies_at = self.dies_at(device, &row, now);
                if dies_at.is_some_and(|dies_at| now < dies_at) && seen.insert(device) {
                    devices += 1;
                    users.extend(row.text("email").map(str::to_ascii_lowercase));
                }
            }
            place = step.next;
            if place.is_none() {
                break;
            }
        }
        Ok(StoreStats {
            devices,
            users: users.len() as u64,
            size_bytes: self.size_bytes().await?,
            garbage_rows: 0,
            unreadable: self.unreadable.load(Ordering::Relaxed),
        })
    }

    /// Goes on with the walk over all indexes: completes what is under way, and takes out what
    /// is gone. Records free themselves.
    pub(crate) async fn purge_expired(
        &self,
        limit: usize,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let mut purging = self.purging.lock().await;
        let mut freed = 0;
        loop {
            let pattern = self.keys.users_pattern();
            let step = self.step(purging.take(), &pattern, BATCH).await?;
            for key in &step.keys {
                freed += self.purge_index(key, now).await?;
            }
            *purging = step.next;
            if purging.is_none() || freed >= limit {
                return Ok(freed);
            }
        }
    }

    async fn purge_index(&self, key: &[u8], now: Timestamp) -> Result<usize, StoreError> {
        let Ok(user) = std::str::from_utf8(key) else { return Ok(0) };
        let index = self.settle(user, now).await?;
        let rows = self.rows_of(&index).await?;
        Ok(self.prune(user, &index, &rows, now).await)
    }

    /// Reads on from `place`: at most `limit` keys that match `pattern`.
    pub(crate) async fn step(
        &self,
        place: Option<Place>,
        pattern: &str,
        limit: usize,
    ) -> Result<Step, StoreError> {
        let masters = self.driver.masters().await?;
        let Some(first) = masters.first() else {
            return Err(Fault::ClusterDown.into());
        };
        let place = place.unwrap_or_else(|| Place::start_of(first));
        // A cursor is worth nothing on another server than the one that gave it.
        let at = masters
            .iter()
            .position(|master| master.slot == place.slot && master.address == place.address);
        let (at, place) = match at {
            Some(at) => (at, place),
            None => {
                let at = masters.iter().rposition(|master| master.slot <= place.slot).unwrap_or(0);
                (at, Place::start_of(masters.get(at).unwrap_or(first)))
            }
        };
        let master = masters.get(at).unwrap_or(first);
        let (cursor, mut keys) = match place.rest.is_empty() {
            true => self.batch(master, place.cursor, pattern).await?,
            false => (place.cursor, place.rest),
        };
        let rest = keys.split_off(keys.len().min(limit));
        let next = if !rest.is_empty() || cursor != 0 {
            Some(Place { slot: place.slot, address: place.address, cursor, rest })
        } else {
            masters.get(at + 1).map(Place::start_of)
        };
        Ok(Step { keys, next })
    }

    /// The keys that `cursor` gives on `master`, sorted, and the cursor that follows.
    async fn batch(
        &self,
        master: &Master,
        cursor: u64,
        pattern: &str,
    ) -> Result<(u64, Vec<Vec<u8>>), StoreError> {
        let (cursor, count) = (cursor.to_string(), BATCH.to_string());
        let words = ["SCAN", &cursor, "MATCH", pattern, "COUNT", &count, "TYPE", "hash"];
        let reply = self.driver.command_on(master, &words.map(str::as_bytes)).await?;
        let next = reply.at(0).text().and_then(|next| next.parse().ok()).unwrap_or(0);
        let keys = reply.at(1).list().iter().filter_map(|key| key.bytes().map(<[u8]>::to_vec));
        let mut keys: Vec<Vec<u8>> = keys.collect();
        keys.sort();
        keys.dedup();
        Ok((next, keys))
    }

    /// The rows of the records under `keys`.
    pub(crate) async fn rows_under(
        &self,
        keys: &[Vec<u8>],
    ) -> Result<Vec<(DeviceId, Row)>, StoreError> {
        let devices = keys.iter().filter_map(|key| self.keys.device_in(key));
        let rows =
            devices.map(async |device| Ok::<_, StoreError>((device, self.row(device).await?)));
        let rows = try_join_all(rows).await?;
        Ok(rows.into_iter().filter_map(|(device, row)| Some((device, row?))).collect())
    }

    /// When `row` dies; its tokens are not opened for that.
    fn dies_at(&self, device: DeviceId, row: &Row, now: Timestamp) -> Option<Timestamp> {
        if !row.is_foreign() {
            return row.instant("dies_at");
        }
        self.decode(device, row, now).ok().map(|record: TokenRecord| record.dies_at())
    }

    /// What all masters hold in memory.
    async fn size_bytes(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for master in self.driver.masters().await? {
            let reply = self.driver.command_on(&master, &[b"INFO", b"memory"]).await?;
            let used = reply.text().and_then(|info| {
                info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok())
            });
            bytes += used.unwrap_or(0_u64);
        }
        Ok(bytes)
    }

    /// Takes the row of `device` over if it is not ours, or not sealed where it should be.
    async fn take_over(&self, device: DeviceId, now: Timestamp) -> Result<bool, StoreError> {
        let Some(row) = self.row(device).await? else { return Ok(false) };
        let unsealed = match (&self.sealing, row.columns()) {
            (_, Err(cause)) => return Err(self.unreadable(device, cause)),
            (Sealing::Off, Ok(_)) => false,
            (Sealing::On(_), Ok(columns)) => {
                let read = columns.decode(device, &self.sealing, &self.id, now);
                read.is_err_and(|cause| cause == CodecError::Unsealed)
            }
        };
        if !unsealed && !row.is_foreign() {
            return Ok(false);
        }
        self.adopt(device, &row, now).await
    }
}

/// A cursor in which no place can be read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the cursor is of another store")]
struct OtherCursor;

const BATCH: usize = 100;
