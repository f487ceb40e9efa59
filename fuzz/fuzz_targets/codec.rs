//! Stored bytes, whatever they are, open or are refused; a header that is written is read alike.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_core::testing::parsers::codec(bytes));
