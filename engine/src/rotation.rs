//! The key ring of a store that is used: taking up another, resealing, retiring a key.

use std::collections::BTreeMap;

use tokenkeep_core::codec::block_key;
use tokenkeep_core::keyring::{KeyId, ResealProgress, RingError, RingUse};
use tokenkeep_core::{KeyRing, SealedStore, StoreError};

use crate::block::Entries;
use crate::command::{Command, Upkeep};
use crate::engine::Engine;
use crate::shared::Shared;

impl SealedStore for Engine {
    async fn take_ring(&self, ring: KeyRing) -> Result<(), RingError> {
        self.ask(|reply| Command::Upkeep(Upkeep::TakeRing { ring, reply })).await?
    }

    fn key_ids(&self) -> Vec<KeyId> {
        self.shared.ring.ids().collect()
    }

    /// What it goes through are blocks of rows; rows of ended sessions go on the way. What a failing
    /// disk did not give counts as unreadable until the store is opened anew.
    async fn reseal(
        &self,
        mut progress: impl FnMut(ResealProgress) -> bool + Send,
    ) -> Result<(), RingError> {
        let Some((first, last)) = self.under_other_keys().await? else { return Ok(()) };
        let total = last.saturating_sub(first) + 1;
        let mut anew = true;
        loop {
            let next = self.ask(|reply| Command::Upkeep(Upkeep::Reseal { anew, reply })).await?;
            anew = false;
            let done = next.saturating_sub(first).min(total);
            if next > last {
                // What was passed last goes with another commit.
                self.ask(|reply| Command::Upkeep(Upkeep::Reseal { anew, reply })).await?;
                break;
            }
            if !progress(ResealProgress { done, total }) {
                return Err(RingError::CalledOff);
            }
        }
        progress(ResealProgress { done: total, total });
        let active = self.shared.ring.active();
        let left = self.key_use().await?.into_iter().filter(|used| used.key != active);
        match left.map(|used| used.records).sum() {
            0 => Ok(()),
            left => Err(RingError::Unreadable(left)),
        }
    }

    /// Rows that wait for their space to be reclaimed are counted as well.
    async fn key_use(&self) -> Result<Vec<RingUse>, StoreError> {
        self.shared.check_open()?;
        let counted = self.read(|shared| {
            let mut counted: BTreeMap<[u8; 4], u64> = BTreeMap::new();
            each_block(shared, |number, list| {
                let Some(key) = block_key(list) else { return };
                let rows = Entries::of_headers(number, list).count();
                *counted.entry(*key.as_bytes()).or_default() += u64::try_from(rows).unwrap_or(0);
            })?;
            Ok(counted)
        });
        let used = |(key, records)| RingUse { key: KeyId::from_bytes(key), records };
        Ok(counted.await?.into_iter().map(used).collect())
    }

    async fn retire(&self, key: KeyId) -> Result<(), RingError> {
        let active = self.shared.ring.active();
        if key == active {
            return Err(RingError::Active(key));
        }
        // From here on no row comes under it that was not before.
        if let Some(used) = self.key_use().await?.into_iter().find(|used| used.key == key) {
            return Err(RingError::StillNeeded(used));
        }
        self.ask(|reply| Command::Upkeep(Upkeep::Retire { key, active, reply })).await?
    }
}

impl Engine {
    /// The first and the last block under another key than the active one.
    async fn under_other_keys(&self) -> Result<Option<(u64, u64)>, StoreError> {
        self.shared.check_open()?;
        self.read(|shared| {
            let (active, mut ends) = (shared.ring.active(), None);
            each_block(shared, |number, list| {
                if block_key(list) != Some(active) {
                    ends = Some((ends.map_or(number, |(first, _)| first), number));
                }
            })?;
            Ok(ends)
        })
        .await
    }
}

/// Looks at the headers of every block.
fn each_block(shared: &Shared, mut look: impl FnMut(u64, &[u8])) -> Result<(), StoreError> {
    let snapshot = shared.snapshot()?;
    let blocks = snapshot.headers.range::<u64>(..).map_err(|error| shared.read_failed(error))?;
    for block in blocks {
        let (number, list) = block.map_err(|error| shared.read_failed(error))?;
        look(number.value(), list.value());
    }
    Ok(())
}
