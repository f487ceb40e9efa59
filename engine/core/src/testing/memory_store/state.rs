//! The map, and what is decided by looking at it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::codec::CodecError;
use crate::{
    CeilingPolicy, DeviceId, Email, EndReason, Ended, ImportOutcome, Insert, Lookup, Removed,
    StoreError, Timestamp, TokenRecord,
};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) rows: HashMap<DeviceId, Row>,
    pub(super) failing: bool,
    /// Devices whose record cannot be read.
    pub(super) spoilt: HashSet<DeviceId>,
    pub(super) unreadable: u64,
}

#[derive(Debug)]
pub(super) enum Row {
    Live(Arc<TokenRecord>),
    Ended(Ended),
}

impl State {
    /// The live record of `device`.
    pub(super) fn live(
        &mut self,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<Option<Arc<TokenRecord>>, StoreError> {
        Ok(self.lookup(device, now)?.live())
    }

    pub(super) fn lookup(
        &mut self,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<Lookup, StoreError> {
        if self.spoilt.contains(&device) {
            self.unreadable += 1;
            return Err(StoreError::Unreadable { device, cause: CodecError::Tampered });
        }
        Ok(match self.rows.get(&device) {
            Some(Row::Live(record)) if record.is_dead(now) => {
                Lookup::Ended(Ended { reason: EndReason::Expired, verifier: record.verifier })
            }
            Some(Row::Live(record)) => Lookup::Live(Arc::clone(record)),
            Some(Row::Ended(ended)) => Lookup::Ended(*ended),
            None => Lookup::Absent,
        })
    }

    /// Why there is no live record of `device`, if that is known.
    pub(super) fn reason(
        &mut self,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<Option<EndReason>, StoreError> {
        Ok(match self.lookup(device, now)? {
            Lookup::Ended(ended) => Some(ended.reason),
            _ => None,
        })
    }

    /// Every live record that can be read.
    pub(super) fn all_live(&self, now: Timestamp) -> impl Iterator<Item = &Arc<TokenRecord>> {
        self.rows.values().filter_map(move |row| match row {
            Row::Live(record) if !record.is_dead(now) => {
                (!self.spoilt.contains(&record.device_id)).then_some(record)
            }
            _ => None,
        })
    }

    /// The live records of `email` that can be read, oldest login first.
    pub(super) fn of_email(&self, email: &Email, now: Timestamp) -> Vec<Arc<TokenRecord>> {
        let live = self.all_live(now).filter(|record| record.email == *email);
        let mut records: Vec<_> = live.cloned().collect();
        records.sort_by_key(|record| (record.created_at, record.device_id));
        records
    }

    /// Every record of `email` that is there, be it dead or unreadable.
    pub(super) fn all_of(&self, email: &Email) -> Vec<Arc<TokenRecord>> {
        let there = self.rows.values().filter_map(|row| match row {
            Row::Live(record) if record.email == *email => Some(Arc::clone(record)),
            _ => None,
        });
        there.collect()
    }

    pub(super) fn put(&mut self, record: TokenRecord) -> Arc<TokenRecord> {
        let record = Arc::new(record);
        self.spoilt.remove(&record.device_id);
        self.rows.insert(record.device_id, Row::Live(Arc::clone(&record)));
        record
    }

    /// Ends `record`, and returns it if it lived and can be read. What is dead stays dead.
    pub(super) fn end(
        &mut self,
        record: Arc<TokenRecord>,
        reason: EndReason,
        now: Timestamp,
    ) -> Option<Removed> {
        let is_dead = record.is_dead(now);
        let is_spoilt = self.spoilt.remove(&record.device_id);
        let noted = if is_dead { EndReason::Expired } else { reason };
        let ended = Ended { reason: noted, verifier: record.verifier };
        self.rows.insert(record.device_id, Row::Ended(ended));
        (!is_dead && !is_spoilt).then_some(Removed { record, reason })
    }

    /// What must go so that the login of `insert` fits under its ceiling.
    pub(super) fn evicted(&self, insert: &Insert, now: Timestamp) -> Option<Vec<Arc<TokenRecord>>> {
        let Some(ceiling) = insert.ceiling else { return Some(Vec::new()) };
        let mut others = self.of_email(&insert.record.email, now);
        others.retain(|other| Some(other.device_id) != insert.replaces);
        let surplus = (others.len() + 1).saturating_sub(ceiling.devices.get());
        if surplus > 0 && ceiling.policy == CeilingPolicy::Reject {
            return None;
        }
        others.sort_by_key(|other| (other.last_seen_at, other.created_at, other.device_id));
        others.truncate(surplus);
        Some(others)
    }

    /// Takes `other` over, beside what is here.
    pub(super) fn import(&mut self, other: TokenRecord) -> ImportOutcome {
        let here = match self.rows.get(&other.device_id) {
            Some(Row::Ended(_)) => return ImportOutcome::Ended,
            Some(Row::Live(here)) => TokenRecord::clone(here),
            None => {
                self.put(other);
                return ImportOutcome::Imported;
            }
        };
        let (outcome, mut merged) = match here.version < other.version {
            true => (ImportOutcome::Imported, other.clone()),
            false => (ImportOutcome::Kept, here.clone()),
        };
        if here.version == other.version {
            merged.refresh_intent = here.refresh_intent.or(other.refresh_intent);
        }
        let later = if other.last_seen_at < here.last_seen_at { &here } else { &other };
        take_later_use(&mut merged, later);
        self.put(merged);
        outcome
    }
}

/// Takes the notes of use of `other`, if they are the later ones.
pub(super) fn take_later_use(record: &mut TokenRecord, other: &TokenRecord) {
    if other.last_seen_at > record.last_seen_at {
        record.last_seen_at = other.last_seen_at;
        record.previous_visit_at = other.previous_visit_at;
    }
}
