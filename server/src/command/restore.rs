//! `tokenkeep restore`: brings a backup of the embedded store or of a SQLite store back.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use tempfile::TempDir;
use tokenkeep_core::{Clock as _, KeyRing, SystemClock, TokenStore as _};
use tokenkeep_server::config::Config;
use tokenkeep_server::moving;
use tokenkeep_server::store::{self, Address, AnyStore, REDB_FILE};

use super::{Failure, runtime};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The backup.
    file: PathBuf,
}

pub(crate) fn run(config: &Config, arguments: &Arguments) -> Result<(), Failure> {
    let address = store::configured(config)?;
    let place = Place::of(&address)?;
    store::refuse_moved(&address).map_err(store::StoreFailure::from)?;
    let ring = store::existing_ring(config, &address)?;
    runtime()?.block_on(async {
        let backup = Backup::read(config, &arguments.file, &place, &ring).await?;
        if !place.data.exists() {
            return backup.put_in_place(&place, None).await;
        }
        let id = Some(backup.store.id());
        match store::open_destination(config, &address, &ring, id).await {
            Ok(newer) => backup.bring_into(&newer).await,
            Err(failure) if failure.is_damage() => {
                let at = SystemClock::new().now().as_unix_micros();
                backup.put_in_place(&place, Some(at)).await
            }
            Err(failure) => Err(failure.into()),
        }
    })
}

/// Where a store in files lies.
struct Place {
    address: Address,
    directory: PathBuf,
    data: PathBuf,
    /// Locked by whoever has the store open.
    lock: PathBuf,
    /// What else belongs to the data file, by what its names end with.
    suffixes: &'static [&'static str],
}

impl Place {
    fn of(address: &Address) -> Result<Self, Failure> {
        match address {
            Address::Redb(directory) => Ok(Self {
                address: address.clone(),
                directory: directory.clone(),
                data: directory.join(REDB_FILE),
                lock: directory.join("lock"),
                suffixes: &[],
            }),
            Address::Sqlite(file) => Ok(Self {
                address: address.clone(),
                directory: directory_of(file).to_owned(),
                data: file.clone(),
                lock: beside(file, ".lock"),
                suffixes: &["-wal", "-shm", "-journal"],
            }),
            _ => Err(Failure::arguments(anyhow!(
                "redis keeps backups of its own: bring its dump or its append-only files back \
                 while it is stopped; what `tokenkeep export` wrote, `tokenkeep import` brings back"
            ))),
        }
    }

    /// The same kind of store, in `directory`.
    fn within(&self, directory: &Path) -> (Address, PathBuf) {
        match &self.address {
            Address::Redb(_) => (Address::Redb(directory.to_owned()), directory.join(REDB_FILE)),
            _ => {
                let file = directory.join("tokens.sqlite");
                (Address::Sqlite(file.clone()), file)
            }
        }
    }

    /// Puts `file` where the data file is, and that one aside, if it is there.
    fn replace(&self, file: &Path, aside: Option<&Path>) -> io::Result<()> {
        if let Some(aside) = aside {
            for suffix in self.suffixes {
                // What belongs to the damaged file must not be taken for the other one's.
                match std::fs::rename(beside(&self.data, suffix), beside(aside, suffix)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            std::fs::rename(&self.data, aside)?;
        }
        std::fs::rename(file, &self.data)?;
        File::open(&self.directory)?.sync_all()
    }
}

/// A backup that can be read from its first record to its last.
struct Backup {
    /// Where a copy of it lies: the backup itself is not touched.
    _scratch: TempDir,
    file: PathBuf,
    store: AnyStore,
    records: u64,
}

impl Backup {
    async fn read(
        config: &Config,
        file: &Path,
        place: &Place,
        ring: &KeyRing,
    ) -> Result<Self, Failure> {
        tokenkeep_server::assembly::make_data_dir(&config.store).map_err(Failure::io)?;
        if !file.is_file() {
            return Err(Failure::no_input(anyhow!("there is no backup at {}", file.display())));
        }
        // In the directory of the data file: from there it is renamed.
        let scratch = tempfile::Builder::new()
            .prefix("restore-")
            .tempdir_in(&place.directory)
            .map_err(Failure::cannot_create)?;
        let (address, copy) = place.within(scratch.path());
        std::fs::copy(file, &copy).context("the backup cannot be copied").map_err(Failure::io)?;
        let store = store::open_backup(config, &address, ring).await;
        let store = store.map_err(|failure| failure.naming(file))?;
        let clock = SystemClock::new();
        let read = moving::check(&store, &store, &clock, |_| {}).await?;
        let unreadable = store.stats(clock.now()).await?.unreadable;
        if unreadable > 0 {
            let damaged =
                anyhow!("{unreadable} records of the backup cannot be read: take another one");
            return Err(Failure::bad_data(damaged));
        }
        Ok(Self { _scratch: scratch, file: copy, store, records: read.total() })
    }

    /// The newer store works: what it knows wins.
    async fn bring_into(self, newer: &AnyStore) -> Result<(), Failure> {
        let clock = SystemClock::new();
        let copied = moving::copy(&self.store, newer, &clock, async |_| Ok(()), |_| {}).await?;
        newer.close().await?;
        println!(
            "{} records came back, {} were there, {} ended since and stay ended, {} expired",
            copied.imported, copied.kept, copied.ended, copied.expired
        );
        Ok(())
    }

    /// There is no newer store that works: the backup takes its place. What is damaged is kept,
    /// under a name with the instant `aside`.
    async fn put_in_place(self, place: &Place, aside: Option<i64>) -> Result<(), Failure> {
        self.store.close().await?;
        let mut lock = File::options();
        lock.read(true).write(true).create(true).truncate(false);
        let lock = lock.open(&place.lock).map_err(Failure::io)?;
        if lock.try_lock().is_err() {
            return Err(Failure::unavailable(anyhow!(
                "the store is in use: stop the server first"
            )));
        }
        let aside = aside.map(|at| beside(&place.data, &format!(".damaged-{at}")));
        let placed = place.replace(&self.file, aside.as_deref());
        placed.context("the backup cannot be put in place").map_err(Failure::io)?;
        if let Some(aside) = aside {
            eprintln!("The damaged file is kept as {}.", aside.display());
        }
        eprintln!(
            "warning: no newer store could be read: sessions that ended after the backup live again"
        );
        println!("{} records are back", self.records);
        Ok(())
    }
}

/// The file whose name is that of `path` and `suffix`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
