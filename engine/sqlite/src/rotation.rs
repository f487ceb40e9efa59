//! The key ring of a store that is used: taking up another, resealing, retiring a key.
//!
//! The meta row names a key before anything is sealed with it, and until nothing is.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use tokenkeep_core::codec::{Columns, Sealing};
use tokenkeep_core::keyring::{KeyId, ResealProgress, RingError, RingUse};
use tokenkeep_core::{KeyRing, SealedStore, StoreError, Timestamp};

use crate::failure::Fault;
use crate::meta::Meta;
use crate::row::{Found, selected};
use crate::rows::Rows;
use crate::shared::Shared;
use crate::store::SqliteStore;
use crate::take_over;

impl SealedStore for SqliteStore {
    async fn take_ring(&self, ring: KeyRing) -> Result<(), RingError> {
        let own = self.ring()?;
        let active = ring.active();
        let taken = ring.clone();
        self.write(move |rows| take(rows, &taken)).await??;
        own.take_up(&ring);
        // What was decided with the old key at that instant is committed before this is.
        self.write(|_| Ok(())).await?;
        tracing::info!(key = %active, "records are sealed with this key from here on");
        Ok(())
    }

    fn key_ids(&self) -> Vec<KeyId> {
        self.ring().map(|ring| ring.ids().collect()).unwrap_or_default()
    }

    /// What was set aside is resealed as well.
    async fn reseal(
        &self,
        mut progress: impl FnMut(ResealProgress) -> bool + Send,
    ) -> Result<(), RingError> {
        let active = self.ring()?.active();
        let total =
            self.read(|_, connection| Ok(connection.query_row(COUNT, [], |row| row.get(0))?));
        let (total, mut done, mut next) = (total.await?, 0, Some(i64::MIN));
        while let Some(first) = next {
            let step = self.read(move |shared, connection| step(shared, connection, first)).await?;
            next = step.next;
            done = step.rows.saturating_add(done).min(total);
            self.write(move |rows| {
                step.resealed
                    .iter()
                    .try_for_each(|(id, rest, sealed)| rows.reseal(*id, rest, sealed))
            })
            .await?;
            if !progress(ResealProgress { done, total }) && next.is_some() {
                return Err(RingError::CalledOff);
            }
        }
        self.write(|rows| {
            rows.numbers_aside()?
                .into_iter()
                .try_for_each(|number| take_over::reseal_aside(rows, number))
        })
        .await?;
        let left = self.key_use().await?.into_iter().filter(|used| used.key != active);
        match left.map(|used| used.records).sum() {
            0 => Ok(()),
            left => Err(RingError::Unreadable(left)),
        }
    }

    async fn key_use(&self) -> Result<Vec<RingUse>, StoreError> {
        let counted = self.read(|_, connection| {
            let mut counted: BTreeMap<[u8; 4], u64> = BTreeMap::new();
            let mut query = connection.prepare_cached(RESTS)?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let rest = row.get_ref(0)?;
                if let Some(key) = rest.as_blob().ok().and_then(Columns::key_in) {
                    *counted.entry(*key.as_bytes()).or_default() += 1;
                }
            }
            Ok(counted)
        });
        let used = |(key, records)| RingUse { key: KeyId::from_bytes(key), records };
        Ok(counted.await?.into_iter().map(used).collect())
    }

    async fn retire(&self, key: KeyId) -> Result<(), RingError> {
        if self.ring()?.active() == key {
            return Err(RingError::Active(key));
        }
        // From here on no row comes under it that was not before.
        if let Some(used) = self.key_use().await?.into_iter().find(|used| used.key == key) {
            return Err(RingError::StillNeeded(used));
        }
        self.write(move |rows| retire(rows, key)).await?
    }
}

impl SqliteStore {
    fn ring(&self) -> Result<&KeyRing, RingError> {
        match &self.shared.form.sealing {
            Sealing::On(ring) => Ok(ring),
            Sealing::Off => Err(RingError::NotSealed),
        }
    }
}

/// Has the file name the active key of `ring`, if the ring opens what is in it.
fn take(rows: &Rows<'_>, ring: &KeyRing) -> Result<Result<(), RingError>, Fault> {
    let mut meta = match Meta::read(rows.connection)? {
        Ok(meta) => meta,
        Err(error) => return Ok(Err(RingError::Store(StoreError::unavailable(error)))),
    };
    if let Err(unfit) = meta.check_ring(ring) {
        return Ok(Err(unfit.into()));
    }
    if meta.take(ring) {
        meta.write(rows.connection)?;
    }
    Ok(Ok(()))
}

/// Has the file forget `key`, which nothing is under.
fn retire(rows: &Rows<'_>, key: KeyId) -> Result<Result<(), RingError>, Fault> {
    let mut meta = match Meta::read(rows.connection)? {
        Ok(meta) => meta,
        Err(error) => return Ok(Err(RingError::Store(StoreError::unavailable(error)))),
    };
    let is_active = matches!(&rows.form.sealing, Sealing::On(ring) if ring.active() == key);
    if is_active || meta.is_active(key) {
        return Ok(Err(RingError::Active(key)));
    }
    meta.forget(key);
    meta.write(rows.connection)?;
    Ok(Ok(()))
}

/// A part of the walk that reseals.
struct Step {
    /// How many rows were looked at.
    rows: u64,
    /// The rows that are under another key: where, their own column, and as they are to be.
    resealed: Vec<(i64, Vec<u8>, Columns)>,
    next: Option<i64>,
}

/// Looks at the rows from `first` on. What cannot be read is left as it is.
fn step(shared: &Shared, connection: &Connection, first: i64) -> Result<Step, Fault> {
    let mut query = connection.prepare_cached(FROM)?;
    let found = query.query_map(params![first, STEP], Found::read)?;
    let found: Vec<_> = found.collect::<Result<_, _>>()?;
    let next = found.last().filter(|_| found.len() as u64 == STEP);
    let next = next.and_then(|last| last.id.checked_add(1));
    let rows = found.len() as u64;
    let resealed = found.into_iter().filter_map(|found| {
        let columns = found.columns.as_ref()?;
        columns.key().filter(|_| !shared.form.is_current(columns))?;
        let record = found.record(&shared.form, Timestamp::default()).ok()?;
        let sealed = shared.form.write(&record).ok()?;
        Some((found.id, found.columns?.rest?, sealed))
    });
    let resealed = resealed.collect();
    Ok(Step { rows, resealed, next })
}

/// Rows that are resealed in one commit, which others wait for.
const STEP: u64 = 64;
const FROM: &str = concat!(selected!(), "WHERE id >= ?1 ORDER BY id LIMIT ?2");
const COUNT: &str = "SELECT count(*) FROM user_auth_credentials";
const RESTS: &str = "SELECT rest FROM user_auth_credentials
    UNION ALL SELECT rest FROM tokenkeep_set_aside";
