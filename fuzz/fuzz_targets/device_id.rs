//! A device id has one form.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_core::testing::parsers::device_id(bytes));
