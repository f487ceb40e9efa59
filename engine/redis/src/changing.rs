//! Changing one record: replace, remove, touch.

use std::sync::Arc;

use tokenkeep_core::{
    DeviceId, Email, EndReason, RemoveOutcome, ReplaceOutcome, StoreError, Timestamp, TokenRecord,
    Tokens, Version,
};

use crate::devices::not_understood;
use crate::driver::Reply;
use crate::rotation::Turn;
use crate::row::{self, Life, Note, micros, none};
use crate::scripts::{FINISH, INDEX_DROP, INDEX_LEARN, REPLACE, TOUCH, args};
use crate::store::{Inner, nonce};

impl Inner {
    pub(crate) async fn replace(
        &self,
        expected: Version,
        record: TokenRecord,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<ReplaceOutcome, StoreError> {
        let device = record.device_id;
        let record = TokenRecord { version: expected.next(), ..record };
        let life = Life::of(&record);
        // The index knows of a longer life before the record has it.
        self.learn(&record.email, device, &life, now).await?;
        let kind = if tokens == Tokens::Renewed { "renewed" } else { "kept" };
        let previous = record.previous_visit_at.map_or_else(none, micros);
        let Life { hard, idle, seen, .. } = &life;
        let mut args =
            args![micros(now), expected.number(), kind, nonce()?, hard, idle, seen, previous];
        let turn = self.turn_to_seal().await?;
        args.extend(self.encode(&record, &turn)?);
        let reply = self.on_adopted(&REPLACE, device, &args, now).await?;
        match reply.word() {
            "replaced" => {
                if let Some(holder) = reply.at(2).text().filter(|holder| !holder.is_empty()) {
                    self.forget_intent(device, holder).await;
                }
                Ok(ReplaceOutcome::Replaced(self.record(device, reply.at(1), now)?))
            }
            "conflict" => Ok(ReplaceOutcome::Conflict(self.record(device, reply.at(1), now)?)),
            "dead" => Ok(ReplaceOutcome::Gone(Some(EndReason::Expired))),
            "gone" => {
                self.unlearn(&record.email, device, now).await;
                Ok(ReplaceOutcome::Gone(gone(&reply, now)))
            }
            _ => not_understood(),
        }
    }

    pub(crate) async fn remove(
        &self,
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<RemoveOutcome, StoreError> {
        // What cannot be read stays where it is, so it is read before it goes.
        let Some(row) = self.row(device).await? else {
            let note = self.note(device).await?.unwrap_or_default();
            return Ok(RemoveOutcome::Gone(Self::reason(&note, now)));
        };
        let before = Arc::new(self.decode(device, &row, now)?);
        let email = before.email.clone();
        let by = nonce()?;
        let args = self.finish_args(reason, &by, expected, "-", now);
        let reply = self.on_adopted(&FINISH, device, &args, now).await?;
        let outcome = match reply.word() {
            "ended" => {
                let record = self.record(device, reply.at(1), now).unwrap_or(before);
                if let Some(intent) = record.refresh_intent {
                    self.forget_intent(device, &row::hex(intent.holder.as_bytes())).await;
                }
                RemoveOutcome::Removed(record)
            }
            "gone" => match Note::read(reply.at(1).text().unwrap_or_default()) {
                Some(note) if note.by == by => RemoveOutcome::Removed(Arc::clone(&before)),
                _ => RemoveOutcome::Gone(gone(&reply, now)),
            },
            "conflict" => {
                return Ok(RemoveOutcome::Conflict(self.record(device, reply.at(1), now)?));
            }
            _ => return not_understood(),
        };
        self.unlearn(&email, device, now).await;
        Ok(outcome)
    }

    pub(crate) async fn touch(&self, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        let Some(row) = self.row(device).await? else { return Ok(()) };
        let record = self.decode(device, &row, now)?;
        if record.is_dead(now) {
            return Ok(());
        }
        let mut touched = record.clone();
        touched.touch(now);
        if touched.last_seen_at == record.last_seen_at {
            return Ok(());
        }
        self.learn(&record.email, device, &Life::of(&touched), now).await?;
        let previous = touched.previous_visit_at.map_or_else(none, micros);
        let (before, after) = (micros(record.last_seen_at), micros(touched.last_seen_at));
        let args = args![micros(now), before, after, previous];
        self.on_adopted(&TOUCH, device, &args, now).await?;
        Ok(())
    }

    /// The arguments of the script that ends a record.
    pub(crate) fn finish_args(
        &self,
        reason: EndReason,
        by: &str,
        expected: Option<Version>,
        force: &str,
        now: Timestamp,
    ) -> Vec<Vec<u8>> {
        let expected = expected.map_or_else(none, |version| version.number().to_string());
        // Redis takes no time of zero.
        let keep = self.answerable.as_millis().max(1);
        let forget_at = micros(now + self.answerable);
        args![micros(now), reason.code(), by, keep, forget_at, expected, force]
    }

    /// Tells the index of `email` that `device` lives, or lives longer.
    pub(crate) async fn learn(
        &self,
        email: &Email,
        device: DeviceId,
        life: &Life,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let args = args![micros(now), device, life.hard, life.idle, life.seen, life.created];
        self.on_index(&INDEX_LEARN, &self.keys.user(email), &args).await.map(|_| ())
    }

    /// Takes `device`, whose record is gone, out of the index of `email`. It is no harm if that
    /// fails: the record decides.
    pub(crate) async fn unlearn(&self, email: &Email, device: DeviceId, now: Timestamp) {
        let args = args![micros(now), device, "*"];
        if let Err(error) = self.on_index(&INDEX_DROP, &self.keys.user(email), &args).await {
            tracing::debug!(%device, %error, "not taken out of the index");
        }
    }

    /// The fields of `record`, sealed.
    pub(crate) fn encode(
        &self,
        record: &TokenRecord,
        _: &Turn<'_>,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        row::encode(record, &self.sealing, &self.id).map_err(StoreError::unavailable)
    }
}

/// Why nothing lives where a script found a note.
pub(crate) fn gone(reply: &Reply, now: Timestamp) -> Option<EndReason> {
    Inner::reason(reply.at(1).text().unwrap_or_default(), now)
}
