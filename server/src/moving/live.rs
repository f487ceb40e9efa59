//! Moves the sessions of a running server to another store, and lets that one take over.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokenkeep_core::{
    Clock, DeviceId, EndReason, ImportOutcome, Lookup, StoreError, TokenRecord, TokenStore,
};

use super::check::is_same;
use super::switch::{Dirty, Switchable};
use super::{IN_FLIGHT, PAGE};

/// Why a move did not come about: the source is in charge as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// Another move is under way.
    #[error("another move is under way")]
    UnderWay,
    /// The destination is another store's: nobody's secret would be recognised there.
    #[error("the destination has another store id")]
    OtherStore,
    /// The destination holds sessions, which may have ended here since.
    #[error("the destination is not empty: remove what is there, a move begins with a fresh store")]
    NotEmpty,
    /// The destination says that a session ended which lives here.
    #[error("the destination is in use by others, or is not fresh: choose a fresh one")]
    Disturbed,
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Source(#[source] StoreError),
    /// The destination cannot be written.
    #[error("the destination cannot be written")]
    Destination(#[source] StoreError),
    /// The last part took too long to let writes wait for it.
    #[error("the last part took longer than writes may wait: try again when there is less to do")]
    TooSlow,
    /// The source could not be marked as moved.
    #[error("the source cannot be marked as moved")]
    Mark(#[source] std::io::Error),
    /// It was called off.
    #[error("the move was called off")]
    CalledOff,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Everything is copied, while the source serves.
    Copying,
    /// What was written meanwhile is copied.
    CatchingUp,
    /// The stores are held against each other.
    Checking,
    /// The last of it, while writes wait.
    Switching,
}

/// Hears how far a move is, and can call it off.
pub trait Watch: Send + Sync {
    /// `done` devices of this phase; false calls the move off.
    fn goes_on(&self, phase: Phase, done: u64) -> bool;
}

/// What a move has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Records that were copied while the source served.
    pub copied: u64,
    /// Devices that were brought up to date, the last ones included.
    pub caught_up: u64,
    /// Devices that were brought up to date while writes waited.
    pub last: u64,
    /// Records that cannot be read at the source, and stayed there.
    pub left: u64,
    /// How long writes waited.
    pub gate: Duration,
}

/// Moves everything to `to`, which must be fresh and of the same id, and puts it in charge.
/// `mark` marks the source as moved, when everything is there and no write is under way.
///
/// Reads are served all the time; writes wait for the last part only. An intent to refresh goes
/// over with that part, for it can be taken back until then. Nothing else may write to the
/// source meanwhile: what other servers do to a store that they share is not seen.
///
/// # Errors
/// [`LiveError`]; the source is in charge then, and was not changed. The destination must be
/// removed before another attempt.
pub async fn move_live<S: TokenStore>(
    store: &Switchable<S>,
    to: S,
    clock: &dyn Clock,
    watch: &dyn Watch,
    mark: impl FnOnce() -> std::io::Result<()>,
) -> Result<Moved, LiveError> {
    if to.id() != store.id() {
        return Err(LiveError::OtherStore);
    }
    let held = to.stats(clock.now()).await.map_err(LiveError::Destination)?;
    if held.devices > 0 {
        return Err(LiveError::NotEmpty);
    }
    if !store.begin(clock.now()).await.map_err(LiveError::Source)? {
        return Err(LiveError::UnderWay);
    }
    // However this ends, writes stop noting what they touch.
    let _tidy = GiveUp(store);
    let mut moving = Moving {
        from: store.current(),
        store,
        to,
        clock,
        watch,
        intents: HashSet::new(),
        figures: Moved::default(),
    };
    moving.copy().await?;
    moving.catch_up().await?;
    moving.compare().await?;
    moving.catch_up().await?;
    moving.switch(mark).await?;
    Ok(moving.figures)
}

struct GiveUp<'a, S: TokenStore>(&'a Switchable<S>);

impl<S: TokenStore> Drop for GiveUp<'_, S> {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

struct Moving<'a, S> {
    store: &'a Switchable<S>,
    from: S,
    to: S,
    clock: &'a dyn Clock,
    watch: &'a dyn Watch,
    /// Devices that may have an intent.
    intents: HashSet<DeviceId>,
    figures: Moved,
}

/// What became of bringing a device up to date.
enum Brought {
    Done { has_intent: bool },
    Unreadable,
}

