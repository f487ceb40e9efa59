//! `X-Forwarded-For`, one header a line: what stands left of the client counts for nothing.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_server::testing::forwarded_for(bytes));
