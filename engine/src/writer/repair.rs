//! After a failed write: the file is closed, opened anew and read again before anything else.
//!
//! A sync that failed is never tried again on the same handle: the operating system may have
//! dropped the pages, and say yes the second time. Whether the failed commit is in the file is
//! only known from the file; so the index is brought in line with it. Then a trial write says
//! whether the disk takes writes again. Until it does, records are read and none is written.
//!
//! A damaged page is another matter: redb opens nothing anew that has one. The handle is kept.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redb::{Database, Durability};

use super::{FIRST_PATIENCE, Writer, recover};
use crate::disk::{META, Overlaid};
use crate::shared::Failure;

impl Writer {
    /// Notes that the file failed, and tries at once to go on.
    pub(super) fn fail(&mut self, failure: &Failure) {
        tracing::error!(error = failure as &dyn std::error::Error, "the data file failed");
        if self.unflushed_since.take().is_some() {
            tracing::error!("writes that were acknowledged before they were on the disk are lost");
        }
        self.shared.set_failure(Some(failure.clone()));
        self.reclaiming.start_over();
        self.out_of_line = true;
        self.patience = FIRST_PATIENCE;
        self.repair();
    }

    /// Notes that a damaged page keeps the file from being written. It is still read: opened anew,
    /// it would be refused as a whole.
    pub(super) fn stay(&mut self, failure: &Failure) {
        tracing::error!(error = failure as &dyn std::error::Error, "the data file is only read");
        self.shared.set_failure(Some(failure.clone()));
        self.patience = LONGEST_PATIENCE;
        self.is_damaged = true;
    }

    /// Opens the file anew if it does not let itself be read.
    pub(super) fn look_after_readers(&mut self) {
        if self.shared.failure().is_none() && self.shared.must_reopen.swap(false, Ordering::AcqRel)
        {
            self.fail(&Failure::new(NotRead));
        }
    }

    /// Tries to go on after a failure.
    pub(super) fn repair(&mut self) {
        if self.is_damaged && !self.shared.must_reopen.load(Ordering::Acquire) {
            return;
        }
        self.is_damaged = false;
        match self.attempt() {
            Ok(()) => {
                tracing::info!("the data file is written again");
                self.shared.set_failure(None);
            }
            Err(failure) => {
                tracing::warn!(error = &failure as &dyn std::error::Error, "still not writable");
                self.shared.set_failure(Some(failure));
                self.patience = (self.patience * 2).min(LONGEST_PATIENCE);
            }
        }
        self.retry = crossbeam_channel::after(self.patience);
    }

    fn attempt(&mut self) -> Result<(), Failure> {
        let overlaid = match self.shared.must_reopen.swap(false, Ordering::AcqRel) {
            true => Overlaid::Renew,
            false => Overlaid::Keep,
        };
        self.shared.disk.reopen(overlaid).map_err(Failure::new)?;
        let trial = self.bring_in_line();
        let trial = trial.and_then(|()| self.shared.disk.write(try_to_write).map_err(Failure::new));
        // A failed trial has made the handle useless for reading, too.
        if trial.is_err()
            && let Err(error) = self.shared.disk.reopen(Overlaid::Renew)
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the file is only read");
        }
        trial
    }

    fn bring_in_line(&mut self) -> Result<(), Failure> {
        if self.out_of_line {
            recover::reconcile(&self.shared).map_err(Failure::new)?;
            self.out_of_line = false;
        }
        Ok(())
    }
}

/// A reader met an error.
#[derive(Debug, thiserror::Error)]
#[error("the data file could not be read")]
struct NotRead;

fn try_to_write(database: &Database) -> Result<(), redb::Error> {
    for trial in [Some([0; TRIAL_BYTES].as_slice()), None] {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut meta = transaction.open_table(META)?;
            match trial {
                Some(bytes) => drop(meta.insert(TRIAL_ROW, bytes)?),
                None => drop(meta.remove(TRIAL_ROW)?),
            }
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Writes come back within twice this time after the disk has space again.
const LONGEST_PATIENCE: Duration = Duration::from_secs(4);
const TRIAL_ROW: &str = "trial";
/// More than a batch usually needs.
const TRIAL_BYTES: usize = 256 * 1024;
