//! The same records in a bare concurrent map: what this machine lets a cached read cost.

use std::sync::Arc;

use anyhow::Context as _;
use tokenkeep::{DeviceId, Engine, TokenRecord};

use crate::{NOW, device};

/// A map of devices to records, of the kind and with the hasher that the engine's index has.
#[derive(Debug)]
pub(super) struct BareMap(papaya::HashMap<DeviceId, Arc<TokenRecord>, foldhash::fast::RandomState>);

impl BareMap {
    /// A map with copies of the first `records` records of `engine`.
    pub(super) fn of(engine: &Engine, records: u64) -> anyhow::Result<Self> {
        let map = papaya::HashMap::default();
        for number in 0..records {
            let record = engine.blocking().get(device(number), NOW)?.live();
            // A copy, so that the two share no memory.
            let record = record.context("a record is missing")?.as_ref().clone();
            map.pin().insert(device(number), Arc::new(record));
        }
        Ok(Self(map))
    }

    /// Reads a device that must be there.
    pub(super) fn read(&self, device: DeviceId) -> anyhow::Result<()> {
        let record = self.0.pin().get(&device).cloned();
        std::hint::black_box(record.context("a record is missing")?);
        Ok(())
    }
}
