//! Threads that read, and how long each read took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokenkeep::DeviceId;

use super::latency::Latencies;
use crate::instant;

/// Reads one device; an error if what it finds is not what must be there.
pub(super) type Read = Arc<dyn Fn(DeviceId) -> anyhow::Result<()> + Send + Sync>;

/// How much of the processors the readers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// All that they get.
    Spinning,
    /// They rest after a few reads: writers have processors to run on, as they have where readers
    /// have other things to do.
    Resting,
}

/// How many threads read, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crew {
    pub(super) threads: usize,
    pub(super) pace: Pace,
}

/// Threads at work.
#[derive(Debug)]
pub(super) struct Readers {
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<Latencies>>>,
}

impl Readers {
    /// Starts threads that go through `picks` again and again, each from another place.
    pub(super) fn start(crew: Crew, picks: &Arc<[DeviceId]>, read: &Read) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let Crew { threads, pace } = crew;
        let threads = (0..threads)
            .map(|thread| {
                let (stopped, picks, read) = (stopped.clone(), Arc::clone(picks), read.clone());
                let start = picks.len() / threads * thread;
                std::thread::spawn(move || time_reads(&stopped, pace, &picks, start, &read))
            })
            .collect();
        Self { stopped, threads }
    }

    /// Ends them; returns how long the reads took.
    pub(super) fn stop(self) -> anyhow::Result<Latencies> {
        self.stopped.store(true, Ordering::Relaxed);
        let mut all = Latencies::new()?;
        for thread in self.threads {
            let latencies = thread.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
            all.merge(&latencies)?;
        }
        Ok(all)
    }

    /// Lets them read for `duration`.
    pub(super) fn read_for(
        duration: Duration,
        crew: Crew,
        picks: &Arc<[DeviceId]>,
        read: &Read,
    ) -> anyhow::Result<Latencies> {
        let readers = Self::start(crew, picks, read);
        let _ = crossbeam_channel::after(duration).recv();
        readers.stop()
    }
}

fn time_reads(
    stopped: &AtomicBool,
    pace: Pace,
    picks: &[DeviceId],
    start: usize,
    read: &Read,
) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new()?;
    for (device, count) in picks.iter().cycle().skip(start).zip(1_u64..) {
        let begun = instant();
        read(*device)?;
        latencies.record(begun.elapsed());
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        if pace == Pace::Resting && count.is_multiple_of(READS_AT_ONCE) {
            let _ = crossbeam_channel::after(REST).recv();
        }
    }
    Ok(latencies)
}

const READS_AT_ONCE: u64 = 256;
const REST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::device;

    fn picks() -> Arc<[DeviceId]> {
        (0..10).map(device).collect()
    }

    #[test]
    fn every_read_is_counted_and_all_picks_are_read() {
        let reads: Arc<[AtomicU64]> = (0..10).map(|_| AtomicU64::new(0)).collect();
        let counts = reads.clone();
        let all = picks();
        let read: Read = Arc::new(move |asked| {
            let at = all.iter().position(|device| *device == asked).unwrap();
            counts[at].fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let readers = Readers::start(Crew { threads: 3, pace: Pace::Resting }, &picks(), &read);
        while reads.iter().any(|count| count.load(Ordering::Relaxed) == 0) {
            std::thread::yield_now();
        }
        let latencies = readers.stop().unwrap();
        let counted: u64 = reads.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        assert_eq!(latencies.count(), counted);
    }

    #[test]
    fn a_read_that_finds_the_wrong_thing_is_an_error() {
        let read: Read = Arc::new(|_| anyhow::bail!("it is missing"));
        let crew = Crew { threads: 2, pace: Pace::Spinning };
        assert!(Readers::start(crew, &picks(), &read).stop().is_err());
    }
}
