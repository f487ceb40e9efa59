//! A key ring that parses is written as it was read.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_core::testing::parsers::key_ring(bytes));
