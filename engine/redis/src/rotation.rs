//! The key ring of a store that servers share: taking up another, resealing, retiring a key.
//!
//! A key may be forgotten only when no server seals with it, and nothing is under it. So whoever
//! seals says so in the meta hash, before, and again every [`SAID_EVERY`]; with another ring it says
//! that once every write under the old key is over. Who retires a key looks for such servers after
//! the records were counted. A server that was killed counts for [`COUNTS_FOR`].

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokenkeep_core::codec::{Columns, Sealing};
use tokenkeep_core::keyring::{KeyId, ResealProgress, RingError, RingUse};
use tokenkeep_core::{DeviceId, KeyRing, SealedStore, StoreError, Timestamp};
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::time::Instant;

use crate::devices::not_understood;
use crate::driver::Script;
use crate::fault::{OpenError, Retired};
use crate::meta::{self, FORMAT};
use crate::row::{Row, hex};
use crate::scripts::{CLOCK, RESEAL, RING_LEAVE, RING_RETIRE, RING_SEAL, RING_TAKE, args};
use crate::store::{Inner, RedisStore};

/// Who seals at the moment, in this process.
#[derive(Debug, Default)]
pub(crate) struct Sealers {
    /// Held for reading from before a record is sealed until it is stored.
    writes: RwLock<()>,
    /// When the others were told last that this server seals.
    said: Mutex<Option<Instant>>,
}

/// Leave to seal a record and store it.
pub(crate) struct Turn<'a>(#[expect(dead_code, reason = "held")] Option<RwLockReadGuard<'a, ()>>);

impl SealedStore for RedisStore {
    async fn take_ring(&self, ring: KeyRing) -> Result<(), RingError> {
        let inner = &self.inner;
        let Sealing::On(own) = &inner.sealing else { return Err(RingError::NotSealed) };
        let meta = meta::read(&inner.driver, &inner.keys.meta()).await.map_err(StoreError::from)?;
        if let Some(meta) = &meta {
            let checks =
                meta::checks(meta).ok_or(OpenError::Damaged).map_err(StoreError::unavailable)?;
            ring.fits(&inner.id, &checks)?;
        }
        // What is under way with the old key ends first.
        let _nobody_seals = inner.sealers.writes.write().await;
        let (before, active) = (own.active(), ring.active());
        // Should this end half-way, the others are told again which key it is.
        inner.sealers.set_said(None);
        let check = inner.check_value(&ring, active);
        let args = args![inner.instance, active, check, inner.id, FORMAT, before];
        inner.on_meta(&RING_TAKE, &args).await?;
        own.take_up(&ring);
        tracing::info!(key = %active, "records are sealed with this key from here on");
        Ok(())
    }

    fn key_ids(&self) -> Vec<KeyId> {
        match &self.inner.sealing {
            Sealing::On(ring) => ring.ids().collect(),
            Sealing::Off => Vec::new(),
        }
    }

    /// Records that another server writes under another key meanwhile stay so.
    async fn reseal(
        &self,
        mut progress: impl FnMut(ResealProgress) -> bool + Send,
    ) -> Result<(), RingError> {
        let inner = &self.inner;
        let Sealing::On(ring) = &inner.sealing else { return Err(RingError::NotSealed) };
        let active = ring.active();
        let others = self.key_use().await?.into_iter().filter(|used| used.key != active);
        let total: u64 = others.map(|used| used.records).sum();
        let (mut done, mut unreadable, mut place) = (0, HashSet::new(), None);
        if total == 0 {
            return Ok(());
        }
        loop {
            let step = inner.step(place, &inner.keys.records_pattern(), BATCH).await?;
            let rows = inner.rows_under(&step.keys).await?;
            let rows = rows.into_iter().map(async |(device, row)| {
                Ok::<_, StoreError>((device, inner.reseal(device, row, active).await?))
            });
            for (device, resealed) in try_join_all(rows).await? {
                match resealed {
                    Resealed::Done => done += 1,
                    Resealed::Unreadable => drop(unreadable.insert(device)),
                    Resealed::NotNeeded => {}
                }
            }
            place = step.next;
            let so_far = if place.is_some() { total.min(done) } else { total };
            let goes_on = progress(ResealProgress { done: so_far, total });
            if place.is_none() {
                break;
            }
            if !goes_on {
                return Err(RingError::CalledOff);
            }
        }
        match unreadable.len() as u64 {
            0 => Ok(()),
            left => Err(RingError::Unreadable(left)),
        }
    }

    /// In a cluster no slots may move meanwhile: a record that moves can be overlooked.
    async fn key_use(&self) -> Result<Vec<RingUse>, StoreError> {
        let inner = &self.inner;
        // A walk may see a record twice.
        let mut seen: HashSet<DeviceId> = HashSet::new();
        let (mut counted, mut place) = (BTreeMap::<[u8; 4], u64>::new(), None);
        loop {
            let step = inner.step(place, &inner.keys.records_pattern(), BATCH).await?;
            for (device, key) in inner.keys_of(&step.keys).await? {
                if seen.insert(device) {
                    *counted.entry(*key.as_bytes()).or_default() += 1;
                }
            }
            place = step.next;
            if place.is_none() {
                break;
            }
        }
        let used = |(key, records)| RingUse { key: KeyId::from_bytes(key), records };
        Ok(counted.into_iter().map(used).collect())
    }

