//! Moves the sessions of a running server to another store, and lets that one take over.

mod bringing;

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokenkeep_core::{Clock, DeviceId, StoreError, TokenStore};

use super::switch::{Dirty, Switchable};

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
    Mark(#[source] MarkFailure),
    /// It was called off.
    #[error("the move was called off")]
    CalledOff,
}

/// Why a store could not be marked as moved.
pub type MarkFailure = Box<dyn std::error::Error + Send + Sync>;

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
    /// `done` devices of this phase.
    fn is_at(&self, phase: Phase, done: u64);

    /// Done when the move is called off; nobody asks any more once it is switching.
    fn called_off(&self) -> BoxFuture<'_, ()>;
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
    mark: impl Future<Output = Result<(), MarkFailure>>,
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
    tokio::select! {
        prepared = moving.prepare() => prepared?,
        () = watch.called_off() => return Err(LiveError::CalledOff),
    }
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

impl<S: TokenStore> Moving<'_, S> {
    /// Everything that can be done while the source serves.
    async fn prepare(&mut self) -> Result<(), LiveError> {
        self.copy().await?;
        self.catch_up().await?;
        self.compare().await?;
        self.catch_up().await
    }

    /// Brings over what was written since, until little is left.
    async fn catch_up(&mut self) -> Result<(), LiveError> {
        for _ in 0..ROUNDS {
            self.watch.is_at(Phase::CatchingUp, self.figures.caught_up);
            let dirty = self.store.take_dirty();
            let few = dirty.len() <= FEW;
            self.figures.caught_up += self.bring_all(dirty, false).await?;
            if few {
                break;
            }
        }
        Ok(())
    }

    /// The last part, while no write is under way.
    async fn switch(
        &mut self,
        mark: impl Future<Output = Result<(), MarkFailure>>,
    ) -> Result<(), LiveError> {
        self.watch.is_at(Phase::Switching, self.figures.caught_up);
        let started = self.clock.monotonic();
        let shut = tokio::time::timeout(PATIENCE, self.store.shut()).await;
        let shut = shut.map_err(|_| LiveError::TooSlow)?;
        let last = tokio::time::timeout(PATIENCE, self.bring_last()).await;
        self.figures.last = last.map_err(|_| LiveError::TooSlow)??;
        self.figures.caught_up += self.figures.last;
        mark.await.map_err(LiveError::Mark)?;
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
}

/// Rounds in which what was written is brought over before writes wait for the rest.
const ROUNDS: usize = 50;
/// So little that writes may wait for it.
const FEW: usize = 200;
/// How long writes wait at the most, twice.
const PATIENCE: Duration = Duration::from_secs(3);
