//! The engine beside plain redb keyed by device id: point reads, durable writes, expiry.
//!
//! `cargo bench -p tokenkeep-benches --bench engine`; `TOKENKEEP_BENCH_RECORDS=1000000` for the
//! size of the targets.
#![allow(missing_docs, reason = "criterion's macros declare functions")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench stops where it is wrong")]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokenkeep::{
    Engine, InsertOutcome, Lookup, ManualClock, Options, ReplaceOutcome, TokenStore as _, Tokens,
};
use tokenkeep_benches::{
    NOW, RedbKeyed, device, live_records, login, record, row, scatter, together,
};

const WRITERS: [u64; 3] = [1, 16, 64];

/// An engine with the live records, on a directory of its own.
fn engine() -> (Engine, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new().clock(Arc::new(ManualClock::new(NOW))).cache_bytes(4 << 30);
    let engine = Engine::open(directory.path(), options).unwrap();
    let loading = engine.clone();
    together(1024, live_records(), move |number| {
        let engine = loading.clone();
        async move { insert(&engine, number).await }
    });
    (engine, directory)
}

fn peer() -> (RedbKeyed, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let peer = RedbKeyed::create(&directory.path().join("keyed.redb")).unwrap();
    for start in (0..live_records()).step_by(10_000) {
        let end = (start + 10_000).min(live_records());
        peer.load((start..end).map(|number| row(number, 0))).unwrap();
    }
    (peer, directory)
}

async fn insert(engine: &Engine, number: u64) {
    let outcome = engine.insert(login(number), NOW).await.unwrap();
    assert!(matches!(outcome, InsertOutcome::Inserted { .. }));
}

/// A refresh: read the record, put a new pair in its place.
async fn replace(engine: &Engine, number: u64, generation: u64) {
    let Lookup::Live(current) = engine.get(device(number), NOW).await.unwrap() else {
        panic!("record {number} is missing");
    };
    let next = record(number, generation);
    let outcome = engine.replace(current.version, next, Tokens::Renewed, NOW).await.unwrap();
    // Another writer may have refreshed the same device in between.
    assert!(matches!(outcome, ReplaceOutcome::Replaced(_) | ReplaceOutcome::Conflict(_)));
}

fn reads(criterion: &mut Criterion) {
    let (engine, _engine_directory) = engine();
    let (peer, _peer_directory) = peer();
    let records = live_records();
    let mut group = criterion.benchmark_group("get");
    let next = AtomicU64::new(0);
    let pick = || scatter(next.fetch_add(1, Ordering::Relaxed)) % records;
    group.bench_function("tokenkeep", |bencher| {
        bencher.iter(|| black_box(engine.blocking().get(device(pick()), NOW).unwrap()));
    });
    group.bench_function("redb keyed by device id", |bencher| {
        bencher.iter(|| black_box(peer.get(*device(pick()).as_bytes()).unwrap()));
    });
    group.finish();
}

fn replaces(criterion: &mut Criterion) {
    let (engine, _engine_directory) = engine();
    let (peer, _peer_directory) = peer();
    let records = live_records();
    let generation = Arc::new(AtomicU64::new(1));
    let mut group = criterion.benchmark_group("durable replace");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5))
        .throughput(Throughput::Elements(1));
    for writers in WRITERS {
        group.bench_function(BenchmarkId::new("tokenkeep", writers), |bencher| {
            bencher.iter_custom(|count| {
                let (engine, generation) = (engine.clone(), Arc::clone(&generation));
                together(writers, count, move |_| {
                    let (engine, generation) = (engine.clone(), Arc::clone(&generation));
                    async move {
                        let generation = generation.fetch_add(1, Ordering::Relaxed);
                        replace(&engine, scatter(generation) % records, generation).await;
                    }
                })
            });
        });
        group.bench_function(BenchmarkId::new("redb keyed by device id", writers), |bencher| {
            bencher.iter_custom(|count| {
                let (peer, generation) = (peer.clone(), Arc::clone(&generation));
                together(writers, count, move |_| {
                    let (peer, generation) = (peer.clone(), Arc::clone(&generation));
                    async move {
                        let generation = generation.fetch_add(1, Ordering::Relaxed);
                        peer.put(row(scatter(generation) % records, generation)).await;
                    }
                })
            });
        });
    }
    group.finish();
}

fn inserts(criterion: &mut Criterion) {
    let (engine, _engine_directory) = engine();
    let (peer, _peer_directory) = peer();
    let fresh = Arc::new(AtomicU64::new(live_records()));
    let mut group = criterion.benchmark_group("durable insert");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5))
        .throughput(Throughput::Elements(1));
    for writers in WRITERS {
        group.bench_function(BenchmarkId::new("tokenkeep", writers), |bencher| {
            bencher.iter_custom(|count| {
                let (engine, fresh) = (engine.clone(), Arc::clone(&fresh));
                together(writers, count, move |_| {
                    let (engine, number) = (engine.clone(), fresh.fetch_add(1, Ordering::Relaxed));
                    async move { insert(&engine, number).await }
                })
            });
        });
        group.bench_function(BenchmarkId::new("redb keyed by device id", writers), |bencher| {
            bencher.iter_custom(|count| {
                let (peer, fresh) = (peer.clone(), Arc::clone(&fresh));
                together(writers, count, move |_| {
                    let (peer, number) = (peer.clone(), fresh.fetch_add(1, Ordering::Relaxed));
                    async move { peer.put(row(number, 0)).await }
                })
            });
        });
    }
    group.finish();
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
    let clock = Arc::new(ManualClock::new(NOW));
    let options = Options::new().clock(clock.clone());
    let engine = Engine::open(directory.path(), options).unwrap();
    let loading = engine.clone();
    together(1024, live + DYING, move |number| {
        let engine = loading.clone();
        async move {
            let mut login = login(number);
            if number >= DYING {
                // These live on.
                login.record.refresh_expires_at = NOW + Duration::from_secs(30 * 86_400);
            }
            engine.insert(login, NOW).await.unwrap();
        }
    });
    // A day and a bit: the dying are dead, and the clock has been right for long enough.
    clock.advance(Duration::from_secs(100_000));
    let now = NOW + Duration::from_secs(100_000);
    let purged = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&purged);
    let took = together(1, 1, move |_| {
        let (engine, purged) = (engine.clone(), Arc::clone(&purged));
        async move {
            loop {
                let step = NonZeroUsize::new(1000).unwrap();
                let freed = engine.purge_expired(step.get(), now).await.unwrap();
                purged.fetch_add(freed as u64, Ordering::Relaxed);
                if freed == 0 {
                    return;
                }
            }
        }
    });
    assert_eq!(counted.load(Ordering::Relaxed), DYING);
    took
}

criterion_group!(benches, reads, replaces, inserts, expiry);
criterion_main!(benches);
