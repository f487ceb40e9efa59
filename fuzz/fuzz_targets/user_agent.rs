//! What a browser says of itself is cut to a size and to one line, and not cut again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_core::testing::parsers::user_agent(bytes));
