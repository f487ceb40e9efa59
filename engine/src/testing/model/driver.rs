//! Drives the engine and the model with the same operations, and compares.

#![expect(clippy::panic, reason = "a model that finds fault says so")]

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokenkeep_core::{
    AccessToken, Ceiling, CeilingPolicy, ClientInfo, Clock as _, DeviceId, Email, EndReason,
    HolderId, Insert, InsertOutcome, KeyRing, LeaseOutcome, Lookup, ManualClock, RefreshToken,
    Release, RemoveOutcome, ReplaceOutcome, StoreError, Timestamp, TokenRecord, TokenType, Tokens,
    Verifier, Version,
};

use super::state::{ANSWERABLE, Known, Model, Went};
use crate::testing::{Disk, check_counts, open_on};
use crate::{Engine, Options};

/// Carries out the operations that `bytes` spell, on an engine and on a model, and compares what
/// they answer, through crashes, failed syncs and clock leaps.
///
/// # Panics
/// If engine and model differ.
pub fn run_model(bytes: &[u8]) {
    let mut input = Input { bytes, at: 0 };
    let Ok(ring) = KeyRing::generate() else { return };
    let mut driver = Driver::new(ring, input.next());
    while input.at < bytes.len() {
        driver.step(&mut input);
    }
    driver.crash_if_it_comes_to_it(0);
    driver.reopen();
    driver.compare();
}

/// Bytes that decide; zeros when they are used up.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn next(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    fn device(&mut self) -> DeviceId {
        DeviceId::from_bytes([self.next() % 6; 16])
    }

    fn holder(&mut self) -> HolderId {
        HolderId::from_bytes([self.next() % 2; 16])
    }

    fn email(&mut self) -> Email {
        let texts = ["ada@example.org", "bob@example.org", "eve@example.org"];
        let text = texts.get(usize::from(self.next()) % texts.len()).unwrap_or(&"x@y");
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn reason(&mut self) -> EndReason {
        EndReason::from_code(self.next() % 7).unwrap_or(EndReason::Logout)
    }
}

struct Driver {
    disk: Disk,
    clock: Arc<ManualClock>,
    ring: KeyRing,
    cache_bytes: usize,
    engine: Option<Engine>,
    model: Model,
    /// The latest time that the wall clock ever told: what was due by then may be forgotten.
    latest: Timestamp,
    counter: u64,
}

