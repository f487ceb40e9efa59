//! Nothing in the data directory shows a token, and nothing that prints does.

use std::fs;

use tokenkeep::Version;

use crate::support::{HOUR, Place, device, holder, log_in, replace};

#[test]
fn no_file_shows_a_token() {
    let place = Place::new();
    let engine = place.open();
    let now = place.now();
    for n in 0..50 {
        log_in(&engine, n, now);
        replace(&engine, n, 1, now);
        engine.blocking().touch(device(n), now + HOUR).unwrap();
        let version = Version::FIRST.next();
        engine.blocking().lease(device(n), version, holder(1), now + HOUR, now).unwrap();
    }
    engine.blocking().flush().unwrap();
    let look = || {
        for file in fs::read_dir(place.directory.path()).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"canary"));
        }
    };
    look();
    engine.blocking().compact().unwrap();
    look();
    drop(engine);
    look();
}

#[test]
fn no_debug_output_shows_a_token_or_a_key() {
    let place = Place::new();
    let engine = place.open();
    log_in(&engine, 1, place.now());
    let ring = fs::read_to_string(place.keys()).unwrap();
    let key = ring.trim_end().rsplit(' ').next().unwrap();
    let shown = format!("{engine:?} {engine:#?}");
    assert!(!shown.contains("canary") && !shown.contains(key), "{shown}");
}
