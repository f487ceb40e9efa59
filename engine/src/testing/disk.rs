//! A disk in memory that can lose power at any write, refuse a sync, or be full.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::disk::CustomMedium;

/// A disk in memory. Cloning gives another handle to the same one.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
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
    fails_reads: bool,
    /// Writes that end behind it do not fit.
    capacity: Option<u64>,
    /// Counts power losses: a handle from before one is dead.
    life: u64,
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

#[derive(Clone, Debug)]
enum Change {
    Length(u64),
    Write { offset: u64, bytes: Vec<u8> },
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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

    /// Lets every read fail, or lifts it.
    pub fn fail_reads(&self, fails: bool) {
        self.state().fails_reads = fails;
    }

    /// Lets nothing be written behind the last byte that is there plus `bytes`; `None` lifts it.
    pub fn limit_growth(&self, bytes: Option<u64>) {
        let mut state = self.state();
        let used = state.seen.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
        state.capacity = bytes.map(|bytes| used + bytes);
    }

    /// Turns the power on again. Of what was not synced, each write is there or not as the bits
    /// of `seed` say.
    pub fn restart(&self, mut seed: u64) {
        let mut state = self.state();
        for change in std::mem::take(&mut state.unsynced) {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if seed >> 63 == 1 {
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
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(usize::try_from(*length).unwrap_or(0), 0),
            Self::Write { offset, bytes } => {
                let start = usize::try_from(*offset).unwrap_or(usize::MAX);
                let end = start + bytes.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                if let Some(target) = image.get_mut(start..end) {
                    target.copy_from_slice(bytes);
                }
            }
        }
    }
}

#[derive(Debug)]
struct Backend {
    disk: Disk,
    life: u64,
}

impl Backend {
    fn live(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.has_crashed || state.life != self.life {
            return Err(io::Error::other("the power is off"));
        }
        Ok(state)
    }

    /// The state, if the power lasts for one more change.
    fn changing(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.live()?;
        match &mut state.writes_left {
            Some(0) => {
                state.has_crashed = true;
                return Err(io::Error::other("the power failed"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.changing()?;
        if let (Change::Write { offset, bytes }, Some(capacity)) = (&change, state.capacity)
            && offset + bytes.len() as u64 > capacity
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change.apply(&mut state.seen);
        state.unsynced.push(change);
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.live()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let state = self.live()?;
        if state.fails_reads {
            return Err(io::Error::other("the read failed"));
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = state.seen.get(start..).and_then(|bytes| bytes.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.change(Change::Length(length))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut state = self.changing()?;
        let unsynced = std::mem::take(&mut state.unsynced);
        let sync = std::mem::take(&mut state.next_sync);
        if sync == Sync::Loses {
            state.seen = state.synced.clone();
        }
        if matches!(sync, Sync::Loses | Sync::LosesUnseen) {
            return Err(io::Error::other("the sync failed"));
        }
        for change in unsynced {
            change.apply(&mut state.synced);
        }
        if sync == Sync::Works { Ok(()) } else { Err(io::Error::other("the sync failed")) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.change(Change::Write { offset, bytes: data.to_vec() })
    }
}
