//! How far a task is, and what came of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokenkeep_core::Chain;
use tokio_util::sync::CancellationToken;

use crate::exit_code::Failing;
use crate::moving::{Moved, Phase, Watch};
use crate::store::Address;

/// How far a task is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) done: AtomicU64,
    phase: Mutex<Option<&'static str>>,
    pub(super) stop: CancellationToken,
}

/// Why a task came to nothing.
#[derive(Debug)]
pub(super) struct Failed {
    /// In one line.
    pub(super) cause: String,
    /// What a command ends with that ordered it.
    pub(super) exit_code: u8,
}

impl<E: Failing + 'static> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { cause: Chain(&error).to_string(), exit_code: error.exit_code() }
    }
}

impl Progress {
    /// That of a task which `stop` calls off.
    pub(super) fn until(stop: CancellationToken) -> Self {
        Self { stop, ..Self::default() }
    }

    pub(super) fn phase_name(&self) -> &'static str {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or("copying")
    }

    /// From here on this is being done.
    pub(super) fn enter(&self, phase: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Some(phase);
    }
}

impl Watch for Progress {
    fn is_at(&self, phase: Phase, done: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.enter(match phase {
            Phase::Copying => "copying, the old store serves",
            Phase::CatchingUp => "catching up with what was written meanwhile",
            Phase::Checking => "holding the stores against each other",
            Phase::Switching => "switching",
        });
    }

    fn called_off(&self) -> BoxFuture<'_, ()> {
        self.stop.cancelled().boxed()
    }
}

pub(super) fn told(moved: &Moved, to: &Address) -> String {
    format!(
        "{} records copied, {} devices brought up to date since, {} of them while writes waited \
         for {} ms, {} unreadable records left behind; the server serves from {to}: put it into \
         the settings before the next start",
        moved.copied,
        moved.caught_up,
        moved.last,
        moved.gate.as_millis(),
        moved.left
    )
}