impl<S: TokenStore> Moving<'_, S> {
    fn goes_on(&self, phase: Phase, done: u64) -> Result<(), LiveError> {
        if self.watch.goes_on(phase, done) { Ok(()) } else { Err(LiveError::CalledOff) }
    }

    /// Copies everything, without intents.
    async fn copy(&mut self) -> Result<(), LiveError> {
        let mut after = None;
        loop {
            self.goes_on(Phase::Copying, self.figures.copied)?;
            let page = self.from.scan(after, PAGE, self.clock.now()).await;
            let page = page.map_err(LiveError::Source)?;
            let with_intent = page.records.iter().filter(|record| record.refresh_intent.is_some());
            self.intents.extend(with_intent.map(|record| record.device_id));
            let count = u64::try_from(page.records.len()).unwrap_or(0);
            let imports = page.records.into_iter().map(|record| self.import(record, false));
            stream::iter(imports).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
            self.figures.copied += count;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Brings over what was written since, until little is left.
    async fn catch_up(&mut self) -> Result<(), LiveError> {
        for _ in 0..ROUNDS {
            self.goes_on(Phase::CatchingUp, self.figures.caught_up)?;
            let dirty = self.store.take_dirty();
            let few = dirty.len() <= FEW;
            self.figures.caught_up += self.bring_all(dirty, false).await?;
            if few {
                break;
            }
        }
        Ok(())
    }

    /// Holds the stores against each other, both ways; what differs is brought over once more.
    async fn compare(&self) -> Result<(), LiveError> {
        let mut compared = 0;
        let mut after = None;
        loop {
            let page = self.from.scan(after, PAGE, self.clock.now()).await;
            let page = page.map_err(LiveError::Source)?;
            compared += page.records.len();
            for record in page.records {
                let there = self.to.get(record.device_id, self.clock.now()).await;
                let there = there.map_err(LiveError::Destination)?.live();
                if !there.is_some_and(|there| is_same(&record, &there)) {
                    self.store.mark(record.device_id);
                }
            }
            self.goes_on(Phase::Checking, u64::try_from(compared).unwrap_or(u64::MAX))?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = self.to.scan(after, PAGE, self.clock.now()).await;
            let page = page.map_err(LiveError::Destination)?;
            for record in page.records {
                match self.from.get(record.device_id, self.clock.now()).await {
                    Ok(Lookup::Live(_)) => {}
                    _ => self.store.mark(record.device_id),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// The last part, while no write is under way.
    async fn switch(
        &mut self,
        mark: impl FnOnce() -> std::io::Result<()>,
    ) -> Result<(), LiveError> {
        self.goes_on(Phase::Switching, self.figures.caught_up)?;
        let started = self.clock.monotonic();
        let shut = tokio::time::timeout(PATIENCE, self.store.shut()).await;
        let shut = shut.map_err(|_| LiveError::TooSlow)?;
        let last = tokio::time::timeout(PATIENCE, self.bring_last()).await;
        self.figures.last = last.map_err(|_| LiveError::TooSlow)??;
        self.figures.caught_up += self.figures.last;
        mark().map_err(LiveError::Mark)?;
        shut.switch(self.to.clone());
        self.figures.gate = self.clock.monotonic().saturating_sub(started);
        Ok(())
    }

    async fn bring_last(&mut self) -> Result<u64, LiveError> {
        let dirty = self.store.take_dirty();
        let brought = self.bring_all(dirty, false).await?;
        // The intents come last: until here the destination can be taken for one that never was.
        let devices = std::mem::take(&mut self.intents);
        let with_intent = Dirty { devices, ..Dirty::default() };
        Ok(brought + self.bring_all(with_intent, true).await?)
    }

    /// Brings everything that was touched up to date.
    async fn bring_all(&mut self, dirty: Dirty, with_intents: bool) -> Result<u64, LiveError> {
        let mut devices = dirty.devices;
        for email in &dirty.emails {
            let now = self.clock.now();
            let here = self.from.devices_of(email, now).await.map_err(LiveError::Source)?;
            let there = self.to.devices_of(email, now).await.map_err(LiveError::Destination)?;
            devices.extend(here.iter().chain(&there).map(|record| record.device_id));
        }
        let count = u64::try_from(devices.len()).unwrap_or(u64::MAX);
        let bringing = devices.into_iter().map(async |device| {
            let brought = self.bring(device, with_intents).await?;
            Ok::<_, LiveError>((device, brought))
        });
        let brought: Vec<_> =
            stream::iter(bringing).buffer_unordered(IN_FLIGHT).try_collect().await?;
        for (device, brought) in brought {
            match brought {
                Brought::Done { has_intent: true } => drop(self.intents.insert(device)),
                Brought::Done { has_intent: false } => {}
                Brought::Unreadable => self.figures.left += 1,
            }
        }
        Ok(count)
    }

    /// Makes the destination say of `device` what the source says.
    async fn bring(&self, device: DeviceId, with_intent: bool) -> Result<Brought, LiveError> {
        let reason = match self.from.get(device, self.clock.now()).await {
            Ok(Lookup::Live(record)) => {
                let has_intent = record.refresh_intent.is_some();
                self.import(record, with_intent).await?;
                return Ok(Brought::Done { has_intent });
            }
            Ok(Lookup::Ended(ended)) => ended.reason,
            Ok(Lookup::Absent) => EndReason::Expired,
            Err(StoreError::Unreadable { .. }) => return Ok(Brought::Unreadable),
            Err(error) => return Err(LiveError::Source(error)),
        };
        let removed = self.to.remove(device, None, reason, self.clock.now()).await;
        removed.map_err(LiveError::Destination)?;
        Ok(Brought::Done { has_intent: false })
    }

    async fn import(&self, record: Arc<TokenRecord>, with_intent: bool) -> Result<(), LiveError> {
        let mut record = Arc::unwrap_or_clone(record);
        record.refresh_intent = record.refresh_intent.filter(|_| with_intent);
        match self.to.import(record, self.clock.now()).await.map_err(LiveError::Destination)? {
            ImportOutcome::Ended => Err(LiveError::Disturbed),
            ImportOutcome::Imported | ImportOutcome::Kept | ImportOutcome::Expired => Ok(()),
        }
    }
}

/// Rounds in which what was written is brought over before writes wait for the rest.
const ROUNDS: usize = 50;
/// So little that writes may wait for it.
const FEW: usize = 200;
/// How long writes wait at the most, twice.
const PATIENCE: Duration = Duration::from_secs(3);
