//! An address has one form, one `@`, and nothing that breaks a line or a header.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_core::testing::parsers::email(bytes));
