//! What is under a prefix is under it however it is written, and has no way out of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_server::testing::gateway_path(bytes));
