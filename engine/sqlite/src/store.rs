//! The handle of an open store, and how it asks the writer.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError};
use rusqlite::Connection;
use tokenkeep_core::{StoreError, StoreId};
use tokio::sync::oneshot;

use crate::command::{Command, Write};
use crate::failure::Fault;
use crate::open::{self, OpenError, Opened};
use crate::options::Options;
use crate::rows::Rows;
use crate::shared::Shared;
use crate::writer::Writer;

/// A store in one SQLite file, for one process. Cloning a handle is cheap; the last one that is
/// dropped closes the file.
#[derive(Clone)]
pub struct SqliteStore {
    pub(crate) shared: Arc<Shared>,
    writer: Arc<WriterHandle>,
}

impl SqliteStore {
    /// Opens the store in the file `path`, makes one if there is none, and takes over what the
    /// original application kept there.
    ///
    /// Directory and files are made for their owner alone. See the [crate] for an example.
    ///
    /// # Errors
    /// [`OpenError`] says why it was not opened; then nothing was changed.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let Opened { path, writer: connection, form, lock } = open::file(path.as_ref(), &options)?;
        let (sender, receiver) = crossbeam_channel::bounded(options.channel_depth);
        let shared = Arc::new(Shared::new(path, form, options));
        let writer = Writer::new(Arc::clone(&shared), receiver, connection, lock);
        let thread = std::thread::Builder::new()
            .name("tokenkeep-sqlite".into())
            .spawn(move || writer.run())
            .map_err(OpenError::NoThread)?;
        let writer = WriterHandle { commands: Some(sender), thread: Mutex::new(Some(thread)) };
        Ok(Self { shared, writer: Arc::new(writer) })
    }

    /// Closes the file, whatever other handles there are; they get [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError`] if the store was closed, or the file could not be closed properly; nothing
    /// that was acknowledged is lost by that.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Close(sender)).await?;
        receiver.await.unwrap_or(Err(StoreError::Closed))
    }

    /// How many rows of the original application made no sense and are kept aside, in the table
    /// `tokenkeep_set_aside`.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub async fn set_aside(&self) -> Result<u64, StoreError> {
        self.read(|_, connection| {
            Ok(connection
                .query_row("SELECT count(*) FROM tokenkeep_set_aside", [], |row| row.get(0))?)
        })
        .await
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.shared.form.store
    }

    /// Has the writer decide upon a write, and waits for its commit.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&Rows<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (write, answer) = Write::new(decide);
        self.send(Command::Write(write)).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Hands a command to the writer; waits for room if there is none.
    async fn send(&self, command: Command) -> Result<(), StoreError> {
        let commands = self.writer.commands.as_ref().ok_or(StoreError::Closed)?;
        let mut command = match commands.try_send(command) {
            Err(TrySendError::Full(command)) => command,
            sent => return sent.map_err(|_| StoreError::Closed),
        };
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            // Room that is made between the attempt and the wait is not missed.
            room.as_mut().enable();
            match commands.try_send(command) {
                Err(TrySendError::Full(returned)) => {
                    command = returned;
                    room.await;
                    self.shared.check_open()?;
                }
                sent => return sent.map_err(|_| StoreError::Closed),
            }
        }
    }

    /// Reads the file away from the async workers.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared, &Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let turn = shared.readers.turn().await?;
        let read = move || {
            let _turn = turn;
            shared.readers.read(|connection| read(&shared, connection))
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // Whoever polls this without a runtime may wait for the disk.
            return read();
        };
        match runtime.spawn_blocking(read).await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::unavailable(error)),
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.shared.path)
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

/// Ends the writer with the last handle.
#[derive(Debug)]
struct WriterHandle {
    commands: Option<Sender<Command>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        // The writer ends when nobody can send any more.
        self.commands = None;
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer panicked");
        }
    }
}
