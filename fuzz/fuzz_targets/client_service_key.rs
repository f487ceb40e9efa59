//! A service key goes into a header whole, or is refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokenkeep_client::testing::service_key(bytes));
