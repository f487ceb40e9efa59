//! The engine against the operations model: a fixed slice, or as many operations as asked for.
//!
//! `TOKENKEEP_MODEL_OPERATIONS=1000000 cargo test -p tokenkeep --release --test it model --
//! --nocapture` does at least so many, from the seed `TOKENKEEP_MODEL_SEED` on (0 without it).
//! With a seed alone, that seed alone runs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokenkeep::testing::{Tally, run_model};

/// The seeds of every test run.
const SLICE: u64 = 16;
const BYTES_PER_SEED: usize = 2500;

/// Bytes that look random and are the same every time.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Takes seed after seed from `first` on, on all cores, while `wants_more` of what was done.
fn run(first: u64, wants_more: impl Fn(u64, &Tally) -> bool + Sync) -> Tally {
    let (next, stop) = (AtomicU64::new(first), AtomicBool::new(false));
    let total = Mutex::new(Tally::default());
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !wants_more(seed, &total.lock().unwrap()) {
                return;
            }
            let outcome = std::panic::catch_unwind(|| run_model(&bytes(seed, BYTES_PER_SEED)));
            let Ok(tally) = outcome else {
                stop.store(true, Ordering::Relaxed);
                panic!(
                    "to see it again: TOKENKEEP_MODEL_SEED={seed} \
                     cargo test -p tokenkeep --test it model"
                );
            };
            total.lock().unwrap().add(&tally);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let seeds = next.load(Ordering::Relaxed) - first;
    let total = total.into_inner().unwrap();
    #[expect(clippy::print_stdout, reason = "whoever asked for a run wants to know what it did")]
    {
        println!("at most {seeds} seeds from {first} on: {total}");
    }
    total
}

#[test]
fn the_engine_does_what_the_model_does() {
    let first = number("TOKENKEEP_MODEL_SEED");
    match (number("TOKENKEEP_MODEL_OPERATIONS"), first) {
        (Some(operations), _) => {
            let tally = run(first.unwrap_or(0), |_, done| done.operations() < operations);
            assert!(tally.operations() >= operations);
        }
        (None, Some(seed)) => drop(run(seed, |next, _| next == seed)),
        (None, None) => reaches_everything(&run(0, |next, _| next < SLICE)),
    }
}

/// A model that never gets somewhere checks nothing there.
#[track_caller]
fn reaches_everything(tally: &Tally) {
    for outcome in OUTCOMES {
        assert!(tally.times(outcome) > 0, "the model never met: {outcome}\n{tally}");
    }
}

const OUTCOMES: &[&str] = &[
    "insert ended nothing",
    "insert ended one",
    "insert ended several",
    "insert taken",
    "insert ceiling",
    "insert failed",
    "replace done",
    "replace conflict",
    "replace gone",
    "replace gone for a reason",
    "replace failed",
    "remove done",
    "remove conflict",
    "remove gone",
    "remove gone for a reason",
    "remove_all_of ended nothing",
    "remove_all_of ended one",
    "remove_all_of ended several",
    "touch done",
    "lease done",
    "lease held",
    "lease conflict",
    "lease gone",
    "lease gone for a reason",
    "lease failed",
    "extend_lease true",
    "extend_lease false",
    "release unsent done",
    "release uncertain done",
    "flush done",
    "compact done",
    "compact failed",
    "purge done",
    "batch done",
    "batch failed",
    "late calls",
    "leap ahead",
    "leap back",
    "sync to fail",
    "crash",
    "reopen",
];
