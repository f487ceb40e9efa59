//! The name of a spent token has one form.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_core::testing::parsers::spent_token(bytes));
