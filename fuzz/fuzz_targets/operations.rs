//! Operations, crashes and restarts in any order: the engine does what the model does.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep::testing::parsers::operations(bytes));
