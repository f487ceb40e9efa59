//! Threads that refresh, as long as they are let.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokenkeep::{Engine, ReplaceOutcome, Tokens};

use crate::{NOW, device, record, scatter};

/// Threads at work; each has its own devices, so that none is refreshed twice at once.
#[derive(Debug)]
pub(super) struct Writers {
    work: Arc<Work>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Debug)]
struct Work {
    stopped: AtomicBool,
    written: AtomicU64,
    /// They stop by themselves after so many refreshes.
    most: u64,
}

impl Writers {
    /// Starts `threads` threads that refresh the first `records` devices at random, `most` times.
    pub(super) fn start(
        engine: &Engine,
        threads: u64,
        records: u64,
        most: u64,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(records >= threads, "every writer needs a device");
        let work = Work { stopped: AtomicBool::new(false), written: AtomicU64::new(0), most };
        let work = Arc::new(work);
        let threads = (0..threads)
            .map(|thread| {
                let (engine, work) = (engine.clone(), Arc::clone(&work));
                let own = Own { thread, threads, records };
                std::thread::spawn(move || work.refresh(&engine, own))
            })
            .collect();
        Ok(Self { work, threads })
    }

    /// How many refreshes are on the disk.
    pub(super) fn written(&self) -> u64 {
        self.work.written.load(Ordering::Relaxed)
    }

    /// Whether all of them have ended: they are done, or one failed and the others are done.
    pub(super) fn are_done(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Ends them; returns how many refreshes they did.
    pub(super) fn stop(self) -> anyhow::Result<u64> {
        self.work.stopped.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        Ok(self.work.written.load(Ordering::Relaxed))
    }
}

impl Work {
    fn refresh(&self, engine: &Engine, own: Own) -> anyhow::Result<()> {
        let mut generation = 1;
        // The last refreshes are under way when the count is reached: a few more are done.
        while !self.stopped.load(Ordering::Relaxed)
            && self.written.load(Ordering::Relaxed) < self.most
        {
            refresh(engine, own.pick(generation), generation)?;
            self.written.fetch_add(1, Ordering::Relaxed);
            generation += 1;
        }
        Ok(())
    }
}

/// The devices of one thread: every `threads`-th.
#[derive(Clone, Copy, Debug)]
struct Own {
    thread: u64,
    threads: u64,
    records: u64,
}

impl Own {
    fn pick(self, turn: u64) -> u64 {
        // As many as fit below `records` for this thread.
        let count = (self.records - self.thread).div_ceil(self.threads);
        let random = scatter(turn ^ scatter(self.thread));
        self.thread + random % count * self.threads
    }
}

/// A refresh: reads the record and puts one with a new pair in its place.
pub(super) fn refresh(engine: &Engine, number: u64, generation: u64) -> anyhow::Result<()> {
    let current = engine.blocking().get(device(number), NOW)?.live();
    let current = current.with_context(|| format!("record {number} is missing"))?;
    let next = record(number, generation);
    let outcome = engine.blocking().replace(current.version, next, Tokens::Renewed, NOW)?;
    let replaced = matches!(outcome, ReplaceOutcome::Replaced(_));
    anyhow::ensure!(replaced, "somebody else refreshed record {number}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_writers_share_all_devices_and_no_device_is_shared() {
        let (threads, records) = (7, 100);
        let mut all = HashSet::new();
        for thread in 0..threads {
            let own = Own { thread, threads, records };
            let picked: HashSet<u64> = (0..5000).map(|turn| own.pick(turn)).collect();
            for number in picked {
                assert!(number < records);
                assert!(all.insert(number), "{number} is of two threads");
            }
        }
        assert_eq!(all.len() as u64, records);
    }
}
