//! A disk as redb uses it.

use std::io;
use std::sync::MutexGuard;

use redb::StorageBackend;

use super::change::Change;
use super::fault::Hits;
use super::recording::{Coin, Event};
use super::{Disk, State, Sync};

/// One opening of a disk. It is dead after a power loss.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) disk: Disk,
    pub(super) life: u64,
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
        state.attempt(Hits::Changes)?;
        if let (Change::Write { offset, bytes }, Some(capacity)) = (&change, state.capacity)
            && offset + bytes.len() as u64 > capacity
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change.apply(&mut state.seen);
        state.note(|| Event::Change(change.clone()));
        state.unsynced.push(change);
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.live()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let mut state = self.live()?;
        state.attempt(Hits::Reads)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = state.seen.get(start..).and_then(|bytes| bytes.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.change(Change::Length(length))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.changing()?.is_syncing = true;
        drop(self.disk.hold_syncs());
        let mut state = self.live()?;
        state.is_syncing = false;
        state.syncs += 1;
        let unsynced = std::mem::take(&mut state.unsynced);
        if let Err(error) = state.attempt(Hits::Changes) {
            // All, none or some of it went to the disk; what did not is seen until the cache is
            // dropped.
            let mut coin = Coin(state.syncs);
            let (all, none) = (state.syncs.is_multiple_of(3), state.syncs % 3 == 1);
            let reached = unsynced.iter().filter(|_| all || (!none && coin.toss()));
            reached.for_each(|change| change.apply(&mut state.synced));
            return Err(error);
        }
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
        state.note(|| Event::Sync);
        if sync == Sync::Works { Ok(()) } else { Err(io::Error::other("the sync failed")) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.change(Change::Write { offset, bytes: data.to_vec() })
    }
}
