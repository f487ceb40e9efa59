//! The table within one transaction: what the deciding of writes reads and changes.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, named_params, params};
use tokenkeep_core::codec::{CodecError, Columns};
use tokenkeep_core::{DeviceId, Email, EndReason, Ended, Timestamp, TokenRecord, Verifier};

use crate::failure::Fault;
use crate::reading::{OPEN_INTENTS, STATS};
use crate::row::{Form, Found, instant, selected};
use crate::schema::{canonical_device, expiries, unsettled};

/// The rows, as the transaction of `connection` sees them.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) form: &'a Form,
    /// How long it is answered why a session ended.
    answerable: Duration,
}

/// A record and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) id: i64,
    pub(crate) record: TokenRecord,
}

/// A row of a user, which may be unreadable.
#[derive(Debug)]
pub(crate) struct OfUser {
    pub(crate) id: i64,
    pub(crate) device: DeviceId,
    pub(crate) record: Result<TokenRecord, CodecError>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(connection: &'a Connection, form: &'a Form, answerable: Duration) -> Self {
        Self { connection, form, answerable }
    }

    /// The record of `device`, be it dead.
    pub(crate) fn find(&self, device: DeviceId, now: Timestamp) -> Result<Option<Kept>, Fault> {
        let Some(found) = find(self.connection, device)? else { return Ok(None) };
        let record =
            found.record(self.form, now).map_err(|cause| Fault::Unreadable(device, cause))?;
        if found.unsettled && self.form.is_shared() {
            self.settle(found.id, &record)?;
        }
        Ok(Some(Kept { id: found.id, record }))
    }

    /// The record of `device`, if it lives.
    pub(crate) fn live(&self, device: DeviceId, now: Timestamp) -> Result<Option<Kept>, Fault> {
        Ok(self.find(device, now)?.filter(|kept| !kept.record.is_dead(now)))
    }

    /// Whether anything stands under `device`: a record, be it unreadable, or a note that one
    /// ended.
    pub(crate) fn is_taken(&self, device: DeviceId) -> Result<bool, Fault> {
        let taken = find(self.connection, device)?.is_some();
        Ok(taken || ended(self.connection, device)?.is_some())
    }

    /// Every row of `email`, be it dead or unreadable.
    pub(crate) fn of_user(&self, email: &Email, now: Timestamp) -> Result<Vec<OfUser>, Fault> {
        let found = of_email(self.connection, email)?;
        let rows = found.into_iter().filter_map(|found| {
            let record = found.record(self.form, now);
            Some(OfUser { id: found.id, device: found.device?, record })
        });
        Ok(rows.collect())
    }

