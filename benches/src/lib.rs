//! Fixtures of the benches: records of 1.2 KB, many writers at once, and the peers.

#![recursion_limit = "256"] // the flow over the redis driver nests futures deeply

pub mod compare;
mod entry;
pub mod load;
pub mod peers;
pub mod scale;
pub mod stores;

pub use entry::Entry;

use std::future::Future;
use std::time::{Duration, Instant};

use tokenkeep::{
    AccessToken, ClientInfo, DeviceId, Email, Insert, RefreshToken, Timestamp, TokenRecord,
    TokenType, Verifier, Version,
};

/// When the benches take place.
pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// How many records are live: `TOKENKEEP_BENCH_RECORDS`, 100 000 unless told.
#[must_use]
pub fn live_records() -> u64 {
    std::env::var("TOKENKEEP_BENCH_RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000)
}

/// The device with this number; ids are spread over the whole key space.
#[must_use]
pub fn device(number: u64) -> DeviceId {
    let (low, high) = (scatter(number), scatter(!number));
    DeviceId::from_bytes((u128::from(low) << 64 | u128::from(high)).to_le_bytes())
}

/// A pseudo-random number for `number` (the finaliser of splitmix64).
#[must_use]
pub const fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The record of device `number` with tokens of generation `generation`: 1.2 KB, as a JWT of
/// 800 bytes, an opaque refresh token and a user agent make it.
#[must_use]
pub fn record(number: u64, generation: u64) -> TokenRecord {
    let filler = |len: usize| format!("{generation:016x}{number:016x}{}", "x".repeat(len - 32));
    TokenRecord {
        device_id: device(number),
        version: Version::FIRST,
        verifier: Verifier::from_bytes([7; 32]),
        email: email(number),
        token_type: TokenType::default(),
        access_token: valid(AccessToken::new(filler(800))),
        access_issued_at: NOW,
        access_expires_at: NOW + Duration::from_secs(120),
        refresh_token: valid(RefreshToken::new(filler(128))),
        refresh_expires_at: NOW + Duration::from_secs(86_400 + number % 3600),
        created_at: NOW,
        last_seen_at: NOW,
        previous_visit_at: None,
        absolute_expires_at: None,
        idle_limit: None,
        client: ClientInfo::new(Some(USER_AGENT), Some([192, 0, 2, 1].into())),
        label: None,
        refresh_intent: None,
    }
}

/// The login of device `number`.
#[must_use]
pub fn login(number: u64) -> Insert {
    Insert { record: record(number, 0), replaces: None, ceiling: None }
}

/// Does `count` operations with `writers` tasks and returns how long it took.
pub fn together<F, Fut>(writers: u64, count: u64, operation: F) -> Duration
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let runtime = runtime();
    runtime.block_on(async {
        let begun = instant();
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let operation = operation.clone();
                tokio::spawn(async move {
                    let mut number = writer;
                    while number < count {
                        operation(number).await;
                        number += writers;
                    }
                })
            })
            .collect();
        for task in tasks {
            // A writer that panicked would make the figure a lie.
            assert!(task.await.is_ok(), "a writer failed");
        }
        begun.elapsed()
    })
}

/// A runtime as a server has it.
#[must_use]
pub fn runtime() -> tokio::runtime::Runtime {
    valid(tokio::runtime::Builder::new_multi_thread().enable_all().build())
}

/// A reading of the clock, for measuring.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub fn instant() -> Instant {
    Instant::now()
}

/// What a fixture is made of is valid, or the fixture is wrong.
#[expect(clippy::panic, reason = "a bench with a wrong fixture measures nothing")]
fn valid<T, E: std::fmt::Display>(made: Result<T, E>) -> T {
    made.unwrap_or_else(|error| panic!("a fixture is wrong: {error}"))
}

/// Who uses device `number`: every user has three devices.
#[must_use]
pub fn email(number: u64) -> Email {
    valid(format!("user{}@example.org", number / 3).parse())
}

const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0";
