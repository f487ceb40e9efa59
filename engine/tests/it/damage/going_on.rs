//! Pages that are damaged under an open store that goes on: damage costs the records that it hits.
//!
//! `TOKENKEEP_DAMAGE=full` damages every page in every way; otherwise it is a sample of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokenkeep::testing::Disk;
use tokenkeep::{EndReason, Engine, InsertOutcome, Lookup, Options, StoreError, Tokens, Version};

use crate::failures::Machine;
use crate::support::{device, log_in, login, record, replace};

/// A closed store, and the version of each record in it.
struct Closed {
    machine: Machine,
    bytes: Vec<u8>,
    versions: BTreeMap<u8, u64>,
}

/// What became of a store after one page was damaged.
#[derive(Debug, Default)]
struct Outcome {
    /// Records that cannot be read.
    lost: usize,
    refused: usize,
    differs: Vec<String>,
    /// Rows in the file that nobody needs, at the end.
    garbage: u64,
}

/// What a page is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Headers,
    Bodies,
    /// The last one of its kind: every write needs it.
    Last,
}

impl Closed {
    /// Records of which many were refreshed, so that there is garbage between them.
    fn new() -> Self {
        let machine = Machine::new();
        let engine = machine.open(Options::new());
        let now = machine.now;
        let mut versions = BTreeMap::new();
        for n in 0..RECORDS {
            log_in(&engine, n, now);
            versions.insert(n, 1);
            if n % 3 == 0 {
                replace(&engine, n, 1, now);
                versions.insert(n, 2);
            }
        }
        engine.blocking().close().unwrap();
        Self { bytes: machine.disk.bytes(), machine, versions }
    }

    /// The same one on a disk of its own.
    fn copied(&self) -> Self {
        let machine =
            Machine { disk: Disk::new(), ring: self.machine.ring.clone(), now: self.machine.now };
        Self { machine, bytes: self.bytes.clone(), versions: self.versions.clone() }
    }

    /// The pages with rows. What is on other pages redb needs for every write, or nobody does.
    fn pages(&self) -> BTreeMap<usize, Page> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &self.bytes).unwrap();
        let database = Database::open(file.path()).unwrap();
        let transaction = database.begin_read().unwrap();
        let mut pages = BTreeMap::new();
        for (table, kind) in [(HEADERS, Page::Headers), (BODIES, Page::Bodies)] {
            let mut last: Vec<usize> = Vec::new();
            for block in transaction.open_table(table).unwrap().iter().unwrap() {
                let list = block.unwrap().1.value().to_vec();
                // Older copies of it, which nobody needs, are among them.
                let is_here = |at: &usize| self.bytes[*at..].starts_with(&list);
                let here = (0..self.bytes.len()).filter(is_here);
                last = here.flat_map(|at| at / PAGE..=(at + list.len() - 1) / PAGE).collect();
                pages.extend(last.iter().map(|page| (*page, kind)));
            }
            pages.extend(last.into_iter().map(|page| (page, Page::Last)));
        }
        pages
    }

    fn go_on(&self, page: usize, damage: Damage, cache: usize) -> Outcome {
        let disk = &self.machine.disk;
        disk.damage(|bytes| bytes.clone_from(&self.bytes));
        let options = Options::new().cache_bytes(0).page_cache_bytes(cache).garbage(1, 1);
        let engine = self.machine.open(options);
        let mut damaged = Vec::new();
        let mut whole = Vec::new();
        disk.damage(|bytes| {
            let page = &mut bytes[page * PAGE..][..PAGE];
            whole = page.to_vec();
            damage.apply(page);
            damaged = page.to_vec();
        });
        let outcome = self.work(&engine);
        // redb aborts if it panics over its own bookkeeping while it closes.
        disk.damage(|bytes| {
            let page = &mut bytes[page * PAGE..][..PAGE];
            if page == damaged {
                page.clone_from_slice(&whole);
            }
        });
        outcome
    }

    /// Refreshes, logs in and out, and reads, while the log gives up what is garbage.
    fn work(&self, engine: &Engine) -> Outcome {
        let now = self.machine.now;
        let (mut versions, mut outcome) = (self.versions.clone(), Outcome::default());
        let blocking = engine.blocking();
        for round in 0..4_u8 {
            for n in (0..RECORDS).filter(|n| n % 4 == round) {
                let version = versions[&n];
                match blocking.replace(
                    Version::from_number(version),
                    record(n, now),
                    Tokens::Kept,
                    now,
                ) {
                    Ok(tokenkeep::ReplaceOutcome::Replaced(_)) => {
                        versions.insert(n, version + 1);
                    }
                    Err(StoreError::Unavailable(_)) => outcome.refused += 1,
                    other => outcome.differs.push(format!("refresh {n}: {other:?}")),
                }
            }
            let fresh = RECORDS + round;
            match blocking.insert(login(record(fresh, now)), now) {
                Ok(InsertOutcome::Inserted { .. }) => drop(versions.insert(fresh, 1)),
                Err(StoreError::Unavailable(_)) => outcome.refused += 1,
                other => outcome.differs.push(format!("login {fresh}: {other:?}")),
            }
            match blocking.remove(device(round), None, EndReason::Logout, now) {
                Ok(_) => drop(versions.insert(round, 0)),
                Err(StoreError::Unavailable(_)) => outcome.refused += 1,
                Err(StoreError::Unreadable { .. }) => {}
                other => outcome.differs.push(format!("logout {round}: {other:?}")),
            }
            if blocking.flush().is_err() {
                outcome.refused += 1;
            }
        }
        // Each of them lets it take a step.
        (0..20).for_each(|_| drop(blocking.flush()));
        outcome.garbage = engine.figures().garbage_rows;
        for (n, version) in &versions {
            match (blocking.get(device(*n), now), version) {
                (Ok(Lookup::Live(found)), version) if found.version.number() == *version => {}
                (Ok(Lookup::Ended(ended)), 0) if ended.reason == EndReason::Logout => {}
                (Err(StoreError::Unreadable { .. }), _) => outcome.lost += 1,
                (found, _) => outcome.differs.push(format!("get {n}, {version}: {found:?}")),
            }
        }
        outcome
    }
}