impl Driver {
    fn new(ring: KeyRing, settings: u8) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000)));
        let cache_bytes = if settings & 1 == 0 { 0 } else { 1 << 20 };
        let latest = clock.now();
        let disk = Disk::new();
        let model = Model::default();
        let mut driver =
            Self { disk, clock, ring, cache_bytes, engine: None, model, latest, counter: 0 };
        driver.engine = Some(driver.open());
        driver
    }

    fn open(&self) -> Engine {
        let options = Options::new()
            .clock(Arc::clone(&self.clock) as Arc<dyn tokenkeep_core::Clock>)
            .key_ring(self.ring.clone())
            .cache_bytes(self.cache_bytes)
            .page_cache_bytes(1 << 20)
            .garbage(1, 1)
            .answerable(ANSWERABLE);
        open_on(&self.disk, options).unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn engine(&self) -> Engine {
        self.engine.clone().unwrap_or_else(|| panic!("the engine is open"))
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let seed = u64::from(input.next());
        self.crash_if_it_comes_to_it(seed);
        self.drop_what_is_forgotten();
        match input.next() % 20 {
            0..=3 => self.insert(input),
            4..=6 => self.replace(input),
            7 => self.remove(input),
            8 => self.remove_all_of(input),
            9 | 10 => self.touch(input),
            11 => self.lease(input),
            12 => self.lease_ends(input),
            13 => self.pass(Duration::from_secs(u64::from(input.next()) * 300)),
            14 => self.pass(Duration::from_secs(u64::from(input.next() % 40) * 86_400)),
            15 => self.leap(input),
            16 => self.upkeep(input),
            17 => self.reopen(),
            18 => self.disk.crash_after(u64::from(input.next() % 64)),
            _ => self.disk.fail_next_sync(),
        }
        if !self.disk.has_crashed() {
            self.compare();
        }
    }

    fn record(&mut self, input: &mut Input<'_>, device: DeviceId, email: Email) -> TokenRecord {
        self.counter += 1;
        let now = self.clock.now();
        let (hours, limits) = (u64::from(input.next()) + 1, input.next());
        let hour = Duration::from_secs(3600);
        let token = format!("canary-{}", self.counter);
        let count = self.counter.to_le_bytes().first().copied().unwrap_or(0);
        TokenRecord {
            device_id: device,
            version: Version::from_number(99),
            verifier: Verifier::from_bytes([count; 32]),
            email,
            token_type: TokenType::default(),
            access_token: AccessToken::new(token.clone()).unwrap_or_else(|e| panic!("{e}")),
            access_issued_at: now,
            access_expires_at: now + hour,
            refresh_token: RefreshToken::new(token).unwrap_or_else(|e| panic!("{e}")),
            refresh_expires_at: now + hour * u32::try_from(hours).unwrap_or(1),
            created_at: now,
            last_seen_at: now,
            previous_visit_at: None,
            absolute_expires_at: (limits & 1 == 1).then(|| now + 100 * hour),
            idle_limit: (limits & 2 == 2).then_some(20 * hour),
            client: ClientInfo::new(Some("model"), None),
            label: None,
            refresh_intent: None,
        }
    }

    fn insert(&mut self, input: &mut Input<'_>) {
        let (device, email) = (input.device(), input.email());
        let record = self.record(input, device, email);
        let replaces = (input.next() & 1 == 1).then(|| input.device());
        let ceiling = match input.next() % 4 {
            0 => Some(CeilingPolicy::Reject),
            1 => Some(CeilingPolicy::EvictLeastRecentlySeen),
            _ => None,
        };
        let devices = NonZeroUsize::MIN.saturating_add(1);
        let ceiling = ceiling.map(|policy| Ceiling { devices, policy });
        let insert = Insert { record, replaces, ceiling };
        let now = self.clock.now();
        let outcome = self.engine().blocking().insert(insert.clone(), now);
        let went = outcome.map(|outcome| match outcome {
            InsertOutcome::Taken => Went::Taken,
            InsertOutcome::CeilingReached => Went::Ceiling,
            InsertOutcome::Inserted { displaced, .. } => Went::Ended(
                displaced.iter().map(|ended| (ended.record.device_id, ended.reason)).collect(),
            ),
        });
        let mut bases = vec![self.model.clone()];
        if self.may_be_forgotten(device) {
            // The id may be free again.
            let mut without = self.model.clone();
            without.devices.remove(&device);
            bases.push(without);
        }
        self.settle_among(bases, went, move |model| model.insert(insert.clone(), now));
    }

    fn replace(&mut self, input: &mut Input<'_>) {
        let device = input.device();
        let known = self.model.live(device, self.clock.now()).cloned();
        let email = known.as_ref().map_or_else(|| input.email(), |record| record.email.clone());
        let mut record = self.record(input, device, email);
        let mut expected = Version::FIRST;
        if let Some(known) = &known {
            (record.created_at, expected) = (known.created_at, known.version);
            record.verifier = known.verifier;
        }
        if input.next().is_multiple_of(4) {
            expected = expected.next();
        }
        if input.next().is_multiple_of(4) {
            record.last_seen_at = record.created_at;
        }
        let tokens = if input.next() & 1 == 1 { Tokens::Renewed } else { Tokens::Kept };
        let now = self.clock.now();
        let outcome = self.engine().blocking().replace(expected, record.clone(), tokens, now);
        let went = outcome.map(|outcome| match outcome {
            ReplaceOutcome::Replaced(_) => Went::Done,
            ReplaceOutcome::Conflict(_) => Went::Conflict,
            ReplaceOutcome::Gone(reason) => Went::Gone(reason),
        });
        self.settle(went, move |model| model.replace(expected, record.clone(), tokens, now));
    }

    fn remove(&mut self, input: &mut Input<'_>) {
        let (device, reason) = (input.device(), input.reason());
        let expected = (input.next() & 1 == 1).then_some(Version::FIRST);
        let now = self.clock.now();
        let outcome = self.engine().blocking().remove(device, expected, reason, now);
        let went = outcome.map(|outcome| match outcome {
            RemoveOutcome::Removed(_) => Went::Done,
            RemoveOutcome::Conflict(_) => Went::Conflict,
            RemoveOutcome::Gone(reason) => Went::Gone(reason),
        });
        self.settle(went, move |model| model.remove(device, expected, reason, now));
    }

    fn remove_all_of(&mut self, input: &mut Input<'_>) {
        let (email, reason) = (input.email(), input.reason());
        let except = (input.next() & 1 == 1).then(|| input.device());
        let now = self.clock.now();
        let outcome = self.engine().blocking().remove_all_of(&email, except, reason, now);
        let went = outcome.map(|removed| {
            Went::Ended(removed.iter().map(|record| (record.device_id, reason)).collect())
        });
        self.settle(went, move |model| model.remove_all_of(&email, except, reason, now));
    }

    fn touch(&mut self, input: &mut Input<'_>) {
        let (device, now) = (input.device(), self.clock.now());
        let went = self.engine().blocking().touch(device, now).map(|()| Went::Done);
        self.settle(went, move |model| {
            model.touch(device, now);
            Went::Done
        });
    }

    fn lease(&mut self, input: &mut Input<'_>) {
        let (device, holder, now) = (input.device(), input.holder(), self.clock.now());
        let version = self.model.live(device, now).map_or(Version::FIRST, |r| r.version);
        let expected = if input.next().is_multiple_of(8) { version.next() } else { version };
        let until = now + Duration::from_secs(u64::from(input.next()) * 10);
        let outcome = self.engine().blocking().lease(device, expected, holder, until, now);
        let failed = outcome.is_err();
        let went = outcome.map(|outcome| match outcome {
            LeaseOutcome::Granted(_) => Went::Done,
            LeaseOutcome::Held { until } => Went::Held(until),
            LeaseOutcome::Conflict(_) => Went::Conflict,
            LeaseOutcome::Gone(reason) => Went::Gone(reason),
        });
        self.settle(went, move |model| {
            let went = model.lease(device, expected, holder, until, now);
            if let (true, Went::Done, Some(Known::Live { record, .. })) =
                (failed, &went, model.devices.get_mut(&device))
                && let Some(intent) = &mut record.refresh_intent
            {
                // It is on the disk, and who asked for it does not know.
                (intent.leased_until, intent.uncertain) = (Timestamp::default(), true);
            }
            went
        });
    }

    fn lease_ends(&mut self, input: &mut Input<'_>) {
        let (device, holder, now) = (input.device(), input.holder(), self.clock.now());
        let until = now + Duration::from_secs(60);
        let engine = self.engine();
        let release = match input.next() % 3 {
            0 => {
                let went = engine.blocking().extend_lease(device, holder, until, now);
                let went = went.map(Went::Answer);
                return self
                    .settle(went, move |model| model.extend_lease(device, holder, until, now));
            }
            1 => Release::NotSent,
            _ => Release::Uncertain,
        };
        let went = engine.blocking().release(device, holder, release, now).map(|()| Went::Done);
        self.settle(went, move |model| {
            model.release(device, holder, release, now);
            Went::Done
        });
    }

    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.wait_for_the_writer();
    }

    /// Afterwards the writer has seen the clock as it is.
    fn wait_for_the_writer(&mut self) {
        self.latest = self.latest.max(self.clock.now());
        // A failure shows in the next comparison.
        let _ = self.engine().blocking().flush();
    }

    fn leap(&mut self, input: &mut Input<'_>) {
        let by = Duration::from_secs(u64::from(input.next()) * 3600);
        let now = self.clock.now();
        let ahead = input.next() & 1 == 1;
        self.clock.leap_to(if ahead { now + by } else { now.saturating_sub(by) });
        self.wait_for_the_writer();
    }

    fn upkeep(&mut self, input: &mut Input<'_>) {
        let engine = self.engine();
        let now = self.clock.now();
        let outcome = match input.next() % 4 {
            0 => engine.blocking().flush(),
            1 => engine.blocking().compact(),
            _ => {
                let limit = usize::from(input.next() % 4);
                let freed = engine.blocking().purge_expired(limit, now);
                if let Ok(freed) = &freed {
                    assert!(*freed <= limit, "freed {freed} of at most {limit}");
                }
                freed.map(|_| ())
            }
        };
        self.settle(outcome.map(|()| Went::Done), |_| Went::Done);
    }

    /// Compares an answer with the model's. After an error, what was asked for was done or not.
    fn settle(&mut self, went: Result<Went, StoreError>, operation: impl Fn(&mut Model) -> Went) {
        self.settle_among(vec![self.model.clone()], went, operation);
    }

    /// As [`Driver::settle`], if the store may be in one of several states.
    fn settle_among(
        &mut self,
        bases: Vec<Model>,
        went: Result<Went, StoreError>,
        operation: impl Fn(&mut Model) -> Went,
    ) {
        let after = |base: &Model| {
            let mut after = base.clone();
            (operation(&mut after), after)
        };
        let outcomes: Vec<_> = bases.iter().map(after).collect();
        match went {
            Ok(went) => {
                let fits = |expected: &Went| {
                    // Why a session ended is forgotten with it.
                    let forgotten = went == Went::Gone(None) && matches!(expected, Went::Gone(_));
                    went == *expected || forgotten && self.something_is_due()
                };
                let found = outcomes.iter().find(|(expected, _)| fits(expected));
                let Some((_, after)) = found else {
                    panic!("engine {went:?}, model {:?}", outcomes.first().map(|o| &o.0));
                };
                self.model = after.clone();
            }
            Err(StoreError::Unavailable(_)) => {
                let afters = outcomes.into_iter().map(|(_, after)| after);
                let candidates = bases.into_iter().chain(afters).collect();
                if self.disk.has_crashed() {
                    self.restart(candidates, self.counter);
                } else {
                    self.choose(candidates);
                }
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn crash_if_it_comes_to_it(&mut self, seed: u64) {
        if self.disk.has_crashed() {
            self.restart(vec![self.model.clone()], seed);
        }
    }

    /// Turns the power on again, and finds out in which of the states the store is.
    fn restart(&mut self, mut candidates: Vec<Model>, seed: u64) {
        self.engine = None;
        self.disk.restart(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.engine = Some(self.open());
        for candidate in &mut candidates {
            self.adopt_last_seen(candidate);
            candidate.reopen();
        }
        self.choose(candidates);
    }

    /// A touch may be lost, and nothing else.
    fn adopt_last_seen(&self, model: &mut Model) {
        for (device, known) in &mut model.devices {
            let Known::Live { record, synced_last_seen_at } = known else { continue };
            let mut lost = record.clone();
            lost.last_seen_at = *synced_last_seen_at;
            match self.peek(*device) {
                Ok(Lookup::Live(found))
                    if (lost.last_seen_at..=record.last_seen_at).contains(&found.last_seen_at) =>
                {
                    record.last_seen_at = found.last_seen_at;
                    record.previous_visit_at = found.previous_visit_at;
                }
                Ok(Lookup::Ended(ended))
                    if ended.reason == EndReason::Expired
                        && !record.is_dead(self.clock.now())
                        && lost.is_dead(self.clock.now()) =>
                {
                    *record = lost;
                }
                _ => {}
            }
        }
    }

    fn choose(&mut self, candidates: Vec<Model>) {
        let mut differences = Vec::new();
        for mut candidate in candidates {
            self.forget(&mut candidate);
            match self.difference(&candidate) {
                None => {
                    self.model = candidate;
                    return;
                }
                Some(difference) => differences.push(difference),
            }
        }
        panic!("neither before nor after: {differences:#?}");
    }

    fn reopen(&mut self) {
        let closed = self.engine().blocking().close();
        if self.disk.has_crashed() {
            self.crash_if_it_comes_to_it(self.counter);
            return;
        }
        self.engine = None;
        self.disk.stay_up();
        if closed.is_err() {
            // What was noted and not written is lost, as in a crash.
            self.restart(vec![self.model.clone()], self.counter);
            return;
        }
        self.engine = Some(self.open());
        self.model.reopen();
    }

    fn peek(&self, device: DeviceId) -> Result<Lookup, StoreError> {
        self.engine().blocking().get(device, self.clock.now())
    }

    fn may_be_forgotten(&self, device: DeviceId) -> bool {
        self.model.devices.get(&device).is_some_and(|known| known.due_at() <= self.latest)
    }

    fn something_is_due(&self) -> bool {
        self.model.devices.values().any(|known| known.due_at() <= self.latest)
    }

    fn drop_what_is_forgotten(&mut self) {
        let mut model = std::mem::take(&mut self.model);
        self.forget(&mut model);
        self.model = model;
    }

    /// Records that died at some time are dropped from the model when the engine has none.
    fn forget(&self, model: &mut Model) {
        model.devices.retain(|device, known| {
            let gone = || matches!(self.peek(*device), Ok(Lookup::Absent));
            !(known.due_at() <= self.latest && matches!(known, Known::Live { .. }) && gone())
        });
    }

    fn compare(&mut self) {
        self.drop_what_is_forgotten();
        if self.disk.has_crashed() {
            return;
        }
        let difference = self.difference(&self.model);
        if let Some(difference) = difference
            && !self.disk.has_crashed()
        {
            panic!("{difference}");
        }
        if !self.disk.has_crashed() {
            let engine = self.engine();
            // The writer is at rest: nothing changes under the eyes of the check.
            if engine.blocking().flush().is_ok() {
                check_counts(&engine);
            }
        }
    }

    /// What the engine says otherwise than `model`.
    fn difference(&self, model: &Model) -> Option<String> {
        let (engine, now) = (self.engine(), self.clock.now());
        let engine = engine.blocking();
        for device in (0..6).map(|n| DeviceId::from_bytes([n; 16])) {
            let found = match engine.get(device, now) {
                Ok(found) => found,
                Err(error) => return Some(format!("{error:?}")),
            };
            if !self.is_as_expected(&found, model.devices.get(&device), now) {
                let known = model.devices.get(&device);
                return Some(format!("{device}: engine {found:?}, model {known:?}"));
            }
        }
        let mut live = BTreeSet::new();
        let mut users = 0;
        for email in ["ada@example.org", "bob@example.org", "eve@example.org"] {
            let Ok(email) = email.parse::<Email>() else { continue };
            let found = engine.devices_of(&email, now).unwrap_or_default();
            let found: Vec<_> = found.iter().map(|record| record.device_id).collect();
            let expected: Vec<_> =
                model.live_of(&email, now).iter().map(|record| record.device_id).collect();
            if found != expected {
                return Some(format!("{email}: engine {found:?}, model {expected:?}"));
            }
            users += u64::from(!expected.is_empty());
            live.extend(expected);
        }
        self.difference_in_lists(model, &live, users)
    }

    fn difference_in_lists(
        &self,
        model: &Model,
        live: &BTreeSet<DeviceId>,
        users: u64,
    ) -> Option<String> {
        let (engine, now) = (self.engine(), self.clock.now());
        let engine = engine.blocking();
        let open: BTreeSet<_> = engine.open_intents(now).unwrap_or_default().into_iter().collect();
        let is_open = |device: &DeviceId| {
            let intent = model.live(*device, now).and_then(|record| record.refresh_intent);
            intent.is_some_and(|intent| !intent.is_held(now))
        };
        let expected: BTreeSet<_> = live.iter().copied().filter(is_open).collect();
        if open != expected {
            return Some(format!("open intents: engine {open:?}, model {expected:?}"));
        }
        let mut scanned = BTreeSet::new();
        let mut after = None;
        loop {
            let Ok(page) = engine.scan(after.as_ref(), NonZeroUsize::MIN, now) else {
                return Some("the walk failed".into());
            };
            scanned.extend(page.records.iter().map(|record| record.device_id));
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        if scanned != *live {
            return Some(format!("walk: engine {scanned:?}, model {live:?}"));
        }
        let stats = engine.stats(now).unwrap_or_default();
        let expected = (u64::try_from(live.len()).unwrap_or(0), users);
        // While the clock is back, records that were counted out may be in again.
        if now >= self.latest && (stats.devices, stats.users) != expected {
            return Some(format!("stats: engine {stats:?}, model {expected:?}"));
        }
        None
    }

    fn is_as_expected(&self, found: &Lookup, known: Option<&Known>, now: Timestamp) -> bool {
        match (found, known) {
            (Lookup::Live(found), Some(Known::Live { record, .. })) => {
                !record.is_dead(now) && shown(found) == shown(record)
            }
            (Lookup::Ended(ended), Some(Known::Live { record, .. })) => {
                ended.reason == EndReason::Expired
                    && record.is_dead(now)
                    && ended.verifier.matches(&record.verifier)
            }
            (Lookup::Ended(ended), Some(Known::Ended { reason, forget_at })) => {
                ended.reason == *reason && now < *forget_at
            }
            (Lookup::Absent, Some(known)) => known.due_at() <= self.latest,
            (Lookup::Absent, None) => true,
            _ => false,
        }
    }
}

/// Everything of a record, tokens included.
fn shown(record: &TokenRecord) -> String {
    let verifier = record.verifier.as_bytes();
    let (access, refresh) = (record.access_token.expose(), record.refresh_token.expose());
    format!("{record:?} {verifier:?} {access} {refresh}")
}
