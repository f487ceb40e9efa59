//! SQLite: WAL, `synchronous=FULL`, one table with an index on email and one on the expiry.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension as _, Row as Found, params};

use super::group_commit::{Reader, Store, Write, Writer};
use super::{CACHE_BYTES, Versioned};

/// Where the database is; every thread has a connection of its own.
#[derive(Clone, Debug)]
pub struct Sqlite(PathBuf);

/// One connection.
#[derive(Debug)]
pub struct Connected(Connection);

/// What a read hands out.
#[derive(Clone, Debug)]
pub struct Selected {
    version: u64,
    /// The tokens and the rest.
    pub tokens: Vec<u8>,
}

impl Sqlite {
    fn connect(&self) -> Result<Connected> {
        let connection = Connection::open(&self.0)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        // The operating system's cache is one for all connections; their own would not be.
        connection.pragma_update(None, "mmap_size", CACHE_BYTES as u64)?;
        Ok(Connected(connection))
    }
}

impl Store for Sqlite {
    type Writer = Connected;
    type Reader = Connected;

    fn create(directory: &Path) -> Result<Self> {
        let store = Self(directory.join("tokens.sqlite"));
        store.connect()?.0.execute_batch(SCHEMA)?;
        Ok(store)
    }

    fn writer(&self) -> Result<Connected> {
        self.connect()
    }

    fn reader(&self) -> Result<Connected> {
        self.connect()
    }
}

impl Writer for Connected {
    fn apply(&mut self, batch: &[Write]) -> Result<Vec<bool>> {
        let begun = self.0.transaction()?;
        let done = {
            let mut insert = begun.prepare_cached(INSERT)?;
            let mut replace = begun.prepare_cached(REPLACE)?;
            let carry_out = |Write { expected, row }: &Write| -> Result<bool> {
                let (device, version) = (row.device.as_slice(), row.version);
                let changed = match expected {
                    None => insert.execute(params![
                        device,
                        row.email,
                        row.dies_after,
                        version,
                        row.tokens
                    ])?,
                    Some(expected) => replace.execute(params![
                        device,
                        expected,
                        row.dies_after,
                        version,
                        row.tokens
                    ])?,
                };
                Ok(changed == 1)
            };
            batch.iter().map(carry_out).collect::<Result<_>>()?
        };
        begun.commit()?;
        Ok(done)
    }

    fn purge(&mut self, now: u64, limit: usize) -> Result<usize> {
        Ok(self.0.prepare_cached(PURGE)?.execute(params![now, limit as u64])?)
    }
}

impl Reader for Connected {
    type Record = Selected;

    fn get(&mut self, device: &[u8; 16], now: u64) -> Result<Option<Selected>> {
        let mut query = self.0.prepare_cached(GET)?;
        Ok(query.query_row(params![device.as_slice(), now], selected).optional()?)
    }

    fn list(&mut self, email: &str, now: u64) -> Result<Vec<Selected>> {
        let mut query = self.0.prepare_cached(LIST)?;
        let found = query.query_map(params![email, now], selected)?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }
}

impl Versioned for Selected {
    fn version(&self) -> u64 {
        self.version
    }
}

fn selected(found: &Found<'_>) -> rusqlite::Result<Selected> {
    Ok(Selected { version: found.get(0)?, tokens: found.get(1)? })
}

const SCHEMA: &str = "
    CREATE TABLE sessions (
        device BLOB NOT NULL PRIMARY KEY,
        email TEXT NOT NULL,
        dies_after INTEGER NOT NULL,
        version INTEGER NOT NULL,
        tokens BLOB NOT NULL
    );
    CREATE INDEX by_email ON sessions (email);
    CREATE INDEX by_expiry ON sessions (dies_after);
";
const INSERT: &str = "INSERT INTO sessions (device, email, dies_after, version, tokens)
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
const REPLACE: &str = "UPDATE sessions SET dies_after = ?3, version = ?4, tokens = ?5
    WHERE device = ?1 AND version = ?2";
const PURGE: &str = "DELETE FROM sessions WHERE rowid IN
    (SELECT rowid FROM sessions WHERE dies_after <= ?1 LIMIT ?2)";
const GET: &str = "SELECT version, tokens FROM sessions WHERE device = ?1 AND dies_after > ?2";
const LIST: &str = "SELECT version, tokens FROM sessions WHERE email = ?1 AND dies_after > ?2";
