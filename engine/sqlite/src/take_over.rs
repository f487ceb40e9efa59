//! Rows of the original application become records of this store.
//!
//! At opening all of them do, in one transaction ([`everything`]). While the table is shared,
//! what the original application writes is taken over in small steps ([`what_was_written`]).
//! What makes no sense is moved to a table of its own, where nothing is lost and nobody reads it.

use std::collections::HashSet;

use tokenkeep_core::codec::Columns;
use tokenkeep_core::{
    AccessToken, ClientInfo, DeviceId, Email, RefreshToken, Timestamp, TokenRecord, TokenType,
    Verifier, Version,
};

use crate::failure::Fault;
use crate::row::Found;
use crate::rows::Rows;

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) adopted: u64,
    pub(crate) set_aside: u64,
}

/// Takes every row over. Of the rows of one device the newest that makes sense counts.
pub(crate) fn everything(rows: &Rows<'_>, now: Timestamp) -> Result<Taken, Fault> {
    let (mut taken, mut devices, mut next) = (Taken::default(), HashSet::new(), Some(i64::MAX));
    while let Some(first) = next {
        let step = rows.down_from(first, STEP)?;
        next = step.last().and_then(|last| last.id.checked_sub(1));
        for found in step {
            take(rows, &found, &mut devices, &mut taken, now)?;
        }
    }
    Ok(taken)
}

/// Seals the tokens of what was set aside while nothing was sealed.
pub(crate) fn seal_set_aside(rows: &Rows<'_>) -> Result<(), Fault> {
    for number in rows.numbers_aside()? {
        seal_aside(rows, number)?;
    }
    Ok(())
}

/// Seals what was set aside under `number` with the active key, unless it is; what does not open
/// stays as it is.
pub(crate) fn reseal_aside(rows: &Rows<'_>, number: i64) -> Result<(), Fault> {
    let Some(rest) = rows.rest_aside(number)? else { return Ok(()) };
    let (id, access, refresh) = rows.raw_aside(number)?;
    let mut columns = sealed_tokens(rows, id, (&[], &[]))?;
    let text = |bytes| String::from_utf8(bytes).unwrap_or_default().into();
    (columns.access_token, columns.refresh_token) = (text(access), text(refresh));
    columns.rest = Some(rest);
    if rows.form.is_current(&columns) {
        return Ok(());
    }
    let (device, form) = (nobodys_device(id), rows.form);
    let opened = columns.decode(device, &form.sealing, &form.store, Timestamp::default());
    let Ok(record) = opened else { return Ok(()) };
    let sealed = form.write(&record).map_err(|cause| Fault::Unreadable(device, cause))?;
    rows.seal_aside(number, &sealed)
}

/// Takes over at most so many rows that the original application wrote since; returns whether
/// there may be more.
pub(crate) fn what_was_written(rows: &Rows<'_>, now: Timestamp) -> Result<bool, Fault> {
    let (mut taken, step) = (Taken::default(), rows.unsettled(STEP)?);
    for found in &step {
        take(rows, found, &mut HashSet::new(), &mut taken, now)?;
    }
    if taken.set_aside > 0 {
        tracing::warn!(rows = taken.set_aside, "rows that make no sense were set aside");
    }
    Ok(i64::try_from(step.len()).is_ok_and(|length| length == STEP))
}

fn take(
    rows: &Rows<'_>,
    found: &Found,
    devices: &mut HashSet<DeviceId>,
    taken: &mut Taken,
    now: Timestamp,
) -> Result<(), Fault> {
    let why = match (found.device, found.plain(&rows.form.store, now)) {
        (None, _) => "the device id is none",
        (_, None) => "the columns make no sense",
        (Some(device), _) if !devices.insert(device) => "the device has a newer row",
        (_, Some(record)) => {
            taken.adopted += 1;
            return match rows.form.is_shared() {
                true => rows.settle(found.id, &record),
                false => rows.adopt(found.id, &record),
            };
        }
    };
    taken.set_aside += 1;
    let number = rows.set_aside(found.id, why)?;
    if rows.form.is_shared() { Ok(()) } else { seal_aside(rows, number) }
}

/// Seals the tokens of what was set aside under `number`, whatever they are.
fn seal_aside(rows: &Rows<'_>, number: i64) -> Result<(), Fault> {
    let (id, access, refresh) = rows.raw_aside(number)?;
    rows.seal_aside(number, &sealed_tokens(rows, id, (&access, &refresh))?)
}

/// Seals what stood in row `id` in place of tokens, as those of a record that nobody has.
fn sealed_tokens(
    rows: &Rows<'_>,
    id: i64,
    (access, refresh): (&[u8], &[u8]),
) -> Result<Columns, Fault> {
    let device = nobodys_device(id);
    let malformed = Fault::malformed(device);
    let record = TokenRecord {
        device_id: device,
        version: Version::FIRST,
        verifier: Verifier::NOBODY,
        email: "set-aside@localhost".parse::<Email>().map_err(|_| malformed())?,
        token_type: TokenType::default(),
        access_token: AccessToken::new(printable(access)).map_err(|_| malformed())?,
        access_issued_at: Timestamp::default(),
        access_expires_at: Timestamp::default(),
        refresh_token: RefreshToken::new(printable(refresh)).map_err(|_| malformed())?,
        refresh_expires_at: Timestamp::default(),
        created_at: Timestamp::default(),
        last_seen_at: Timestamp::default(),
        previous_visit_at: None,
        absolute_expires_at: None,
        idle_limit: None,
        client: ClientInfo::default(),
        label: None,
        refresh_intent: None,
    };
    rows.form.write(&record).map_err(|cause| Fault::Unreadable(device, cause))
}

/// The device of the record that what stood in row `id` is sealed as.
fn nobodys_device(id: i64) -> DeviceId {
    DeviceId::from_bytes(u128::from(id.unsigned_abs()).to_be_bytes())
}

/// `bytes` as text that can be a token: as they are, or in hex, cut where no token is as long.
fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if AccessToken::new(text).is_ok() => text.to_owned(),
        _ => {
            let hex = bytes.iter().take(MOST_HEX).map(|byte| format!("{byte:02x}"));
            std::iter::once("hex:".to_owned()).chain(hex).collect()
        }
    }
}

/// How many rows are read at once.
const STEP: i64 = 256;
/// In hex, with the prefix, as long as a token may be.
const MOST_HEX: usize = 8190;
