//! The limit of durable writes: a bare file that is appended to and synced, with nothing that
//! could find a row again.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Versioned;
use super::group_commit::{Reader, Store, Write, Writer};

/// Where the file is.
#[derive(Clone, Debug)]
pub struct Append(PathBuf);

/// The file.
#[derive(Debug)]
pub struct Appending {
    file: File,
    bytes: Vec<u8>,
}

/// Reads nothing: a refresh is an append like any other.
#[derive(Clone, Copy, Debug)]
pub struct Unread;

impl Store for Append {
    type Writer = Appending;
    type Reader = Unread;

    fn create(directory: &Path) -> Result<Self> {
        Ok(Self(directory.join("rows")))
    }

    fn writer(&self) -> Result<Appending> {
        Ok(Appending { file: File::create_new(&self.0)?, bytes: Vec::new() })
    }

    fn reader(&self) -> Result<Unread> {
        Ok(Unread)
    }
}

impl Writer for Appending {
    fn apply(&mut self, batch: &[Write]) -> Result<Vec<bool>> {
        self.bytes.clear();
        for write in batch {
            self.bytes.extend_from_slice(&write.row.device);
            self.bytes.extend_from_slice(&write.row.encode());
        }
        self.file.write_all(&self.bytes)?;
        self.file.sync_data()?;
        Ok(vec![true; batch.len()])
    }

    fn purge(&mut self, _now: u64, _limit: usize) -> Result<usize> {
        Ok(0)
    }
}

impl Reader for Unread {
    type Record = Self;

    fn get(&mut self, _device: &[u8; 16], _now: u64) -> Result<Option<Self>> {
        Ok(Some(Self))
    }

    fn list(&mut self, _email: &str, _now: u64) -> Result<Vec<Self>> {
        Ok(Vec::new())
    }
}

impl Versioned for Unread {
    fn version(&self) -> u64 {
        0
    }
}
