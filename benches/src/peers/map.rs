//! The limit of reads: a concurrent hash map in memory that holds the records, opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use foldhash::fast::RandomState;
use papaya::HashMap;
use tokenkeep::{DeviceId, TokenRecord};

use super::{Client, Expired, Peer};
use crate::{Entry, device};

/// A handle of the map.
#[derive(Clone, Debug)]
pub struct Map(Arc<HashMap<DeviceId, Arc<TokenRecord>, RandomState>>);

impl Peer for Map {
    type Client = Self;

    fn create(_directory: &Path) -> Result<Self> {
        Ok(Self(Arc::new(HashMap::default())))
    }

    fn client(&self) -> Result<Self> {
        Ok(self.clone())
    }

    fn load(&self, entries: &[Entry]) -> Result<()> {
        let records = self.0.pin();
        for entry in entries {
            records.insert(device(entry.number), Arc::new(entry.record()));
        }
        Ok(())
    }

    /// A map knows no expiry.
    fn expire(&self, _now: u64, _dead: &[Entry]) -> Result<Expired> {
        Ok(Expired { freed: 0, took: Duration::ZERO })
    }
}

impl Client for Map {
    type Record = Arc<TokenRecord>;

    fn insert(&mut self, entry: Entry) -> Result<()> {
        self.load(&[entry])
    }

    fn refresh(&mut self, entry: Entry) -> Result<()> {
        let update = |current: &Arc<TokenRecord>| {
            let mut record = entry.record();
            record.version = current.version.next();
            Arc::new(record)
        };
        self.0.pin().update(device(entry.number), update);
        Ok(())
    }

    fn get(&mut self, number: u64) -> Result<Option<Self::Record>> {
        Ok(self.0.pin().get(&device(number)).cloned())
    }

    /// A map by device knows no emails.
    fn list(&mut self, _number: u64) -> Result<Vec<Self::Record>> {
        Ok(Vec::new())
    }
}
