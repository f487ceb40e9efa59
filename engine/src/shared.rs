//! What the handles and the writer share.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokenkeep_core::codec::{self, CodecError, Header, RecordHeader};
use tokenkeep_core::{DeviceId, KeyRing, StoreError, StoreId, TokenRecord};
use tokio::sync::Notify;

use crate::disk::{Disk, Row, Snapshot};
use crate::index::{Index, LiveSlot};
use crate::options::Options;

/// The state of one open store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) index: Index,
    pub(crate) disk: Disk,
    pub(crate) ring: KeyRing,
    pub(crate) store: StoreId,
    pub(crate) options: Options,
    /// Told whenever the writer has taken commands out of the channel.
    pub(crate) room: Notify,
    /// The number that the next block gets.
    pub(crate) next_block: AtomicU64,
    /// Records that could not be read since opening.
    pub(crate) unreadable: AtomicU64,
    /// There are blocks that nobody vouches for.
    pub(crate) is_suspect: AtomicBool,
    /// See [`tokenkeep_core::ClockGuard::disagreement_seconds`].
    pub(crate) clock_disagreement: AtomicI64,
    /// A read failed. redb refuses every other until the file is opened anew, which the writer does.
    pub(crate) must_reopen: AtomicBool,
    closed: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

/// Why no write is taken. Every caller that waited gets the same one.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the data file cannot be written; reads go on, and writes as soon as it can be written again"
)]
pub(crate) struct Failure(#[source] Arc<dyn Error + Send + Sync>);

impl Failure {
    pub(crate) fn new(cause: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(cause))
    }

    /// Whether a page makes no sense. The handle still reads the others, and opening the file
    /// anew would be refused.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self.0.downcast_ref(), Some(redb::Error::Corrupted(_)))
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::unavailable(failure)
    }
}

impl Shared {
    pub(crate) fn new(disk: Disk, ring: KeyRing, store: StoreId, options: Options) -> Self {
        Self {
            index: Index::new(options.cache_bytes, options.hash_mask),
            disk,
            // It changes only after the file was told; nobody else's change is its own.
            ring: ring.detached(),
            store,
            options,
            room: Notify::new(),
            next_block: AtomicU64::new(1),
            unreadable: AtomicU64::new(0),
            is_suspect: AtomicBool::new(false),
            clock_disagreement: AtomicI64::new(0),
            must_reopen: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    pub(crate) fn set_closed(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether a write would be taken.
    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        self.check_open()?;
        self.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Why no write is taken, if none is.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_failure(&self, failure: Option<Failure>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Reads the record of `slot`, complete; `None` if the row is gone.
    pub(crate) fn read(
        &self,
        snapshot: &Snapshot<'_>,
        device: DeviceId,
        slot: &LiveSlot,
    ) -> Result<Option<Arc<TokenRecord>>, StoreError> {
        if slot.is_suspect {
            return Err(self.unreadable(device, CodecError::Tampered));
        }
        let row = snapshot.row(slot.seq).map_err(|error| self.unread(device, error))?;
        let Some(Row { header, body }) = row else { return Ok(None) };
        if matches!(Header::decode(&header), Ok(Header::IntentCleared { .. })) {
            // The row went, and others of its block could not be carried.
            return Ok(None);
        }
        let body = body.ok_or_else(|| self.unreadable(device, CodecError::Missing))?;
        let record = codec::decode(&header, &body, &self.ring, &self.store)
            .map_err(|cause| self.unreadable(device, cause))?;
        if record.device_id != device {
            return Err(self.unreadable(device, CodecError::Tampered));
        }
        Ok(Some(Arc::new(slot.completed(record))))
    }

    /// Reads the verifier of the record in row `seq`, which needs no key.
    pub(crate) fn read_verifier(
        &self,
        snapshot: &Snapshot<'_>,
        device: DeviceId,
        seq: u64,
    ) -> Result<Option<tokenkeep_core::Verifier>, StoreError> {
        self.read_header(snapshot, device, seq, |record| record.verifier)
    }

    /// Looks at the header of the record in row `seq`, which needs no key.
    pub(crate) fn read_header<T>(
        &self,
        snapshot: &Snapshot<'_>,
        device: DeviceId,
        seq: u64,
        look: impl FnOnce(&RecordHeader<'_>) -> T,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = snapshot.header(seq).map_err(|error| self.unread(device, error))? else {
            return Ok(None);
        };
        match Header::decode(&bytes) {
            Ok(Header::Record(record)) if record.device == device => Ok(Some(look(&record))),
            Ok(Header::IntentCleared { .. }) => Ok(None),
            Ok(_) => Err(self.unreadable(device, CodecError::Tampered)),
            Err(cause) => Err(self.unreadable(device, cause)),
        }
    }

    /// A damaged page hits the records on it; whatever else went wrong hits the store.
    fn unread(&self, device: DeviceId, error: redb::Error) -> StoreError {
        match error {
            redb::Error::Corrupted(_) => self.unreadable(device, CodecError::Malformed),
            error => self.read_failed(error),
        }
    }

    /// Lets the file be opened anew, unless that is no help.
    pub(crate) fn read_failed(&self, error: impl Into<redb::Error>) -> StoreError {
        let error = error.into();
        if !matches!(error, redb::Error::Corrupted(_)) {
            self.must_reopen.store(true, Ordering::Release);
        }
        StoreError::unavailable(error)
    }

    /// Counts and logs a record that cannot be read.
    pub(crate) fn unreadable(&self, device: DeviceId, cause: CodecError) -> StoreError {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%device, %cause, "a record cannot be read; it was left as it is");
        StoreError::Unreadable { device, cause }
    }
}
