//! Concurrent histories, recorded from real threads and held against what one thread could see.
//!
//! Promised, and checked, is this. What is said of one device, it says as one thread would see it.
//! The list of a user and the writes to several devices happen at one instant for all of them.

mod checker;
mod device;
mod dice;
mod flow;
mod recorder;
mod running;
mod user;

/// How many rounds a test does; `TOKENKEEP_HISTORIES=500 cargo test -p tokenkeep --release --test
/// it histories` does more.
fn rounds() -> u64 {
    std::env::var("TOKENKEEP_HISTORIES").map_or(20, |text| text.parse().unwrap())
}
