//! A credential that parses is written as it was read, and nothing else parses.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_core::testing::parsers::credential(bytes));
