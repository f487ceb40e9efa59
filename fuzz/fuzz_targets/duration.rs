//! A duration reads as it is written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_server::testing::setting_duration(bytes));
