//! The real binary, killed at random moments: what was answered is there afterwards.
//!
//! `TOKENKEEP_CRASH_ROUNDS` sets the number of kills, `TOKENKEEP_CRASH_SEED` repeats the dice of
//! a run that failed.

mod wire;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use tokenkeep_core::wire::StatsBody;
use tokenkeep_core::{Email, Password, SystemClock};
use tokenkeep_server::assembly;
use tokenkeep_server::config::StoreKind;
use tokenkeep_server::demo::{Demo, DemoSettings, Fault};
use tokio::task::JoinSet;

use crate::auth_server::AuthServer;
use crate::process::Installation;
use crate::stores::{Ground, over_every_store};
use crate::world::until;
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
    async fn on(ground: &Ground, workers: u64, seed: u64) -> Self {
        Self::with_settings(workers, seed, &ground.settings()).await
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
            Worker::new(email, Dice(seed ^ (number << 32)))
        });
        let (workers, http) = (workers.collect(), assembly::http_client().unwrap());
        Self { place, http, key, demo, auth_server, workers, interrupted: 0, others: 0 }
    }

    /// Lets everybody work for some refreshes and a while, ends the server, and checks what the next one has.
    async fn round(&mut self, end: End, after: Duration) {
        let server = self.place.serve().await;
        let wire = Wire::to(&server, &self.http, &self.demo);
        let working: JoinSet<Worker> =
            self.workers.drain(..).map(|worker| worker.work(wire.clone())).collect();
        let refreshes = self.demo.stats().refreshes;
        until(async || self.demo.stats().refreshes >= refreshes + 16).await;
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

over_every_store! {
    #[tokio::test(flavor = "multi_thread")]
    nothing_that_was_answered_is_lost_by_a_kill,
    a_stop_under_load_interrupts_nobody,
    a_stop_in_the_middle_of_refreshes_waits_for_their_answers,
}

async fn nothing_that_was_answered_is_lost_by_a_kill(kind: StoreKind) {
    let number =
        |name, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let mut drawn = [0; 4];
    getrandom::fill(&mut drawn).unwrap();
    let seed = number("TOKENKEEP_CRASH_SEED", u32::from_le_bytes(drawn).into());
    println!("{kind}: TOKENKEEP_CRASH_SEED={seed}");
    let mut dice = Dice(seed);
    let ground = Ground::of(kind).await;
    let mut site = Site::on(&ground, 64, seed).await;
    let rounds = match kind {
        StoreKind::Redb => 3,
        StoreKind::Sqlite => 2,
        // The leases of a killed server must run out, since another one could hold them.
        StoreKind::Redis => 1,
    };
    for round in 1..=number("TOKENKEEP_CRASH_ROUNDS", rounds) {
        let after = Duration::from_millis(dice.roll(1000));
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

async fn a_stop_under_load_interrupts_nobody(kind: StoreKind) {
    let ground = Ground::of(kind).await;
    let mut site = Site::on(&ground, 32, 1).await;
    for _ in 0..2 {
        site.round(End::Stop, Duration::from_millis(400)).await;
    }
    assert_eq!(site.interrupted, 0);
}

async fn a_stop_in_the_middle_of_refreshes_waits_for_their_answers(kind: StoreKind) {
    let ground = Ground::of(kind).await;
    let mut site = Site::on(&ground, 48, 1).await;
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
    until(async || site.demo.stats().refreshes >= 16).await;
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
