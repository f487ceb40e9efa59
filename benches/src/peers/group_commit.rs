//! The group commit that every embedded peer gets: one thread takes what waits, applies it in one
//! transaction, makes it durable once, and answers everybody. Unlike the engine's it waits a moment
//! for callers that were answered together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use crossbeam_channel::{Receiver, Sender};
use tokio::sync::oneshot;

use super::row::Row;
use super::{Client, Expired, PURGED_AT_ONCE, Peer, Versioned};
use crate::{Entry, email, instant};

/// A store that has one writer and many readers.
#[expect(clippy::missing_errors_doc, reason = "every method fails with what the store says")]
pub trait Store: Send + Sync + Sized + 'static {
    /// The one that writes.
    type Writer: Writer;
    /// What one reading thread has.
    type Reader: Reader;

    /// A fresh store in `directory`.
    fn create(directory: &Path) -> Result<Self>;

    /// The writer; asked for once.
    fn writer(&self) -> Result<Self::Writer>;

    /// A reader for one more thread.
    fn reader(&self) -> Result<Self::Reader>;
}

/// The writing side of a [`Store`].
#[expect(clippy::missing_errors_doc, reason = "every method fails with what the store says")]
pub trait Writer: Send + 'static {
    /// Carries out `batch` in one transaction, durable when this returns; says of each write
    /// whether it was done, in their order. A write sees those before it.
    fn apply(&mut self, batch: &[Write]) -> Result<Vec<bool>>;

    /// Frees at most `limit` records that are dead `now`, durably; says how many.
    fn purge(&mut self, now: u64, limit: usize) -> Result<usize>;
}

/// The reading side of a [`Store`].
#[expect(clippy::missing_errors_doc, reason = "every method fails with what the store says")]
pub trait Reader: Send + 'static {
    /// What a read hands out.
    type Record: Versioned;

    /// The record of `device`, if it lives `now`.
    fn get(&mut self, device: &[u8; 16], now: u64) -> Result<Option<Self::Record>>;

    /// The records of `email` that live `now`.
    fn list(&mut self, email: &str, now: u64) -> Result<Vec<Self::Record>>;
}

/// A write that waits for its batch.
#[derive(Clone, Debug)]
pub struct Write {
    /// The version that the record must have; none if there must be no record.
    pub expected: Option<u64>,
    /// What to store.
    pub row: Row,
}

/// A [`Store`] behind the group commit.
#[derive(Debug)]
pub struct GroupCommit<S> {
    store: S,
    /// Absent once the writer is to end.
    commands: Option<Sender<Command>>,
    writer: Option<JoinHandle<()>>,
    now: Arc<AtomicU64>,
}

/// One thread's way to a [`GroupCommit`].
#[derive(Debug)]
pub struct GroupClient<R> {
    reader: R,
    commands: Sender<Command>,
    now: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Command {
    Write(Write, Reply<bool>),
    Load(Vec<Write>, Reply<Vec<bool>>),
    Purge(u64, Reply<usize>),
}

type Reply<T> = oneshot::Sender<Result<T>>;

impl<S: Store> Peer for GroupCommit<S> {
    type Client = GroupClient<S::Reader>;

    fn create(directory: &Path) -> Result<Self> {
        let store = S::create(directory)?;
        let writer = store.writer()?;
        let (commands, queue) = crossbeam_channel::bounded(QUEUE);
        let writer = std::thread::Builder::new().spawn(move || serve(writer, &queue))?;
        let now = Arc::default();
        Ok(Self { store, commands: Some(commands), writer: Some(writer), now })
    }

    fn client(&self) -> Result<Self::Client> {
        let commands = self.commands.clone().context("the writer has ended")?;
        Ok(GroupClient { reader: self.store.reader()?, commands, now: Arc::clone(&self.now) })
    }

    fn load(&self, entries: &[Entry]) -> Result<()> {
        let write = |entry: &Entry| Write { expected: None, row: Row::new(*entry, 1) };
        let writes = entries.iter().map(write).collect();
        let done = self.ask(|reply| Command::Load(writes, reply))?;
        ensure!(done.iter().all(|done| *done), "a device is taken");
        Ok(())
    }

