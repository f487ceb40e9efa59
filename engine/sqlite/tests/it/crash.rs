//! A process that is killed loses nothing that it acknowledged.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::Connection;
use tokenkeep_core::testing::conformance::START;
use tokenkeep_core::{DeviceId, EndReason, Lookup, TokenStore as _};

use crate::child::Running;
use crate::original::{LOGIN, Login, Original};
use crate::support::{Place, contains, device};

/// What was acknowledged last of each device.
fn acknowledged(said: &[String]) -> HashMap<u32, String> {
    let words = said.iter().filter_map(|line| line.split_once(' '));
    words.map(|(n, what)| (n.parse().unwrap(), what.to_owned())).collect()
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    for round in 0..3 {
        let place = Place::sealed();
        let mut child = Running::start(&place, "load", None);
        let mut said: Vec<String> = (0..200 + round * 77).map_while(|_| child.says()).collect();
        said.extend(child.kill());
        let (store, mut listed) = (place.open(), 0);
        for (n, what) in acknowledged(&said) {
            let found = store.get(device(n), START).await.unwrap();
            match (what.as_str(), found) {
                ("in", Lookup::Live(_)) => listed += 1,
                ("renewed", Lookup::Live(record)) => {
                    assert!(record.access_token.expose().starts_with("renewed"), "device {n}");
                    listed += 1;
                }
                // What was asked for next may be there, too.
                ("out" | "renewed", Lookup::Ended(ended)) => {
                    assert_eq!(ended.reason, EndReason::Logout, "device {n}");
                }
                (what, found) => panic!("device {n}: {what}, and then {found:?}"),
            }
        }
        let all = store.devices_of(&"ada@example.org".parse().unwrap(), START).await.unwrap();
        // Each of the eight had one login that may be there without an answer.
        assert!((listed..=listed + 8).contains(&all.len()), "{} and {listed}", all.len());
    }
}

#[tokio::test]
async fn a_take_over_that_was_killed_is_whole_or_not_at_all() {
    let template = Place::sealed();
    let original = Original::create(&template.file());
    original.0.execute_batch("BEGIN").unwrap();
    for n in 0..1500 {
        original.insert(&Login { device: &format!("{n:032x}"), ..LOGIN });
    }
    original.0.execute_batch("COMMIT").unwrap();
    drop(original);
    for round in 0..8_u32 {
        let place = Place::sealed();
        std::fs::copy(template.file(), place.file()).unwrap();
        let child = Running::start(&place, "wait", None);
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(Duration::from_millis(u64::from(25 * round)));
        child.kill();
        check_whole(&place);
        let store = place.open();
        assert_eq!(store.stats(START).await.unwrap().devices, 1500);
        let last: DeviceId = format!("{:032x}", 1499).parse().unwrap();
        assert!(store.get(last, START).await.unwrap().live().is_some());
        store.close().await.unwrap();
        assert!(!contains(&place.bytes(), "canary"));
    }
}

/// Either every row was taken over or none.
#[track_caller]
fn check_whole(place: &Place) {
    let connection = Connection::open(place.file()).unwrap();
    let count = |query: &str| connection.query_row(query, [], |row| row.get::<_, u32>(0));
    let sealed = count("SELECT count(rest) FROM user_auth_credentials").unwrap_or(0);
    let plain = "SELECT count(*) FROM user_auth_credentials WHERE access_token LIKE 'canary%'";
    assert!(matches!((sealed, count(plain).unwrap()), (0, 1500) | (1500, 0)), "{sealed}");
}
