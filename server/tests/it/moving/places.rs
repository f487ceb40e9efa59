//! Stores of each kind for a server to live in, and what is in them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use tempfile::TempDir;
use tokenkeep_core::{Clock as _, KeyRing, SystemClock, TokenRecord, TokenStore};
use tokenkeep_server::config::Config;
use tokenkeep_server::store::{self, Address, AnyStore};

use super::redis::Redis;
use super::sessions::{device, record};
use crate::process::Installation;

/// Where sessions are.
pub enum Place {
    Redb(PathBuf),
    Sqlite(PathBuf),
    Redis(Redis),
}

/// The kinds of places.
#[derive(Clone, Copy)]
pub enum Kind {
    Redb,
    Sqlite,
    Redis,
}

impl Place {
    pub async fn make(kind: Kind, directory: &TempDir, name: &str) -> Self {
        match kind {
            Kind::Redb => Self::Redb(directory.path().join(name)),
            Kind::Sqlite => Self::Sqlite(directory.path().join(name)),
            Kind::Redis => Self::Redis(Redis::start(&[]).await),
        }
    }

    pub fn address(&self) -> String {
        match self {
            Self::Redb(directory) => format!("redb:{}", directory.display()),
            Self::Sqlite(file) => format!("sqlite:{}", file.display()),
            Self::Redis(redis) => redis.url(),
        }
    }

    /// The settings of a server on it; `more` stands under `[store]`.
    pub fn settings(&self, more: &str) -> String {
        match self {
            // Where the embedded store is, the command line says.
            Self::Redb(_) => format!("[store]\nkind = \"redb\"\n{more}"),
            Self::Sqlite(file) => {
                let file = file.display();
                format!("[store]\nkind = \"sqlite\"\n{more}[store.sqlite]\nfile = \"{file}\"\n")
            }
            Self::Redis(redis) => {
                let url = redis.url();
                format!("[store]\nkind = \"redis\"\n{more}[store.redis]\nurl = \"{url}\"\n")
            }
        }
    }

    /// Opens it in this process.
    pub async fn open(&self, ring: &KeyRing) -> AnyStore {
        let config = Config::read(None, std::iter::empty::<(String, String)>()).unwrap();
        let address: Address = self.address().parse().unwrap();
        store::open_destination(&config, &address, ring, None).await.unwrap()
    }

    /// Fills it with `count` sessions.
    pub async fn seed(&self, ring: &KeyRing, count: u32) {
        let lasting = |how: &str| {
            if let Self::Redis(redis) = self {
                redis.cli(&["CONFIG", "SET", "appendfsync", how]);
            }
        };
        lasting("no");
        let store = self.open(ring).await;
        let now = SystemClock::new().now();
        let imports = (0..count).map(|number| store.import(settled(number), now));
        futures_util::StreamExt::for_each(
            futures_util::StreamExt::buffer_unordered(futures_util::stream::iter(imports), 64),
            async |done| assert!(done.is_ok()),
        )
        .await;
        store.close().await.unwrap();
        lasting("always");
    }

    /// Whether the keys of Redis live as long as the records in them, to the second.
    pub fn check_ttls(&self, records: &[TokenRecord]) {
        let Self::Redis(redis) = self else { return };
        let connection = TcpStream::connect(redis.address()).unwrap();
        let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
        for some in records.chunks(500) {
            let asked: String =
                some.iter().map(|record| format!("PTTL {}\r\n", record.device_id)).collect();
            (&connection).write_all(asked.as_bytes()).unwrap();
            for record in some {
                let said = lines.next().unwrap().unwrap();
                let left: i64 = said.strip_prefix(':').unwrap().parse().unwrap();
                let now = SystemClock::new().now().as_unix_micros() / 1000;
                let due = record.dies_at().as_unix_micros() / 1000 - now;
                assert!((left - due).abs() < 1000, "{left} and {due}: {record:?}");
            }
        }
    }
}

/// The directory of the data of `installation`, where the embedded store of a server is.
pub fn home(installation: &Installation) -> Place {
    Place::Redb(installation.data_dir())
}

/// A record whose refresh is not under way: a server asks the auth server about those that are.
pub fn settled(number: u32) -> TokenRecord {
    TokenRecord { refresh_intent: None, ..record(number) }
}

/// The sessions that [`Place::seed`] put there, as they are at `store`.
pub async fn seeded<S: TokenStore>(store: &S, count: u32) -> Vec<TokenRecord> {
    let mut records = Vec::new();
    for number in 0..count {
        let found = store.get(device(number), SystemClock::new().now()).await.unwrap();
        records.push((*found.live().expect("a seeded session is there")).clone());
    }
    records
}
