//! Looking: one device, and the devices of an email.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tokenkeep_core::{
    DeviceId, Email, EndReason, Ended, Lookup, StoreError, Timestamp, TokenRecord, Verifier,
};

use crate::fault::NotUnderstood;
use crate::index::{GENERATION, Index};
use crate::row::{Note, Row, unhex};
use crate::scripts::{INDEX_DROP, INDEX_READ, args};
use crate::store::Inner;

impl Inner {
    pub(crate) async fn get(&self, device: DeviceId, now: Timestamp) -> Result<Lookup, StoreError> {
        let Some(row) = self.row(device).await? else {
            // A record goes in one script with its note: what is not there has its note by now.
            let note = self.note(device).await?;
            let ended = note.as_deref().and_then(Note::read).and_then(|note| note.answer(now));
            return Ok(ended.map_or(Lookup::Absent, Lookup::Ended));
        };
        if !row.is_foreign() && row.instant("dies_at").is_some_and(|dies_at| now >= dies_at) {
            return Ok(Lookup::Ended(expired(&row)));
        }
        let record = self.decode(device, &row, now)?;
        if record.is_dead(now) {
            let ended = Ended { reason: EndReason::Expired, verifier: record.verifier };
            return Ok(Lookup::Ended(ended));
        }
        Ok(Lookup::Live(Arc::new(record)))
    }

    /// Why nothing lives where a script found `note`.
    pub(crate) fn reason(note: &str, now: Timestamp) -> Option<EndReason> {
        Note::read(note)?.answer(now).map(|ended| ended.reason)
    }

    pub(crate) async fn devices_of(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        let user = self.keys.user(email);
        for _ in 0..ROUNDS {
            let index = self.settle(&user, now).await?;
            let rows = self.rows_of(&index).await?;
            if self.generation(&user).await? == index.generation {
                self.prune(&user, &index, &rows, now).await;
                return Ok(self.listed(rows, email, now));
            }
        }
        Err(StoreError::unavailable(Restless))
    }

    /// Reads the index `user`.
    pub(crate) async fn index(&self, user: &str) -> Result<Index, StoreError> {
        Ok(Index::read(&self.on_index(&INDEX_READ, user, &[]).await?))
    }

    /// The rows of all devices in `index`, as far as they are there.
    pub(crate) async fn rows_of(
        &self,
        index: &Index,
    ) -> Result<Vec<(DeviceId, Option<Row>)>, StoreError> {
        let devices = index.entries.keys().copied();
        try_join_all(devices.map(async |device| Ok((device, self.row(device).await?)))).await
    }

    /// The live records among `rows`, oldest login first. What cannot be read is left out.
    pub(crate) fn listed(
        &self,
        rows: Vec<(DeviceId, Option<Row>)>,
        email: &Email,
        now: Timestamp,
    ) -> Vec<Arc<TokenRecord>> {
        let records = rows.into_iter().filter_map(|(device, row)| {
            let record = self.decode(device, &row?, now).ok()?;
            (!record.is_dead(now) && record.email == *email).then(|| Arc::new(record))
        });
        let mut records: Vec<_> = records.collect();
        records.sort_by_key(|record| (record.created_at, record.device_id));
        records
    }

    async fn generation(&self, user: &str) -> Result<String, StoreError> {
        let words: [&[u8]; 3] = [b"HGET", user.as_bytes(), GENERATION.as_bytes()];
        let reply = self.driver.command(&words).await?;
        Ok(reply.text().unwrap_or_default().to_owned())
    }

    /// Takes the devices out of the index whose records are gone; returns how many. It is no
    /// harm if that fails.
    pub(crate) async fn prune(
        &self,
        user: &str,
        index: &Index,
        rows: &[(DeviceId, Option<Row>)],
        now: Timestamp,
    ) -> usize {
        let mut pruned = 0;
        for (device, _) in rows.iter().filter(|(_, row)| row.is_none()) {
            let Some(entry) = index.entries.get(device).filter(|entry| entry.login.is_none())
            else {
                continue;
            };
            let args = args![now.as_unix_micros(), device, entry.value];
            match self.on_index(&INDEX_DROP, user, &args).await {
                Ok(reply) if reply.word() == "dropped" => pruned += 1,
                Ok(_) => {}
                Err(error) => tracing::debug!(%device, %error, "not taken out of the index"),
            }
        }
        pruned
    }
}

/// What is said of a record that is dead and still there.
fn expired(row: &Row) -> Ended {
    let verifier = row.text("verifier").and_then(unhex).map(Verifier::from_bytes);
    Ended { reason: EndReason::Expired, verifier: verifier.unwrap_or(Verifier::NOBODY) }
}

/// The list of an email changed each time that it was read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the devices of this email change faster than they can be listed")]
struct Restless;

const ROUNDS: usize = 100;

/// What a script answers that none answers.
pub(crate) fn not_understood<T>() -> Result<T, StoreError> {
    Err(NotUnderstood.into())
}
