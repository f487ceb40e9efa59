//! What is read from the file: single records, lists, walks, counts.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, params};
use tokenkeep_core::{
    Cursor, DeviceId, Email, EndReason, Ended, Lookup, Page, StoreError, StoreStats, Timestamp,
    TokenRecord,
};

use crate::failure::Fault;
use crate::open::place;
use crate::row::{Found, selected};
use crate::rows;
use crate::shared::Shared;

impl Shared {
    pub(crate) fn lookup(
        &self,
        connection: &Connection,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<Lookup, Fault> {
        // A session that ends between the two looks is found by the second.
        if let Some(found) = rows::find(connection, device)? {
            let record = found.record(&self.form, now).map_err(|cause| {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                Fault::Unreadable(device, cause)
            })?;
            return Ok(match record.is_dead(now) {
                true => {
                    Lookup::Ended(Ended { reason: EndReason::Expired, verifier: record.verifier })
                }
                false => Lookup::Live(Arc::new(record)),
            });
        }
        let ended = rows::answer(rows::ended(connection, device)?, now);
        Ok(ended.map_or(Lookup::Absent, Lookup::Ended))
    }

    pub(crate) fn devices_of(
        &self,
        connection: &Connection,
        email: &Email,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, Fault> {
        let found = rows::of_email(connection, email)?;
        let mut records = self.readable(&found, now);
        records.sort_by_key(|record| (record.created_at, record.device_id));
        Ok(records)
    }

    pub(crate) fn open_intents(
        &self,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<Vec<DeviceId>, Fault> {
        let mut query = connection.prepare_cached(OPEN_INTENTS)?;
        let found = query.query_map([now.as_unix_micros()], Found::read)?;
        let found: Vec<_> = found.collect::<Result<_, _>>()?;
        let mut records = self.readable(&found, now);
        records.retain(|r| r.refresh_intent.is_some_and(|intent| !intent.is_held(now)));
        Ok(records.iter().map(|record| record.device_id).collect())
    }

    pub(crate) fn scan(
        &self,
        connection: &Connection,
        first: i64,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Page, Fault> {
        let limit = i64::try_from(limit.get()).unwrap_or(i64::MAX);
        let mut query = connection.prepare_cached(SCAN)?;
        let found = query.query_map([first, limit], Found::read)?;
        let found: Vec<_> = found.collect::<Result<_, _>>()?;
        let is_full = i64::try_from(found.len()).is_ok_and(|length| length == limit);
        let next = found.last().filter(|_| is_full);
        let next = next.map(|found| Cursor(found.id.to_be_bytes().into()));
        Ok(Page { records: self.readable(&found, now), next })
    }

    pub(crate) fn stats(
        &self,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<StoreStats, Fault> {
        let mut query = connection.prepare_cached(STATS)?;
        let (devices, users, dead): (u64, u64, u64) = query
            .query_row(params![now.as_unix_micros()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let size = |suffix| {
            std::fs::metadata(place::beside(&self.path, suffix)).map_or(0, |file| file.len())
        };
        Ok(StoreStats {
            devices,
            users,
            size_bytes: size("") + size("-wal") + size("-shm"),
            garbage_rows: dead,
            unreadable: self.unreadable.load(Ordering::Relaxed),
        })
    }

    /// The live records among `found`; those that cannot be read are counted and left out.
    fn readable(&self, found: &[Found], now: Timestamp) -> Vec<Arc<TokenRecord>> {
        let record = |found: &Found| match found.record(&self.form, now) {
            Ok(record) => (!record.is_dead(now)).then(|| Arc::new(record)),
            Err(error) => {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    row = found.id,
                    error = &error as &dyn std::error::Error,
                    "left out"
                );
                None
            }
        };
        found.iter().filter_map(record).collect()
    }
}

/// The first row of the page after `cursor`; none if it was on the last one that there can be.
pub(crate) fn first_after(cursor: Option<&Cursor>) -> Result<Option<i64>, StoreError> {
    let Some(Cursor(bytes)) = cursor else { return Ok(Some(i64::MIN)) };
    match <[u8; 8]>::try_from(&**bytes) {
        Ok(id) => Ok(i64::from_be_bytes(id).checked_add(1)),
        Err(_) => Err(StoreError::unavailable("the cursor is of another store")),
    }
}

pub(crate) const OPEN_INTENTS: &str = concat!(
    selected!(),
    "INDEXED BY tokenkeep_by_intent WHERE holder IS NOT NULL AND leased_until <= ?1"
);
const SCAN: &str = concat!(selected!(), "WHERE id >= ?1 ORDER BY id LIMIT ?2");
/// Counted in indices: a row is hundreds of times as large as what is needed of it.
pub(crate) const STATS: &str = "SELECT
    (SELECT count(*) FROM user_auth_credentials INDEXED BY tokenkeep_by_death
        WHERE dies_at > ?1),
    (SELECT count(*) FROM (SELECT 1 FROM user_auth_credentials INDEXED BY tokenkeep_by_email
        GROUP BY email COLLATE NOCASE HAVING max(dies_at) > ?1)),
    (SELECT count(*) FROM user_auth_credentials INDEXED BY tokenkeep_by_death
        WHERE dies_at <= ?1)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    /// Counting read every row, tokens and all.
    #[test]
    fn counting_reads_no_row() {
        let connection = Connection::open_in_memory().unwrap();
        schema::make_original(&connection).unwrap();
        schema::add_ours(&connection).unwrap();
        schema::add_indices(&connection).unwrap();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {STATS}")).unwrap();
        let steps = plan.query_map([0], |row| row.get::<_, String>("detail")).unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        let reads = steps.iter().filter(|step| step.contains("user_auth_credentials"));
        let reads: Vec<_> = reads.collect();
        assert_eq!(reads.len(), 3, "{steps:?}");
        assert!(reads.iter().all(|read| read.contains("USING COVERING INDEX")), "{reads:?}");
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:?}");
    }
}
