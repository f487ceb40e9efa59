//! Storing a login, with what it displaces.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokenkeep_core::{
    Ceiling, CeilingPolicy, DeviceId, Insert, InsertOutcome, Lookup, Removed, StoreError,
    Timestamp, TokenRecord, Version,
};

use crate::devices::not_understood;
use crate::driver::Reply;
use crate::ending::GRACE_MICROS;
use crate::fault::GivenUp;
use crate::index::{Entry, Index, Victim};
use crate::row::{self, Life, micros, none};
use crate::scripts::{CREATE, INDEX_BEGIN, INDEX_CORRECT, INDEX_DROP, INDEX_SETTLE, args};
use crate::store::{Inner, nonce};

/// How a login begins.
enum Begun {
    /// These end for it.
    With(Vec<Victim>),
    Taken,
    Full,
}

impl Inner {
    pub(crate) async fn insert(
        &self,
        insert: Insert,
        now: Timestamp,
    ) -> Result<InsertOutcome, StoreError> {
        let Insert { record, replaces, ceiling } = insert;
        let record = TokenRecord { version: Version::FIRST, refresh_intent: None, ..record };
        let device = record.device_id;
        match self.get(device, now).await {
            Ok(Lookup::Absent) => {}
            Ok(_) | Err(StoreError::Unreadable { .. }) => return Ok(InsertOutcome::Taken),
            Err(error) => return Err(error),
        }
        let nonce = nonce()?;
        let victims = match self.begin(&record, replaces, ceiling, &nonce, now).await? {
            Begun::With(victims) => victims,
            Begun::Taken => return Ok(InsertOutcome::Taken),
            Begun::Full => return Ok(InsertOutcome::CeilingReached),
        };
        // What is displaced is told to listeners, so it is read before it ends.
        let before = try_join_all(victims.iter().map(|victim| self.row(victim.device))).await?;
        match self.create(&record, &nonce, now).await? {
            "stored" => {}
            "taken" => {
                self.settle_as(&record, &nonce, "drop", now).await?;
                return Ok(InsertOutcome::Taken);
            }
            _ => {
                self.settle_as(&record, &nonce, "drop", now).await?;
                return Err(StoreError::unavailable(GivenUp));
            }
        }
        let user = self.keys.user(&record.email);
        let ends = victims.iter().zip(before).map(async |(victim, row)| {
            let before = row.and_then(|row| self.decode(victim.device, &row, now).ok());
            let ended = self.end(&user, *victim, &nonce, before, now).await?;
            Ok::<_, StoreError>(ended.map(|record| Removed { record, reason: victim.reason }))
        });
        let displaced = try_join_all(ends).await?.into_iter().flatten().collect();
        if let Err(error) = self.settle_as(&record, &nonce, "live", now).await {
            // Everything is done; whoever comes by next clears the index up.
            tracing::debug!(%device, %error, "the index still says that the login is under way");
        }
        Ok(InsertOutcome::Inserted { record: Arc::new(record), displaced })
    }

    /// Notes the login in the index, which decides the ceiling.
    async fn begin(
        &self,
        record: &TokenRecord,
        replaces: Option<DeviceId>,
        ceiling: Option<Ceiling>,
        nonce: &str,
        now: Timestamp,
    ) -> Result<Begun, StoreError> {
        let (user, life) = (self.keys.user(&record.email), Life::of(record));
        let replaced = replaces.map_or_else(none, |device| device.to_string());
        let devices = ceiling.map_or(0, |ceiling| ceiling.devices.get());
        let policy = match ceiling.map(|ceiling| ceiling.policy) {
            Some(CeilingPolicy::Reject) => "reject",
            _ => "evict",
        };
        let Life { hard, idle, seen, created } = life;
        let device = record.device_id;
        let mut args =
            args![micros(now), device, nonce, hard, idle, seen, created, replaced, devices, policy];
        if ceiling.is_some() {
            let index = self.settle(&user, now).await?;
            if index.entries.len() >= devices {
                args.extend(self.unreadable_in(&index, now).await?);
            }
        }
        for _ in 0..ROUNDS {
            let reply = self.on_index(&INDEX_BEGIN, &user, &args).await?;
            match reply.word() {
                "begun" => {
                    let list = reply.at(1).text().unwrap_or_default();
                    return Ok(Begun::With(Victim::read_list(list)));
                }
                "taken" => return Ok(Begun::Taken),
                "full" if self.are_alive(record, &reply, now).await? => return Ok(Begun::Full),
                "full" => {}
                _ => return not_understood(),
            }
        }
        Ok(Begun::Full)
    }

    /// The devices in `index` whose records cannot be read: they take nobody's place.
    async fn unreadable_in(
        &self,
        index: &Index,
        now: Timestamp,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let rows = self.rows_of(index).await?;
        let unreadable = rows.into_iter().filter(|(device, row)| {
            row.as_ref().is_some_and(|row| self.decode(*device, row, now).is_err())
        });
        Ok(unreadable.map(|(device, _)| device.to_string().into_bytes()).collect())
    }

    /// Whether all devices that count towards the ceiling live. What does not is taken out of the
    /// index, or corrected there, and a login that is under way is waited for.
    async fn are_alive(
        &self,
        record: &TokenRecord,
        full: &Reply,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (mut all, user) = (true, self.keys.user(&record.email));
        for pair in full.list().get(1..).unwrap_or_default().chunks(2) {
            let [device, value] = pair else { continue };
            let (Some(device), Some(value)) = (device.text(), value.text()) else { continue };
            let (Ok(id), Some(entry)) = (device.parse::<DeviceId>(), Entry::read(value)) else {
                continue;
            };
            let row = self.row(id).await?;
            match (&row, entry.login) {
                (None, Some(_)) => {
                    tokio::time::sleep(PAUSE).await;
                    self.settle(&user, now).await?;
                    all = false;
                }
                (None, None) => {
                    let args = args![micros(now), device, value];
                    self.on_index(&INDEX_DROP, &user, &args).await?;
                    all = false;
                }
                (Some(row), _) => {
                    // It became unreadable since the login began.
                    let Ok(counted) = self.decode(id, row, now) else { continue };
                    if counted.is_dead(now) {
                        let Life { hard, idle, seen, .. } = Life::of(&counted);
                        let args = args![micros(now), device, value, hard, idle, seen];
                        self.on_index(&INDEX_CORRECT, &user, &args).await?;
                        all = false;
                    }
                }
            }
        }
        Ok(all)
    }

    /// Stores the record of a login: from here on it is committed.
    async fn create(
        &self,
        record: &TokenRecord,
        nonce: &str,
        now: Timestamp,
    ) -> Result<&'static str, StoreError> {
        let mut args = args![micros(now), micros(record.dies_at()), nonce];
        let turn = self.turn_to_seal().await?;
        args.extend(self.encode(record, &turn)?);
        args.extend(row::notes(record));
        let reply = self.on_record(&CREATE, record.device_id, &args).await?;
        match reply.word() {
            "stored" => Ok("stored"),
            "taken" => Ok("taken"),
            "fenced" => Ok("fenced"),
            _ => not_understood(),
        }
    }

    async fn settle_as(
        &self,
        record: &TokenRecord,
        nonce: &str,
        how: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let args = args![micros(now), record.device_id, nonce, how];
        self.on_index(&INDEX_SETTLE, &self.keys.user(&record.email), &args).await.map(|_| ())
    }
}

const ROUNDS: i64 = GRACE_MICROS / 10_000 * 2;
const PAUSE: Duration = Duration::from_millis(10);
