//! A store in a directory of its own, with a clock that stands still.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenkeep_core::codec::Sealing;
use tokenkeep_core::testing::conformance::START;
use tokenkeep_core::testing::record;
use tokenkeep_core::{
    AccessToken, DeviceId, Insert, InsertOutcome, KeyRing, Lookup, ManualClock, RefreshToken,
    TokenRecord, TokenStore as _,
};
use tokenkeep_sqlite::{OpenError, Options, SqliteStore};

/// A directory with a store in it, once it was opened.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
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

/// Whether `text` is somewhere in `bytes`.
pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The live record of `device`, at the time at which tests begin.
pub(crate) async fn live(store: &SqliteStore, device: DeviceId) -> Arc<TokenRecord> {
    match store.get(device, START).await.unwrap() {
        Lookup::Live(record) => record,
        other => panic!("device {device}: {other:?}"),
    }
}

/// The device with this number.
pub(crate) fn device(n: u32) -> DeviceId {
    DeviceId::from_bytes(u128::from(n).to_be_bytes())
}

/// A record of device `n` that logged in when tests begin.
pub(crate) fn record_of(n: u32, email: &str) -> TokenRecord {
    record(device(n), email, START)
}

/// `record` with other tokens.
pub(crate) fn renewed(record: &TokenRecord, token: &str) -> TokenRecord {
    let mut next = record.clone();
    next.access_token = AccessToken::new(format!("{token}-access")).unwrap();
    next.refresh_token = RefreshToken::new(format!("{token}-refresh")).unwrap();
    next
}

/// Logs device `n` in.
pub(crate) async fn log_in(store: &SqliteStore, n: u32, email: &str) -> Arc<TokenRecord> {
    let login = Insert { record: record_of(n, email), replaces: None, ceiling: None };
    match store.insert(login, START).await.unwrap() {
        InsertOutcome::Inserted { record, .. } => record,
        other => panic!("device {n}: {other:?}"),
    }
}
