//! A place in a walk is eight bytes, and nothing else is one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep::testing::parsers::walk_cursor(bytes));
