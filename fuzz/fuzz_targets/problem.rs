//! A problem of any server says words that can go into a log line, and is some kind of error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_client::testing::problem(bytes));
