//! Power losses at every instant of a run: what was acknowledged is there, and nothing half.
//!
//! `TOKENKEEP_POWER_LOSS=full` opens every image; otherwise it is a sample of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokenkeep::testing::{Disk, Instants, Loss, Recording};
use tokenkeep::{KeyRing, ManualClock};

use crate::script::{Expected, Manner, Memory, Run, Step, USERS, check_whole, open, plan};

/// A run that went well, and what was acknowledged when.
struct Story {
    ring: KeyRing,
    steps: Vec<Step>,
    /// What must be there before each step, and at last.
    states: Vec<Expected>,
    recording: Recording,
}

impl Story {
    fn record(steps: Vec<Step>) -> Self {
        let mut run = Run::new(LITTLE);
        let mut states = vec![run.expected.clone()];
        run.disk.record();
        for (at, step) in steps.iter().enumerate() {
            let (disk, whole) = (run.disk.clone(), mark(at, None));
            let told = |part| disk.mark(mark(at, Some(part)));
            run.step(step, &told).unwrap();
            disk.mark(whole);
            states.push(run.expected.clone());
        }
        assert_eq!(run.expected.difference(run.engine(), None), None);
        run.engine().blocking().close().unwrap();
        let recording = run.disk.take_recording().unwrap();
        Self { ring: run.ring, steps, states, recording }
    }

    /// Opens what `loss` leaves at an instant, and looks.
    #[track_caller]
    fn check(&self, instants: &Instants<'_>, loss: Loss) {
        let place = || format!("event {}, {loss:?}", instants.position());
        let done = instants.marks().iter().filter(|mark| *mark % PARTS == 0).count();
        let mut expected = self.states[done].clone();
        let under_way = self.steps.get(done);
        let after = self.states.get(done + 1).unwrap_or(&expected).clone();
        if let Some(Step::Together(parts)) = under_way {
            let told = |(at, _): &(usize, &Step)| instants.marks().contains(&mark(done, Some(*at)));
            for (_, part) in parts.iter().enumerate().filter(told) {
                expected = expected.after(part);
            }
        }
        // The clock may have gone on already.
        expected.now = after.now;
        let disk = Disk::holding(instants.image(loss));
        let clock = Arc::new(ManualClock::new(after.now));
        let engine = open(&disk, &self.ring, clock, MANNER);
        let engine = engine.unwrap_or_else(|error| panic!("{}: {error:?}", place()));
        let doubt = under_way.map(|step| Run::doubt(&after, step));
        if let Some(difference) = expected.difference(&engine, doubt) {
            panic!("{}, in step {done} ({under_way:?}): {difference}", place());
        }
        check_whole(&engine, after.now);
        crate::support::log_in(&engine, 200, after.now);
        crate::support::live(&engine, 200, after.now);
    }
}

/// What is noted when step `at`, or a part of it, is acknowledged.
fn mark(at: usize, part: Option<usize>) -> u32 {
    let part = part.map_or(0, |part| part + 1);
    u32::try_from(at).unwrap() * PARTS + u32::try_from(part).unwrap()
}

/// What may become of the writes that wait at instant `at`.
fn losses(at: usize, full: bool) -> Vec<Loss> {
    let seeds = |count: u64| (0..count).map(move |n| at as u64 * count + n);
    let mut losses = vec![Loss::Nothing, Loss::Everything];
    for seed in seeds(if full { 8 } else { 1 }) {
        losses.extend([Loss::Some(seed), Loss::Reordered(seed), Loss::TornBytes(seed)]);
        losses.extend([Loss::TornSectors(seed), Loss::AllTornSectors(seed)]);
    }
    if !full {
        losses = vec![losses[at % losses.len()]];
    }
    losses
}

#[test]
fn power_loss_at_any_instant_of_a_run_leaves_what_was_acknowledged_and_nothing_half() {
    let full = std::env::var("TOKENKEEP_POWER_LOSS").is_ok_and(|how| how == "full");
    let story = Story::record(plan());
    let images = AtomicUsize::new(0);
    let look = |thread: usize| {
        let mut instants = story.recording.instants();
        loop {
            let at = instants.position();
            if at % THREADS == thread {
                let all = losses(at / THREADS, full);
                let chosen = if instants.is_synced() { vec![Loss::Nothing] } else { all };
                images.fetch_add(chosen.len(), Ordering::Relaxed);
                chosen.into_iter().for_each(|loss| story.check(&instants, loss));
            }
            if !instants.advance() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || look(n))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    println!(
        "{} steps, {} writes and syncs, {} images",
        story.steps.len(),
        story.recording.operations(),
        images.into_inner()
    );
}

#[test]
fn nobody_reads_what_is_not_on_the_disk_yet() {
    let run = Run::new(Memory { records: 1 << 20, pages: 64 << 10 });
    let now = run.expected.now;
    let ended = |n| crate::support::ended(run.engine(), n, now);
    std::thread::scope(|scope| {
        let held = run.disk.hold_syncs();
        let login = scope.spawn(|| crate::support::log_in(run.engine(), 1, now));
        while !run.disk.is_syncing() {
            std::thread::yield_now();
        }
        assert_eq!(ended(1), "absent");
        let ada = crate::support::email(USERS[0]);
        assert!(run.engine().blocking().devices_of(&ada, now).unwrap().is_empty());
        assert!(!login.is_finished(), "nobody is told");
        drop(held);
        login.join().unwrap();
    });
    assert_eq!(ended(1), "live");
}

const LITTLE: Memory = Memory { records: 0, pages: 64 << 10 };
const MANNER: Manner = Manner { memory: LITTLE, eager: true, verify: false };
const THREADS: usize = 2;
/// More than any step has parts.
const PARTS: u32 = 100;
