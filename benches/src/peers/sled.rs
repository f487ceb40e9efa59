//! sled 0.34: one transaction over three trees, then a flush, and a sync of its file.
//!
//! On Linux sled's own flush is `sync_file_range`, which leaves the rows in the disk's cache and
//! the file's length to chance: a power loss takes what was acknowledged. Everybody else here
//! syncs, so sled does.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use sled::transaction::{ConflictableTransactionError, TransactionError, TransactionalTree};
use sled::{IVec, Transactional as _};

use super::CACHE_BYTES;
use super::trees::{ReadTrees, Tree, Trees, WalkTrees, WriteTrees};

/// A handle of the database, and its trees in the order of [`Tree`].
#[derive(Clone, Debug)]
pub struct Sled {
    database: sled::Db,
    file: Arc<File>,
    trees: [sled::Tree; 3],
}

/// The trees inside a write transaction.
pub struct Writing<'a>([&'a TransactionalTree; 3]);

impl Trees for Sled {
    type Bytes = IVec;
    type Reading<'a> = Self;
    type Writing<'a> = Writing<'a>;

    fn create(directory: &Path) -> Result<Self> {
        let database = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES as u64)
            // The group commit flushes.
            .flush_every_ms(None)
            .open()?;
        let [records, expiries, emails] = Tree::NAMES.map(|name| database.open_tree(name));
        let file = Arc::new(File::open(directory.join("db"))?);
        Ok(Self { trees: [records?, expiries?, emails?], database, file })
    }

    fn read<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        work(self)
    }

    fn write<T>(&self, work: impl Fn(&mut Writing<'_>) -> Result<T>) -> Result<T> {
        let [records, expiries, emails] = &self.trees;
        let done = (records, expiries, emails).transaction(|(records, expiries, emails)| {
            work(&mut Writing([records, expiries, emails]))
                .map_err(ConflictableTransactionError::Abort)
        });
        let done = done.map_err(|error| match error {
            TransactionError::Abort(error) => error,
            TransactionError::Storage(error) => error.into(),
        })?;
        self.database.flush()?;
        self.file.sync_data()?;
        Ok(done)
    }
}

impl ReadTrees for Sled {
    type Bytes = IVec;

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<IVec>> {
        Ok(tree.of(&self.trees).get(key)?)
    }
}

impl WalkTrees for Sled {
    fn keys(&self, tree: Tree, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let keys = tree.of(&self.trees).range(from..to).keys().take(limit);
        keys.map(|key| Ok(key?.to_vec())).collect()
    }
}

impl ReadTrees for Writing<'_> {
    type Bytes = IVec;

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<IVec>> {
        tree.of(&self.0).get(key).map_err(|error| anyhow!("{error}"))
    }
}

impl WriteTrees for Writing<'_> {
    fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<()> {
        tree.of(&self.0).insert(key, value).map_err(|error| anyhow!("{error}"))?;
        Ok(())
    }

    fn remove(&mut self, tree: Tree, key: &[u8]) -> Result<()> {
        tree.of(&self.0).remove(key).map_err(|error| anyhow!("{error}"))?;
        Ok(())
    }
}

impl std::fmt::Debug for Writing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writing").finish_non_exhaustive()
    }
}
