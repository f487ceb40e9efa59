//! The engine beside plain redb keyed by device id: point reads, durable writes, expiry.
//!
//! `cargo bench -p tokenkeep-benches --bench engine`; `TOKENKEEP_BENCH_RECORDS=1000000` for the
//! size of the targets.
#![allow(missing_docs, reason = "criterion's macros declare functions")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench stops where it is wrong")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use tokenkeep::{Engine, InsertOutcome, Lookup, ReplaceOutcome, TokenStore as _, Tokens};
use tokenkeep_benches::peers::group_commit::GroupCommit;
use tokenkeep_benches::peers::redb::Redb;
use tokenkeep_benches::peers::tokenkeep::Tokenkeep;
use tokenkeep_benches::peers::{Client, Peer};
use tokenkeep_benches::{Entry, NOW, device, instant, live_records, scatter, together};

const WRITERS: [u64; 3] = [1, 16, 64];
const TOKENKEEP: &str = "tokenkeep";
const TASKS: &str = "tokenkeep, async tasks";
const REDB: &str = "redb keyed by device id";

/// A store with the live records, on a directory of its own.
fn loaded<P: Peer>() -> (P, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let peer = P::create(directory.path()).unwrap();
    load(&peer, live_records());
    (peer, directory)
}

fn load(peer: &impl Peer, records: u64) {
    for first in (0..records).step_by(10_000) {
        let numbers = first..records.min(first + 10_000);
        peer.load(&numbers.map(|number| Entry::lasting(number, 0)).collect::<Vec<_>>()).unwrap();
    }
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get");
    read::<Tokenkeep>(&mut group, TOKENKEEP);
    read::<GroupCommit<Redb>>(&mut group, REDB);
    group.finish();
}

fn read<P: Peer>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str) {
    let (peer, _directory) = loaded::<P>();
    let (mut client, records) = (peer.client().unwrap(), live_records());
    let mut next = 0;
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            next += 1;
            black_box(client.get(scatter(next) % records).unwrap())
        });
    });
}

/// A write of a bench: the `n`-th of it.
type Write<C> = fn(&mut C, u64);

fn replace<C: Client>(client: &mut C, n: u64) {
    client.refresh(Entry::lasting(scatter(n) % live_records(), n)).unwrap();
}

fn insert<C: Client>(client: &mut C, n: u64) {
    client.insert(Entry::lasting(live_records() + n, 0)).unwrap();
}

fn replaces(criterion: &mut Criterion) {
    let mut group = durable(criterion, "durable replace");
    write::<Tokenkeep>(&mut group, TOKENKEEP, replace);
    write_by_tasks(&mut group, |engine, n| async move {
        let device = device(scatter(n) % live_records());
        let Lookup::Live(current) = engine.get(device, NOW).await.unwrap() else {
            panic!("a record is missing");
        };
        let next = Entry::lasting(scatter(n) % live_records(), n).record();
        let outcome = engine.replace(current.version, next, Tokens::Renewed, NOW).await.unwrap();
        // Another writer may have refreshed the same device in between.
        assert!(matches!(outcome, ReplaceOutcome::Replaced(_) | ReplaceOutcome::Conflict(_)));
    });
    write::<GroupCommit<Redb>>(&mut group, REDB, replace);
    group.finish();
}

fn inserts(criterion: &mut Criterion) {
    let mut group = durable(criterion, "durable insert");
    write::<Tokenkeep>(&mut group, TOKENKEEP, insert);
    write_by_tasks(&mut group, |engine, n| async move {
        let login = Entry::lasting(live_records() + n, 0).login();
        let outcome = engine.insert(login, NOW).await.unwrap();
        assert!(matches!(outcome, InsertOutcome::Inserted { .. }));
    });
    write::<GroupCommit<Redb>>(&mut group, REDB, insert);
    group.finish();
}

fn durable<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5))
        .throughput(Throughput::Elements(1));
    group
}

/// Writes by threads, as the comparison has them.
fn write<P: Peer>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, write: Write<P::Client>) {
    let (peer, _directory) = loaded::<P>();
    let written = AtomicU64::new(1);
    for writers in WRITERS {
        group.bench_function(BenchmarkId::new(name, writers), |bencher| {
            bencher.iter_custom(|count| {
                let begun = instant();
                std::thread::scope(|scope| {
                    for writer in 0..writers {
                        let (peer, written) = (&peer, &written);
                        scope.spawn(move || {
                            let mut client = peer.client().unwrap();
                            for _ in (writer..count).step_by(writers as usize) {
                                write(&mut client, written.fetch_add(1, Ordering::Relaxed));
                            }
                        });
                    }
                });
                begun.elapsed()
            });
        });
    }
}

/// The same writes by tasks of a runtime: the engine's async face.
fn write_by_tasks<F, Fut>(group: &mut BenchmarkGroup<'_, WallTime>, write: F)
where
    F: Fn(Engine, u64) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let (peer, _directory) = loaded::<Tokenkeep>();
    let written = Arc::new(AtomicU64::new(1));
    for writers in WRITERS {
        group.bench_function(BenchmarkId::new(TASKS, writers), |bencher| {
            bencher.iter_custom(|count| {
                let (engine, written) = (peer.engine().clone(), Arc::clone(&written));
                together(writers, count, move |_| {
                    write(engine.clone(), written.fetch_add(1, Ordering::Relaxed))
                })
            });
        });
    }
}

/// What a dead record costs until its space is free, with few and with many live ones beside it.
fn expiry(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("expiry of 10 000 records");
    group.sample_size(10).throughput(Throughput::Elements(DYING));
    for live in [0, live_records()] {
        group.bench_function(BenchmarkId::new("tokenkeep, live beside", live), |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| expire(live)).sum());
        });
    }
    group.finish();
}

const DYING: u64 = 10_000;

fn expire(live: u64) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let peer = Tokenkeep::create(directory.path()).unwrap();
    let first = live.next_multiple_of(3);
    let dying = first..first + DYING;
    let dying: Vec<_> = dying.map(|number| Entry::dying(number, 86_400)).collect();
    peer.load(&dying).unwrap();
    load(&peer, live);
    let expired = peer.expire(86_400, &dying).unwrap();
    assert_eq!(expired.freed, DYING);
    expired.took
}

criterion_group!(benches, reads, replaces, inserts, expiry);
criterion_main!(benches);
