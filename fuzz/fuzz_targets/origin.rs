//! An `Origin` passes if it is the server's own or a configured one, and else not.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_server::testing::origin(bytes));
