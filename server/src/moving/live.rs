//! Moves the sessions of a running server to another store, and lets that one take over.

mod bringing;

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokenkeep_core::{Clock, DeviceId, StoreError, TokenStore};

use super::switch::{Dirty, Shut, Switchable};

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

    /// Brings over what was written since, until that takes no longer than writes may wait for it.
    async fn catch_up(&mut self) -> Result<(), LiveError> {
        for _ in 0..ROUNDS {
            self.watch.is_at(Phase::CatchingUp, self.figures.caught_up);
            let began = self.clock.monotonic();
            let dirty = self.store.take_dirty();
            self.figures.caught_up += self.bring_all(dirty, false).await?;
            if self.clock.monotonic().saturating_sub(began) <= QUICK {
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
        let (shut, started) = self.shut_when_little_is_left().await?;
        // The intents come last: until here the destination can be taken for one that never was.
        let devices = std::mem::take(&mut self.intents);
        let with_intent = Dirty { devices, ..Dirty::default() };
        let last = tokio::time::timeout(PATIENCE, self.bring_all(with_intent, true)).await;
        self.figures.last += last.map_err(|_| LiveError::TooSlow)??;
        self.figures.caught_up += self.figures.last;
        mark.await.map_err(LiveError::Mark)?;
        shut.switch(self.to.clone());
        self.figures.gate = self.clock.monotonic().saturating_sub(started);
        Ok(())
    }

    /// Lets writes wait and brings over what they have left, but for the intents; tells since when
    /// they wait. If that takes too long, they go on for a while, and it is tried again.
    async fn shut_when_little_is_left(&mut self) -> Result<(Shut<S>, Duration), LiveError> {
        for _ in 0..TRIES {
            self.watch.is_at(Phase::Switching, self.figures.caught_up);
            let started = self.clock.monotonic();
            let Ok(shut) = tokio::time::timeout(PATIENCE, self.store.shut()).await else {
                continue;
            };
            let dirty = self.store.take_dirty();
            let touched = dirty.clone();
            match tokio::time::timeout(PATIENCE, self.bring_all(dirty, false)).await {
                Ok(last) => {
                    self.figures.last = last?;
                    return Ok((shut, started));
                }
                Err(_) => self.store.mark_again(touched),
            }
            drop(shut);
            self.catch_up().await?;
        }
        Err(LiveError::TooSlow)
    }
}

/// Rounds in which what was written is brought over before writes wait for the rest.
const ROUNDS: usize = 50;
/// What was written last is brought over in so little time that writes may wait for it.
const QUICK: Duration = Duration::from_millis(500);
/// How often writes are let wait.
const TRIES: usize = 5;
/// How long writes wait at the most for each of what they wait for: writes before them, the last of
/// the devices, and the intents.
const PATIENCE: Duration = Duration::from_secs(3);
