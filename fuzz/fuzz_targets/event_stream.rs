//! A stream comes apart in the same way in whatever pieces it comes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_client::testing::event_stream(bytes));
