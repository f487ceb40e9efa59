//! A record that was changed on the disk, at pairs of place and value, does not open.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_core::testing::parsers::sealed_record(bytes));
