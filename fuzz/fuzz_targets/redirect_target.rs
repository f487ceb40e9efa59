//! A way back after a login stays on this site, as browsers read it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_server::testing::redirect_target(bytes));
