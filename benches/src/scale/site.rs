//! A store of so many records, made when it is first needed and kept for the sections after.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokenkeep::{Durability, Engine, Insert, Options};

use super::clock::RunningClock;
use super::finding::{Finding, Unit};
use super::machine::free_bytes;
use super::{Section, Settings, loading};
use crate::login;

/// Where the sections of one number of records take place.
#[derive(Debug)]
pub struct Site<'a> {
    /// How long and how large.
    pub settings: &'a Settings,
    /// How many records are live.
    pub records: u64,
    store: Option<Store>,
}

impl<'a> Site<'a> {
    /// A site of `records` records; nothing is loaded yet.
    #[must_use]
    pub fn new(settings: &'a Settings, records: u64) -> Self {
        Self { settings, records, store: None }
    }

    /// The store, closed; users have three devices each.
    pub(super) fn store(&mut self) -> anyhow::Result<&Store> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::load(self.settings, self.records, login)?,
        };
        Ok(self.store.insert(store))
    }

    /// Removes the store if another one like it, and as much again, does not fit beside it; the
    /// next section that needs it loads it again.
    pub(super) fn make_room(&mut self) {
        if check_space(&self.settings.directory, self.records.saturating_mul(2)).is_err() {
            self.store = None;
        }
    }

    /// What `section` finds here.
    pub(super) fn findings(&self, section: Section) -> Findings {
        Findings { section, records: self.records, found: Vec::new() }
    }
}

/// The figures of one section.
#[derive(Debug)]
pub(super) struct Findings {
    section: Section,
    records: u64,
    found: Vec<Finding>,
}

impl Findings {
    /// Notes a figure that has no target.
    pub(super) fn note(&mut self, what: &str, value: f64, unit: Unit) {
        self.found.push(Finding::new(self.section, self.records, what, value, unit));
    }

    /// Notes a figure that may be `target` at most.
    pub(super) fn hold(&mut self, what: &str, value: f64, unit: Unit, target: f64) {
        let finding = Finding::new(self.section, self.records, what, value, unit);
        self.found.push(finding.at_most(target));
    }

    pub(super) fn done(self) -> Vec<Finding> {
        self.found
    }
}

/// A closed store on a directory of its own, removed with it.
#[derive(Debug)]
pub(super) struct Store {
    directory: TempDir,
    /// The size of the file when it was just loaded.
    pub(super) loaded_bytes: u64,
}

impl Store {
    /// Makes a store of `records` records.
    pub(super) fn load<F>(settings: &Settings, records: u64, login: F) -> anyhow::Result<Self>
    where
        F: Fn(u64) -> Insert + Copy + Send + 'static,
    {
        stage(&format!("loading {records} records"));
        let directory = TempDir::with_prefix_in("scale-", &settings.directory)?;
        let mut store = Self { directory, loaded_bytes: 0 };
        if records == 0 {
            let (engine, _clock) = store.open(Options::new())?;
            engine.blocking().close()?;
        } else {
            store.add(0..records, login)?;
        }
        store.loaded_bytes = store.file_bytes()?;
        Ok(store)
    }

    /// Logs more devices in.
    pub(super) fn add<F>(&self, numbers: std::ops::Range<u64>, login: F) -> anyhow::Result<()>
    where
        F: Fn(u64) -> Insert + Copy + Send + 'static,
    {
        check_space(self.path(), numbers.end - numbers.start)?;
        let options = Options::new().durability(Durability::Interval(LOADING)).cache_bytes(0);
        let (engine, _clock) = self.open(options)?;
        loading::load(&engine, numbers, login)?;
        Ok(engine.blocking().close()?)
    }

    /// Opens it; the clock says [`NOW`](crate::NOW) at first.
    pub(super) fn open(&self, options: Options) -> anyhow::Result<(Engine, Arc<RunningClock>)> {
        let clock = Arc::new(RunningClock::new());
        Ok((Engine::open(self.path(), options.clock(clock.clone()))?, clock))
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn file(&self) -> PathBuf {
        self.path().join("tokens.redb")
    }

    pub(super) fn file_bytes(&self) -> anyhow::Result<u64> {
        Ok(std::fs::metadata(self.file())?.len())
    }

    /// What the file takes of the disk: what was never written in it takes nothing.
    #[cfg(unix)]
    pub(super) fn disk_bytes(&self) -> anyhow::Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        // The blocks that are counted have this size whatever the file system has.
        Ok(std::fs::metadata(self.file())?.blocks() * 512)
    }
}

/// Says on the error stream what takes so long.
pub(super) fn stage(what: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "# {what}");
}

/// Refuses to begin what would fill the disk: `records` records more.
pub(super) fn check_space(directory: &Path, records: u64) -> anyhow::Result<()> {
    let free = free_bytes(directory)
        .with_context(|| format!("the free space in {} is not known", directory.display()))?;
    let needed = records.saturating_mul(RECORD_ON_DISK).saturating_add(SPARE);
    anyhow::ensure!(
        free >= needed,
        "{records} records more need about {} GB in {}, and {} GB are free",
        needed.div_ceil(1_000_000_000),
        directory.display(),
        free / 1_000_000_000
    );
    Ok(())
}

/// How often the disk is waited for while a store is loaded.
const LOADING: Duration = Duration::from_secs(1);
/// What a record takes of a file that is being loaded, in bytes, generously.
const RECORD_ON_DISK: u64 = 2000;
/// What is left to others, in bytes.
const SPARE: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_on_the_disk_is_refused_before_it_begins() {
        let directory = tempfile::tempdir().unwrap();
        assert!(check_space(directory.path(), u64::MAX).is_err());
        let settings = Settings {
            directory: directory.path().into(),
            reading: Duration::ZERO,
            churn: 0,
            dying: 0,
        };
        let error = Store::load(&settings, 1 << 60, login).unwrap_err().to_string();
        assert!(error.contains("free"), "{error}");
    }
}
