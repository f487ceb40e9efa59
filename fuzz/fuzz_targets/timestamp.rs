//! An instant reads as it is written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_core::testing::parsers::timestamp(bytes));
