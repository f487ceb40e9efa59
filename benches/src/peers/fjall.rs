//! fjall 3: a log-structured merge tree; one write transaction, synced by its commit.

use std::path::Path;

use anyhow::Result;
use fjall::{
    KeyspaceCreateOptions, PersistMode, Readable, SingleWriterTxDatabase, SingleWriterTxKeyspace,
    SingleWriterWriteTx, Slice, Snapshot,
};

use super::CACHE_BYTES;
use super::trees::{ReadTrees, Tree, Trees, WalkTrees, WriteTrees};

/// A handle of the database, and its keyspaces in the order of [`Tree`].
#[derive(Clone)]
pub struct Fjall {
    database: SingleWriterTxDatabase,
    keyspaces: [SingleWriterTxKeyspace; 3],
}

/// A transaction and what it works on.
pub struct Begun<'a, T> {
    store: &'a Fjall,
    transaction: T,
}

impl Trees for Fjall {
    type Bytes = Slice;
    type Reading<'a> = Begun<'a, Snapshot>;
    type Writing<'a> = Begun<'a, SingleWriterWriteTx<'a>>;

    fn create(directory: &Path) -> Result<Self> {
        let builder = SingleWriterTxDatabase::builder(directory);
        let database = builder.cache_size(CACHE_BYTES as u64).open()?;
        let [records, expiries, emails] =
            Tree::NAMES.map(|name| database.keyspace(name, KeyspaceCreateOptions::default));
        Ok(Self { keyspaces: [records?, expiries?, emails?], database })
    }

    fn read<T>(&self, work: impl FnOnce(&Self::Reading<'_>) -> Result<T>) -> Result<T> {
        work(&Begun { store: self, transaction: self.database.read_tx() })
    }

    fn write<T>(&self, work: impl Fn(&mut Self::Writing<'_>) -> Result<T>) -> Result<T> {
        let transaction = self.database.write_tx().durability(Some(PersistMode::SyncData));
        let mut begun = Begun { store: self, transaction };
        let done = work(&mut begun)?;
        begun.transaction.commit()?;
        Ok(done)
    }
}

impl<T: Readable> ReadTrees for Begun<'_, T> {
    type Bytes = Slice;

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Slice>> {
        Ok(self.transaction.get(tree.of(&self.store.keyspaces), key)?)
    }
}

impl WalkTrees for Begun<'_, Snapshot> {
    fn keys(&self, tree: Tree, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let found = self.transaction.range(tree.of(&self.store.keyspaces), from..to).take(limit);
        found.map(|found| Ok(found.key()?.to_vec())).collect()
    }
}

impl WriteTrees for Begun<'_, SingleWriterWriteTx<'_>> {
    fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<()> {
        self.transaction.insert(tree.of(&self.store.keyspaces), key, value);
        Ok(())
    }

    fn remove(&mut self, tree: Tree, key: &[u8]) -> Result<()> {
        self.transaction.remove(tree.of(&self.store.keyspaces), key);
        Ok(())
    }
}

impl std::fmt::Debug for Fjall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fjall").finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Begun<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}
