//! Ending several devices, and completing what somebody else began.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokenkeep_core::{DeviceId, Email, EndReason, StoreError, Timestamp, TokenRecord};

use crate::devices::not_understood;
use crate::index::{Index, Login, Victim};
use crate::row::{Note, hex, micros, none};
use crate::scripts::{FENCE, FINISH, INDEX_ENDED, INDEX_ENDING, INDEX_SETTLE, args};
use crate::store::{Inner, nonce};

impl Inner {
    pub(crate) async fn remove_all_of(
        &self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        let user = self.keys.user(email);
        let index = self.settle(&user, now).await?;
        let before = self.listed(self.rows_of(&index).await?, email, now);
        let nonce = nonce()?;
        let except = except.map_or_else(none, |device| device.to_string());
        let args = args![micros(now), nonce, reason.code(), except];
        let reply = self.on_index(&INDEX_ENDING, &user, &args).await?;
        if reply.word() != "ending" {
            return not_understood();
        }
        let list = reply.at(1).text().unwrap_or_default();
        let victims = Victim::read_devices(list, reason);
        if victims.is_empty() {
            return Ok(Vec::new());
        }
        let ends = victims.iter().map(|victim| {
            let known = before.iter().find(|record| record.device_id == victim.device);
            self.end(&user, *victim, &nonce, known.map(|record| TokenRecord::clone(record)), now)
        });
        let mut ended: Vec<_> = try_join_all(ends).await?.into_iter().flatten().collect();
        if let Err(error) = self.on_index(&INDEX_ENDED, &user, &args![micros(now), nonce]).await {
            // All of them ended; whoever comes by next clears the index up.
            tracing::debug!(%error, "the index still says that devices are to end");
        }
        ended.sort_by_key(|record| (record.created_at, record.device_id));
        Ok(ended)
    }

    /// Completes what is under way in the index `user`, as far as it is committed or was
    /// given up, and returns the index afterwards.
    pub(crate) async fn settle(&self, user: &str, now: Timestamp) -> Result<Index, StoreError> {
        loop {
            let index = self.index(user).await?;
            let mut moved = false;
            for (device, entry) in &index.entries {
                if let Some(login) = &entry.login {
                    let age = index.clock.saturating_sub(login.begun);
                    moved |= self.settle_login(user, *device, login, age, now).await?;
                }
            }
            for (nonce, ending) in &index.endings {
                let ends =
                    ending.victims.iter().map(|victim| self.end(user, *victim, nonce, None, now));
                try_join_all(ends).await?;
                self.on_index(&INDEX_ENDED, user, &args![micros(now), nonce]).await?;
                moved = true;
            }
            if !moved {
                return Ok(index);
            }
        }
    }

    /// Completes the login of `device`, or gives it up; false if its author may still be at work.
    async fn settle_login(
        &self,
        user: &str,
        device: DeviceId,
        login: &Login,
        age: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let committed = if self.row(device).await?.is_some() {
            true
        } else {
            match self.note(device).await?.as_deref().and_then(Note::read) {
                Some(note) => !note.is_fence,
                None if age < GRACE_MICROS => return Ok(false),
                None => self.fence(device, &login.nonce).await? == "stored",
            }
        };
        if committed {
            for victim in &login.victims {
                self.end(user, *victim, &login.nonce, None, now).await?;
            }
        }
        let how = if committed { "live" } else { "drop" };
        let args = args![micros(now), device, login.nonce, how];
        self.on_index(&INDEX_SETTLE, user, &args).await?;
        Ok(true)
    }

    /// Ends `victim` for the operation `by`, and returns its record if it ended for that. `known`
    /// is the record as it was before, should somebody else have completed the operation.
    pub(crate) async fn end(
        &self,
        user: &str,
        victim: Victim,
        by: &str,
        known: Option<TokenRecord>,
        now: Timestamp,
    ) -> Result<Option<Arc<TokenRecord>>, StoreError> {
        let args = self.finish_args(victim.reason, by, None, "force", now);
        loop {
            let reply = self.on_record(&FINISH, victim.device, &args).await?;
            match reply.word() {
                "ended" => {
                    let record = self.record(victim.device, reply.at(1), now).ok();
                    let record = record.filter(|record| !record.is_dead(now));
                    if let Some(intent) = record.as_ref().and_then(|r| r.refresh_intent) {
                        let holder = hex(intent.holder.as_bytes());
                        self.forget_intent(victim.device, &holder).await;
                    }
                    return Ok(record);
                }
                "gone" => {
                    let note = Note::read(reply.at(1).text().unwrap_or_default());
                    if let Some(note) = note {
                        let ours = note.by == by && !note.is_fence;
                        return Ok(known.filter(|_| ours).map(Arc::new));
                    }
                    if !self.is_pending(user, victim.device).await? {
                        return Ok(None);
                    }
                }
                _ => return not_understood(),
            }
            // Its login is under way: it has to be stored before it can end.
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether the login of `device` may still be stored. One that takes too long is given up.
    async fn is_pending(&self, user: &str, device: DeviceId) -> Result<bool, StoreError> {
        let index = self.index(user).await?;
        let login = index.entries.get(&device).and_then(|entry| entry.login.as_ref());
        let Some(login) = login else { return Ok(false) };
        if index.clock.saturating_sub(login.begun) < GRACE_MICROS {
            return Ok(true);
        }
        Ok(self.fence(device, &login.nonce).await? == "stored")
    }

    /// Keeps the login `nonce` of `device` from being stored, unless it is.
    async fn fence(&self, device: DeviceId, nonce: &str) -> Result<&'static str, StoreError> {
        let reply = self.on_record(&FENCE, device, &args![nonce, FENCED_MILLIS]).await?;
        match reply.word() {
            "stored" => Ok("stored"),
            "fenced" => Ok("fenced"),
            _ => not_understood(),
        }
    }
}

/// How long a login may take before others give it up, in microseconds of the clock of Redis.
pub(crate) const GRACE_MICROS: i64 = 3_000_000;

/// How long a login that was given up is kept from being stored: longer than any call takes.
const FENCED_MILLIS: u32 = 3_600_000;
const PAUSE: Duration = Duration::from_millis(5);
