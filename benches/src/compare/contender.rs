//! Who is compared, and what each of them can do.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::machine::locked_version;
use super::measure::measure;
use super::{Cell, Operation, Plan};
use crate::peers::append::Append;
use crate::peers::fjall::Fjall;
use crate::peers::group_commit::GroupCommit;
use crate::peers::lmdb::Lmdb;
use crate::peers::map::Map;
use crate::peers::redb::Redb;
use crate::peers::redis::Redis;
use crate::peers::sled::Sled;
use crate::peers::sqlite::Sqlite;
use crate::peers::tokenkeep::{Tokenkeep, Uncached};

/// A store under comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Contender {
    /// The engine, with every record in its cache.
    Tokenkeep,
    /// The engine without a cache of records.
    Uncached,
    /// Plain redb, keyed by device id.
    Redb,
    /// sled 0.34, with a sync of its file.
    Sled,
    /// fjall 3.
    Fjall,
    /// SQLite, WAL, `synchronous=FULL`.
    Sqlite,
    /// LMDB through heed.
    Lmdb,
    /// RocksDB, `sync=true`.
    #[cfg(feature = "rocksdb")]
    Rocksdb,
    /// Redis over loopback, `appendfsync always`.
    Redis,
    /// The limit of durable writes.
    Append,
    /// The limit of reads.
    Map,
}

impl Contender {
    /// Everybody who can be compared here; Redis only if it is installed.
    #[must_use]
    pub fn present() -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|contender| contender.is_present()).collect()
    }

    /// Whether what it needs is installed.
    #[must_use]
    pub fn is_present(self) -> bool {
        self != Self::Redis || Redis::version().is_some()
    }

    /// What the tables call it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tokenkeep => "tokenkeep",
            Self::Uncached => "tokenkeep, uncached",
            Self::Redb => "redb",
            Self::Sled => "sled",
            Self::Fjall => "fjall",
            Self::Sqlite => "SQLite",
            Self::Lmdb => "LMDB",
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => "RocksDB",
            Self::Redis => "Redis",
            Self::Append => "append + fdatasync",
            Self::Map => "map in memory",
        }
    }

    /// What is measured of it.
    #[must_use]
    pub const fn operations(self) -> &'static [Operation] {
        use Operation::{Expire, Get, Insert, List, Refresh};
        match self {
            Self::Uncached => &[Get, List],
            Self::Append => &[Refresh, Insert],
            Self::Map => &[Get],
            _ => &[Expire, Get, List, Refresh, Insert],
        }
    }

    /// Its name and the version that is measured.
    #[must_use]
    pub fn version(self) -> String {
        let label = self.label();
        let package = match self {
            Self::Tokenkeep | Self::Uncached => "tokenkeep",
            Self::Redb => "redb",
            Self::Sled => "sled",
            Self::Fjall => "fjall",
            Self::Sqlite => "rusqlite",
            Self::Lmdb => "heed",
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => "rocksdb",
            Self::Redis => "redis",
            Self::Append => return label.into(),
            Self::Map => "papaya",
        };
        let crate_version = format!("{package} {}", locked_version(package));
        match self {
            Self::Sqlite => format!("{label} {} ({crate_version})", rusqlite::version()),
            Self::Lmdb => {
                let heed::LmdbVersion { major, minor, patch, .. } = heed::lmdb_version();
                format!("{label} {major}.{minor}.{patch} ({crate_version})")
            }
            Self::Redis => {
                let server = Redis::version().unwrap_or_default();
                format!("{label} {server} (client {crate_version})")
            }
            _ if package == label => crate_version,
            _ => format!("{label} ({crate_version})"),
        }
    }

    pub(super) fn measure(
        self,
        plan: &Plan,
        records: u64,
        directory: &Path,
        progress: &dyn Fn(&str),
    ) -> Result<Vec<Cell>> {
        let measure = match self {
            Self::Tokenkeep => measure::<Tokenkeep>,
            Self::Uncached => measure::<Uncached>,
            Self::Redb => measure::<GroupCommit<Redb>>,
            Self::Sled => measure::<GroupCommit<Sled>>,
            Self::Fjall => measure::<GroupCommit<Fjall>>,
            Self::Sqlite => measure::<GroupCommit<Sqlite>>,
            Self::Lmdb => measure::<GroupCommit<Lmdb>>,
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => measure::<GroupCommit<crate::peers::rocksdb::Rocksdb>>,
            Self::Redis => measure::<Redis>,
            Self::Append => measure::<GroupCommit<Append>>,
            Self::Map => measure::<Map>,
        };
        measure(self, plan, records, directory, progress)
    }
}
