//! What becomes of each write, given the rows as they are. Leases have a file of their own.

mod leases;

use std::sync::Arc;

use tokenkeep_core::codec::Columns;
use tokenkeep_core::{
    Ceiling, CeilingPolicy, DeviceId, Email, EndReason, Ended, ImportOutcome, InsertOutcome,
    RemoveOutcome, Removed, ReplaceOutcome, Timestamp, TokenRecord, Tokens, Verifier, Version,
};

use crate::failure::Fault;
use crate::row::Form;
use crate::rows::{Kept, OfUser, Rows};

pub(crate) use leases::{extend_lease, lease, release};

/// A record and its columns. The caller seals, so that the writer need not.
#[derive(Debug)]
pub(crate) struct Prepared {
    record: TokenRecord,
    columns: Columns,
}

impl Prepared {
    /// Seals `record` as version `version`.
    pub(crate) fn new(
        mut record: TokenRecord,
        version: Version,
        form: &Form,
    ) -> Result<Self, Fault> {
        record.version = version;
        let device = record.device_id;
        let columns = form.write(&record).map_err(|cause| Fault::Unreadable(device, cause))?;
        Ok(Self { record, columns })
    }
}

/// The session that the same browser had before, and the ceiling.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Displacing {
    pub(crate) replaces: Option<DeviceId>,
    pub(crate) ceiling: Option<Ceiling>,
}

pub(crate) fn insert(
    rows: &Rows<'_>,
    mut login: Prepared,
    Displacing { replaces, ceiling }: Displacing,
    now: Timestamp,
) -> Result<InsertOutcome, Fault> {
    if rows.is_taken(login.record.device_id)? {
        return Ok(InsertOutcome::Taken);
    }
    let email = login.record.email.clone();
    let Some(evicted) = over_ceiling(rows, &email, Displacing { replaces, ceiling }, now)? else {
        return Ok(InsertOutcome::CeilingReached);
    };
    let mut displaced = Vec::new();
    if let Some(before) = replaced(rows, replaces, &email, now)? {
        let reason = EndReason::Replaced;
        let record = end_row(rows, before, reason, now)?;
        displaced.extend(record.map(|record| Removed { record, reason }));
    }
    for kept in evicted {
        let reason = EndReason::Evicted;
        displaced.push(Removed { record: end(rows, kept, reason, now)?, reason });
    }
    login.record.refresh_intent = None;
    let record = rows.put(None, &login.record, &login.columns)?;
    Ok(InsertOutcome::Inserted { record, displaced })
}

/// The session that the same browser had before, be it dead or unreadable, if it is this user's.
fn replaced(
    rows: &Rows<'_>,
    before: Option<DeviceId>,
    email: &Email,
    now: Timestamp,
) -> Result<Option<OfUser>, Fault> {
    let Some(before) = before else { return Ok(None) };
    Ok(rows.of_user(email, now)?.into_iter().find(|row| row.device == before))
}

/// The records that a login evicts; `None` if it is refused. What cannot be read takes nobody's
/// place.
fn over_ceiling(
    rows: &Rows<'_>,
    email: &Email,
    Displacing { replaces, ceiling }: Displacing,
    now: Timestamp,
) -> Result<Option<Vec<Kept>>, Fault> {
    let Some(ceiling) = ceiling else { return Ok(Some(Vec::new())) };
    let counted = rows.of_user(email, now)?.into_iter().filter_map(|row| {
        let record = row.record.ok()?;
        let counts = !record.is_dead(now) && Some(row.device) != replaces;
        counts.then_some(Kept { id: row.id, record })
    });
    let mut counted: Vec<_> = counted.collect();
    let surplus = (counted.len() + 1).saturating_sub(ceiling.devices.get());
    if surplus > 0 && ceiling.policy == CeilingPolicy::Reject {
        return Ok(None);
    }
    counted.sort_by_key(|Kept { record, .. }| {
        (record.last_seen_at, record.created_at, record.device_id)
    });
    counted.truncate(surplus);
    Ok(Some(counted))
}

pub(crate) fn replace(
    rows: &Rows<'_>,
    expected: Version,
    mut new: Prepared,
    tokens: Tokens,
    now: Timestamp,
) -> Result<ReplaceOutcome, Fault> {
    let device = new.record.device_id;
    let Some(Kept { id, record: current }) = rows.live(device, now)? else {
        return Ok(ReplaceOutcome::Gone(rows.reason(device, now)?));
    };
    if current.version != expected {
        return Ok(ReplaceOutcome::Conflict(Arc::new(current)));
    }
    take_later_use(&mut new.record, &current);
    new.record.refresh_intent = current.refresh_intent.filter(|_| tokens == Tokens::Kept);
    Ok(ReplaceOutcome::Replaced(rows.put(Some(id), &new.record, &new.columns)?))
}

