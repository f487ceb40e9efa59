//! What the index keeps of one device: as little as possible, because there are millions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Lists;
use tokenkeep_core::codec::RecordHeader;
use tokenkeep_core::{EndReason, RefreshIntent, Timestamp, TokenRecord, Verifier, Version};

/// What is known of one device.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    /// The newest row is a record, be it expired.
    Live(LiveSlot),
    /// The newest row is a tombstone.
    Ended(EndedSlot),
}

/// A device whose newest row is a record.
#[derive(Clone, Debug)]
pub(crate) struct LiveSlot {
    /// The row of the record.
    pub(crate) seq: u64,
    pub(crate) version: Version,
    pub(crate) last_seen_at: Timestamp,
    /// [`FIRST_VISIT`] if there was none: an option would take eight bytes more.
    previous_visit_at: Timestamp,
    /// The end that does not depend on use.
    ends_at: Timestamp,
    /// Microseconds without use after which it ends; `u64::MAX` for no limit.
    idle_micros: u64,
    /// The keyed hash of the email.
    pub(crate) user: u64,
    pub(crate) cached: Option<Arc<TokenRecord>>,
    pub(crate) intent: Option<Box<RefreshIntent>>,
    /// The second at which the expiry queue looks at it.
    queued: u32,
    /// A row of its own holds `last_seen_at`; the record's is older.
    pub(crate) has_touch: bool,
    /// Nobody vouches for its newest row: what the device is, cannot be known. It is in no list.
    pub(crate) is_suspect: bool,
    /// It was read since the cache's hand last came by.
    pub(crate) used: Mark,
}

/// A device whose newest row is a tombstone.
#[derive(Clone, Debug)]
pub(crate) struct EndedSlot {
    pub(crate) seq: u64,
    pub(crate) reason: EndReason,
    pub(crate) verifier: Verifier,
    /// When nobody is told any more why it ended.
    pub(crate) forget_at: Timestamp,
    queued: u32,
}

/// What the lists need to know of a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outline {
    /// The user, unless it is a tombstone.
    pub(crate) user: Option<u64>,
    pub(crate) queued: u32,
    pub(crate) has_intent: bool,
    /// The rows that must stay for it.
    pub(crate) rows: u64,
}

impl LiveSlot {
    /// The slot of the record in row `seq`.
    pub(crate) fn new(seq: u64, record: &RecordHeader<'_>, user: u64) -> Self {
        let absolute = record.absolute_expires_at.unwrap_or(Timestamp::MAX);
        let micros = |limit: Duration| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        Self {
            seq,
            version: record.version,
            last_seen_at: record.last_seen_at,
            previous_visit_at: record.previous_visit_at.unwrap_or(FIRST_VISIT),
            ends_at: record.refresh_expires_at.min(absolute),
            idle_micros: record.idle_limit.map_or(u64::MAX, micros),
            user,
            cached: None,
            intent: None,
            queued: 0,
            has_touch: false,
            is_suspect: false,
            used: Mark::default(),
        }
    }

    /// The slot of a device that the row `seq` speaks of, for which nobody vouches. Nothing of
    /// what it says is taken; it has no version that a record can have.
    pub(crate) fn suspect(seq: u64) -> Self {
        Self {
            seq,
            version: Version::from_number(0),
            last_seen_at: Timestamp::default(),
            previous_visit_at: FIRST_VISIT,
            ends_at: Timestamp::MAX,
            idle_micros: u64::MAX,
            user: 0,
            cached: None,
            intent: None,
            queued: 0,
            has_touch: false,
            is_suspect: true,
            used: Mark::default(),
        }
    }

    /// The instant at which the record is gone.
    pub(crate) fn dies_at(&self) -> Timestamp {
        match self.idle_micros {
            u64::MAX => self.ends_at,
            micros => self.ends_at.min(self.last_seen_at + Duration::from_micros(micros)),
        }
    }

    pub(crate) fn is_dead(&self, now: Timestamp) -> bool {
        now >= self.dies_at()
    }

    pub(crate) fn intent(&self) -> Option<RefreshIntent> {
        self.intent.as_deref().copied()
    }

    pub(crate) fn previous_visit_at(&self) -> Option<Timestamp> {
        Some(self.previous_visit_at).filter(|at| *at != FIRST_VISIT)
    }

