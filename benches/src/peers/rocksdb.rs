//! RocksDB: a log-structured merge tree; one write batch, written with `sync=true`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, Direction, IteratorMode, Options, WriteBatch,
    WriteOptions,
};

use super::CACHE_BYTES;
use super::trees::{ReadTrees, Tree, Trees, WalkTrees, WriteTrees};

/// A handle of the database; every tree is a column family.
#[derive(Clone, Debug)]
pub struct Rocksdb(Arc<DB>);

/// A batch and what it has written, for its own reads.
pub struct Writing<'a> {
    store: &'a Rocksdb,
    batch: WriteBatch,
    written: HashMap<(Tree, Vec<u8>), Option<Vec<u8>>>,
}

impl Trees for Rocksdb {
    type Bytes = Vec<u8>;
    type Reading<'a> = Self;
    type Writing<'a> = Writing<'a>;

    fn create(directory: &Path) -> Result<Self> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
        blocks.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_block_based_table_factory(&blocks);
        let families = Tree::NAMES.map(|name| (name, options.clone()));
        Ok(Self(Arc::new(DB::open_cf_with_opts(&options, directory, families)?)))
    }

    fn read<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        work(self)
    }

    fn write<T>(&self, work: impl Fn(&mut Writing<'_>) -> Result<T>) -> Result<T> {
        let (batch, written) = (WriteBatch::default(), HashMap::new());
        let mut writing = Writing { store: self, batch, written };
        let done = work(&mut writing)?;
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.0.write_opt(writing.batch, &options)?;
        Ok(done)
    }
}

impl Rocksdb {
    fn family(&self, tree: Tree) -> Result<&ColumnFamily> {
        let name: &&str = tree.of(&Tree::NAMES);
        self.0.cf_handle(name).context("a column family is missing")
    }
}

impl ReadTrees for Rocksdb {
    type Bytes = Vec<u8>;

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get_cf(self.family(tree)?, key)?)
    }
}

impl WalkTrees for Rocksdb {
    fn keys(&self, tree: Tree, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let start = IteratorMode::From(from, Direction::Forward);
        let mut keys = Vec::new();
        for row in self.0.iterator_cf(self.family(tree)?, start).take(limit) {
            let (key, _) = row?;
            if &*key >= to {
                break;
            }
            keys.push(key.into_vec());
        }
        Ok(keys)
    }
}

impl ReadTrees for Writing<'_> {
    type Bytes = Vec<u8>;

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.written.get(&(tree, key.to_vec())) {
            Some(written) => Ok(written.clone()),
            None => self.store.get(tree, key),
        }
    }
}

impl WriteTrees for Writing<'_> {
    fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.put_cf(self.store.family(tree)?, key, value);
        self.written.insert((tree, key.to_vec()), Some(value.to_vec()));
        Ok(())
    }

    fn remove(&mut self, tree: Tree, key: &[u8]) -> Result<()> {
        self.batch.delete_cf(self.store.family(tree)?, key);
        self.written.insert((tree, key.to_vec()), None);
        Ok(())
    }
}

impl std::fmt::Debug for Writing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writing").finish_non_exhaustive()
    }
}
