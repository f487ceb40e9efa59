//! A file of service keys reads as it is written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_server::testing::service_keys(bytes));
