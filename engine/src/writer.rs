//! The one thread that writes: takes what waits, decides, commits once, publishes, answers.

mod batch;
mod commit;
mod leases;
mod reclaim;
mod recover;
mod repair;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokenkeep_core::{DeviceId, StoreError};

use crate::clock_guard::ClockGuard;
use crate::command::{Command, Upkeep};
use crate::options::Durability;
use crate::shared::{Failure, Shared};
use batch::Batch;
use reclaim::Pass;

pub(crate) use recover::load;

/// The state that only the writer has.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    guard: ClockGuard,
    /// How many commands the last batch had: about as many callers are at work on their next.
    callers: usize,
    /// Devices whose last use is not on the disk.
    touched: HashSet<DeviceId>,
    pass: Option<Pass>,
    /// Since when acknowledged writes wait for the disk, on the monotonic clock.
    unflushed_since: Option<Duration>,
    /// Garbage that the last pass could not drop: what expired by a clock that is back since.
    left_over: u64,
    /// A commit failed, and the index was not brought in line with the file since.
    out_of_line: bool,
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
            callers: 0,
            touched: HashSet::new(),
            pass: None,
            unflushed_since: None,
            left_over: 0,
            out_of_line: false,
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
                next = self.next_command(commands);
            }
        }
        self.callers = commands;
        shared.room.notify_waiters();
        let took_a_step = !batch.rows.is_empty();
        self.finish(batch);
        self.look_at_the_clock();
        if !took_a_step {
            self.go_on_reclaiming();
        }
        upkeep.map_or(Next::Go, |work| self.keep_up(work))
    }

    /// The next command for a batch that has `commands` so far. Callers that were answered
    /// together ask again together: a moment's patience puts them in one commit again, which is
    /// far cheaper than two.
    fn next_command(&self, commands: usize) -> Option<Command> {
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(_) if commands < self.callers => self.commands.recv_timeout(GATHERING).ok(),
            Err(_) => None,
        }
    }

    fn keep_up(&mut self, work: Upkeep) -> Next {
        match work {
            Upkeep::Purge { limit, now, reply } => reply.send(self.purge(limit, now)),
            Upkeep::Flush { reply } => reply.send(self.flush().map_err(StoreError::from)),
            Upkeep::Compact { reply } => reply.send(self.compact()),
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

    /// Takes a step of the pass that is under way, if there is one.
    fn go_on_reclaiming(&mut self) {
        if self.pass.as_ref().is_some_and(|pass| pass.in_background) {
            // Whoever writes learns of a failure.
            let _ = self.reclaim_between_batches();
        }
    }

    fn idle_time(&self) -> Duration {
        if self.shared.failure().is_some() {
            return self.patience;
        }
        match (&self.pass, self.shared.options.durability) {
            (Some(pass), _) if pass.in_background => Duration::ZERO,
            (_, Durability::Interval(interval)) => interval.clamp(SHORTEST_IDLE, IDLE),
            _ => IDLE,
        }
    }

    /// Sees what has died, and whether reclaiming is worth its while.
    fn look_at_the_clock(&mut self) {
        let shared = Arc::clone(&self.shared);
        let certain = self.guard.certain(&*shared.options.clock);
        shared.clock_disagreement.store(self.guard.disagreement_seconds(), Ordering::Relaxed);
        if let Some(certain) = certain
            && shared.index.lists().is_anything_due(certain)
        {
            shared.index.publish().mark_due(certain, DUE_AT_ONCE);
        }
        if self.is_flush_due() || self.touched.len() >= TOUCHES_AT_ONCE {
            // Whoever writes learns of a failure.
            let _ = self.flush();
        }
        self.begin_pass_if_worthwhile();
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
/// How long a batch waits for the next of the callers that it expects.
const GATHERING: Duration = Duration::from_micros(150);
const SHORTEST_IDLE: Duration = Duration::from_millis(1);
/// How many devices are looked at between two batches because their time may have come.
const DUE_AT_ONCE: usize = 4096;
/// How many last uses wait for a commit that takes them along.
const TOUCHES_AT_ONCE: usize = 1024;
const FIRST_PATIENCE: Duration = Duration::from_millis(250);
