//! A store in a directory of its own, with a clock that stands still.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenkeep_core::codec::Sealing;
use tokenkeep_core::testing::conformance::START;
use tokenkeep_core::{KeyRing, ManualClock};
use tokenkeep_sqlite::{OpenError, Options, SqliteStore};

/// A directory with a store in it, once it was opened.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) sealing: Sealing,
}

impl Place {
    /// A place where tokens are sealed.
    pub(crate) fn sealed() -> Self {
        Self::new(Sealing::On(KeyRing::generate().unwrap()))
    }

    /// A place that is shared with the original application.
    pub(crate) fn plain() -> Self {
        Self::new(Sealing::Off)
    }

    fn new(sealing: Sealing) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        Self { directory: tempfile::tempdir().unwrap(), clock, sealing }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path().join("tokens.sqlite")
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(self.sealing.clone()).clock(self.clock.clone())
    }

    pub(crate) fn try_open(&self) -> Result<SqliteStore, OpenError> {
        SqliteStore::open(self.file(), self.options())
    }

    #[track_caller]
    pub(crate) fn open(&self) -> SqliteStore {
        self.try_open().unwrap()
    }

    /// Every byte of every file in the directory.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.path()).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }
}
