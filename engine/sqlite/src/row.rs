//! One row of the table: what stands in its columns, and the record that they make.

use rusqlite::Row;
use rusqlite::types::ValueRef;
use tokenkeep_core::codec::{CodecError, Columns, Sealing};
use tokenkeep_core::{
    DeviceId, HolderId, RefreshIntent, StoreId, TimeText, Timestamp, TokenRecord,
};

/// What every reading of rows selects, in this order.
macro_rules! selected {
    () => {
        concat!(
            "SELECT id, device_id, email, token_type, access_token, access_expiry, refresh_token,
            refresh_expiry, rest, last_seen_at, previous_visit_at, holder, leased_since,
            leased_until, uncertain, ",
            $crate::schema::unsettled!(),
            " FROM user_auth_credentials "
        )
    };
}
pub(crate) use selected;

/// How the columns of this store are written and read.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) sealing: Sealing,
    pub(crate) store: StoreId,
}

impl Form {
    /// The columns of `record`, as version `version`.
    pub(crate) fn write(&self, record: &TokenRecord) -> Result<Columns, CodecError> {
        Columns::encode(record, &self.sealing, &self.store, TimeText::WithoutOffset)
    }

    /// Whether `columns` are under the key that seals at the moment.
    pub(crate) fn is_current(&self, columns: &Columns) -> bool {
        match &self.sealing {
            Sealing::On(ring) => columns.key() == Some(ring.active()),
            Sealing::Off => true,
        }
    }

    /// Whether the original application may write into the table, too.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.sealing, Sealing::Off)
    }
}

/// A row as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: i64,
    /// Absent if the text is no device id.
    pub(crate) device: Option<DeviceId>,
    /// Absent if a column holds something else than text.
    pub(crate) columns: Option<Columns>,
    /// The last use and the visit before it, once they were noted.
    used: Option<(Timestamp, Option<Timestamp>)>,
    intent: Option<RefreshIntent>,
    /// Whether somebody else wrote it last.
    pub(crate) unsettled: bool,
}

impl Found {
    /// Reads what [`selected!`] selects. What makes no sense is found out by [`Found::record`].
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let previous_visit_at = instant(row, 10)?;
        Ok(Self {
            id: row.get(0)?,
            device: text(row, 1)?.and_then(|text| canonical(&text)),
            columns: columns(row)?,
            used: instant(row, 9)?.map(|seen| (seen, previous_visit_at)),
            intent: intent(row)?,
            unsettled: row.get(15)?,
        })
    }

    /// The record, complete.
    ///
    /// Where the original application wrote last, the record has another version than the one
    /// that this store wrote: whoever read that one must not overwrite it. What was known of a
    /// refresh spoke of tokens that are not there any more.
    pub(crate) fn record(&self, form: &Form, now: Timestamp) -> Result<TokenRecord, CodecError> {
        let (Some(device), Some(columns)) = (self.device, &self.columns) else {
            return Err(CodecError::Malformed);
        };
        let mut record = columns.decode(device, &form.sealing, &form.store, now)?;
        if let Some((last_seen_at, previous_visit_at)) = self.used {
            record.last_seen_at = last_seen_at;
            record.previous_visit_at = previous_visit_at;
        }
        if self.is_renewed(form) {
            record.version = record.version.next();
        } else {
            record.refresh_intent = self.intent;
        }
        Ok(record)
    }

    /// Whether the original application gave a record of this store other tokens.
    fn is_renewed(&self, form: &Form) -> bool {
        let known = self.columns.as_ref().is_some_and(|columns| columns.rest.is_some());
        form.is_shared() && self.unsettled && known
    }

    /// The record of a row in which nothing is sealed, if it makes sense.
    pub(crate) fn plain(&self, store: &StoreId, now: Timestamp) -> Option<TokenRecord> {
        self.record(&Form { sealing: Sealing::Off, store: *store }, now).ok()
    }
}

/// The device id in `text`: 32 hex digits, or with dashes.
pub(crate) fn canonical(text: &str) -> Option<DeviceId> {
    text.replace('-', "").to_ascii_lowercase().parse().ok()
}

fn columns(row: &Row<'_>) -> rusqlite::Result<Option<Columns>> {
    let rest = match row.get_ref(8)? {
        ValueRef::Blob(bytes) => Some(bytes.to_vec()),
        _ => None,
    };
    let texts = [text(row, 2)?, text(row, 3)?, text(row, 4)?, text(row, 5)?, text(row, 6)?];
    let [Some(email), Some(token_type), Some(access), Some(access_expiry), Some(refresh)] = texts
    else {
        return Ok(None);
    };
    let Some(refresh_expiry) = text(row, 7)? else { return Ok(None) };
    Ok(Some(Columns {
        email,
        token_type,
        access_token: access.into(),
        access_expiry,
        refresh_token: refresh.into(),
        refresh_expiry,
        rest,
    }))
}

fn intent(row: &Row<'_>) -> rusqlite::Result<Option<RefreshIntent>> {
    let ValueRef::Blob(holder) = row.get_ref(11)? else { return Ok(None) };
    let Ok(holder) = holder.try_into() else { return Ok(None) };
    Ok(Some(RefreshIntent {
        holder: HolderId::from_bytes(holder),
        since: instant(row, 12)?.unwrap_or_default(),
        leased_until: instant(row, 13)?.unwrap_or_default(),
        // What cannot be read may have been sent.
        uncertain: !matches!(row.get_ref(14)?, ValueRef::Integer(0)),
    }))
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        _ => None,
    })
}

pub(crate) fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(micros) => Some(Timestamp::from_unix_micros(micros)),
        _ => None,
    })
}
