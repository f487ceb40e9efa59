//! What a server could not hear, it says that it did not hear.

use super::{Pair, acts_as_one};
use crate::world::{device_of, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_missed_what_happened_tells_of_a_gap_and_hears_on() {
    let pair = Pair::new().await;
    pair.register("ada@example.org");
    let missed = pair.login(0, "ada@example.org").await;
    let heard = pair.login(0, "ada@example.org").await;
    let watching = pair.login(1, "ada@example.org").await;
    let mut device = pair.events(1, &watching).await;
    let mut admin = pair.admin_events(1).await;
    // The second server stands still, its connections die, and what happens at the first one
    // meanwhile is so much that Redis does not keep it.
    pair.servers[1].pause(true);
    pair.redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    let length = || pair.redis.cli(&["XLEN", EVENTS]).trim().parse::<u64>().unwrap();
    let before = length();
    until(async || pair.status(0, "/readyz").await == reqwest::StatusCode::OK).await;
    pair.logout(0, &missed).await;
    until(async || length() > before).await;
    pair.redis.cli(&["XTRIM", EVENTS, "MAXLEN", "0"]);
    pair.servers[1].pause(false);
    pair.logout(0, &heard).await;
    for stream in [&mut admin, &mut device] {
        let before = stream.tells("event:reset").await;
        assert!(!before.contains(device_of(&missed)), "it was not missed: {before}");
        stream.tells(device_of(&heard)).await;
    }
    acts_as_one(&pair, "ada@example.org").await;
}

const EVENTS: &str = "tokenkeep:events";
