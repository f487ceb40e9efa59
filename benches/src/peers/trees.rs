//! A token store on three ordered trees, as one would write it first: the record under its device
//! id, the expiry in a second tree, the devices of an email in a third.

use std::path::Path;

use anyhow::Result;

use super::Versioned as _;
use super::group_commit::{Reader, Store, Write, Writer};
use super::row::Stored;

/// One of the three trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tree {
    /// Device id to row.
    Records,
    /// Expiry and device id to nothing.
    Expiries,
    /// Email and device id to nothing.
    Emails,
}

impl Tree {
    /// What the trees are called, in their order.
    pub const NAMES: [&str; 3] = ["records", "expiries", "emails"];

    /// This tree's own out of what all trees have, in their order.
    pub fn of<T>(self, [records, expiries, emails]: &[T; 3]) -> &T {
        match self {
            Self::Records => records,
            Self::Expiries => expiries,
            Self::Emails => emails,
        }
    }

    /// This tree's own, to change.
    pub fn of_mut<T>(self, [records, expiries, emails]: &mut [T; 3]) -> &mut T {
        match self {
            Self::Records => records,
            Self::Expiries => expiries,
            Self::Emails => emails,
        }
    }
}

/// A library with transactions over ordered trees.
#[expect(clippy::missing_errors_doc, reason = "every method fails with what the library says")]
pub trait Trees: Clone + Send + Sync + 'static {
    /// A value as it is handed out.
    type Bytes: AsRef<[u8]> + Send;
    /// A transaction that reads.
    type Reading<'a>: WalkTrees<Bytes = Self::Bytes>;
    /// A transaction that writes.
    type Writing<'a>: WriteTrees;

    /// Makes the three trees in `directory`.
    fn create(directory: &Path) -> Result<Self>;

    /// Reads in one transaction.
    fn read<T>(&self, work: impl FnOnce(&Self::Reading<'_>) -> Result<T>) -> Result<T>;

    /// Writes in one transaction; durable when this returns.
    fn write<T>(&self, work: impl Fn(&mut Self::Writing<'_>) -> Result<T>) -> Result<T>;
}

/// Reads of one transaction.
#[expect(clippy::missing_errors_doc, reason = "every method fails with what the library says")]
pub trait ReadTrees {
    /// A value as it is handed out.
    type Bytes: AsRef<[u8]>;

    /// The value of `key`.
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Self::Bytes>>;
}

/// Walks of one transaction. (Inside a transaction that writes, sled would wait for itself.)
#[expect(clippy::missing_errors_doc, reason = "every method fails with what the library says")]
pub trait WalkTrees: ReadTrees {
    /// At most `limit` keys, `from` and later, but before `to`.
    fn keys(&self, tree: Tree, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Vec<u8>>>;
}

/// Writes of one transaction, which its reads see.
#[expect(clippy::missing_errors_doc, reason = "every method fails with what the library says")]
pub trait WriteTrees: ReadTrees {
    /// Stores `value` under `key`.
    fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<()>;

    /// Takes `key` out.
    fn remove(&mut self, tree: Tree, key: &[u8]) -> Result<()>;
}

impl<T: Trees> Store for T {
    type Writer = T;
    type Reader = T;

    fn create(directory: &Path) -> Result<Self> {
        Trees::create(directory)
    }

    fn writer(&self) -> Result<T> {
        Ok(self.clone())
    }

    fn reader(&self) -> Result<T> {
        Ok(self.clone())
    }
}

impl<T: Trees> Writer for T {
    fn apply(&mut self, batch: &[Write]) -> Result<Vec<bool>> {
        self.write(|trees| batch.iter().map(|write| carry_out(trees, write)).collect())
    }

    fn purge(&mut self, now: u64, limit: usize) -> Result<usize> {
        let later = expiry_key(now + 1, &[]);
        let due = self.read(|trees| trees.keys(Tree::Expiries, &[], &later, limit))?;
        // Only this thread writes, so what was due still is.
        self.write(|trees| due.iter().try_for_each(|key| bury(trees, key)))?;
        Ok(due.len())
    }
}

impl<T: Trees> Reader for T {
    type Record = Stored<T::Bytes>;

    fn get(&mut self, device: &[u8; 16], now: u64) -> Result<Option<Self::Record>> {
        let found = self.read(|trees| trees.get(Tree::Records, device))?;
        Ok(found.map(Stored).filter(|record| record.dies_after() > now))
    }

    fn list(&mut self, email: &str, now: u64) -> Result<Vec<Self::Record>> {
        self.read(|trees| {
            let (from, to) = (email_key(email, &[]), [email.as_bytes(), &[1]].concat());
            let mut records = Vec::new();
            for key in trees.keys(Tree::Emails, &from, &to, usize::MAX)? {
                let device = key.get(from.len()..).unwrap_or_default();
                records.extend(trees.get(Tree::Records, device)?.map(Stored));
            }
            records.retain(|record| record.dies_after() > now);
            Ok(records)
        })
    }
}

/// Inserts or replaces; false if the device is taken, or has another version.
fn carry_out(trees: &mut impl WriteTrees, write: &Write) -> Result<bool> {
    let row = &write.row;
    let before = trees.get(Tree::Records, &row.device)?.map(Stored);
    let before = before.map(|record| (record.version(), record.dies_after()));
    match (before, write.expected) {
        (None, None) => trees.put(Tree::Emails, &email_key(&row.email, &row.device), &[])?,
        (Some((version, dies_after)), Some(expected)) if version == expected => {
            trees.remove(Tree::Expiries, &expiry_key(dies_after, &row.device))?;
        }
        _ => return Ok(false),
    }
    trees.put(Tree::Expiries, &expiry_key(row.dies_after, &row.device), &[])?;
    trees.put(Tree::Records, &row.device, &row.encode())?;
    Ok(true)
}

/// Takes the record out whose expiry this is.
fn bury(trees: &mut impl WriteTrees, expiry: &[u8]) -> Result<()> {
    let device = expiry.get(8..).unwrap_or_default();
    if let Some(record) = trees.get(Tree::Records, device)?.map(Stored) {
        let email = [record.email(), &[0], device].concat();
        trees.remove(Tree::Emails, &email)?;
        trees.remove(Tree::Records, device)?;
    }
    trees.remove(Tree::Expiries, expiry)
}

fn expiry_key(dies_after: u64, device: &[u8]) -> Vec<u8> {
    [&dies_after.to_be_bytes(), device].concat()
}

/// No email has a zero byte in it.
fn email_key(email: &str, device: &[u8]) -> Vec<u8> {
    [email.as_bytes(), &[0], device].concat()
}
