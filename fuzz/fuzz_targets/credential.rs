//! A credential that parses is written as it was read, and nothing else parses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenkeep_core::Credential;

fuzz_target!(|text: &str| {
    if let Ok(credential) = text.parse::<Credential>() {
        assert!(credential.expose().eq_ignore_ascii_case(text));
    }
});
