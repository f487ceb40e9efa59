//! What the engine says otherwise than the model.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokenkeep_core::{
    Clock as _, DeviceId, Email, EndReason, Lookup, StoreError, Timestamp, TokenRecord,
};

use super::driver::Driver;
use super::input::{DEVICES, EMAILS};
use super::known::Known;
use super::state::Model;
use crate::testing::check_counts;

impl Driver {
    pub(super) fn peek(&self, device: DeviceId) -> Result<Lookup, StoreError> {
        self.reading(|| self.engine().blocking().get(device, self.clock.now()))
    }

    /// Reads, again if need be: while the file is opened anew after a write in the background
    /// failed, it cannot be read.
    fn reading<T>(&self, read: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        for _ in 0..10_000 {
            match read() {
                Err(StoreError::Unavailable(_)) if !self.disk.has_crashed() => {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                outcome => return outcome,
            }
        }
        read()
    }

    pub(super) fn something_is_due(&self) -> bool {
        !self.due().is_empty()
    }

    /// The devices that the engine may let go of at any moment.
    pub(super) fn due(&self) -> Vec<DeviceId> {
        let due = self.model.devices.iter().filter(|(_, known)| known.due_at() <= self.latest);
        due.map(|(device, _)| *device).collect()
    }

    pub(super) fn drop_what_is_forgotten(&mut self) {
        let mut model = std::mem::take(&mut self.model);
        self.forget(&mut model);
        self.model = model;
    }

    /// Records that died at some time are dropped from the model when the engine has none.
    pub(super) fn forget(&self, model: &mut Model) {
        let is_gone = |(device, known): &(&DeviceId, &Known)| {
            let may_be = known.due_at() <= self.latest && matches!(known, Known::Live { .. });
            may_be && matches!(self.peek(**device), Ok(Lookup::Absent))
        };
        let gone: Vec<_> =
            model.devices.iter().filter(is_gone).map(|(device, _)| *device).collect();
        gone.into_iter().for_each(|device| model.fade(device));
        self.find_again(model);
        for (device, known) in &mut model.devices {
            *known = self.as_it_is(*device, known.clone());
        }
    }

    /// What has faded is found again when the store is opened, if its rows are still there.
    fn find_again(&self, model: &mut Model) {
        let is_back =
            |device: &DeviceId| !matches!(self.peek(*device), Ok(Lookup::Absent) | Err(_));
        let back: Vec<_> = model.faded.keys().copied().filter(is_back).collect();
        for device in back {
            let known = model.faded.remove(&device).unwrap_or_default();
            let mut read: Vec<_> =
                known.into_iter().map(|known| self.as_it_is_read(device, known)).collect();
            let fits = |known: &Known| {
                let found = self.peek(device);
                found.is_ok_and(|f| self.is_as_expected(&f, Some(known), self.clock.now()))
            };
            let at = read.iter().position(fits).unwrap_or(0);
            model.devices.extend(read.drain(..).nth(at).map(|known| (device, known)));
        }
    }

    /// What is read of a device from the file.
    fn as_it_is_read(&self, device: DeviceId, known: Known) -> Known {
        let devices = [(device, known.clone())].into();
        let mut read = Model { devices, ..Model::default() };
        self.adopt_last_seen(&mut read, |_| true);
        read.reopen();
        read.devices.remove(&device).unwrap_or(known)
    }

    /// A record that is dead may have been ended for good: then the engine says so even of a time
    /// at which it lived.
    pub(super) fn as_it_is(&self, device: DeviceId, known: Known) -> Known {
        let (Known::Live { record, .. }, Some(alive_at)) = (&known, known.alive_at()) else {
            return known;
        };
        match self.engine().blocking().get(device, alive_at) {
            Ok(Lookup::Ended(_)) if record.is_dead(self.clock.now()) => {
                // When that was, and so when it is forgotten, is not known.
                Known::Ended { reason: EndReason::Expired, forget_at: self.latest }
            }
            _ => known,
        }
    }

    pub(super) fn compare(&mut self) {
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
        // Not always: what was only noted is to meet the next operation, too.
        if !self.disk.has_crashed() && self.tally.operations().is_multiple_of(2) {
            let engine = self.engine();
            // The writer is at rest: nothing changes under the eyes of the check.
            if engine.blocking().flush().is_ok() {
                check_counts(&engine);
            }
        }
    }

    /// What the engine says otherwise than `model`.
    pub(super) fn difference(&self, model: &Model) -> Option<String> {
        let (engine, now) = (self.engine(), self.clock.now());
        let engine = engine.blocking();
        for device in (0..DEVICES).map(|n| DeviceId::from_bytes([n; 16])) {
            let found = match self.peek(device) {
                Ok(found) => found,
                Err(error) => return Some(format!("{error:?}")),
            };
            // With the clock back, it may be told again of one that has faded.
            let is_back = now < self.latest && !matches!(found, Lookup::Live(_));
            let has_faded = is_back && model.faded.contains_key(&device);
            if !has_faded && !self.is_as_expected(&found, model.devices.get(&device), now) {
                let known = model.devices.get(&device);
                return Some(format!("{device}: engine {found:?}, model {known:?}"));
            }
        }
        let mut live = BTreeSet::new();
        let mut users = 0;
        for email in EMAILS {
            let Ok(email) = email.parse::<Email>() else { continue };
            let found = match self.reading(|| engine.devices_of(&email, now)) {
                Ok(found) => found,
                Err(error) => return Some(format!("{error:?}")),
            };
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

    pub(super) fn difference_in_lists(
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
            let page = || engine.scan(after.as_ref(), NonZeroUsize::MIN, now);
            let Ok(page) = self.reading(page) else {
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

    pub(super) fn is_as_expected(
        &self,
        found: &Lookup,
        known: Option<&Known>,
        now: Timestamp,
    ) -> bool {
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
                let is_faded = *forget_at == Timestamp::default() && now < self.latest;
                is_faded
                    || ended.reason == *reason
                        && (now < *forget_at || *reason == EndReason::Expired)
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