    /// Why there is no live record of `device`, if that can be told.
    pub(crate) fn reason(
        &self,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<Option<EndReason>, Fault> {
        if find(self.connection, device)?.is_some() {
            return Ok(Some(EndReason::Expired));
        }
        Ok(answer(ended(self.connection, device)?, now).map(|ended| ended.reason))
    }

    /// Whether it is noted that `device` ended, however long ago.
    pub(crate) fn has_ended(&self, device: DeviceId) -> Result<bool, Fault> {
        Ok(ended(self.connection, device)?.is_some())
    }

    /// Writes `record` as `columns` into row `id`, or into a fresh one.
    pub(crate) fn put(
        &self,
        id: Option<i64>,
        record: &TokenRecord,
        columns: &Columns,
    ) -> Result<Arc<TokenRecord>, Fault> {
        let resealed;
        let columns = match self.form.is_current(columns) {
            true => columns,
            // The ring was changed since the caller sealed it.
            false => {
                let device = record.device_id;
                let sealed = self.form.write(record);
                resealed = sealed.map_err(|cause| Fault::Unreadable(device, cause))?;
                &resealed
            }
        };
        let (sql, key) = match id {
            Some(id) => (WRITE, Value::Integer(id)),
            None => (INSERT, Value::Text(record.device_id.to_string())),
        };
        let intent = record.refresh_intent;
        self.connection.prepare_cached(sql)?.execute(named_params! {
            ":key": key,
            ":email": columns.email,
            ":token_type": columns.token_type,
            ":access_token": columns.access_token.as_str(),
            ":access_expiry": columns.access_expiry,
            ":refresh_token": columns.refresh_token.as_str(),
            ":refresh_expiry": columns.refresh_expiry,
            ":rest": columns.rest,
            ":last_seen_at": record.last_seen_at.as_unix_micros(),
            ":previous_visit_at": record.previous_visit_at.map(Timestamp::as_unix_micros),
            ":dies_at": record.dies_at().as_unix_micros(),
            ":holder": intent.map(|intent| *intent.holder.as_bytes()),
            ":leased_since": intent.map(|intent| intent.since.as_unix_micros()),
            ":leased_until": intent.map(|intent| intent.leased_until.as_unix_micros()),
            ":uncertain": intent.map(|intent| intent.uncertain),
        })?;
        Ok(Arc::new(record.clone()))
    }

    /// Writes down what is kept of `record` apart from its columns: its use, its intent, and
    /// when it dies.
    pub(crate) fn note(&self, id: i64, record: &TokenRecord) -> Result<(), Fault> {
        let intent = record.refresh_intent;
        self.connection.prepare_cached(NOTE)?.execute(named_params! {
            ":id": id,
            ":last_seen_at": record.last_seen_at.as_unix_micros(),
            ":previous_visit_at": record.previous_visit_at.map(Timestamp::as_unix_micros),
            ":dies_at": record.dies_at().as_unix_micros(),
            ":holder": intent.map(|intent| *intent.holder.as_bytes()),
            ":leased_since": intent.map(|intent| intent.since.as_unix_micros()),
            ":leased_until": intent.map(|intent| intent.leased_until.as_unix_micros()),
            ":uncertain": intent.map(|intent| intent.uncertain),
        })?;
        Ok(())
    }

    /// Makes `record`, which the original application wrote, one of this store's. Its own
    /// columns stay as it wrote them.
    pub(crate) fn settle(&self, id: i64, record: &TokenRecord) -> Result<(), Fault> {
        let columns =
            self.form.write(record).map_err(|cause| Fault::Unreadable(record.device_id, cause))?;
        self.connection.prepare_cached(SETTLE)?.execute(params![id, columns.rest])?;
        self.note(id, record)
    }

    /// Deletes row `id`, and keeps for a while why the session of `device` ended.
    pub(crate) fn end(
        &self,
        id: i64,
        device: DeviceId,
        ended: Ended,
        now: Timestamp,
    ) -> Result<(), Fault> {
        self.delete(id)?;
        self.connection.prepare_cached(END)?.execute(params![
            device.to_string(),
            ended.reason.code(),
            ended.verifier.as_bytes(),
            (now + self.answerable).as_unix_micros(),
        ])?;
        Ok(())
    }

    pub(crate) fn delete(&self, id: i64) -> Result<(), Fault> {
        self.connection.prepare_cached(DELETE)?.execute([id])?;
        Ok(())
    }

    /// Frees at most `limit` records that died by `certain`, and notes that may be forgotten.
    pub(crate) fn purge(&self, limit: usize, certain: Timestamp) -> Result<usize, Fault> {
        let certain = certain.as_unix_micros();
        let limit_of = |freed: usize| i64::try_from(limit - freed).unwrap_or(i64::MAX);
        let mut freed = self.connection.prepare_cached(PURGE)?.execute([certain, limit_of(0)])?;
        freed += self.connection.prepare_cached(FORGET)?.execute([certain, limit_of(freed)])?;
        Ok(freed)
    }

    /// Whether a record died, or a note may be forgotten, by `certain`.
    pub(crate) fn is_anything_due(&self, certain: Timestamp) -> Result<bool, Fault> {
        Ok(self.connection.prepare_cached(DUE)?.exists([certain.as_unix_micros()])?)
    }

    /// At most `limit` rows that somebody else wrote last.
    pub(crate) fn unsettled(&self, limit: i64) -> Result<Vec<Found>, Fault> {
        let mut query = self.connection.prepare_cached(UNSETTLED)?;
        let found = query.query_map([limit], Found::read)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// At most `limit` rows with ids up to `last`, the largest first.
    pub(crate) fn down_from(&self, last: i64, limit: i64) -> Result<Vec<Found>, Fault> {
        let mut query = self.connection.prepare_cached(DOWN_FROM)?;
        let found = query.query_map([last, limit], Found::read)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Writes a row that was taken over anew, under its canonical id.
    pub(crate) fn adopt(&self, id: i64, record: &TokenRecord) -> Result<(), Fault> {
        let columns =
            self.form.write(record).map_err(|cause| Fault::Unreadable(record.device_id, cause))?;
        self.connection
            .prepare_cached(RENAME)?
            .execute(params![id, record.device_id.to_string()])?;
        self.put(Some(id), record, &columns)?;
        Ok(())
    }

    /// Moves row `id`, which makes no sense, to where nobody reads it; returns its number there.
    pub(crate) fn set_aside(&self, id: i64, why: &str) -> Result<i64, Fault> {
        self.connection.prepare_cached(SET_ASIDE)?.execute(params![id, why])?;
        let number = self.connection.last_insert_rowid();
        self.delete(id)?;
        Ok(number)
    }

    /// Everything that was set aside.
    pub(crate) fn numbers_aside(&self) -> Result<Vec<i64>, Fault> {
        let mut query = self.connection.prepare(NUMBERS_ASIDE)?;
        let numbers = query.query_map([], |row| row.get(0))?;
        Ok(numbers.collect::<Result<_, _>>()?)
    }

    /// The row that was set aside under `number`, and what stands in place of its tokens.
    pub(crate) fn raw_aside(&self, number: i64) -> Result<(i64, Vec<u8>, Vec<u8>), Fault> {
        let mut query = self.connection.prepare_cached(RAW_ASIDE)?;
        Ok(query.query_row([number], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
    }

    /// Has the tokens that were set aside under `number` stand there as in `sealed`.
    pub(crate) fn seal_aside(&self, number: i64, sealed: &Columns) -> Result<(), Fault> {
        self.connection.prepare_cached(SEAL_ASIDE)?.execute(params![
            number,
            sealed.access_token.as_str(),
            sealed.refresh_token.as_str(),
            sealed.rest,
        ])?;
        Ok(())
    }

    /// Has row `id` stand there as in `sealed`, if its own column is still `rest`, and the ring was
    /// not changed since it was sealed.
    pub(crate) fn reseal(&self, id: i64, rest: &[u8], sealed: &Columns) -> Result<(), Fault> {
        if !self.form.is_current(sealed) {
            return Ok(());
        }
        self.connection.prepare_cached(RESEAL)?.execute(named_params! {
            ":id": id,
            ":before": rest,
            ":email": sealed.email,
            ":token_type": sealed.token_type,
            ":access_token": sealed.access_token.as_str(),
            ":access_expiry": sealed.access_expiry,
            ":refresh_token": sealed.refresh_token.as_str(),
            ":refresh_expiry": sealed.refresh_expiry,
            ":rest": sealed.rest,
        })?;
        Ok(())
    }

    /// Our own column of the row that was set aside under `number`, if it is sealed.
    pub(crate) fn rest_aside(&self, number: i64) -> Result<Option<Vec<u8>>, Fault> {
        let mut query = self.connection.prepare_cached(REST_ASIDE)?;
        Ok(query.query_row([number], |row| row.get(0)).optional()?)
    }

    /// Whether the indices are there that statements name; an error if they are not.
    pub(crate) fn check_indices(&self) -> rusqlite::Result<()> {
        [PURGE, DUE, UNSETTLED, OPEN_INTENTS, STATS]
            .iter()
            .try_for_each(|sql| self.connection.prepare(sql).map(drop))
    }
}

/// The row of `device`.
pub(crate) fn find(connection: &Connection, device: DeviceId) -> rusqlite::Result<Option<Found>> {
    let mut query = connection.prepare_cached(BY_DEVICE)?;
    query.query_row([device.to_string()], Found::read).optional()
}

/// The rows of `email`, in no particular order.
pub(crate) fn of_email(connection: &Connection, email: &Email) -> rusqlite::Result<Vec<Found>> {
    connection.prepare_cached(BY_EMAIL)?.query_map([email.as_str()], Found::read)?.collect()
}

/// Why the session of `device` ended and until when that is answered.
pub(crate) fn ended(
    connection: &Connection,
    device: DeviceId,
) -> rusqlite::Result<Option<(Ended, Timestamp)>> {
    let mut query = connection.prepare_cached(ENDED)?;
    let note = query.query_row([device.to_string()], |row| {
        // A note that makes no sense still says that the session ended.
        let reason = row.get(0).ok().and_then(EndReason::from_code).unwrap_or(EndReason::Expired);
        let verifier = row.get(1).map_or(Verifier::NOBODY, Verifier::from_bytes);
        Ok((Ended { reason, verifier }, instant(row, 2)?.unwrap_or_default()))
    });
    note.optional()
}

/// What is answered of a note at `now`.
pub(crate) fn answer(note: Option<(Ended, Timestamp)>, now: Timestamp) -> Option<Ended> {
    note.filter(|(_, forget_at)| now < *forget_at).map(|(ended, _)| ended)
}

const BY_DEVICE: &str = concat!(selected!(), "WHERE ", canonical_device!(), " = ?1");
const BY_EMAIL: &str = concat!(selected!(), "WHERE email = ?1 COLLATE NOCASE");
const UNSETTLED: &str =
    concat!(selected!(), "INDEXED BY tokenkeep_unsettled WHERE ", unsettled!(), " LIMIT ?1");
const DOWN_FROM: &str = concat!(selected!(), "WHERE id <= ?1 ORDER BY id DESC LIMIT ?2");
const ENDED: &str = "SELECT reason, verifier, forget_at FROM tokenkeep_ended WHERE device_id = ?1";
const INSERT: &str = "INSERT INTO user_auth_credentials (device_id, email, token_type,
    access_token, access_expiry, refresh_token, refresh_expiry, rest, written, last_seen_at,
    previous_visit_at, dies_at, holder, leased_since, leased_until, uncertain)
    VALUES (:key, :email, :token_type, :access_token, :access_expiry, :refresh_token,
    :refresh_expiry, :rest, :access_expiry || ' ' || :refresh_expiry, :last_seen_at,
    :previous_visit_at, :dies_at, :holder, :leased_since, :leased_until, :uncertain)";
const WRITE: &str = "UPDATE user_auth_credentials SET email = :email, token_type = :token_type,
    access_token = :access_token, access_expiry = :access_expiry,
    refresh_token = :refresh_token, refresh_expiry = :refresh_expiry, rest = :rest,
    written = :access_expiry || ' ' || :refresh_expiry, last_seen_at = :last_seen_at,
    previous_visit_at = :previous_visit_at, dies_at = :dies_at, holder = :holder,
    leased_since = :leased_since, leased_until = :leased_until, uncertain = :uncertain
    WHERE id = :key";
const NOTE: &str = "UPDATE user_auth_credentials SET last_seen_at = :last_seen_at,
    previous_visit_at = :previous_visit_at, dies_at = :dies_at, holder = :holder,
    leased_since = :leased_since, leased_until = :leased_until, uncertain = :uncertain
    WHERE id = :id";
const RESEAL: &str = "UPDATE user_auth_credentials SET email = :email, token_type = :token_type,
    access_token = :access_token, access_expiry = :access_expiry,
    refresh_token = :refresh_token, refresh_expiry = :refresh_expiry, rest = :rest,
    written = :access_expiry || ' ' || :refresh_expiry WHERE id = :id AND rest = :before";
const SETTLE: &str = concat!(
    "UPDATE user_auth_credentials SET rest = ?2, written = ",
    expiries!(),
    " WHERE id = ?1"
);
const RENAME: &str = "UPDATE user_auth_credentials SET device_id = ?2 WHERE id = ?1";
const DELETE: &str = "DELETE FROM user_auth_credentials WHERE id = ?1";
const END: &str = "INSERT OR REPLACE INTO tokenkeep_ended (device_id, reason, verifier, forget_at)
    VALUES (?1, ?2, ?3, ?4)";
/// A row that somebody else wrote last may live longer than this store knows.
const PURGE: &str = concat!(
    "DELETE FROM user_auth_credentials WHERE id IN (SELECT id FROM user_auth_credentials
    INDEXED BY tokenkeep_by_death WHERE dies_at <= ?1 AND NOT (",
    unsettled!(),
    ") LIMIT ?2)"
);
const FORGET: &str = "DELETE FROM tokenkeep_ended WHERE device_id IN
    (SELECT device_id FROM tokenkeep_ended WHERE forget_at <= ?1 LIMIT ?2)";
const DUE: &str = concat!(
    "SELECT 1 FROM user_auth_credentials INDEXED BY tokenkeep_by_death WHERE dies_at <= ?1 AND
    NOT (",
    unsettled!(),
    ") UNION ALL SELECT 1 FROM tokenkeep_ended WHERE forget_at <= ?1 LIMIT 1"
);
const SET_ASIDE: &str = "INSERT INTO tokenkeep_set_aside (id, why, device_id, email, token_type,
    access_expiry, refresh_expiry, access_token, refresh_token, rest)
    SELECT id, ?2, device_id, email, token_type, access_expiry, refresh_expiry, access_token,
    refresh_token, rest FROM user_auth_credentials WHERE id = ?1";
const SEAL_ASIDE: &str = "UPDATE tokenkeep_set_aside
    SET access_token = ?2, refresh_token = ?3, rest = ?4 WHERE number = ?1";
const NUMBERS_ASIDE: &str = "SELECT number FROM tokenkeep_set_aside";
const REST_ASIDE: &str = "SELECT rest FROM tokenkeep_set_aside
    WHERE number = ?1 AND typeof(rest) = 'blob'";
const RAW_ASIDE: &str = "SELECT CAST(coalesce(id, 0) AS INTEGER),
    CAST(coalesce(access_token, '') AS BLOB), CAST(coalesce(refresh_token, '') AS BLOB)
    FROM tokenkeep_set_aside WHERE number = ?1";
