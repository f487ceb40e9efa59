//! Single bits that flip in a closed file: opening refuses it, or no answer is wrong.
//!
//! `TOKENKEEP_FLIPS=full` flips many more of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokenkeep::testing::Disk;
use tokenkeep::{KeyRing, ManualClock, OpenError, StoreError};

use crate::script::{Expected, Manner, Memory, Run, Step, USERS, login, open};
use crate::support::{DAY, HOUR, device};

/// A closed store, and what is in it.
struct Closed {
    bytes: Vec<u8>,
    ring: KeyRing,
    expected: Expected,
}

/// What a flipped bit did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// The bit meant nothing.
    None,
    /// Opening said that the file is damaged, and left it as it was, or did not.
    Refused { same: bool },
    /// Who needs the page hears that it cannot be read; every other answer is right.
    Unreadable,
    /// An answer is wrong.
    Wrong,
}

impl Closed {
    /// A file with every kind of row, superseded ones among them, on several pages of each table.
    fn new() -> Self {
        let mut run = Run::new(LITTLE);
        let month = 30 * DAY;
        let mut steps = vec![Step::Reopen { eager: false }];
        steps.extend((0..10).map(|n| login(n, USERS[usize::from(n) % 3], month)));
        for _ in 0..8 {
            steps.extend((0..10).map(|n| Step::Renew { n, life: month }));
        }
        steps.extend((7..10).map(|n| Step::Logout { n }));
        steps.extend((0..2).map(|n| Step::Lease { n }));
        steps.push(Step::Pass(HOUR / 2));
        steps.extend((2..4).map(|n| Step::Touch { n }));
        steps.extend((10..14).map(|n| login(n, USERS[usize::from(n) % 3], month)));
        for step in steps {
            run.step(&step, &|_| ()).unwrap();
        }
        run.engine().blocking().close().unwrap();
        Self { bytes: run.disk.bytes(), ring: run.ring, expected: run.expected }
    }

    /// The bits to flip: many where a page says what is on it, fewer of the rest.
    fn bits(&self, full: bool) -> Vec<usize> {
        let (near, far) = if full { (1, 97) } else { (61, 2999) };
        let mut bits: Vec<_> = (0..512 * 8).step_by(near).collect();
        for (page, bytes) in self.bytes.chunks(PAGE).enumerate().skip(1) {
            if bytes.iter().any(|byte| *byte != 0) {
                let start = page * PAGE * 8;
                // How many rows there are on the page: with fewer, it may well make sense.
                bits.extend(start + 16..start + 32);
                bits.extend((start + page % near..start + 48 * 8).step_by(near));
                bits.extend((start + 48 * 8 + page * 7 % far..start + PAGE * 8).step_by(far));
            }
        }
        bits
    }

    fn flip(&self, bit: usize, verify: bool) -> Effect {
        let mut flipped = self.bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let disk = Disk::holding(flipped.clone());
        let clock = Arc::new(ManualClock::new(self.expected.now));
        let manner = Manner { memory: LITTLE, eager: false, verify };
        let engine = match open(&disk, &self.ring, clock, manner) {
            Ok(engine) => engine,
            Err(
                OpenError::Damaged { .. }
                | OpenError::Foreign { .. }
                | OpenError::NewerFormat { .. },
            ) => {
                return Effect::Refused { same: disk.bytes() == flipped };
            }
            Err(error) => panic!("bit {bit}: {error:?}"),
        };
        let effect = self.look(&engine);
        // redb aborts if it panics over its own bookkeeping while it closes.
        disk.damage(|bytes| bytes.clone_from(&self.bytes));
        effect
    }

    fn look(&self, engine: &tokenkeep::Engine) -> Effect {
        if self.expected.difference(engine, None).is_none() {
            return Effect::None;
        }
        let mut readable = self.expected.clone();
        let get = |n: &u8| engine.blocking().get(device(*n), self.expected.now);
        readable.sessions.retain(|n, _| !matches!(get(n), Err(StoreError::Unreadable { .. })));
        let damaged = readable.sessions.len() < self.expected.sessions.len();
        match readable.answers_differ(engine) {
            None if damaged => Effect::Unreadable,
            _ => Effect::Wrong,
        }
    }

    /// Flips bits, and counts what that does.
    fn flip_all(&self, verify: bool) -> BTreeMap<Effect, Vec<usize>> {
        let full = std::env::var("TOKENKEEP_FLIPS").is_ok_and(|how| how == "full");
        let bits = self.bits(full);
        let next = AtomicUsize::new(0);
        let effects: Mutex<BTreeMap<Effect, Vec<usize>>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(bit) = bits.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let effect = self.flip(*bit, verify);
                        effects.lock().unwrap().entry(effect).or_default().push(*bit);
                    }
                });
            }
        });
        let effects = effects.into_inner().unwrap();
        let counts: Vec<_> = effects.iter().map(|(effect, bits)| (effect, bits.len())).collect();
        println!("verify {verify}, {} pages: {counts:?}", self.bytes.len() / PAGE);
        effects
    }
}

#[test]
fn a_flipped_bit_is_found_at_opening_if_everything_is_checked() {
    let effects = Closed::new().flip_all(true);
    let kinds: Vec<_> = effects.keys().cloned().collect();
    assert_eq!(kinds, [Effect::None, Effect::Refused { same: true }]);
}

#[test]
fn a_flipped_bit_is_found_at_opening_or_when_its_record_is_read() {
    let effects = Closed::new().flip_all(false);
    assert!(!effects.contains_key(&Effect::Wrong), "{:?}", effects[&Effect::Wrong]);
}

const LITTLE: Memory = Memory { records: 1 << 20, pages: 64 << 10 };
const PAGE: usize = 4096;
