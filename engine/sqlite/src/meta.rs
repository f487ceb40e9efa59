//! What a file says of itself: its format, the store's name, the keys it was sealed with.

use rusqlite::{Connection, OptionalExtension as _, params};
use tokenkeep_core::codec::{Sealing, checksum};
use tokenkeep_core::keyring::{KeyId, Unfit};
use tokenkeep_core::{KeyRing, StoreId};

use crate::open::OpenError;

/// The first thing that is read of a file.
///
/// As bytes: format, store id, 1 if it is sealed or 0, active key id, id and check value of each
/// key that anything may be sealed with, checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) store: StoreId,
    /// The key that sealed last, if anything is sealed.
    active: Option<KeyId>,
    /// How each key is recognised that anything may be sealed with.
    checks: Vec<(KeyId, [u8; 32])>,
}

impl Meta {
    /// The meta row of a store that keeps as `sealing` says.
    pub(crate) fn fresh(store: StoreId, sealing: &Sealing) -> Self {
        let mut meta = Self { store, active: None, checks: Vec::new() };
        meta.adopt(sealing);
        meta
    }

    /// Takes the active key of `sealing`; true if that changes anything.
    pub(crate) fn adopt(&mut self, sealing: &Sealing) -> bool {
        let Sealing::On(ring) = sealing else { return false };
        self.take(ring)
    }

    /// Takes the active key of `ring`; true if that changes anything.
    pub(crate) fn take(&mut self, ring: &KeyRing) -> bool {
        let (before, active) = (self.clone(), ring.active());
        self.active = Some(active);
        let known = self.checks.iter().any(|(id, _)| *id == active);
        if let (false, Some(check)) = (known, ring.check_value(active, &self.store)) {
            self.checks.push((active, check));
        }
        *self != before
    }

    /// Whether `key` sealed last.
    pub(crate) fn is_active(&self, key: KeyId) -> bool {
        self.active == Some(key)
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.active.is_some()
    }

    /// Whether this is the store that the program means, if it says which.
    pub(crate) fn check_store(&self, expected: Option<StoreId>) -> Result<(), OpenError> {
        match expected {
            Some(expected) if expected != self.store => {
                Err(OpenError::OtherStore { expected, found: self.store })
            }
            _ => Ok(()),
        }
    }

    /// Whether `sealing` opens what is in the file, or may seal what is in it in the clear.
    pub(crate) fn check_sealing(
        &self,
        sealing: &Sealing,
        seal_plain: bool,
    ) -> Result<(), OpenError> {
        match (self.active, sealing) {
            (None, Sealing::Off) => Ok(()),
            (None, Sealing::On(_)) if seal_plain => Ok(()),
            (None, Sealing::On(_)) => Err(OpenError::NotSealed),
            (Some(_), Sealing::Off) => Err(OpenError::Sealed),
            (Some(_), Sealing::On(ring)) => Ok(self.check_ring(ring)?),
        }
    }

    /// Whether `ring` opens what is in the file: it has every key that anything may be sealed
    /// with, and none of its keys goes by the name of another.
    pub(crate) fn check_ring(&self, ring: &KeyRing) -> Result<(), Unfit> {
        ring.fits(&self.store, &self.checks)
    }

    /// Forgets `key`, which nothing is sealed with any more.
    pub(crate) fn forget(&mut self, key: KeyId) {
        self.checks.retain(|(id, _)| *id != key);
    }

    /// Reads the meta row; an inner error says what is wrong with it.
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Result<Self, OpenError>> {
        let row: Option<Vec<u8>> =
            connection.query_row(READ, [STORE], |row| row.get(0)).optional()?;
        Ok(match row {
            Some(bytes) => Self::decode(&bytes),
            None => Err(OpenError::damaged("the meta row is missing")),
        })
    }

    pub(crate) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute(WRITE, params![STORE, self.encode()]).map(drop)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(self.store.as_bytes());
        bytes.push(u8::from(self.is_sealed()));
        bytes.extend_from_slice(self.active.unwrap_or(KeyId::from_bytes([0; 4])).as_bytes());
        for (id, check) in &self.checks {
            bytes.extend_from_slice(id.as_bytes());
            bytes.extend_from_slice(check);
        }
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        match bytes.first() {
            None => return Err(OpenError::damaged("the meta row is empty")),
            Some(&format) if format > FORMAT => return Err(OpenError::NewerFormat { format }),
            Some(_) => {}
        }
        let (fields, sum) = bytes.split_last_chunk::<8>().unwrap_or((bytes, &[0; 8]));
        if checksum(fields) != *sum {
            return Err(OpenError::damaged("the meta row is damaged"));
        }
        Self::fields(fields).ok_or_else(|| OpenError::damaged("the meta row is malformed"))
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let (_, bytes) = bytes.split_first()?;
        let (store, bytes) = bytes.split_first_chunk::<16>()?;
        let (sealed, bytes) = bytes.split_first()?;
        let (active, bytes) = bytes.split_first_chunk::<4>()?;
        let (checks, []) = bytes.as_chunks::<36>() else { return None };
        let checks = checks.iter().map(|check| {
            let (id, value) = check.split_first_chunk::<4>()?;
            Some((KeyId::from_bytes(*id), value.try_into().ok()?))
        });
        Some(Self {
            store: StoreId::from_bytes(*store),
            active: (*sealed == 1).then_some(KeyId::from_bytes(*active)),
            checks: checks.collect::<Option<_>>()?,
        })
    }
}

/// Notes that what was deleted may still lie in the file in the clear.
pub(crate) fn note_sweep(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(WRITE, params![SWEEP, [1_u8]]).map(drop)
}

/// Whether what was deleted may still lie in the file in the clear.
pub(crate) fn is_sweep_due(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare(READ)?.exists([SWEEP])
}

/// Notes that nothing that was deleted lies in the file any more.
pub(crate) fn forget_sweep(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(REMOVE, [SWEEP]).map(drop)
}

/// Writes a row as large as a batch usually needs, and takes it away again.
pub(crate) fn try_to_write(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute(WRITE, params![TRIAL, rusqlite::types::Value::Blob(vec![0; TRIAL_BYTES])])?;
    connection.execute(REMOVE, [TRIAL]).map(drop)
}

/// The format of the file that is written.
const FORMAT: u8 = 1;
const STORE: &str = "store";
const SWEEP: &str = "sweep";
const TRIAL: &str = "trial";
const TRIAL_BYTES: usize = 64 * 1024;
const READ: &str = "SELECT value FROM tokenkeep_meta WHERE name = ?1";
const WRITE: &str = "INSERT OR REPLACE INTO tokenkeep_meta (name, value) VALUES (?1, ?2)";
const REMOVE: &str = "DELETE FROM tokenkeep_meta WHERE name = ?1";
