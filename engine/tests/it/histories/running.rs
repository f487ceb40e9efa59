//! Threads at work on one user's devices, on the engine.

use std::sync::Barrier;

use tokenkeep::testing::{Disk, open_on};
use tokenkeep::{
    AccessToken, DeviceId, Email, EndReason, Engine, Insert, InsertOutcome, KeyRing, LeaseOutcome,
    Lookup, Options, Release, RemoveOutcome, ReplaceOutcome, StoreError, Timestamp, TokenRecord,
    Tokens, Version,
};

use super::checker::{Event, check};
use super::device::{Answer, Ask, Device, Held, Known};
use super::dice::Dice;
use super::recorder::Recorder;
use super::rounds;
use super::user::{DEVICES, Operation, User, of_device};
use crate::support::{self, HOUR, Place};

const THREADS: u64 = 4;
const OPERATIONS: usize = 25;
const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

/// One user in one round: each has devices of its own.
struct Round<'a> {
    engine: &'a Engine,
    number: u64,
    email: Email,
    recorder: &'a Recorder<Operation>,
    /// The disk on which one sync fails in the middle. A lease that failed is there or not, and so
    /// are its marks: those are the model's business, there are none here.
    failing: Option<&'a Disk>,
}

impl Round<'_> {
    fn id(&self, device: usize) -> DeviceId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8] = u8::try_from(device).unwrap();
        DeviceId::from_bytes(bytes)
    }

    fn record(&self, device: usize, tokens: u64) -> TokenRecord {
        let mut record = support::record(0, NOW);
        (record.device_id, record.email) = (self.id(device), self.email.clone());
        record.access_token = AccessToken::new(tokens.to_string()).unwrap();
        record
    }

    fn held(record: &TokenRecord) -> Held {
        Held {
            version: record.version,
            tokens: record.access_token.expose().parse().unwrap(),
            holder: record.refresh_intent.map(|intent| intent.holder.as_bytes()[0]),
        }
    }

    fn all<'r>(records: impl Iterator<Item = &'r TokenRecord>) -> [Option<Held>; DEVICES] {
        let mut all = [None; DEVICES];
        for record in records {
            all[usize::from(record.device_id.as_bytes()[8])] = Some(Self::held(record));
        }
        all
    }

    /// What one thread does.
    fn work(&self, thread: u64) {
        let mut dice = Dice::new(self.number.wrapping_mul(1_000_003) + thread);
        for step in 0..OPERATIONS {
            if let Some(disk) = self.failing.filter(|_| thread == 0 && step == OPERATIONS / 2) {
                disk.fail_next_sync(self.number.is_multiple_of(2));
            }
            let tokens = 1000 * (thread + 1) + u64::try_from(step).unwrap();
            let device = usize::try_from(dice.roll(3)).unwrap();
            match dice.roll(40) {
                0 => self.remove_all(dice.roll(2) == 0, device),
                1 => self.insert_instead(device, (device + 1) % DEVICES, tokens),
                2..=7 => self.list(),
                _ => {
                    let ask = self.choose(&mut dice, device, tokens);
                    self.one(device, ask);
                }
            }
        }
    }

    fn choose(&self, dice: &mut Dice, device: usize, tokens: u64) -> Ask {
        let holder = u8::try_from(dice.roll(2)).unwrap() + 1;
        // Usually the version that is there, so that most get through.
        let lookup = self.engine.blocking().get(self.id(device), NOW);
        let seen = lookup.ok().and_then(Lookup::live).map_or(Version::FIRST, |r| r.version);
        let expected = if dice.roll(8) == 0 { seen.next() } else { seen };
        match dice.roll(16) {
            0..=2 => Ask::Insert { tokens },
            3..=6 => Ask::Replace { expected, tokens, renewed: holder == 1 },
            7 if dice.roll(3) == 0 => Ask::Remove { expected: (holder == 1).then_some(expected) },
            8 if self.failing.is_none() => Ask::Lease { expected, holder },
            9 if self.failing.is_none() => Ask::Release { holder },
            _ => Ask::Get,
        }
    }

    fn one(&self, device: usize, ask: Ask) {
        let begun = self.recorder.tick();
        match self.ask(device, ask) {
            Ok(answer) => self.recorder.answered(begun, Operation::One(device, ask, answer)),
            Err(StoreError::Unavailable(_)) if ask == Ask::Get => {}
            Err(StoreError::Unavailable(_)) => {
                self.recorder.unknown(begun, Operation::One(device, ask, Answer::Unknown));
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn ask(&self, device: usize, ask: Ask) -> Result<Answer, StoreError> {
        let (engine, id) = (self.engine.blocking(), self.id(device));
        Ok(match ask {
            Ask::Get => Answer::Found(match engine.get(id, NOW)? {
                Lookup::Live(record) => Known::Live(Self::held(&record)),
                Lookup::Ended(_) => Known::Ended,
                Lookup::Absent => Known::Absent,
            }),
            Ask::Insert { tokens } => {
                let record = self.record(device, tokens);
                match engine.insert(Insert { record, replaces: None, ceiling: None }, NOW)? {
                    InsertOutcome::Inserted { .. } => Answer::Done,
                    _ => Answer::Taken,
                }
            }
            Ask::Replace { expected, tokens, renewed } => {
                let record = self.record(device, tokens);
                let tokens = if renewed { Tokens::Renewed } else { Tokens::Kept };
                match engine.replace(expected, record, tokens, NOW)? {
                    ReplaceOutcome::Replaced(_) => Answer::Done,
                    ReplaceOutcome::Conflict(other) => Answer::Conflict(Self::held(&other)),
                    ReplaceOutcome::Gone(_) => Answer::Gone,
                }
            }
            Ask::Remove { expected } => {
                match engine.remove(id, expected, EndReason::Logout, NOW)? {
                    RemoveOutcome::Removed(record) => Answer::Removed(Self::held(&record)),
                    RemoveOutcome::Conflict(other) => Answer::Conflict(Self::held(&other)),
                    RemoveOutcome::Gone(_) => Answer::Gone,
                }
            }
            Ask::Lease { expected, holder } => {
                let holder = support::holder(holder);
                match engine.lease(id, expected, holder, NOW + HOUR, NOW)? {
                    LeaseOutcome::Granted(_) => Answer::Done,
                    LeaseOutcome::Held { .. } => Answer::LeaseHeld,
                    LeaseOutcome::Conflict(other) => Answer::Conflict(Self::held(&other)),
                    LeaseOutcome::Gone(_) => Answer::Gone,
                }
            }
            Ask::Release { holder } => {
                engine.release(id, support::holder(holder), Release::NotSent, NOW)?;
                Answer::Done
            }
            Ask::RemoveAsOneOfAll => unreachable!("it is asked for all devices"),
        })
    }

    fn insert_instead(&self, device: usize, old: usize, tokens: u64) {
        let record = self.record(device, tokens);
        let insert = Insert { record, replaces: Some(self.id(old)), ceiling: None };
        let begun = self.recorder.tick();
        match self.engine.blocking().insert(insert, NOW) {
            Ok(InsertOutcome::Inserted { displaced, .. }) => {
                let displaced = displaced.first().map(|removed| Self::held(&removed.record));
                let operation = Operation::InsertInstead { device, tokens, old, displaced };
                self.recorder.answered(begun, operation);
            }
            Ok(_) => {
                let taken = Operation::One(device, Ask::Insert { tokens }, Answer::Taken);
                self.recorder.answered(begun, taken);
            }
            // Whom it would have displaced, nobody knows: as any of the outcomes would have it.
            Err(_) => {
                let unknown = Operation::One(device, Ask::Insert { tokens }, Answer::Unknown);
                self.recorder.unknown(begun, unknown);
                let unknown = Operation::One(old, Ask::RemoveAsOneOfAll, Answer::Unknown);
                self.recorder.unknown(begun, unknown);
            }
        }
    }

    fn remove_all(&self, but_one: bool, device: usize) {
        let except = but_one.then_some(device);
        let begun = self.recorder.tick();
        let spared = except.map(|device| self.id(device));
        let engine = self.engine.blocking();
        match engine.remove_all_of(&self.email, spared, EndReason::EndedByUser, NOW) {
            Ok(removed) => {
                let removed = Some(Self::all(removed.iter().map(AsRef::as_ref)));
                self.recorder.answered(begun, Operation::RemoveAll { except, removed });
            }
            Err(_) => {
                self.recorder.unknown(begun, Operation::RemoveAll { except, removed: None });
            }
        }
    }

    fn list(&self) {
        let begun = self.recorder.tick();
        if let Ok(listed) = self.engine.blocking().devices_of(&self.email, NOW) {
            let listed = Self::all(listed.iter().map(AsRef::as_ref));
            self.recorder.answered(begun, Operation::List(listed));
        }
    }
}

/// Lets threads work on a user, and holds what they saw against the contract.
fn round(engine: &Engine, number: u64, failing: Option<&Disk>) {
    let recorder = Recorder::new();
    let email = support::email(&format!("user-{number}@example.org"));
    let round = Round { engine, number, email, recorder: &recorder, failing };
    let start = Barrier::new(usize::try_from(THREADS).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (round, start) = (&round, &start);
            scope.spawn(move || {
                start.wait();
                round.work(thread);
            });
        }
    });
    let history = recorder.into_events();
    for device in 0..DEVICES {
        let of_one = history.iter().filter_map(|event| {
            let operation = of_device(&event.operation, device)?;
            Some(Event { operation, begun: event.begun, ended: event.ended })
        });
        check::<Device>(&Known::Absent, of_one.collect());
    }
    let mut of_all = history;
    of_all.retain(|event| !matches!(event.operation, Operation::One(_, Ask::Get, _)));
    check::<User>(&[Known::Absent; DEVICES], of_all);
}

#[test]
fn histories_on_a_real_file_are_linearisable() {
    let place = Place::new();
    let engine = place.open();
    (0..rounds()).for_each(|number| round(&engine, number, None));
}

#[test]
fn histories_with_a_cache_that_holds_next_to_nothing_are_linearisable() {
    let place = Place::new();
    let options = place.options().cache_bytes(1500).garbage(1, 1);
    let engine = Engine::open(place.directory.path(), options).unwrap();
    (0..rounds()).for_each(|number| round(&engine, number, None));
}

#[test]
fn histories_with_syncs_that_fail_are_linearisable() {
    let disk = Disk::new();
    let options = Options::new().clock(Place::new().clock).key_ring(KeyRing::generate().unwrap());
    let engine = open_on(&disk, options.cache_bytes(1500)).unwrap();
    (0..rounds()).for_each(|number| round(&engine, number, Some(&disk)));
}
