//! Redis is killed under load and comes back: what it kept goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokio::task::JoinSet;

use super::{Pair, acts_as_one};
use crate::crash::worker::{Wire, Worker};
use crate::world::until;

impl Pair {
    /// Waits until both servers say whether they are ready as `expected`.
    async fn until_ready_is(&self, expected: StatusCode) {
        for at in [0, 1] {
            until(async || self.status(at, "/readyz").await == expected).await;
        }
    }

    pub(super) async fn status(&self, at: usize, path: &str) -> StatusCode {
        self.send(at, Method::GET, path, "").await.status()
    }

    /// Waits until so many more refreshes and logouts came through.
    async fn until_work_is_done(&self, refreshes: u64, logouts: u64) {
        let (before, demo) = (self.site.demo.stats(), &self.site.demo);
        until(async || {
            let stats = demo.stats();
            stats.refreshes >= before.refreshes + refreshes
                && stats.revocations >= before.revocations + logouts
        })
        .await;
    }

    /// How many logouts were answered, and how many sessions were asked something that was not.
    fn told(&self) -> [usize; 2] {
        let entries = || self.site.workers.iter().flat_map(|worker| &worker.entries);
        [
            entries().filter(|entry| entry.ended.is_some()).count(),
            entries().filter(|entry| entry.asked.is_some()).count(),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_under_load_takes_no_session_and_no_server_with_it() {
    let mut pair = Pair::with(24, "").await;
    let wire = Wire::to_all(&pair.servers, &pair.site.http, &pair.site.demo);
    let stop = Arc::new(AtomicBool::new(false));
    let workers = pair.site.workers.drain(..).map(|mut worker| {
        // Those whose login was not answered cannot be counted.
        worker.ends_all = false;
        worker.work_on(wire.clone(), Arc::clone(&stop))
    });
    let working: JoinSet<Worker> = workers.collect();
    for away in [Duration::ZERO, LONG] {
        pair.until_work_is_done(100, 10).await;
        wire.away.store(true, Ordering::SeqCst);
        pair.redis.kill();
        pair.until_ready_is(StatusCode::SERVICE_UNAVAILABLE).await;
        for at in [0, 1] {
            assert_eq!(pair.status(at, "/livez").await, StatusCode::OK);
        }
        tokio::time::sleep(away).await;
        pair.redis.start_again().await;
        pair.until_ready_is(StatusCode::OK).await;
    }
    pair.until_work_is_done(100, 10).await;
    stop.store(true, Ordering::SeqCst);
    pair.site.workers = working.join_all().await;
    let [logouts, unknown] = pair.told();
    let sessions = pair.site.workers.iter().map(|worker| worker.entries.len()).sum::<usize>();
    println!("{sessions} sessions, {logouts} logged out, {unknown} with an open question");
    let wire = Wire::to_all(&pair.servers, &pair.site.http, &pair.site.demo);
    pair.site.check(&wire).await;
    assert_eq!(pair.site.interrupted, 0, "nobody was logged out");
    pair.register("ada@example.org");
    acts_as_one(&pair, "ada@example.org").await;
}

/// Longer than a store that fails is asked again for anything but a new pair.
const LONG: Duration = Duration::from_secs(9);
