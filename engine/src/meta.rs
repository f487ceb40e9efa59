//! What a file says of itself: its format, the store's name, the keys it was sealed with.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableError};
use tokenkeep_core::codec::checksum;
use tokenkeep_core::keyring::{KeyId, Unfit};
use tokenkeep_core::{KeyRing, StoreId};

use crate::disk::{BODIES, HEADERS, META};
use crate::open::OpenError;

/// The first thing that is read of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) store: StoreId,
    /// The key that sealed last.
    active: KeyId,
    /// How each key is recognised that anything may be sealed with.
    checks: Vec<(KeyId, [u8; 32])>,
}

/// Format, store id, active key id, check values, checksum.
type Fields = (u8, [u8; 16], [u8; 4], Vec<([u8; 4], [u8; 32])>);

impl Meta {
    /// The meta row of a fresh store that `ring` seals.
    pub(crate) fn fresh(store: StoreId, ring: &KeyRing) -> Self {
        let mut meta = Self { store, active: ring.active(), checks: Vec::new() };
        meta.adopt(ring);
        meta
    }

    /// Takes the active key of `ring`; true if that changes anything.
    pub(crate) fn adopt(&mut self, ring: &KeyRing) -> bool {
        let before = self.clone();
        self.active = ring.active();
        let known = self.checks.iter().any(|(id, _)| *id == self.active);
        if let (false, Some(check)) = (known, ring.check_value(self.active, &self.store)) {
            self.checks.push((self.active, check));
        }
        *self != before
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

    /// Whether `ring` opens what is in the file: it has every key that anything may be sealed
    /// with, and none of its keys goes by the name of another.
    pub(crate) fn check_ring(&self, ring: &KeyRing) -> Result<(), Unfit> {
        ring.fits(&self.store, &self.checks)
    }

    /// Forgets `key`, which nothing is sealed with any more.
    pub(crate) fn forget(&mut self, key: KeyId) {
        self.checks.retain(|(id, _)| *id != key);
    }

    /// Reads the meta row of the file `path`.
    pub(crate) fn read(database: &impl ReadableDatabase, path: &Path) -> Result<Self, OpenError> {
        Self::find(database, path).map_err(|error| OpenError::storage(path, error))?
    }

    fn find(
        database: &impl ReadableDatabase,
        path: &Path,
    ) -> Result<Result<Self, OpenError>, redb::Error> {
        let transaction = database.begin_read()?;
        let table = match transaction.open_table(META) {
            Err(TableError::Storage(error)) => return Err(error.into()),
            Err(_) => return Ok(Err(OpenError::foreign(path))),
            Ok(table) => table,
        };
        let Some(row) = table.get(ROW)? else { return Ok(Err(OpenError::foreign(path))) };
        let meta = Self::decode(row.value(), path);
        if meta.is_ok() {
            transaction.open_table(HEADERS)?;
            transaction.open_table(BODIES)?;
        }
        Ok(meta)
    }

    /// Writes the meta row, and makes the tables that are not there yet.
    pub(crate) fn write(&self, database: &Database) -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.open_table(HEADERS)?;
        transaction.open_table(BODIES)?;
        transaction.open_table(META)?.insert(ROW, self.encode().as_slice())?;
        transaction.commit()?;
        Ok(())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let checks = self.checks.iter().map(|(id, check)| (*id.as_bytes(), *check));
        let fields: Fields =
            (FORMAT, *self.store.as_bytes(), *self.active.as_bytes(), checks.collect());
        Self::with_checksum(wincode::serialize(&fields).unwrap_or_default())
    }

    pub(crate) fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Self, OpenError> {
        match bytes.first() {
            None => return Err(OpenError::damaged(path, "the meta row is empty")),
            Some(&format) if format > FORMAT => {
                return Err(OpenError::NewerFormat { path: path.to_owned(), format });
            }
            Some(&format) if format < FORMAT => {
                return Err(OpenError::OlderFormat { path: path.to_owned(), format });
            }
            Some(_) => {}
        }
        let (fields, sum) = bytes.split_last_chunk::<8>().unwrap_or((bytes, &[0; 8]));
        if checksum(fields) != *sum {
            return Err(OpenError::damaged(path, "the meta row is damaged"));
        }
        let (_, store, active, checks): Fields = wincode::deserialize_exact(fields)
            .map_err(|_| OpenError::damaged(path, "the meta row is malformed"))?;
        let checks = checks.into_iter().map(|(id, check)| (KeyId::from_bytes(id), check));
        let (store, active) = (StoreId::from_bytes(store), KeyId::from_bytes(active));
        Ok(Self { store, active, checks: checks.collect() })
    }
}

/// The format of the file that is written.
const FORMAT: u8 = 2;
const ROW: &str = "store";
