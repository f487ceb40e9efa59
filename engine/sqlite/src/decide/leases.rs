//! Refresh leases: who may refresh a record, durable as an intent before the request goes out.

use std::sync::Arc;

use tokenkeep_core::{
    DeviceId, HolderId, LeaseOutcome, RefreshIntent, Release, Timestamp, Version,
};

use crate::failure::Fault;
use crate::rows::{Kept, Rows};

pub(crate) fn lease(
    rows: &Rows<'_>,
    device: DeviceId,
    expected: Version,
    (holder, until): (HolderId, Timestamp),
    now: Timestamp,
) -> Result<LeaseOutcome, Fault> {
    let Some(Kept { id, mut record }) = rows.live(device, now)? else {
        return Ok(LeaseOutcome::Gone(rows.reason(device, now)?));
    };
    if record.version != expected {
        return Ok(LeaseOutcome::Conflict(Arc::new(record)));
    }
    let intent = match record.refresh_intent {
        Some(old) if old.is_held(now) && old.holder != holder => {
            return Ok(LeaseOutcome::Held { until: old.leased_until });
        }
        Some(old) if old.is_held(now) => RefreshIntent { leased_until: until, ..old },
        Some(old) => {
            RefreshIntent { holder, since: old.since, leased_until: until, uncertain: true }
        }
        None => RefreshIntent { holder, since: now, leased_until: until, uncertain: false },
    };
    record.refresh_intent = Some(intent);
    rows.note(id, &record)?;
    Ok(LeaseOutcome::Granted(Arc::new(record)))
}

pub(crate) fn extend_lease(
    rows: &Rows<'_>,
    device: DeviceId,
    holder: HolderId,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, Fault> {
    let Some((kept, intent)) = held_by(rows, device, holder, now)? else { return Ok(false) };
    if !intent.is_held(now) {
        return Ok(false);
    }
    change(rows, kept, Some(RefreshIntent { leased_until: until, ..intent }))?;
    Ok(true)
}

pub(crate) fn release(
    rows: &Rows<'_>,
    device: DeviceId,
    holder: HolderId,
    release: Release,
    now: Timestamp,
) -> Result<(), Fault> {
    let Some((kept, intent)) = held_by(rows, device, holder, now)? else { return Ok(()) };
    let uncertain = intent.uncertain || release == Release::Uncertain;
    let leased_until = intent.leased_until.min(now);
    change(rows, kept, uncertain.then_some(RefreshIntent { leased_until, uncertain, ..intent }))
}

/// The live record of `device` with the intent that `holder` has.
fn held_by(
    rows: &Rows<'_>,
    device: DeviceId,
    holder: HolderId,
    now: Timestamp,
) -> Result<Option<(Kept, RefreshIntent)>, Fault> {
    let Some(kept) = rows.live(device, now)? else { return Ok(None) };
    let intent = kept.record.refresh_intent.filter(|intent| intent.holder == holder);
    Ok(intent.map(|intent| (kept, intent)))
}

fn change(rows: &Rows<'_>, kept: Kept, intent: Option<RefreshIntent>) -> Result<(), Fault> {
    let Kept { id, mut record } = kept;
    record.refresh_intent = intent;
    rows.note(id, &record)
}
