//! How long an auth server asks to be left alone is bounded.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_server::testing::retry_after(bytes));
