//! Changes of the key ring: the file says first which keys it needs, then they are used.
//!
//! A crash between the two leaves a file that asks for a key which the ring has and nothing is
//! sealed with. The other way round, rows could be under a key that the file does not ask for.

use std::sync::atomic::Ordering;

use tokenkeep_core::KeyRing;
use tokenkeep_core::keyring::{KeyId, RingError};

use super::Writer;
use crate::meta::Meta;
use crate::shared::Failure;

impl Writer {
    /// Seals with `ring` from here on.
    pub(super) fn take_ring(&mut self, ring: &KeyRing) -> Result<(), RingError> {
        let mut meta = self.meta()?;
        meta.check_ring(ring)?;
        if meta.adopt(ring) {
            self.write_meta(&meta)?;
        }
        self.shared.ring.take_up(ring);
        tracing::info!(key = %ring.active(), "records are sealed with this key from here on");
        Ok(())
    }

    /// Forgets `key`, which no row in the file is under. It stays in memory: somebody may read a
    /// row at this instant that was dropped since.
    pub(super) fn retire(&mut self, key: KeyId, active: KeyId) -> Result<(), RingError> {
        if key == active || self.shared.ring.active() != active {
            return Err(RingError::Active(key));
        }
        let mut meta = self.meta()?;
        meta.forget(key);
        self.write_meta(&meta)
    }

    fn meta(&self) -> Result<Meta, RingError> {
        if let Some(failure) = self.shared.failure() {
            return Err(RingError::Store(failure.into()));
        }
        let disk = &self.shared.disk;
        let meta = disk.with(|database| Ok(Meta::read(database, disk.path())));
        let meta = meta.map_err(|error| self.shared.read_failed(error))?;
        meta.map_err(|error| {
            // It may be the disk that did not read: the file is opened anew, and says.
            self.shared.must_reopen.store(true, Ordering::Release);
            RingError::Store(tokenkeep_core::StoreError::unavailable(error))
        })
    }

    fn write_meta(&mut self, meta: &Meta) -> Result<(), RingError> {
        let written = self.shared.disk.write(|database| meta.write(database));
        written.map_err(|error| {
            let failure = Failure::new(error);
            self.fail(&failure);
            RingError::Store(failure.into())
        })
    }
}
