//! Cookie headers, one a line, whatever they hold, are no credential, or exactly one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_core::testing::parsers::cookie(bytes));
