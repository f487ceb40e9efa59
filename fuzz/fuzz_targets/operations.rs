//! Operations, crashes and restarts in any order: the engine does what the model does.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|operations: &[u8]| {
    tokenkeep::testing::run_model(operations);
});
