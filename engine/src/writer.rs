//! The one thread that writes: takes what waits, decides, commits once, publishes, answers.

mod batch;
mod commit;
mod import;
mod leases;
mod left_behind;
mod reclaim;
mod recover;
mod repair;
mod rotation;
mod scan;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokenkeep_core::{ClockGuard, DeviceId, StoreError};

use crate::command::{Command, Upkeep};
use crate::options::Durability;
use crate::shared::{Failure, Shared};
use batch::Batch;
use reclaim::Reclaiming;

pub(crate) use recover::load;

/// The state that only the writer has.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    guard: ClockGuard,
    /// Devices whose last use is not on the disk.
    touched: HashSet<DeviceId>,
    reclaiming: Reclaiming,
    /// More has died than was let go of.
    more_to_forget: bool,
    /// Since when acknowledged writes wait for the disk, on the monotonic clock.
    unflushed_since: Option<Duration>,
    /// A commit failed, and the index was not brought in line with the file since.
    out_of_line: bool,
    /// A damaged page keeps the file from being written; see [`Writer::stay`].
    is_damaged: bool,
    /// How long to wait before the next attempt to write again.
    patience: Duration,
    /// Speaks when the next attempt is due.
    retry: Receiver<Instant>,
}

/// Whether the writer goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, commands: Receiver<Command>) -> Self {
        let guard = ClockGuard::new(&*shared.options.clock);
        Self {
            shared,
            commands,
            guard,
            touched: HashSet::new(),
            reclaiming: Reclaiming::default(),
            more_to_forget: false,
            unflushed_since: None,
            out_of_line: false,
            is_damaged: false,
            patience: FIRST_PATIENCE,
            retry: crossbeam_channel::never(),
        }
    }

    /// Works until the last handle is gone.
    pub(crate) fn run(mut self) {
        let commands = self.commands.clone();
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.serve()));
        self.shared.set_closed();
        if served.is_err() {
            tracing::error!("the writer panicked, the store is closed");
        }
        // Were the channel dropped here, a command that is being sent could stay in it, and its
        // sender wait for ever.
        for command in commands.iter() {
            command.refuse(StoreError::Closed);
            // Whoever waited for room comes in, and is told, too.
            self.shared.room.notify_waiters();
        }
    }

    /// Works until the last handle is gone or one of them closes the store.
    fn serve(&mut self) {
        loop {
            let next = match self.commands.recv_timeout(self.idle_time()) {
                Ok(first) => {
                    self.look_after_readers();
                    self.work(first)
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.look_after_readers();
                    self.idle();
                    Next::Go
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.close() {
                        tracing::error!(error = &error as &dyn std::error::Error, "closing failed");
                    }
                    Next::Stop
                }
            };
            if next == Next::Stop {
                return;
            }
        }
    }

    /// Takes what waits in the channel, starting with `first`, and carries it out.
    fn work(&mut self, first: Command) -> Next {
        if self.retry.try_recv().is_ok() && self.shared.failure().is_some() {
            self.repair();
        }
        let shared = Arc::clone(&self.shared);
        let mut batch = Batch::new(&shared);
        let (mut commands, mut bytes) = (0, 0);
        let mut next = Some(first);
        let mut upkeep = None;
        while let Some(command) = next.take() {
            commands += 1;
            bytes += command.size_bytes();
            match command {
                Command::Upkeep(work) => upkeep = Some(work),
                command => match shared.failure() {
                    None => batch.carry_out(command),
                    Some(failure) => command.refuse(failure.into()),
                },
            }
            let full =
                commands >= shared.options.batch_commands || bytes >= shared.options.batch_bytes;
            if !full && upkeep.is_none() {
                next = self.commands.try_recv().ok();
            }
        }
        shared.room.notify_waiters();
        let took_a_step = !batch.blocks.is_empty();
        self.finish(batch);
        self.look_at_the_clock();
        if !took_a_step {
            self.go_on_reclaiming();
        }
        upkeep.map_or(Next::Go, |work| self.keep_up(work))
    }

    fn keep_up(&mut self, work: Upkeep) -> Next {
        match work {
            Upkeep::Purge { limit, now, reply } => reply.send(Ok(self.purge(limit, now))),
            Upkeep::Flush { reply } => reply.send(self.flush().map_err(StoreError::from)),
            Upkeep::Compact { reply } => reply.send(self.compact()),
            Upkeep::TakeRing { ring, reply } => reply.send(Ok(self.take_ring(&ring))),
            Upkeep::Reseal { anew, reply } => reply.send(self.reseal(anew)),
            Upkeep::Retire { key, active, reply } => reply.send(Ok(self.retire(key, active))),
            Upkeep::Close { reply } => {
                reply.send(self.close());
                return Next::Stop;
            }
        }
        Next::Go
    }

    /// What is done when nobody waits.
    fn idle(&mut self) {
        if self.shared.failure().is_some() {
            self.repair();
            return;
        }
        self.look_at_the_clock();
        if !self.touched.is_empty() {
            let _ = self.flush();
        } else {
            self.go_on_reclaiming();
        }
    }

    fn idle_time(&self) -> Duration {
        if self.shared.failure().is_some() {
            return self.patience;
        }
        match self.shared.options.durability {
            _ if self.more_to_forget || self.reclaiming.has_work() => Duration::ZERO,
            Durability::Interval(interval) => interval.clamp(SHORTEST_IDLE, IDLE),
            Durability::Immediate => IDLE,
        }
    }

    /// Sees what has died, and whether reclaiming is worth its while.
    fn look_at_the_clock(&mut self) {
        let shared = Arc::clone(&self.shared);
        let certain = self.guard.certain(&*shared.options.clock);
        self.more_to_forget = false;
        shared.clock_disagreement.store(self.guard.disagreement_seconds(), Ordering::Relaxed);
        if let Some(certain) = certain
            && let certain = certain.saturating_sub(LINGERING)
            && shared.index.lists().is_anything_due(certain)
        {
            shared.index.publish().forget_dead(certain, FORGOTTEN_AT_ONCE);
            self.more_to_forget = shared.index.lists().is_anything_due(certain);
        }
        if self.is_flush_due() || self.touched.len() >= TOUCHES_AT_ONCE {
            // Whoever writes learns of a failure.
            let _ = self.flush();
        }
        self.look_at_the_garbage();
    }

    fn is_flush_due(&self) -> bool {
        let Durability::Interval(interval) = self.shared.options.durability else { return false };
        let now = self.shared.options.clock.monotonic();
        self.unflushed_since.is_some_and(|since| now.saturating_sub(since) >= interval)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let flushed = if self.shared.failure().is_none() { self.flush() } else { Ok(()) };
        self.shared.set_closed();
        let closed = self.shared.disk.close().map_err(Failure::new);
        flushed.and(closed).map_err(StoreError::from)
    }
}

/// How often an idle writer looks at the clock.
const IDLE: Duration = Duration::from_secs(1);
const SHORTEST_IDLE: Duration = Duration::from_millis(1);
/// How many devices are looked at between two batches because their time may have come.
const FORGOTTEN_AT_ONCE: usize = 512;
/// For so long it can be told of a record that died that it did.
const LINGERING: Duration = Duration::from_secs(60);
/// How many last uses wait for a commit that takes them along.
const TOUCHES_AT_ONCE: usize = 1024;
const FIRST_PATIENCE: Duration = Duration::from_millis(250);
