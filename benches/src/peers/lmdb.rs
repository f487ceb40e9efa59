//! LMDB through heed: a memory-mapped B+ tree, synced by every commit.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::path::Path;

use anyhow::{Context as _, Result};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, RoTxn, RwTxn, WithoutTls};

use super::trees::{ReadTrees, Tree, Trees, WalkTrees, WriteTrees};

/// A handle of the environment, and its databases in the order of [`Tree`].
#[derive(Clone, Debug)]
pub struct Lmdb {
    environment: Env<WithoutTls>,
    databases: [Database<'static, Bytes, Bytes>; 3],
}

/// A transaction and what it works on.
pub struct Begun<'a, T> {
    store: &'a Lmdb,
    transaction: T,
}

impl Trees for Lmdb {
    type Bytes = Vec<u8>;
    type Reading<'a> = Begun<'a, RoTxn<'a, WithoutTls>>;
    type Writing<'a> = Begun<'a, RwTxn<'a>>;

    fn create(directory: &Path) -> Result<Self> {
        let environment = open(directory)?;
        let create = |name| -> Result<Database<'static, Bytes, Bytes>> {
            let begun = environment.write_txn()?;
            let created = environment.create_databases_and_commit(begun, |opener, begun| {
                let database = opener.create_database::<Bytes, Bytes>(begun, Some(name))?;
                heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(database))
            })?;
            created.commit().context("the database was not created")
        };
        let [records, expiries, emails] = Tree::NAMES.map(create);
        let databases = [records?, expiries?, emails?];
        Ok(Self { environment, databases })
    }

    fn read<T>(&self, work: impl FnOnce(&Self::Reading<'_>) -> Result<T>) -> Result<T> {
        work(&Begun { store: self, transaction: self.environment.read_txn()? })
    }

    fn write<T>(&self, work: impl Fn(&mut Self::Writing<'_>) -> Result<T>) -> Result<T> {
        let mut begun = Begun { store: self, transaction: self.environment.write_txn()? };
        let done = work(&mut begun)?;
        begun.transaction.commit()?;
        Ok(done)
    }
}

#[expect(unsafe_code, reason = "heed has no safe way to open an environment")]
fn open(directory: &Path) -> Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(MAP_BYTES).max_dbs(3).max_readers(512);
    // SAFETY: the directory is fresh and nobody else's, and no other environment is open on it.
    Ok(unsafe { options.open(directory)? })
}

impl<T> Begun<'_, T> {
    fn find(&self, begun: &RoTxn<'_>, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(tree.of(&self.store.databases).get(begun, key)?.map(<[u8]>::to_vec))
    }
}

impl ReadTrees for Begun<'_, RoTxn<'_, WithoutTls>> {
    type Bytes = Vec<u8>;

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.find(&self.transaction, tree, key)
    }
}

impl WalkTrees for Begun<'_, RoTxn<'_, WithoutTls>> {
    fn keys(&self, tree: Tree, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        // LMDB knows no empty key.
        let from = if from.is_empty() { Unbounded } else { Included(from) };
        let found = tree
            .of(&self.store.databases)
            .range(&self.transaction, &(from, Excluded(to)))?
            .take(limit);
        found.map(|found| Ok(found?.0.to_vec())).collect()
    }
}

impl ReadTrees for Begun<'_, RwTxn<'_>> {
    type Bytes = Vec<u8>;

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.find(&self.transaction, tree, key)
    }
}

impl WriteTrees for Begun<'_, RwTxn<'_>> {
    fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(tree.of(&self.store.databases).put(&mut self.transaction, key, value)?)
    }

    fn remove(&mut self, tree: Tree, key: &[u8]) -> Result<()> {
        tree.of(&self.store.databases).delete(&mut self.transaction, key)?;
        Ok(())
    }
}

impl<T> std::fmt::Debug for Begun<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

/// Address space, not memory: enough for 10 M records.
const MAP_BYTES: usize = 128 << 30;