pub(crate) fn remove(
    rows: &Rows<'_>,
    device: DeviceId,
    expected: Option<Version>,
    reason: EndReason,
    now: Timestamp,
) -> Result<RemoveOutcome, Fault> {
    let Some(kept) = rows.find(device, now)? else {
        return Ok(RemoveOutcome::Gone(rows.reason(device, now)?));
    };
    let is_meant = expected.is_none_or(|expected| expected == kept.record.version);
    if kept.record.is_dead(now) {
        // It stays dead, should the clock have been wrong.
        if is_meant {
            end(rows, kept, EndReason::Expired, now)?;
        }
        return Ok(RemoveOutcome::Gone(Some(EndReason::Expired)));
    }
    if !is_meant {
        return Ok(RemoveOutcome::Conflict(Arc::new(kept.record)));
    }
    Ok(RemoveOutcome::Removed(end(rows, kept, reason, now)?))
}

pub(crate) fn remove_all_of(
    rows: &Rows<'_>,
    email: &Email,
    except: Option<DeviceId>,
    reason: EndReason,
    now: Timestamp,
) -> Result<Vec<Arc<TokenRecord>>, Fault> {
    let mut of_user = rows.of_user(email, now)?;
    of_user.retain(|row| Some(row.device) != except);
    let mut removed = Vec::new();
    for row in of_user {
        removed.extend(end_row(rows, row, reason, now)?);
    }
    removed.sort_by_key(|record| (record.created_at, record.device_id));
    Ok(removed)
}

pub(crate) fn import(
    rows: &Rows<'_>,
    new: Prepared,
    now: Timestamp,
) -> Result<ImportOutcome, Fault> {
    let Prepared { mut record, columns } = new;
    if record.is_dead(now) {
        return Ok(ImportOutcome::Expired);
    }
    if rows.has_ended(record.device_id)? {
        return Ok(ImportOutcome::Ended);
    }
    let Some(Kept { id, record: mut here }) = rows.find(record.device_id, now)? else {
        rows.put(None, &record, &columns)?;
        return Ok(ImportOutcome::Imported);
    };
    if here.version < record.version {
        take_later_use(&mut record, &here);
        rows.put(Some(id), &record, &columns)?;
        return Ok(ImportOutcome::Imported);
    }
    take_later_use(&mut here, &record);
    if here.version == record.version {
        here.refresh_intent = here.refresh_intent.or(record.refresh_intent);
    }
    rows.note(id, &here)?;
    Ok(ImportOutcome::Kept)
}

/// Takes the notes of use of `other`, if they are the later ones.
fn take_later_use(record: &mut TokenRecord, other: &TokenRecord) {
    if other.last_seen_at > record.last_seen_at {
        record.last_seen_at = other.last_seen_at;
        record.previous_visit_at = other.previous_visit_at;
    }
}

pub(crate) fn touch(rows: &Rows<'_>, device: DeviceId, now: Timestamp) -> Result<(), Fault> {
    let Some(Kept { id, mut record }) = rows.live(device, now)? else { return Ok(()) };
    if now > record.last_seen_at {
        record.touch(now);
        rows.note(id, &record)?;
    }
    Ok(())
}

/// Ends a row of a user, and returns its record if it lived. What is dead stays dead, should the
/// clock have been wrong. What cannot be read ends, too: it can do no harm any more, should its
/// key be found again.
fn end_row(
    rows: &Rows<'_>,
    row: OfUser,
    reason: EndReason,
    now: Timestamp,
) -> Result<Option<Arc<TokenRecord>>, Fault> {
    let OfUser { id, device, record } = row;
    match record {
        Ok(record) if record.is_dead(now) => {
            end(rows, Kept { id, record }, EndReason::Expired, now)?;
            Ok(None)
        }
        Ok(record) => end(rows, Kept { id, record }, reason, now).map(Some),
        Err(_) => {
            rows.end(id, device, Ended { reason, verifier: Verifier::NOBODY }, now)?;
            Ok(None)
        }
    }
}

fn end(
    rows: &Rows<'_>,
    kept: Kept,
    reason: EndReason,
    now: Timestamp,
) -> Result<Arc<TokenRecord>, Fault> {
    let Kept { id, record } = kept;
    rows.end(id, record.device_id, Ended { reason, verifier: record.verifier }, now)?;
    Ok(Arc::new(record))
}