    async fn retire(&self, key: KeyId) -> Result<(), RingError> {
        let Sealing::On(ring) = &self.inner.sealing else { return Err(RingError::NotSealed) };
        if ring.active() == key {
            return Err(RingError::Active(key));
        }
        for _ in 0..ROUNDS {
            let began = self.inner.on_meta(&CLOCK, &[]).await?;
            if let Some(used) = self.key_use().await?.into_iter().find(|used| used.key == key) {
                return Err(RingError::StillNeeded(used));
            }
            let args = args![key, began, COUNTS_FOR.as_micros()];
            match self.inner.on_meta(&RING_RETIRE, &args).await?.as_str() {
                "retired" => return Ok(()),
                "active" => return Err(RingError::Active(key)),
                "sealed" => return Err(RingError::SealsElsewhere(key)),
                // A server took another ring up while records were counted.
                "left" => {}
                _ => return Ok(not_understood()?),
            }
        }
        Err(RingError::SealsElsewhere(key))
    }
}

impl RedisStore {
    /// Tells the other servers that this one seals nothing any more. It may go on: it says again
    /// that it seals before it does.
    ///
    /// # Errors
    /// [`StoreError`] if Redis cannot help; then this server counts a minute longer.
    pub async fn close(&self) -> Result<(), StoreError> {
        let Sealing::On(_) = self.inner.sealing else { return Ok(()) };
        let _nobody_seals = self.inner.sealers.writes.write().await;
        self.inner.sealers.set_said(None);
        self.inner.on_meta(&RING_LEAVE, &args![self.inner.instance]).await.map(drop)
    }
}

impl Sealers {
    fn is_due(&self) -> bool {
        let said = *self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.is_none_or(|said| said.elapsed() >= SAID_EVERY)
    }

    fn set_said(&self, said: Option<Instant>) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }
}

/// What became of a record that was to be resealed.
enum Resealed {
    Done,
    NotNeeded,
    Unreadable,
}

impl Inner {
    /// Waits for leave to seal a record, which lasts until it is stored.
    pub(crate) async fn turn_to_seal(&self) -> Result<Turn<'_>, StoreError> {
        let Sealing::On(ring) = &self.sealing else { return Ok(Turn(None)) };
        let turn = self.sealers.writes.read().await;
        if self.sealers.is_due() {
            let (saying, active) = (Instant::now(), ring.active());
            let check = self.check_value(ring, active);
            let args = args![self.instance, active, check, self.id, FORMAT];
            match self.on_meta(&RING_SEAL, &args).await?.as_str() {
                "noted" => self.sealers.set_said(Some(saying)),
                "retired" => return Err(StoreError::unavailable(Retired { key: active })),
                _ => return not_understood(),
            }
        }
        Ok(Turn(Some(turn)))
    }

    /// Seals what is in `row` with the key `active`, unless it is.
    async fn reseal(
        &self,
        device: DeviceId,
        mut row: Row,
        active: KeyId,
    ) -> Result<Resealed, StoreError> {
        loop {
            let Ok(columns) = row.columns() else { return Ok(Resealed::NotNeeded) };
            let (Some(rest), Some(key)) = (&columns.rest, columns.key()) else {
                return Ok(Resealed::NotNeeded);
            };
            if key == active {
                return Ok(Resealed::NotNeeded);
            }
            let Ok(record) = self.decode(device, &row, Timestamp::default()) else {
                return Ok(Resealed::Unreadable);
            };
            let turn = self.turn_to_seal().await?;
            let mut args = vec![rest.clone()];
            args.extend(self.encode(&record, &turn)?);
            match self.on_record(&RESEAL, device, &args).await?.word() {
                "resealed" => return Ok(Resealed::Done),
                "changed" => {}
                _ => return not_understood(),
            }
            drop(turn);
            // Whoever was faster may have sealed with an older key.
            match self.row(device).await? {
                Some(changed) => row = changed,
                None => return Ok(Resealed::NotNeeded),
            }
        }
    }

    /// The keys that the records under `keys` are sealed with.
    async fn keys_of(&self, keys: &[Vec<u8>]) -> Result<Vec<(DeviceId, KeyId)>, StoreError> {
        let records = keys.iter().filter_map(|key| Some((key, self.keys.device_in(key)?)));
        let read = records.map(async |(key, device)| {
            let rest = self.driver.command(&[b"HGET", key, b"rest"]).await?;
            let key = rest.bytes().and_then(Columns::key_in);
            Ok::<_, StoreError>(key.map(|key| (device, key)))
        });
        Ok(try_join_all(read).await?.into_iter().flatten().collect())
    }

    /// Runs `script` on the meta hash, and returns what it says.
    async fn on_meta(&self, script: &Script, args: &[Vec<u8>]) -> Result<String, StoreError> {
        let reply = self.driver.run(script, &[self.keys.meta()], args).await?;
        Ok(reply.word().to_owned())
    }

    fn check_value(&self, ring: &KeyRing, key: KeyId) -> String {
        ring.check_value(key, &self.id).map(|value| hex(&value)).unwrap_or_default()
    }
}

/// How long others may believe that this server seals with the key that it named last.
const SAID_EVERY: Duration = Duration::from_secs(20);
/// How long a server counts that said nothing more: longer than that and any one write.
const COUNTS_FOR: Duration = Duration::from_secs(60);
const ROUNDS: usize = 3;
const BATCH: usize = 100;
