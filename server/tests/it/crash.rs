//! The real binary, killed at random moments: what was answered is there afterwards.
//!
//! `TOKENKEEP_CRASH_ROUNDS` sets the number of kills, `TOKENKEEP_CRASH_SEED` repeats the dice of
//! a run that failed.

pub mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use tokenkeep_core::wire::StatsBody;
use tokenkeep_core::{Email, Password, SystemClock};
use tokenkeep_server::assembly;
use tokenkeep_server::demo::{Demo, DemoSettings, Fault};
use tokio::task::JoinSet;

use crate::auth_server::AuthServer;
use crate::process::Installation;
use crate::world::PATIENCE;
use worker::{Dice, PASSWORD, Wire, Worker};

/// A data directory, an auth server that survives, and the workers between them.
pub struct Site {
    pub place: Installation,
    pub http: Client,
    pub key: String,
    pub demo: Demo,
    pub auth_server: AuthServer,
    pub workers: Vec<Worker>,
    pub interrupted: u64,
    /// Sessions in the store that no worker has.
    pub others: usize,
}

/// How a server comes to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    Stop,
}

impl Site {
    async fn new(workers: u64, seed: u64) -> Self {
        Self::with_settings(workers, seed, "").await
    }

    /// A site with `more` lines of settings.
    pub async fn with_settings(workers: u64, seed: u64, more: &str) -> Self {
        let lives = DemoSettings {
            access_lifetime: Duration::from_secs(120),
            refresh_lifetime: Duration::from_secs(3600),
            says_lifetimes: true,
        };
        let demo = Demo::new(lives, Arc::new(SystemClock::new()));
        let auth_server = AuthServer::start(demo.clone());
        let place = Installation::new(&auth_server.url(), more);
        let key = place.key(&["admin:read", "admin:write"]).await;
        let workers = (0..workers).map(|number| {
            let email = format!("worker{number}@example.org");
            demo.register(email.parse::<Email>().unwrap(), &Password::new(PASSWORD)).unwrap();
            let dice = Dice(seed ^ (number << 32));
            Worker { email, entries: Vec::new(), login_asked: false, strangers: 0, dice }
        });
        let (workers, http) = (workers.collect(), assembly::http_client().unwrap());
        Self { place, http, key, demo, auth_server, workers, interrupted: 0, others: 0 }
    }

    /// Lets everybody work for a while, ends the server, and checks what the next one has.
    async fn round(&mut self, end: End, after: Duration) {
        let server = self.place.serve().await;
        let wire = Wire::to(&server, &self.http, &self.demo);
        let working: JoinSet<Worker> =
            self.workers.drain(..).map(|worker| worker.work(wire.clone())).collect();
        tokio::time::sleep(after).await;
        wire.killed.store(true, Ordering::SeqCst);
        match end {
            End::Kill => server.kill().await,
            End::Stop => drop(server.stop().await),
        }
        self.workers = working.join_all().await;
        let server = self.place.serve().await;
        self.check(&Wire::to(&server, &self.http, &self.demo)).await;
        server.stop().await;
    }

    pub async fn check(&mut self, wire: &Wire) {
        // So that every session must show that its refresh token is the last one.
        self.demo.forget_access_tokens();
        let workers = self.workers.drain(..);
        let checking: JoinSet<(Worker, u64)> =
            workers.map(|worker| worker.check(wire.clone(), self.key.clone())).collect();
        let (workers, interrupted): (_, Vec<u64>) = checking.join_all().await.into_iter().unzip();
        self.workers = workers;
        self.interrupted += interrupted.iter().sum::<u64>();
        assert_eq!(self.demo.stats().reuses, self.interrupted, "no token is replayed otherwise");
        let stats = wire.ask(Method::GET, "/v1/admin/stats").bearer_auth(&self.key);
        let stats: StatsBody = wire.send(stats).await.unwrap().json().await.unwrap();
        let there: usize = self.workers.iter().map(|w| w.entries.len() + w.strangers).sum();
        let there = (there + self.others) as u64;
        assert_eq!((stats.devices, stats.unreadable), (there, 0), "index and records agree");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_by_a_kill() {
    let number =
        |name, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let mut drawn = [0; 4];
    getrandom::fill(&mut drawn).unwrap();
    let seed = number("TOKENKEEP_CRASH_SEED", u32::from_le_bytes(drawn).into());
    println!("TOKENKEEP_CRASH_SEED={seed}");
    let mut dice = Dice(seed);
    let mut site = Site::new(64, seed).await;
    for round in 1..=number("TOKENKEEP_CRASH_ROUNDS", 3) {
        let after = Duration::from_millis(150 + dice.roll(850));
        let before = site.interrupted;
        site.round(End::Kill, after).await;
        let sessions: usize = site.workers.iter().map(|worker| worker.entries.len()).sum();
        let (interrupted, stats) = (site.interrupted - before, site.demo.stats());
        println!(
            "round {round}: killed after {after:?}; {sessions} sessions go on, {interrupted} were \
             interrupted; {} logins and {} refreshes so far",
            stats.logins, stats.refreshes
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_interrupts_nobody() {
    let mut site = Site::new(32, 1).await;
    for _ in 0..2 {
        site.round(End::Stop, Duration::from_millis(400)).await;
    }
    assert_eq!(site.interrupted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_refreshes_waits_for_their_answers() {
    let mut site = Site::new(48, 1).await;
    let server = site.place.serve().await;
    let wire = Wire::to(&server, &site.http, &site.demo);
    for worker in &mut site.workers {
        worker.login(&wire).await.unwrap();
    }
    site.demo.set_fault(Fault::Slow(Duration::from_millis(300)));
    let mut refreshing = JoinSet::new();
    for worker in &site.workers {
        let request = wire.ask(Method::POST, "/v1/session/refresh");
        refreshing.spawn(request.header("cookie", &worker.entries[0].cookie).send());
    }
    let with_the_auth_server = async {
        while site.demo.stats().refreshes < 16 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, with_the_auth_server).await.unwrap();
    server.stop().await;
    let answers = refreshing.join_all().await.into_iter().flatten();
    let statuses: Vec<_> = answers.map(|answer| answer.status()).collect();
    assert!(statuses.len() >= 16, "{statuses:?}");
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
    site.demo.set_fault(Fault::None);
    let server = site.place.serve().await;
    site.check(&Wire::to(&server, &site.http, &site.demo)).await;
    assert_eq!(site.interrupted, 0);
    assert!(site.workers.iter().all(|worker| worker.entries.len() == 1));
}
