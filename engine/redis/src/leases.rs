//! The refresh lease: an intent in the record, and a set that finds those that are open.

use futures_util::future::try_join_all;
use tokenkeep_core::{
    DeviceId, EndReason, HolderId, LeaseOutcome, Release, StoreError, Timestamp, Version,
};

use crate::changing::gone;
use crate::devices::not_understood;
use crate::fault::NotUnderstood;
use crate::row::{Row, hex, micros};
use crate::scripts::{EXTEND, LEASE, RELEASE, args};
use crate::store::Inner;

impl Inner {
    pub(crate) async fn lease(
        &self,
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<LeaseOutcome, StoreError> {
        let holder = hex(holder.as_bytes());
        // The set names at least the intents that there are.
        self.note_intent(device, &holder, until).await?;
        let args = args![micros(now), expected.number(), holder, micros(until)];
        let reply = self.on_adopted(&LEASE, device, &args, now).await?;
        let row = Row::read(reply.at(1));
        if row.as_ref().and_then(|row| row.text("intent_holder")) != Some(&holder) {
            self.forget_intent(device, &holder).await;
        }
        match reply.word() {
            "granted" => Ok(LeaseOutcome::Granted(self.record(device, reply.at(1), now)?)),
            "held" => {
                let until = reply.at(1).number().ok_or(NotUnderstood)?;
                Ok(LeaseOutcome::Held { until: Timestamp::from_unix_micros(until) })
            }
            "conflict" => Ok(LeaseOutcome::Conflict(self.record(device, reply.at(1), now)?)),
            "dead" => Ok(LeaseOutcome::Gone(Some(EndReason::Expired))),
            "gone" => Ok(LeaseOutcome::Gone(gone(&reply, now))),
            _ => not_understood(),
        }
    }

    pub(crate) async fn extend_lease(
        &self,
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let holder = hex(holder.as_bytes());
        let args = args![micros(now), holder, micros(until)];
        let reply = self.on_record(&EXTEND, device, &args).await?;
        let extended = reply.word() == "extended";
        if extended {
            self.note_intent(device, &holder, until).await?;
        }
        Ok(extended)
    }

    pub(crate) async fn release(
        &self,
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let holder = hex(holder.as_bytes());
        let uncertain = u8::from(release == Release::Uncertain);
        let args = args![micros(now), holder, uncertain];
        let reply = self.on_record(&RELEASE, device, &args).await?;
        if reply.word() == "released" {
            self.forget_intent(device, &holder).await;
        }
        Ok(())
    }

    pub(crate) async fn open_intents(&self, now: Timestamp) -> Result<Vec<DeviceId>, StoreError> {
        let key = self.keys.intents();
        let words: [&[u8]; 5] = [b"ZRANGE", key.as_bytes(), b"0", b"-1", b"WITHSCORES"];
        let reply = self.driver.command(&words).await?;
        let members = reply.list().chunks(2).filter_map(|pair| {
            let (device, holder) = pair.first()?.text()?.split_once(':')?;
            let until: f64 = pair.get(1)?.text()?.parse().ok()?;
            Some((device.parse::<DeviceId>().ok()?, holder.to_owned(), until))
        });
        let members: Vec<_> = members.collect();
        let looks = members
            .iter()
            .map(|(device, holder, until)| self.open_intent(*device, holder, *until, now));
        let mut open: Vec<_> = try_join_all(looks).await?.into_iter().flatten().collect();
        open.sort();
        open.dedup();
        Ok(open)
    }

    /// `device`, if it has an intent that nobody holds. A member of the set that stands for
    /// nothing any more is taken out.
    async fn open_intent(
        &self,
        device: DeviceId,
        holder: &str,
        until: f64,
        now: Timestamp,
    ) -> Result<Option<DeviceId>, StoreError> {
        let row = self.row(device).await?;
        let lives = row.as_ref().and_then(|row| row.instant("dies_at"));
        let live = row.as_ref().filter(|_| lives.is_some_and(|dies_at| now < dies_at));
        let stands_for = |row: &Row| row.text("intent_holder") == Some(holder);
        if !row.as_ref().is_some_and(stands_for) && is_long_past(until, now) {
            self.forget_intent(device, holder).await;
        }
        let held_until = live.and_then(|row| row.instant("intent_until"));
        Ok(held_until.filter(|until| now >= *until).map(|_| device))
    }

    /// Puts the lease of `holder` into the set.
    pub(crate) async fn note_intent(
        &self,
        device: DeviceId,
        holder: &str,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let (key, member) = (self.keys.intents(), format!("{device}:{holder}"));
        let score = micros(until);
        let words = ["ZADD", &key, &score, &member].map(str::as_bytes);
        self.driver.command(&words).await?;
        Ok(())
    }

    /// Takes the lease of `holder` out of the set. It is no harm if that fails: the record
    /// decides.
    pub(crate) async fn forget_intent(&self, device: DeviceId, holder: &str) {
        let (key, member) = (self.keys.intents(), format!("{device}:{holder}"));
        let words = ["ZREM", &key, &member].map(str::as_bytes);
        if let Err(error) = self.driver.command(&words).await {
            tracing::debug!(%device, %error, "a lease that is over is still listed");
        }
    }
}

/// Whether a lease until `until` cannot be under way any more, whoever's clock is a bit wrong.
fn is_long_past(until: f64, now: Timestamp) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a minute more or less does not matter here")]
    let now = now.as_unix_micros() as f64;
    until + 120_000_000.0 < now
}
