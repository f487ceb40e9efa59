//! The operations, for the engine and for the model.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokenkeep_core::{
    AccessToken, Ceiling, CeilingPolicy, ClientInfo, DeviceId, Email, HolderId, Insert,
    InsertOutcome, LeaseOutcome, RefreshToken, Release, RemoveOutcome, ReplaceOutcome, TokenRecord,
    TokenStore as _, TokenType, Tokens, Verifier, Version,
};

use super::call::Call;
use super::driver::Driver;
use super::input::Input;
use super::state::Went;

impl Driver {
    pub(super) fn call(&mut self, input: &mut Input<'_>) -> Call {
        match input.next() % 16 {
            0..=3 => self.insert(input),
            4..=6 => self.replace(input),
            7 => self.remove(input),
            8 => self.remove_all_of(input),
            9 | 10 => self.touch(input),
            11..=13 => self.lease(input),
            _ => self.lease_ends(input),
        }
    }

    /// A device, more often than not one that has a live record.
    fn device(&self, input: &mut Input<'_>) -> DeviceId {
        let any = input.device();
        let is_live = |device: &&DeviceId| self.model.live(**device, self.now()).is_some();
        let at = usize::from(input.next());
        let count = self.model.devices.keys().filter(is_live).count();
        let live = (at % 4 > 0 && count > 0).then(|| at / 4 % count);
        live.and_then(|at| self.model.devices.keys().filter(is_live).nth(at))
            .copied()
            .unwrap_or(any)
    }

    /// Who holds the lease of `device`, or somebody.
    fn holder(&self, device: DeviceId, input: &mut Input<'_>) -> HolderId {
        let any = input.holder();
        let intent = self.model.live(device, self.now()).and_then(|record| record.refresh_intent);
        intent.filter(|_| !input.next().is_multiple_of(4)).map_or(any, |intent| intent.holder)
    }

    fn record(&mut self, input: &mut Input<'_>, device: DeviceId, email: Email) -> TokenRecord {
        self.counter += 1;
        let now = self.now();
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

    fn insert(&mut self, input: &mut Input<'_>) -> Call {
        let (device, email) = (input.device(), input.email());
        let record = self.record(input, device, email);
        let replaces = (input.next() & 1 == 1).then(|| input.device());
        let limits = input.next();
        let policy = match limits % 4 {
            0 => Some(CeilingPolicy::Reject),
            1 | 2 => Some(CeilingPolicy::EvictLeastRecentlySeen),
            _ => None,
        };
        let devices = NonZeroUsize::MIN.saturating_add(usize::from(limits / 4 % 4));
        let ceiling = policy.map(|policy| Ceiling { devices, policy });
        let insert = Insert { record, replaces, ceiling };
        let (engine, now, login) = (self.engine(), self.now(), insert.clone());
        let answer = async move {
            engine.insert(login, now).await.map(|outcome| match outcome {
                InsertOutcome::Taken => Went::Taken,
                InsertOutcome::CeilingReached => Went::Ceiling,
                InsertOutcome::Inserted { displaced, .. } => Went::Ended(
                    displaced.iter().map(|ended| (ended.record.device_id, ended.reason)).collect(),
                ),
            })
        };
        let call = Call::new("insert", answer, move |model| model.insert(insert.clone(), now));
        Call { makes: Some(device), ..call }
    }

    fn replace(&mut self, input: &mut Input<'_>) -> Call {
        let (device, now) = (self.device(input), self.now());
        let known = self.model.live(device, now).cloned();
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
        let (engine, new) = (self.engine(), record.clone());
        let answer = async move {
            engine.replace(expected, new, tokens, now).await.map(|outcome| match outcome {
                ReplaceOutcome::Replaced(_) => Went::Done,
                ReplaceOutcome::Conflict(_) => Went::Conflict,
                ReplaceOutcome::Gone(reason) => Went::Gone(reason),
            })
        };
        let on_model = move |model: &mut super::state::Model| {
            model.replace(expected, record.clone(), tokens, now)
        };
        Call::new("replace", answer, on_model)
    }

    fn remove(&mut self, input: &mut Input<'_>) -> Call {
        let (device, reason) = (self.device(input), input.reason());
        let expected = (input.next() & 1 == 1).then_some(Version::FIRST);
        let (engine, now) = (self.engine(), self.now());
        let answer = async move {
            engine.remove(device, expected, reason, now).await.map(|outcome| match outcome {
                RemoveOutcome::Removed(_) => Went::Done,
                RemoveOutcome::Conflict(_) => Went::Conflict,
                RemoveOutcome::Gone(reason) => Went::Gone(reason),
            })
        };
        Call::new("remove", answer, move |model| model.remove(device, expected, reason, now))
    }

    fn remove_all_of(&mut self, input: &mut Input<'_>) -> Call {
        let (email, reason) = (input.email(), input.reason());
        let except = (input.next() & 1 == 1).then(|| self.device(input));
        let (engine, now, user) = (self.engine(), self.now(), email.clone());
        let answer = async move {
            let removed = engine.remove_all_of(&user, except, reason, now).await?;
            Ok(Went::Ended(removed.iter().map(|record| (record.device_id, reason)).collect()))
        };
        let on_model =
            move |model: &mut super::state::Model| model.remove_all_of(&email, except, reason, now);
        Call::new("remove_all_of", answer, on_model)
    }

    fn touch(&mut self, input: &mut Input<'_>) -> Call {
        let (engine, device, now) = (self.engine(), self.device(input), self.now());
        let answer = async move { engine.touch(device, now).await.map(|()| Went::Done) };
        Call::new("touch", answer, move |model| {
            model.touch(device, now);
            Went::Done
        })
    }

    fn lease(&mut self, input: &mut Input<'_>) -> Call {
        let (device, holder, now) = (self.device(input), input.holder(), self.now());
        let version = self.model.live(device, now).map_or(Version::FIRST, |r| r.version);
        let expected = if input.next().is_multiple_of(8) { version.next() } else { version };
        let until = now + Duration::from_secs(u64::from(input.next()) * 10);
        let engine = self.engine();
        let answer = async move {
            engine.lease(device, expected, holder, until, now).await.map(|outcome| match outcome {
                LeaseOutcome::Granted(_) => Went::Done,
                LeaseOutcome::Held { until } => Went::Held(until),
                LeaseOutcome::Conflict(_) => Went::Conflict,
                LeaseOutcome::Gone(reason) => Went::Gone(reason),
            })
        };
        Call::new("lease", answer, move |model| model.lease(device, expected, holder, until, now))
    }

    fn lease_ends(&mut self, input: &mut Input<'_>) -> Call {
        let (device, now) = (self.device(input), self.now());
        let holder = self.holder(device, input);
        let engine = self.engine();
        let (name, release) = match input.next() % 3 {
            0 => {
                let until = now + Duration::from_secs(60);
                let answer = async move {
                    engine.extend_lease(device, holder, until, now).await.map(Went::Answer)
                };
                return Call::new("extend_lease", answer, move |model| {
                    model.extend_lease(device, holder, until, now)
                });
            }
            1 => ("release unsent", Release::NotSent),
            _ => ("release uncertain", Release::Uncertain),
        };
        let answer =
            async move { engine.release(device, holder, release, now).await.map(|()| Went::Done) };
        Call::new(name, answer, move |model| {
            model.release(device, holder, release, now);
            Went::Done
        })
    }
}
