//! Cookie headers, whatever they hold, are no credential, or exactly one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenkeep_core::cookie::{Presented, pairs};
use tokenkeep_core::wire;

fuzz_target!(|headers: Vec<Vec<u8>>| {
    let headers = || headers.iter().map(Vec::as_slice);
    if let Presented::Credential(credential) = Presented::read(headers(), wire::COOKIE) {
        let text = credential.expose();
        let devices = pairs(headers()).filter(|(name, _)| *name == wire::COOKIE.as_bytes());
        for (_, value) in devices {
            assert!(value.eq_ignore_ascii_case(text.as_bytes()));
        }
    }
});
