//! A meta row reads as it is written, with its checksum or with one put right.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep::testing::parsers::meta_row(bytes));
