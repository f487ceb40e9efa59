//! Carries a script out on an engine, and knows what must be there.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokenkeep::core::keyring::RingError;
use tokenkeep::testing::{Disk, open_on};
use tokenkeep::{
    Ceiling, CeilingPolicy, Clock as _, EndReason, Engine, Insert, InsertOutcome, KeyRing,
    LeaseOutcome, ManualClock, OpenError, Options, Release, RemoveOutcome, ReplaceOutcome,
    StoreError, Timestamp, Tokens, Version,
};

use super::expected::{Doubt, Expected};
use super::{ANSWERABLE, Login, Step};
use crate::support::{HOUR, device, email, holder};

/// A store that a script is carried out on.
pub(crate) struct Run {
    pub(crate) disk: Disk,
    pub(crate) ring: KeyRing,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) engine: Option<Engine>,
    pub(crate) expected: Expected,
    memory: Memory,
    eager: bool,
}

/// How much of the file an engine may keep in memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) records: usize,
    pub(crate) pages: usize,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) memory: Memory,
    /// Garbage goes at once.
    pub(crate) eager: bool,
    /// All of it is checked.
    pub(crate) verify: bool,
}

impl Run {
    pub(crate) fn new(memory: Memory) -> Self {
        let now = Timestamp::from_unix_seconds(1_700_000_000);
        let mut run = Self {
            disk: Disk::new(),
            ring: KeyRing::generate().unwrap(),
            clock: Arc::new(ManualClock::new(now)),
            engine: None,
            expected: Expected::new(now),
            memory,
            eager: true,
        };
        run.engine = Some(run.try_open().unwrap());
        run
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<Engine, OpenError> {
        let manner = Manner { memory: self.memory, eager: self.eager, verify: false };
        open(&self.disk, &self.ring, self.clock.clone(), manner)
    }

    /// What must be there after `step`, and may be there while it is under way.
    pub(crate) fn doubt<'a>(after: &'a Expected, step: &Step) -> Doubt<'a> {
        Doubt { after, apart: matches!(step, Step::Together(_)) }
    }

    /// Carries `step` out. `told` hears which part of it was acknowledged.
    pub(crate) fn step(
        &mut self,
        step: &Step,
        told: &(impl Fn(usize) + Sync),
    ) -> Result<(), StoreError> {
        let after = self.expected.after(step);
        match step {
            Step::Together(parts) => self.together(parts, told)?,
            Step::Pass(time) => self.clock.advance(*time),
            Step::Reopen { eager } => {
                self.eager = *eager;
                self.reopen()?;
            }
            step => self.operate(step)?,
        }
        self.expected = after;
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        if let Some(engine) = self.engine.take() {
            engine.blocking().close()?;
        }
        self.engine = Some(self.try_open().map_err(StoreError::unavailable)?);
        Ok(())
    }

    fn together(&self, parts: &[Step], told: &(impl Fn(usize) + Sync)) -> Result<(), StoreError> {
        let missing = parts.iter().enumerate().filter(|(_, part)| !self.is_done(part));
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let carry_out = |(at, part)| {
                self.operate(part)?;
                told(at);
                Ok::<_, StoreError>(())
            };
            let threads: Vec<_> =
                missing.map(|part| scope.spawn(move || carry_out(part))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        outcomes.into_iter().collect()
    }

    /// Whether a part of what was tried before is there already.
    fn is_done(&self, part: &Step) -> bool {
        let after = self.expected.after(part);
        let one = |expected: &Expected| {
            let mut one = expected.clone();
            let n = match part {
                Step::Login(Login { n, .. }) | Step::Renew { n, .. } | Step::Label { n, .. } => n,
                Step::Logout { n } => n,
                other => panic!("not in parallel: {other:?}"),
            };
            one.sessions.retain(|number, _| number == n);
            one
        };
        one(&after).has_all(self.engine()) && !one(&self.expected).has_all(self.engine())
    }

    /// Does what the step says, and checks the answer.
    fn operate(&self, step: &Step) -> Result<(), StoreError> {
        let (engine, now) = (self.engine().blocking(), self.clock.now());
        let expected = &self.expected;
        match step {
            Step::Login(login) => self.log_in(login)?,
            Step::Lease { n } => {
                let (version, until) = (expected.clone().live(*n).version, now + HOUR / 60);
                let outcome = engine.lease(device(*n), version, holder(*n), until, now)?;
                assert!(matches!(outcome, LeaseOutcome::Granted(_)), "{step:?}: {outcome:?}");
            }
            Step::Release { n, sent } => {
                let release = if *sent { Release::Uncertain } else { Release::NotSent };
                engine.release(device(*n), holder(*n), release, now)?;
            }
            Step::Renew { n, life } => {
                let record = expected.renewed(*n, now + *life);
                let before = expected.clone().live(*n).version;
                let outcome = engine.replace(before, record, Tokens::Renewed, now)?;
                assert!(matches!(outcome, ReplaceOutcome::Replaced(_)), "{step:?}: {outcome:?}");
            }
            Step::RenewStale { n } => {
                let record = expected.renewed(*n, now + HOUR);
                let stale = Version::from_number(expected.clone().live(*n).version.number() - 1);
                let outcome = engine.replace(stale, record, Tokens::Renewed, now)?;
                assert!(matches!(outcome, ReplaceOutcome::Conflict(_)), "{step:?}: {outcome:?}");
            }
            Step::Label { n, label } => {
                let record = expected.labelled(*n, label);
                let before = expected.clone().live(*n).version;
                let outcome = engine.replace(before, record, Tokens::Kept, now)?;
                assert!(matches!(outcome, ReplaceOutcome::Replaced(_)), "{step:?}: {outcome:?}");
            }
            Step::Touch { n } => {
                engine.touch(device(*n), now)?;
                engine.flush()?;
            }
            Step::Logout { n } => {
                let outcome = engine.remove(device(*n), None, EndReason::Logout, now)?;
                assert!(matches!(outcome, RemoveOutcome::Removed(_)), "{step:?}: {outcome:?}");
            }
            Step::EndAll { user, except, ends } => {
                let (user, except) = (email(user), except.map(device));
                let ended = engine.remove_all_of(&user, except, EndReason::EndedByUser, now)?;
                assert_eq!(ended.len(), ends.len(), "{step:?}: {ended:?}");
            }
            Step::Purge { limit } => {
                let freed = engine.purge_expired(*limit, now)?;
                assert!(freed <= *limit, "{step:?}: {freed}");
            }
            Step::Compact => engine.compact()?,
            Step::Rotate => {
                let rotated = self.ring.rotated().unwrap();
                // As a ring in a file: the next start has it.
                self.ring.take_up(&rotated);
                engine.take_ring(rotated).map_err(store_error)?;
            }
            Step::Reseal => {
                match engine.reseal(|_| true) {
                    // What a failing disk did not give waits until the store is opened anew.
                    Err(RingError::Unreadable(_)) if self.disk.has_failed() => return Ok(()),
                    resealed => resealed.map_err(store_error)?,
                }
                for key in self.ring.ids().skip(1) {
                    engine.retire(key).map_err(store_error)?;
                }
            }
            Step::Together(_) | Step::Pass(_) | Step::Reopen { .. } => panic!("{step:?}"),
        }
        Ok(())
    }

    fn log_in(&self, login: &Login) -> Result<(), StoreError> {
        let mut after = self.expected.after(&Step::Login(login.clone()));
        let record = after.live(login.n).clone();
        let ceiling = login.ceiling.map(|devices| Ceiling {
            devices: NonZeroUsize::new(devices).unwrap(),
            policy: CeilingPolicy::EvictLeastRecentlySeen,
        });
        let insert = Insert { record, replaces: login.replaces.map(device), ceiling };
        match self.engine().blocking().insert(insert, self.clock.now())? {
            InsertOutcome::Inserted { displaced, .. } => {
                let displaced: Vec<_> =
                    displaced.iter().map(|ended| (ended.record.device_id, ended.reason)).collect();
                let ends: Vec<_> = login.ends.iter().map(|(n, why)| (device(*n), *why)).collect();
                assert_eq!(displaced, ends, "{login:?}");
            }
            other => panic!("{login:?}: {other:?}"),
        }
        Ok(())
    }
}

impl Expected {
    fn has_all(&self, engine: &Engine) -> bool {
        self.sessions.iter().all(|(n, session)| {
            let found = engine.blocking().get(device(*n), self.now);
            found.is_ok_and(|found| super::expected::fits(&found, Some(session), self.now))
        }) && !self.sessions.is_empty()
    }
}

#[track_caller]
fn store_error(error: RingError) -> StoreError {
    match error {
        RingError::Store(error) => error,
        other => panic!("{other:?}"),
    }
}

/// Opens what is on `disk`.
pub(crate) fn open(
    disk: &Disk,
    ring: &KeyRing,
    clock: Arc<ManualClock>,
    manner: Manner,
) -> Result<Engine, OpenError> {
    let (percent, rows) = if manner.eager { (1, 1) } else { (100, u64::MAX) };
    let options = Options::new()
        .clock(clock)
        .key_ring(ring.clone())
        .garbage(percent, rows)
        .answerable(ANSWERABLE)
        .cache_bytes(manner.memory.records)
        .page_cache_bytes(manner.memory.pages)
        .verify(manner.verify);
    open_on(disk, options)
}