    fn expire(&self, now: u64, dead: &[Entry]) -> Result<Expired> {
        self.now.store(now, Ordering::Relaxed);
        let (begun, mut freed) = (instant(), 0);
        while freed < dead.len() {
            match self.ask(|reply| Command::Purge(now, reply))? {
                0 => break,
                purged => freed += purged,
            }
        }
        Ok(Expired { freed: freed as u64, took: begun.elapsed() })
    }
}

impl<S> GroupCommit<S> {
    fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        ask(self.commands.as_ref().context("the writer has ended")?, command)
    }
}

impl<S> Drop for GroupCommit<S> {
    fn drop(&mut self) {
        // The writer ends when nobody can send any more.
        self.commands = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl<R: Reader> Client for GroupClient<R> {
    type Record = R::Record;

    fn insert(&mut self, entry: Entry) -> Result<()> {
        let write = Write { expected: None, row: Row::new(entry, 1) };
        ensure!(ask(&self.commands, |reply| Command::Write(write, reply))?, "the device is taken");
        Ok(())
    }

    fn refresh(&mut self, entry: Entry) -> Result<()> {
        loop {
            let Some(current) = self.get(entry.number)? else { bail!("the record is missing") };
            let row = Row::new(entry, current.version() + 1);
            let write = Write { expected: Some(current.version()), row };
            if ask(&self.commands, |reply| Command::Write(write, reply))? {
                return Ok(());
            }
        }
    }

    fn get(&mut self, number: u64) -> Result<Option<R::Record>> {
        let device = crate::device(number);
        self.reader.get(device.as_bytes(), self.now.load(Ordering::Relaxed))
    }

    fn list(&mut self, number: u64) -> Result<Vec<R::Record>> {
        self.reader.list(email(number).as_str(), self.now.load(Ordering::Relaxed))
    }
}

fn ask<T>(commands: &Sender<Command>, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    commands.send(command(reply)).ok().context("the writer has ended")?;
    answer.blocking_recv().context("the batch failed")?
}

/// Commits what has queued up, again and again.
fn serve(mut writer: impl Writer, queue: &Receiver<Command>) {
    let mut callers = 0;
    while let Ok(first) = queue.recv() {
        let (mut batch, mut replies) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(command) = next.take() {
            match command {
                Command::Write(write, reply) => {
                    batch.push(write);
                    replies.push(reply);
                    if batch.len() < BATCH {
                        next = next_command(queue, batch.len() < callers);
                    }
                }
                Command::Load(writes, reply) => {
                    let _ = reply.send(writer.apply(&writes));
                }
                Command::Purge(now, reply) => {
                    let _ = reply.send(writer.purge(now, PURGED_AT_ONCE));
                }
            }
        }
        callers = batch.len();
        if !batch.is_empty() {
            answer(writer.apply(&batch), replies);
        }
    }
}

/// The next command of a batch. Callers that were answered together ask again together: waiting
/// a moment for those still expected puts them in one commit again.
fn next_command(queue: &Receiver<Command>, more_are_expected: bool) -> Option<Command> {
    match queue.try_recv() {
        Ok(command) => Some(command),
        Err(_) if more_are_expected => queue.recv_timeout(GATHERING).ok(),
        Err(_) => None,
    }
}

fn answer(done: Result<Vec<bool>>, replies: Vec<Reply<bool>>) {
    match done {
        Ok(done) => {
            for (reply, done) in replies.into_iter().zip(done) {
                let _ = reply.send(Ok(done));
            }
        }
        // The first one hears why, the others that the batch failed.
        Err(error) => {
            if let Some(reply) = replies.into_iter().next() {
                let _ = reply.send(Err(error));
            }
        }
    }
}

// As in the engine.
const QUEUE: usize = 4096;
const BATCH: usize = 1024;
/// The engine does not wait: it was slower with it.
const GATHERING: Duration = Duration::from_micros(150);