    /// Notes a use.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        let (seen, previous) =
            TokenRecord::touched(self.last_seen_at, self.previous_visit_at(), now);
        self.take_use(seen, previous);
    }

    /// Takes notes of use, if they are the later ones.
    pub(crate) fn take_use(&mut self, last_seen_at: Timestamp, previous: Option<Timestamp>) {
        if last_seen_at > self.last_seen_at {
            self.last_seen_at = last_seen_at;
            self.previous_visit_at = previous.unwrap_or(FIRST_VISIT);
        }
    }

    /// The same slot with another record cached.
    pub(super) fn caching(&self, cached: Option<Arc<TokenRecord>>) -> Slot {
        Slot::Live(Self { cached, ..self.clone() })
    }

    /// `record` with what the slot knows better.
    pub(crate) fn completed(&self, mut record: TokenRecord) -> TokenRecord {
        record.last_seen_at = self.last_seen_at;
        record.previous_visit_at = self.previous_visit_at();
        record.refresh_intent = self.intent();
        record
    }

    /// Brings the cached record in line with the slot.
    pub(crate) fn complete_cached(&mut self) {
        let completed = self.cached.as_deref().map(|record| self.completed(record.clone()));
        self.cached = completed.map(Arc::new);
    }
}

impl EndedSlot {
    pub(crate) fn new(
        seq: u64,
        reason: EndReason,
        verifier: Verifier,
        forget_at: Timestamp,
    ) -> Self {
        Self { seq, reason, verifier, forget_at, queued: 0 }
    }
}

impl Slot {
    pub(crate) fn live(&self) -> Option<&LiveSlot> {
        match self {
            Self::Live(slot) => Some(slot),
            Self::Ended(_) => None,
        }
    }

    /// The row that makes the device what it is.
    pub(crate) fn seq(&self) -> u64 {
        match self {
            Self::Live(slot) => slot.seq,
            Self::Ended(slot) => slot.seq,
        }
    }

    /// When nothing of it is needed any more.
    pub(crate) fn forget_at(&self) -> Timestamp {
        match self {
            Self::Live(slot) => slot.dies_at(),
            Self::Ended(slot) => slot.forget_at,
        }
    }

    /// The same slot, as it stands in an expiry queue that is made of it.
    pub(crate) fn queued(self) -> Self {
        let second = Lists::second_of(&self);
        self.queued_at(second)
    }

    /// The same slot, looked at by the expiry queue at `second`.
    pub(super) fn queued_at(mut self, second: u32) -> Self {
        match &mut self {
            Self::Live(slot) => slot.queued = second,
            Self::Ended(slot) => slot.queued = second,
        }
        self
    }

    pub(super) fn cached(&self) -> Option<&Arc<TokenRecord>> {
        self.live().and_then(|slot| slot.cached.as_ref())
    }

    /// Whether the row `seq` of the device must stay: it is the newest, or behind the newest
    /// record, which it amends.
    pub(crate) fn needs(&self, seq: u64) -> bool {
        match self {
            Self::Live(slot) => slot.seq <= seq,
            Self::Ended(slot) => slot.seq == seq,
        }
    }

    pub(crate) fn outline(&self) -> Outline {
        match self {
            Self::Live(slot) => Outline {
                user: Some(slot.user).filter(|_| !slot.is_suspect),
                queued: slot.queued,
                has_intent: slot.intent.is_some(),
                rows: 1 + u64::from(slot.has_touch) + u64::from(slot.intent.is_some()),
            },
            Self::Ended(slot) => {
                Outline { user: None, queued: slot.queued, has_intent: false, rows: 1 }
            }
        }
    }
}

/// A flag that readers set.
#[derive(Debug, Default)]
pub(crate) struct Mark(AtomicBool);

impl Mark {
    /// Sets it, without a write if it is set: many readers share the cache line.
    pub(crate) fn set(&self) {
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was set; it is not any more.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Clone for Mark {
    fn clone(&self) -> Self {
        Self(AtomicBool::new(self.0.load(Ordering::Relaxed)))
    }
}

const FIRST_VISIT: Timestamp = Timestamp::from_unix_micros(i64::MIN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_no_more_than_it_must() {
        assert!(size_of::<Slot>() <= 80, "{}", size_of::<Slot>());
    }
}
