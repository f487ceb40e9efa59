//! The engine against the operations model, with fixed seeds.

use tokenkeep::testing::run_model;

/// Bytes that look random and are the same every time.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn the_engine_does_what_the_model_does() {
    let seeds = std::env::var("MODEL_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let first = std::env::var("MODEL_FIRST").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        let bytes = bytes(seed, 1500);
        let outcome = std::panic::catch_unwind(|| run_model(&bytes));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
