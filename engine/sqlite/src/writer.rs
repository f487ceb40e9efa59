//! The one thread that writes: takes what waits, decides, commits once, answers.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokenkeep_core::StoreError;

use crate::command::{Command, Decided, Verdict, Write};
use crate::failure::{Failure, Fault};
use crate::rows::Rows;
use crate::shared::Shared;
use crate::{connection, meta, take_over};

/// The state that only the writer has.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    /// Absent while the file cannot be opened.
    connection: Option<Connection>,
    /// Keeps other processes out.
    lock: Option<File>,
    /// There was more to do than one step of upkeep does.
    more_upkeep: bool,
    /// When upkeep was done last, on the monotonic clock.
    kept_up: Duration,
    /// How long to wait before the next attempt to write again.
    patience: Duration,
    /// Speaks when the next attempt is due.
    retry: Receiver<Instant>,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        connection: Connection,
        lock: File,
    ) -> Self {
        let kept_up = shared.options.clock.monotonic();
        Self {
            shared,
            commands,
            connection: Some(connection),
            lock: Some(lock),
            more_upkeep: false,
            kept_up,
            patience: FIRST_PATIENCE,
            retry: crossbeam_channel::never(),
        }
    }

    /// Works until the last handle is gone or one of them closes the store.
    pub(crate) fn run(mut self) {
        let commands = self.commands.clone();
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.serve()));
        self.shared.set_closed();
        match served {
            Ok(Some(reply)) => drop(reply.send(self.close())),
            Ok(None) => {
                if let Err(error) = self.close() {
                    tracing::error!(error = &error as &dyn std::error::Error, "closing failed");
                }
            }
            Err(_) => tracing::error!("the writer panicked, the store is closed"),
        }
        // Were the channel dropped here, a command that is being sent could stay in it, and its
        // sender wait for ever.
        for command in commands.iter() {
            command.refuse(StoreError::Closed);
            // Whoever waited for room comes in, and is told, too.
            self.shared.room.notify_waiters();
        }
    }

    /// Returns who wants to know that the store is closed.
    fn serve(&mut self) -> Option<Closing> {
        loop {
            match self.commands.recv_timeout(self.idle_time()) {
                Ok(first) => {
                    if let Some(reply) = self.work(first) {
                        return Some(reply);
                    }
                    let since = self.shared.options.clock.monotonic().saturating_sub(self.kept_up);
                    if self.more_upkeep || since >= IDLE {
                        self.keep_up();
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.shared.failure().is_some() => self.repair(),
                Err(RecvTimeoutError::Timeout) => self.keep_up(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Takes what waits in the channel, starting with `first`, and carries it out.
    fn work(&mut self, first: Command) -> Option<Closing> {
        // While there is no space, a write that needs none is not held up by one that does.
        let failing = self.shared.failure().is_some();
        if failing && self.retry.try_recv().is_ok() {
            self.repair();
        }
        let most = if failing { 1 } else { self.shared.options.batch_commands };
        let (mut batch, mut closing, mut next) = (Vec::new(), None, Some(first));
        while let Some(command) = next.take() {
            match command {
                Command::Write(write) => batch.push(write),
                Command::Close(reply) => closing = Some(reply),
            }
            if closing.is_none() && batch.len() < most {
                next = self.commands.try_recv().ok();
            }
        }
        self.shared.room.notify_waiters();
        self.carry_out(batch);
        closing
    }

    /// Decides upon `batch`, commits, and answers everybody.
    fn carry_out(&mut self, batch: Vec<Write>) {
        let failure = self.shared.failure();
        let connection = match (&self.connection, failure) {
            (Some(connection), None) => connection,
            // Whether there is space again only a write can tell.
            (Some(connection), Some(failure)) if failure.spares_the_connection() => connection,
            (_, failure) => return refuse(batch, failure.as_ref()),
        };
        let mut decided = Vec::with_capacity(batch.len());
        match commit(connection, &self.shared, batch, &mut decided) {
            Ok(()) => {
                self.shared.set_failure(None);
                decided.into_iter().for_each(|decided| decided.answer(Ok(())));
            }
            Err(failure) => {
                self.fail(&failure);
                decided.into_iter().for_each(|decided| decided.answer(Err(&failure)));
            }
        }
    }

    /// Notes that a commit failed, and tries at once to go on.
    fn fail(&mut self, failure: &Failure) {
        tracing::error!(error = failure as &dyn std::error::Error, "a commit failed");
        if failure.is_busy() {
            return;
        }
        let before = self.shared.failure();
        self.shared.set_failure(Some(failure.clone()));
        // While there is no space every write is an attempt of its own.
        if before.is_none() || !failure.spares_the_connection() {
            self.patience = FIRST_PATIENCE;
            self.repair();
        }
    }

    /// Tries to go on after a failure. A commit that failed is never tried again on the same
    /// connection: the file is opened anew, and a trial says whether the disk takes writes.
    fn repair(&mut self) {
        match self.attempt() {
            Ok(()) => {
                tracing::info!("the data file is written again");
                self.shared.set_failure(None);
            }
            Err(error) => {
                let failure = Failure::from(error);
                tracing::warn!(error = &failure as &dyn std::error::Error, "still not writable");
                self.shared.set_failure(Some(failure));
                self.patience = (self.patience * 2).min(LONGEST_PATIENCE);
            }
        }
        self.retry = crossbeam_channel::after(self.patience);
    }

    fn attempt(&mut self) -> rusqlite::Result<()> {
        self.connection = None;
        let connection = connection::for_writing(&self.shared.path, &self.shared.options)?;
        let connection = self.connection.insert(connection);
        // The log may hold the space that is missing.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let begun = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        meta::try_to_write(&begun)?;
        begun.commit()
    }

    /// A step of what is done between batches and when nobody waits: takes over what the
    /// original application wrote, and frees what died.
    fn keep_up(&mut self) {
        self.kept_up = self.shared.options.clock.monotonic();
        self.more_upkeep = false;
        let Some(connection) = &self.connection else { return };
        match step(connection, &self.shared) {
            Ok(more) => self.more_upkeep = more,
            Err(Fault::Sqlite(error)) => self.fail(&Failure::from(error)),
            Err(Fault::Unreadable(device, cause)) => {
                tracing::error!(%device, error = &cause as &dyn std::error::Error, "not taken over");
            }
        }
    }

    fn idle_time(&self) -> Duration {
        match self.shared.failure() {
            Some(_) => self.patience,
            None if self.more_upkeep => Duration::ZERO,
            None => IDLE,
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let closed = match self.connection.take() {
            Some(connection) => connection.close().map_err(|(_, error)| Failure::from(error)),
            None => Ok(()),
        };
        self.lock = None;
        closed.map_err(StoreError::from)
    }
}

/// Who wants to know that the store is closed.
type Closing = tokio::sync::oneshot::Sender<Result<(), StoreError>>;

/// Decides upon `batch` in one transaction and commits it; what was decided is in `decided`, be
/// it in the file or not.
fn commit(
    connection: &Connection,
    shared: &Shared,
    batch: Vec<Write>,
    decided: &mut Vec<Decided>,
) -> Result<(), Failure> {
    let mut batch = batch.into_iter();
    let committed = (|| {
        let begun = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let rows = Rows::new(&begun, &shared.form, shared.options.answerable);
        for write in batch.by_ref() {
            begun.prepare_cached("SAVEPOINT one")?.execute([])?;
            let mut one = write.decide(&rows);
            let verdict = std::mem::replace(&mut one.verdict, Verdict::Keep);
            decided.push(one);
            match verdict {
                Verdict::Keep => {}
                Verdict::Undo => drop(begun.prepare_cached("ROLLBACK TO one")?.execute([])?),
                Verdict::Broken(error) => return Err(error),
            }
            begun.prepare_cached("RELEASE one")?.execute([])?;
        }
        begun.commit()
    })();
    committed.map_err(|error: rusqlite::Error| {
        let failure = Failure::from(error);
        refuse(batch.collect(), Some(&failure));
        failure
    })
}

/// Refuses every write of `batch`.
fn refuse(batch: Vec<Write>, failure: Option<&Failure>) {
    for write in batch {
        let error = failure.cloned().map_or(StoreError::Closed, StoreError::from);
        Command::Write(write).refuse(error);
    }
}

/// One step of upkeep; returns whether there is more to do.
fn step(connection: &Connection, shared: &Shared) -> Result<bool, Fault> {
    let certain = shared.certain().map(|certain| certain.saturating_sub(LINGERING));
    let is_shared = shared.form.is_shared();
    let rows = Rows::new(connection, &shared.form, shared.options.answerable);
    let is_due = certain.map_or(Ok(false), |certain| rows.is_anything_due(certain))?;
    if !is_due && (!is_shared || rows.unsettled(1)?.is_empty()) {
        return Ok(false);
    }
    let begun = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let now = shared.options.clock.now();
    let mut more = is_shared && take_over::what_was_written(&rows, now)?;
    if let Some(certain) = certain {
        more |= rows.purge(FREED_AT_ONCE, certain)? == FREED_AT_ONCE;
    }
    begun.commit()?;
    Ok(more)
}

/// How often an idle writer looks around.
const IDLE: Duration = Duration::from_secs(1);
/// How many dead rows go between two batches.
const FREED_AT_ONCE: usize = 256;
/// For so long it can be told of a record that died that it did.
const LINGERING: Duration = Duration::from_secs(60);
const FIRST_PATIENCE: Duration = Duration::from_millis(250);
/// Writes come back within twice this time after the disk has space again.
const LONGEST_PATIENCE: Duration = Duration::from_secs(4);
