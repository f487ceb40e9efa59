//! Settings that are read are shown so that they read alike.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_server::testing::settings(bytes));
