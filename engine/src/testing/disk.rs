//! A disk in memory that loses power, fails, fills up, and records what is done to it.

mod backend;
mod change;
mod fault;
mod recording;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Builder, Database, DatabaseError};

use crate::disk::{CustomMedium, Overlay};
use backend::Backend;
use change::Change;
pub use fault::{DiskError, Fault, Hits};
use recording::{Coin, Event};
pub use recording::{Instants, Loss, Recording};

/// A disk in memory. Cloning gives another handle to the same one.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    /// Whoever has it keeps syncs from happening.
    gate: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// What survives a power loss for certain.
    synced: Vec<u8>,
    /// What is read.
    seen: Vec<u8>,
    /// What was written since the last sync.
    unsynced: Vec<Change>,
    /// How many more writes are carried out before the power fails.
    writes_left: Option<u64>,
    has_crashed: bool,
    next_sync: Sync,
    /// Of changes, and of reads.
    faults: (Option<Fault>, Option<Fault>),
    has_failed: bool,
    syncs: u64,
    is_syncing: bool,
    /// Writes that end behind it do not fit.
    capacity: Option<u64>,
    /// Counts power losses: a handle from before one is dead.
    life: u64,
    recording: Option<Recording>,
}

/// How a sync goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sync {
    #[default]
    Works,
    /// It fails, and what was written is gone.
    Loses,
    /// It fails, and what was written is gone, which shows only when the cache is dropped.
    LosesUnseen,
    /// It fails, and what was written is there.
    Keeps,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk with `bytes` on it.
    #[must_use]
    pub fn holding(bytes: Vec<u8>) -> Self {
        let state = State { synced: bytes.clone(), seen: bytes, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), gate: Arc::default() }
    }

    /// Lets the power fail after `writes` more writes or syncs.
    pub fn crash_after(&self, writes: u64) {
        self.state().writes_left = Some(writes);
    }

    /// Takes a coming power loss back.
    pub fn stay_up(&self) {
        self.state().writes_left = None;
    }

    /// Whether the power has failed.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.state().has_crashed
    }

    /// Lets the next sync fail. What it should have made durable is lost, or there all the same.
    pub fn fail_next_sync(&self, loses: bool) {
        self.state().next_sync = if loses { Sync::Loses } else { Sync::Keeps };
    }

    /// As [`Disk::fail_next_sync`], but what is lost is seen until the cache is dropped or the power
    /// fails, as ext4 has it.
    pub fn fail_next_sync_unseen(&self) {
        self.state().next_sync = Sync::LosesUnseen;
    }

    /// Lets operations fail; a fault takes the place of the one before that hits the same ones.
    pub fn fail(&self, fault: Fault) {
        *self.state().fault(fault.hits) = Some(fault);
    }

    /// Lifts what [`Disk::fail`] set.
    pub fn heal(&self) {
        self.state().faults = (None, None);
    }

    /// Whether an operation failed because of [`Disk::fail`].
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// Lets every sync wait until what is returned is dropped.
    pub fn hold_syncs(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a sync was asked for and has not happened.
    #[must_use]
    pub fn is_syncing(&self) -> bool {
        self.state().is_syncing
    }

    /// Records from here on.
    pub fn record(&self) {
        let mut state = self.state();
        state.recording = Some(Recording::new(state.synced.clone(), &state.unsynced));
    }

    /// Notes `mark` in the recording.
    pub fn mark(&self, mark: u32) {
        self.state().note(|| Event::Mark(mark));
    }

    /// Ends the recording and returns it.
    #[must_use]
    pub fn take_recording(&self) -> Option<Recording> {
        self.state().recording.take()
    }

    /// Lets nothing be written behind the last byte that is there plus `bytes`; `None` lifts it.
    pub fn limit_growth(&self, bytes: Option<u64>) {
        let mut state = self.state();
        let used = state.seen.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
        state.capacity = bytes.map(|bytes| used + bytes);
    }

    /// Turns the power on again. Of what was not synced, each write is there or not as the bits
    /// of `seed` say.
    pub fn restart(&self, seed: u64) {
        let mut state = self.state();
        let mut coin = Coin(seed);
        for change in std::mem::take(&mut state.unsynced) {
            if coin.toss() {
                change.apply(&mut state.synced);
            }
        }
        state.seen = state.synced.clone();
        (state.has_crashed, state.writes_left, state.next_sync) = (false, None, Sync::Works);
        state.life += 1;
    }

    /// Changes what is on the disk behind the back of whoever has it open.
    pub fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        change(&mut state.seen);
        state.synced = state.seen.clone();
        state.unsynced.clear();
    }

    /// Everything that is on the disk.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.state().seen.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fault(&mut self, hits: Hits) -> &mut Option<Fault> {
        match hits {
            Hits::Changes => &mut self.faults.0,
            Hits::Reads => &mut self.faults.1,
        }
    }

    /// Whether this operation works.
    fn attempt(&mut self, operation: Hits) -> io::Result<()> {
        let outcome = Fault::meet(self.fault(operation));
        self.has_failed |= outcome.is_err();
        outcome
    }

    fn note(&mut self, event: impl FnOnce() -> Event) {
        if let Some(recording) = &mut self.recording {
            recording.events.push(event());
        }
    }
}

impl CustomMedium for Disk {
    fn forget_cached(&self) {
        let mut state = self.state();
        let mut image = state.synced.clone();
        state.unsynced.iter().for_each(|change| change.apply(&mut image));
        state.seen = image;
    }

    fn open(&self, builder: &mut Builder) -> Result<Database, DatabaseError> {
        let life = self.state().life;
        builder.create_with_backend(Backend { life, disk: self.clone() })
    }

    fn open_overlaid(&self, builder: &mut Builder) -> Result<Database, DatabaseError> {
        let life = self.state().life;
        let below = Backend { life, disk: self.clone() };
        builder.create_with_backend(Overlay::new(below)?)
    }
}
