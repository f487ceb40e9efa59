//! How long a token is said to live is bounded.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_server::testing::token_life(bytes));
