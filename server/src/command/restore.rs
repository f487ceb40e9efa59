//! `tokenkeep restore`: brings a backup of the embedded store back.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use tempfile::TempDir;
use tokenkeep::{Engine, OpenError, Options};
use tokenkeep_core::{Clock as _, KeyRing, SystemClock, TokenStore as _};
use tokenkeep_server::assembly;
use tokenkeep_server::config::Config;
use tokenkeep_server::moving;
use tokenkeep_server::store::{self, Address};

use super::{Failure, runtime};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The backup.
    file: PathBuf,
}

pub(crate) fn run(config: &Config, arguments: &Arguments) -> Result<(), Failure> {
    let address = store::configured(config)?;
    let Address::Redb(directory) = &address else {
        let other =
            anyhow!("restore is for the embedded store: use export and import for {address}");
        return Err(Failure::arguments(other));
    };
    store::refuse_moved(config, &address).map_err(store::StoreFailure::from)?;
    let ring = store::existing_ring(config, &address)?;
    runtime()?.block_on(async {
        let (scratch, backup, records) = checked(config, &arguments.file, &ring).await?;
        let data = directory.join(FILE);
        if !data.exists() {
            return put_in_place(backup, &scratch, directory, records, None).await;
        }
        let options = Options::new().key_ring(ring).store_id(backup.id());
        match Engine::open(directory, options) {
            Ok(newer) => bring_in(&backup, &newer).await,
            Err(OpenError::Damaged { .. }) => {
                let at = SystemClock::new().now().as_unix_micros();
                let aside = directory.join(format!("{FILE}.damaged-{at}"));
                put_in_place(backup, &scratch, directory, records, Some(aside)).await
            }
            Err(cause) => {
                Err(store::StoreFailure::Open { directory: directory.display().to_string(), cause }
                    .into())
            }
        }
    })
}

/// Opens a copy of the backup, and reads all of it: the backup itself is not touched.
async fn checked(
    config: &Config,
    file: &Path,
    ring: &KeyRing,
) -> Result<(TempDir, Engine, u64), Failure> {
    assembly::make_data_dir(&config.store).map_err(Failure::io)?;
    let scratch = tempfile::Builder::new()
        .prefix("restore-")
        .tempdir_in(&config.store.data_dir)
        .map_err(Failure::cannot_create)?;
    if !file.is_file() {
        return Err(Failure::no_input(anyhow!("there is no backup at {}", file.display())));
    }
    std::fs::copy(file, scratch.path().join(FILE))
        .context("the backup cannot be read")
        .map_err(Failure::io)?;
    let options = Options::new().key_ring(ring.clone()).verify(true);
    let backup = Engine::open(scratch.path(), options).map_err(|cause| {
        store::StoreFailure::Open { directory: file.display().to_string(), cause }
    })?;
    let clock = SystemClock::new();
    let read = moving::check(&backup, &backup, &clock, |_| {}).await?;
    let unreadable = backup.stats(clock.now()).await?.unreadable;
    if unreadable > 0 {
        let damaged =
            anyhow!("{unreadable} records of the backup cannot be read: take another one");
        return Err(Failure::bad_data(damaged));
    }
    Ok((scratch, backup, read.total()))
}

/// The newer store works: what it knows wins.
async fn bring_in(backup: &Engine, newer: &Engine) -> Result<(), Failure> {
    let clock = SystemClock::new();
    let copied = moving::copy(backup, newer, &clock, async |_| Ok(()), |_| {}).await?;
    newer.close().await?;
    println!(
        "{} records came back, {} were there, {} ended since and stay ended, {} expired",
        copied.imported, copied.kept, copied.ended, copied.expired
    );
    Ok(())
}

/// There is no newer store that works: the backup takes its place.
async fn put_in_place(
    backup: Engine,
    scratch: &TempDir,
    directory: &Path,
    records: u64,
    aside: Option<PathBuf>,
) -> Result<(), Failure> {
    backup.close().await?;
    drop(backup);
    let mut lock = File::options();
    lock.read(true).write(true).create(true).truncate(false);
    let lock = lock.open(directory.join("lock")).map_err(Failure::io)?;
    if lock.try_lock().is_err() {
        return Err(Failure::unavailable(anyhow!("the store is in use: stop the server first")));
    }
    let data = directory.join(FILE);
    let place = || -> std::io::Result<()> {
        if let Some(aside) = &aside {
            std::fs::rename(&data, aside)?;
        }
        std::fs::rename(scratch.path().join(FILE), &data)?;
        File::open(directory)?.sync_all()
    };
    place().context("the backup cannot be put in place").map_err(Failure::io)?;
    if let Some(aside) = aside {
        eprintln!("The damaged file is kept as {}.", aside.display());
    }
    eprintln!(
        "warning: no newer store could be read: sessions that ended after the backup live again"
    );
    println!("{records} records are back");
    Ok(())
}

/// The data file of the embedded store.
const FILE: &str = "tokens.redb";
