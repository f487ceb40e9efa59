//! The budget of cached records. Which record is cached, its slot knows.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokenkeep_core::{DeviceId, TokenRecord};

/// Counts cached records and says which to let go of: a clock, whose hand gives everything that
/// was read since it last came by a second chance. A read costs it nothing.
#[derive(Debug)]
pub(super) struct Cache {
    budget: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A reader counts after it has cached: for a moment both may be too small by one record,
    /// and less than nothing.
    records: i64,
    bytes: i64,
    /// The hand is at the front. Devices whose record is not cached any more are skipped.
    ring: VecDeque<DeviceId>,
}

/// A device whose cached record may have to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) device: DeviceId,
    pub(super) over_budget: bool,
}

impl Cache {
    pub(super) fn new(budget: usize) -> Self {
        Self { budget: i64::try_from(budget).unwrap_or(i64::MAX), state: Mutex::default() }
    }

    /// Counts that `device` has `new` cached in place of `old`.
    pub(super) fn exchange(
        &self,
        device: DeviceId,
        old: Option<&TokenRecord>,
        new: Option<&TokenRecord>,
    ) {
        if old.is_none() && new.is_none() {
            return;
        }
        let mut state = self.state();
        state.bytes += new.map_or(0, weight) - old.map_or(0, weight);
        state.records += i64::from(new.is_some()) - i64::from(old.is_some());
        if old.is_none() {
            state.ring.push_back(device);
        }
    }

    /// The device under the hand, if something must go: the budget is exceeded, or the ring is
    /// full of devices that are not cached any more.
    pub(super) fn candidate(&self) -> Option<Candidate> {
        let mut state = self.state();
        let over_budget = state.bytes > self.budget;
        let entries = i64::try_from(state.ring.len()).unwrap_or(i64::MAX);
        if !over_budget && entries <= 2 * state.records + SLACK {
            return None;
        }
        state.ring.pop_front().map(|device| Candidate { device, over_budget })
    }

    pub(super) fn second_chance(&self, device: DeviceId) {
        self.state().ring.push_back(device);
    }

    pub(super) fn size(&self) -> (u64, u64) {
        let state = self.state();
        (state.records.max(0).unsigned_abs(), state.bytes.max(0).unsigned_abs())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a cached record takes, in bytes.
fn weight(record: &TokenRecord) -> i64 {
    let texts = record.access_token.expose().len()
        + record.refresh_token.expose().len()
        + record.token_type.as_str().len()
        + record.email.as_str().len()
        + record.client.user_agent().map_or(0, str::len);
    i64::try_from(size_of::<TokenRecord>() + texts + OVERHEAD).unwrap_or(i64::MAX)
}

/// Allocations of a record, its place in the ring.
const OVERHEAD: usize = 128;
/// Stale entries that are not worth looking for.
const SLACK: i64 = 1024;
