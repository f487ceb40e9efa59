//! The handle to an open store.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError};
use tokenkeep_core::{StoreError, StoreId, Timestamp};
use tokio::sync::oneshot;

use crate::blocking::Blocking;
use crate::command::{Command, Reply, Upkeep};
use crate::open::{self, OpenError, Opened};
use crate::options::Options;
use crate::shared::Shared;
use crate::writer::{self, Writer};

/// An open token store: one data file, its index in memory, and the thread that writes.
///
/// Cloning is cheap. When the last clone goes, everything is put on the disk and the thread ends;
/// [`Engine::close`] does the same and says whether it worked.
///
/// ```
/// use tokenkeep::{Engine, Options};
///
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// let engine = Engine::open(directory, Options::new())?;
/// assert!(Engine::open(directory, Options::new()).is_err(), "one process owns the store");
/// engine.blocking().close()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    writer: Arc<WriterHandle>,
}

impl Engine {
    /// Opens the store in the directory `path`, or makes one if there is none.
    ///
    /// The directory gets mode 0700, the files in it 0600. Opening reads the header of every row
    /// once, and after a crash the whole file.
    ///
    /// # Errors
    /// [`OpenError`]: what is damaged, in use, or something else is refused, and left as it is.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let opened = open::directory(path.as_ref(), &options)?;
        Self::start(opened, options)
    }

    pub(crate) fn start(opened: Opened, options: Options) -> Result<Self, OpenError> {
        let Opened { disk, meta, ring } = opened;
        let shared = Arc::new(Shared::new(disk, &ring, meta.store, options));
        writer::load(&shared)?;
        let (sender, receiver) = crossbeam_channel::bounded(shared.options.channel_depth);
        let writer = Writer::new(Arc::clone(&shared), receiver);
        let thread = std::thread::Builder::new()
            .name("tokenkeep-writer".into())
            .spawn(move || writer.run())
            .map_err(OpenError::NoThread)?;
        let writer = WriterHandle { commands: Some(sender), thread: Mutex::new(Some(thread)) };
        Ok(Self { shared, writer: Arc::new(writer) })
    }

    /// The same store for a program without an async runtime.
    #[must_use]
    pub fn blocking(&self) -> Blocking<'_> {
        Blocking::new(self)
    }

    /// Puts everything on the disk that was acknowledged or noted.
    ///
    /// # Errors
    /// [`StoreError`] if it is not there.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.ask(|reply| Command::Upkeep(Upkeep::Flush { reply })).await
    }

    /// Drops all garbage and gives free space back to the file system. Writes wait for it.
    ///
    /// # Errors
    /// [`StoreError`] if the file could not be rewritten; no record is lost.
    pub async fn compact(&self) -> Result<(), StoreError> {
        self.ask(|reply| Command::Upkeep(Upkeep::Compact { reply })).await
    }

    /// Puts everything on the disk and closes the file, whatever other handles there are; they
    /// get [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError`] if the end of the log may not be on the disk, or the store was closed.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.ask(|reply| Command::Upkeep(Upkeep::Close { reply })).await
    }

    /// What the engine holds and does, at the clock's time.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let counts = self.shared.index.lists().counts;
        let (cached_records, cached_bytes) = self.shared.index.cached();
        let disagreement = &self.shared.clock_disagreement;
        Figures {
            rows: counts.size.rows,
            garbage_rows: counts.garbage(),
            index_bytes: self.shared.index.size_bytes(),
            cached_records,
            cached_bytes,
            clock_disagreement_seconds: disagreement.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    pub(crate) fn id(&self) -> StoreId {
        self.shared.store
    }

    /// Hands a command to the writer, waits for room if there is none, and for the answer.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        // Whoever gave up waiting does not hear the answer.
        let reply = Reply::new(move |answer| drop(sender.send(answer)));
        let commands = self.writer.commands.as_ref().ok_or(StoreError::Closed)?;
        let mut command = match commands.try_send(command(reply)) {
            Err(TrySendError::Full(command)) => Some(command),
            sent => {
                sent.map_err(|_| StoreError::Closed)?;
                None
            }
        };
        while let Some(waiting) = command.take() {
            let mut room = std::pin::pin!(self.shared.room.notified());
            // Room that is made between the attempt and the wait is not missed.
            room.as_mut().enable();
            match commands.try_send(waiting) {
                Ok(()) => {}
                Err(TrySendError::Disconnected(_)) => return Err(StoreError::Closed),
                Err(TrySendError::Full(returned)) => {
                    command = Some(returned);
                    room.await;
                    self.shared.check_open()?;
                }
            }
        }
        receiver.await.unwrap_or(Err(StoreError::Closed))
    }

    /// As [`Engine::ask`], on a thread that may wait.
    pub(crate) fn ask_blocking<T: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, StoreError> {
        // It must not spin while it waits: there may be more threads than cores, and the writer
        // needs one.
        pollster::block_on(self.ask(command))
    }

    /// Reads the file away from the async workers.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // Whoever polls this without a runtime may wait for the disk.
            return read(&self.shared);
        };
        let shared = Arc::clone(&self.shared);
        match runtime.spawn_blocking(move || read(&shared)).await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::unavailable(error)),
        }
    }

    /// The store's statistics at `now`.
    pub(crate) fn stats_at(&self, now: Timestamp) -> tokenkeep_core::StoreStats {
        self.shared.stats(now)
    }
}

/// Prints no record: there may be millions.
impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("store", &self.shared.store)
            .field("options", &self.shared.options)
            .field("figures", &self.figures())
            .finish_non_exhaustive()
    }
}

/// What an engine holds and does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Rows in the file.
    pub rows: u64,
    /// Rows that wait for their space to be reclaimed.
    pub garbage_rows: u64,
    /// Memory of the index without cached records, in bytes; an estimate.
    pub index_bytes: u64,
    /// Records in memory.
    pub cached_records: u64,
    /// Their size in bytes; an estimate.
    pub cached_bytes: u64,
    /// How far the wall clock is from the steady clock while it is not believed, in seconds;
    /// positive if it is ahead.
    pub clock_disagreement_seconds: i64,
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
