//! The engine itself, through its blocking face: records sealed on the way in, and handed out
//! opened and decoded.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use tokenkeep::{
    Clock as _, Engine, InsertOutcome, ManualClock, Options, ReplaceOutcome, Timestamp,
    TokenRecord, TokenStore as _, Tokens,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::row::instant_after;
use super::{CACHE_BYTES, Client, Expired, PURGED_AT_ONCE, Peer, Versioned};
use crate::{Entry, NOW, device, email, instant};

/// The engine, with every record in its cache.
#[derive(Debug)]
pub struct Tokenkeep {
    engine: Engine,
    clock: Arc<ManualClock>,
    /// Loads, with many logins under way at once.
    runtime: Runtime,
}

/// The engine without a cache of records: every read goes to redb, and unseals.
#[derive(Debug)]
pub struct Uncached(Tokenkeep);

/// One thread's way to the engine.
#[derive(Debug)]
pub struct EngineClient {
    engine: Engine,
    now: Timestamp,
}

impl Tokenkeep {
    fn open(directory: &Path, options: Options) -> Result<Self> {
        let clock = Arc::new(ManualClock::new(NOW));
        let options = options.clock(clock.clone()).page_cache_bytes(CACHE_BYTES);
        let engine = Engine::open(directory.join("tokens"), options)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
        Ok(Self { engine, clock, runtime })
    }

    /// The engine, to use its async face.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Peer for Tokenkeep {
    type Client = EngineClient;

    fn create(directory: &Path) -> Result<Self> {
        Self::open(directory, Options::new().cache_bytes(CACHE_BYTES))
    }

    fn client(&self) -> Result<EngineClient> {
        Ok(EngineClient { engine: self.engine.clone(), now: self.clock.now() })
    }

    fn load(&self, entries: &[Entry]) -> Result<()> {
        let now = self.clock.now();
        self.runtime.block_on(async {
            let mut logins = JoinSet::new();
            for entry in entries.iter().copied() {
                let engine = self.engine.clone();
                logins.spawn(async move { engine.insert(entry.login(), now).await });
            }
            for outcome in logins.join_all().await {
                ensure!(matches!(outcome?, InsertOutcome::Inserted { .. }), "a device is taken");
            }
            Ok(())
        })
    }

    fn expire(&self, now: u64, dead: &[Entry]) -> Result<Expired> {
        let now = instant_after(now);
        // A dead record leaves the index, and its row is garbage from then on; the block that it is
        // in goes with the head of the log.
        let needed = || {
            let figures = self.engine.figures();
            figures.rows - figures.garbage_rows
        };
        let before = needed();
        let begun = instant();
        self.clock.advance(now.duration_since(self.clock.now()));
        let freed = || before.saturating_sub(needed());
        for _ in 0..dead.len() {
            if freed() >= dead.len() as u64 {
                break;
            }
            self.engine.blocking().purge_expired(PURGED_AT_ONCE, now)?;
        }
        Ok(Expired { freed: freed(), took: begun.elapsed() })
    }
}

impl Peer for Uncached {
    type Client = EngineClient;

    fn create(directory: &Path) -> Result<Self> {
        Ok(Self(Tokenkeep::open(directory, Options::new().cache_bytes(0))?))
    }

    fn client(&self) -> Result<EngineClient> {
        self.0.client()
    }

    fn load(&self, entries: &[Entry]) -> Result<()> {
        self.0.load(entries)
    }

    fn expire(&self, now: u64, dead: &[Entry]) -> Result<Expired> {
        self.0.expire(now, dead)
    }
}

impl Client for EngineClient {
    type Record = Arc<TokenRecord>;

    fn insert(&mut self, entry: Entry) -> Result<()> {
        match self.engine.blocking().insert(entry.login(), self.now)? {
            InsertOutcome::Inserted { .. } => Ok(()),
            outcome => bail!("not inserted: {outcome:?}"),
        }
    }

    fn refresh(&mut self, entry: Entry) -> Result<()> {
        let store = self.engine.blocking();
        loop {
            let current = store.get(device(entry.number), self.now)?.live();
            let current = current.context("the record is missing")?;
            let (next, tokens) = (entry.record(), Tokens::Renewed);
            match store.replace(current.version, next, tokens, self.now)? {
                ReplaceOutcome::Replaced(_) => return Ok(()),
                ReplaceOutcome::Conflict(_) => {}
                outcome => bail!("not replaced: {outcome:?}"),
            }
        }
    }

    fn get(&mut self, number: u64) -> Result<Option<Arc<TokenRecord>>> {
        Ok(self.engine.blocking().get(device(number), self.now)?.live())
    }

    fn list(&mut self, number: u64) -> Result<Vec<Arc<TokenRecord>>> {
        Ok(self.engine.blocking().devices_of(&email(number), self.now)?)
    }
}

impl Versioned for Arc<TokenRecord> {
    fn version(&self) -> u64 {
        self.version.number()
    }
}
