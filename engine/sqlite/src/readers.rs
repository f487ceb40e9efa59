//! A few connections that only read, each used by one thread at a time.
//!
//! Outside of a transaction every statement sees what was committed before it began. So a read
//! that starts after a write was acknowledged sees that write.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokenkeep_core::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection;
use crate::failure::{Failure, Fault};
use crate::options::Options;

/// The connections that nobody uses at the moment.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    options: Options,
    /// One permit for each connection that may be open.
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf, options: Options) -> Self {
        let turns = Arc::new(Semaphore::new(options.readers));
        Self { path, options, turns, idle: Mutex::new(Vec::new()) }
    }

    /// Waits for a turn to read.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.turns).acquire_owned().await.map_err(|_| StoreError::Closed)
    }

    /// Reads on a connection; the caller has a turn. One that failed is not used again.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let idle = self.idle().pop();
        let opened = idle.map_or_else(|| connection::for_reading(&self.path, &self.options), Ok);
        let connection = opened.map_err(Failure::from)?;
        let answer = read(&connection);
        // A closed store keeps no connection.
        let mut idle = self.idle();
        if !matches!(answer, Err(Fault::Sqlite(_))) && !self.turns.is_closed() {
            idle.push(connection);
        }
        drop(idle);
        answer.map_err(StoreError::from)
    }

    /// Closes the connections; nobody gets one any more.
    pub(crate) fn close(&self) {
        self.turns.close();
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
