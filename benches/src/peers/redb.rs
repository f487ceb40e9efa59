//! Plain redb, keyed by device id.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use redb::{Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable, Table, TableDefinition};

use super::CACHE_BYTES;
use super::trees::{ReadTrees, Tree, Trees, WalkTrees, WriteTrees};

/// A handle of the database.
#[derive(Clone, Debug)]
pub struct Redb(Arc<Database>);

/// A read transaction; a table is opened when it is read.
#[derive(Debug)]
pub struct Reading(redb::ReadTransaction);

/// The tables of a write transaction, in the order of [`Tree`].
#[derive(Debug)]
pub struct Writing<'a>([Table<'a, &'static [u8], &'static [u8]>; 3]);

impl Trees for Redb {
    type Bytes = Vec<u8>;
    type Reading<'a> = Reading;
    type Writing<'a> = Writing<'a>;

    fn create(directory: &Path) -> Result<Self> {
        let mut builder = Database::builder();
        let path = directory.join("keyed.redb");
        let database = builder.set_cache_size(CACHE_BYTES).create(path)?;
        let begun = database.begin_write()?;
        for table in TABLES {
            begun.open_table(table)?;
        }
        begun.commit()?;
        Ok(Self(Arc::new(database)))
    }

    fn read<T>(&self, work: impl FnOnce(&Reading) -> Result<T>) -> Result<T> {
        work(&Reading(self.0.begin_read()?))
    }

    fn write<T>(&self, work: impl Fn(&mut Writing<'_>) -> Result<T>) -> Result<T> {
        let begun = self.0.begin_write()?;
        let done = {
            let [records, expiries, emails] = TABLES.map(|table| begun.open_table(table));
            work(&mut Writing([records?, expiries?, emails?]))?
        };
        begun.commit()?;
        Ok(done)
    }
}

impl Reading {
    fn table(&self, tree: Tree) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>> {
        Ok(self.0.open_table(*tree.of(&TABLES))?)
    }
}

impl ReadTrees for Reading {
    type Bytes = Vec<u8>;

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.table(tree)?.get(key)?.map(|found| found.value().to_vec()))
    }
}

impl WalkTrees for Reading {
    fn keys(&self, tree: Tree, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let table = self.table(tree)?;
        let rows = table.range(from..to)?.take(limit);
        rows.map(|row| Ok(row?.0.value().to_vec())).collect()
    }
}

impl ReadTrees for Writing<'_> {
    type Bytes = Vec<u8>;

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(tree.of(&self.0).get(key)?.map(|found| found.value().to_vec()))
    }
}

impl WriteTrees for Writing<'_> {
    fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<()> {
        tree.of_mut(&mut self.0).insert(key, value)?;
        Ok(())
    }

    fn remove(&mut self, tree: Tree, key: &[u8]) -> Result<()> {
        tree.of_mut(&mut self.0).remove(key)?;
        Ok(())
    }
}

const TABLES: [TableDefinition<'static, &'static [u8], &'static [u8]>; 3] = {
    let [records, expiries, emails] = Tree::NAMES;
    [TableDefinition::new(records), TableDefinition::new(expiries), TableDefinition::new(emails)]
};
