//! The operations, carried out on the engine and on the model.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokenkeep_core::{
    AccessToken, Ceiling, CeilingPolicy, ClientInfo, Clock as _, DeviceId, Email, Insert,
    InsertOutcome, LeaseOutcome, RefreshToken, Release, RemoveOutcome, ReplaceOutcome, Timestamp,
    TokenRecord, TokenType, Tokens, Verifier, Version,
};

use super::driver::Driver;
use super::input::Input;
use super::state::{Known, Went};

impl Driver {
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

    pub(super) fn insert(&mut self, input: &mut Input<'_>) {
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

    pub(super) fn replace(&mut self, input: &mut Input<'_>) {
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

    pub(super) fn remove(&mut self, input: &mut Input<'_>) {
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

    pub(super) fn remove_all_of(&mut self, input: &mut Input<'_>) {
        let (email, reason) = (input.email(), input.reason());
        let except = (input.next() & 1 == 1).then(|| input.device());
        let now = self.clock.now();
        let outcome = self.engine().blocking().remove_all_of(&email, except, reason, now);
        let went = outcome.map(|removed| {
            Went::Ended(removed.iter().map(|record| (record.device_id, reason)).collect())
        });
        self.settle(went, move |model| model.remove_all_of(&email, except, reason, now));
    }

    pub(super) fn touch(&mut self, input: &mut Input<'_>) {
        let (device, now) = (input.device(), self.clock.now());
        let went = self.engine().blocking().touch(device, now).map(|()| Went::Done);
        self.settle(went, move |model| {
            model.touch(device, now);
            Went::Done
        });
    }

    pub(super) fn lease(&mut self, input: &mut Input<'_>) {
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

    pub(super) fn lease_ends(&mut self, input: &mut Input<'_>) {
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
}