/// What becomes of a page.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// Its first bytes are all of this one.
    Start(u8),
    /// All of it is.
    All(u8),
    /// One bit of its first bytes is another one.
    Bit(usize),
}

impl Damage {
    fn apply(self, page: &mut [u8]) {
        match self {
            Self::Start(byte) => page[..64].fill(byte),
            Self::All(byte) => page.fill(byte),
            Self::Bit(bit) => page[bit / 8] ^= 1 << (bit % 8),
        }
    }
}

#[test]
fn a_damaged_page_costs_the_records_that_it_hits_and_nothing_else() {
    let full = std::env::var("TOKENKEEP_DAMAGE").is_ok_and(|how| how == "full");
    let closed = Closed::new();
    let pages = closed.pages();
    let fillings = [0xff, 1, 0xa5].map(Damage::Start).into_iter().chain([0, 0xa5].map(Damage::All));
    let ways: Vec<_> = fillings.chain((0..64 * 8).map(Damage::Bit)).collect();
    let runs = pages.iter().enumerate().flat_map(|(nth, (page, kind))| {
        let some = ways.iter().enumerate().filter(move |(way, _)| full || way % 131 == nth % 5);
        some.map(move |(way, damage)| (*page, *kind, *damage, (nth + way) % 2 * (64 << 10)))
    });
    let runs: Vec<_> = runs.collect();
    let (next, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let closed = closed.copied();
        while let Some((page, kind, damage, cache)) = runs.get(next.fetch_add(1, Relaxed)) {
            let outcome = closed.go_on(*page, *damage, *cache);
            let context = format!("page {page}, {damage:?}, {cache} bytes of cache");
            assert_eq!(outcome.differs, [""; 0], "{context}");
            let refused = outcome.refused;
            assert!(refused == 0 || *kind == Page::Last, "{context}: {refused} refused");
            // Of a page that still says that it is a leaf it may be that it lets itself be read, and
            // not be written.
            let is_gone =
                matches!(damage, Damage::Start(byte) | Damage::All(byte) if *byte != LEAF);
            if *kind == Page::Bodies && is_gone {
                assert_eq!(outcome.garbage, 0, "{context}: nothing is reclaimed any more");
            }
            lost.fetch_add(outcome.lost, Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let lost = lost.into_inner();
    println!("{} pages, damaged {} times: {lost} records unreadable", pages.len(), runs.len());
    assert!(lost > 0, "some page had records on it that are needed");
}

const HEADERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("headers");
const BODIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bodies");
const RECORDS: u8 = 40;
const PAGE: usize = 4096;
/// The first byte of redb's leaf pages.
const LEAF: u8 = 1;
