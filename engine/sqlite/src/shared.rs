//! What the handles and the writer share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokenkeep_core::{ClockGuard, StoreError, Timestamp};
use tokio::sync::Notify;

use crate::failure::Failure;
use crate::options::Options;
use crate::readers::Readers;
use crate::row::Form;

/// The state of one open store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) form: Form,
    pub(crate) options: Options,
    pub(crate) readers: Readers,
    /// Told whenever the writer has taken commands out of the channel.
    pub(crate) room: Notify,
    /// Records that could not be read since opening.
    pub(crate) unreadable: AtomicU64,
    guard: Mutex<ClockGuard>,
    closed: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

impl Shared {
    pub(crate) fn new(path: PathBuf, form: Form, options: Options) -> Self {
        Self {
            readers: Readers::new(path.clone(), options.clone()),
            guard: Mutex::new(ClockGuard::new(&*options.clock)),
            path,
            form,
            options,
            room: Notify::new(),
            unreadable: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// The instant up to which whatever expired may be destroyed; none yet after opening.
    pub(crate) fn certain(&self) -> Option<Timestamp> {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        guard.certain(&*self.options.clock)
    }

    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// From here on nothing is read or written.
    pub(crate) fn set_closed(&self) {
        self.closed.store(true, Ordering::Release);
        self.readers.close();
    }

    /// Why no write is taken, if none is.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_failure(&self, failure: Option<Failure>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}
