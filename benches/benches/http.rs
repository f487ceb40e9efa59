//! The session check over HTTP beside a bare warp route that returns a constant.
//!
//! `cargo bench -p tokenkeep-benches --bench http`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench prints, and stops where it is wrong"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokenkeep::sessions::{LoginRequest, Settings};
use tokenkeep::{ClientInfo, Engine, Options, Password, Sessions, SystemClock};
use tokenkeep_benches::load::{Report, hammer};
use tokenkeep_benches::runtime;
use tokenkeep_core::testing::FakeIssuer;
use tokenkeep_server::settings::{CookiePolicy, ServerSettings};
use tokenkeep_server::{App, NoServiceKeys, serve};
use tokio::net::TcpListener;
use warp::Filter as _;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);

fn main() {
    let serving = runtime();
    let (bare, ours, cookie) = serving.block_on(start());
    // The load comes from one thread of its own.
    let load = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bare_request = format!("GET /bare HTTP/1.1\r\nhost: {bare}\r\ncookie: {cookie}\r\n\r\n");
    let request =
        |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {ours}\r\ncookie: {cookie}\r\n\r\n");
    println!("{CONNECTIONS} connections, median of {ROUNDS} rounds of {ROUND:?}");
    println!("{:<22} {:>12} {:>10} {:>10} {:>8}", "", "answers/s", "p50", "p99", "ratio");
    for path in ["/authz/nginx", "/v1/session"] {
        let request = request(path);
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let peer = load.block_on(hammer(bare, &bare_request, 200, CONNECTIONS, ROUND)).unwrap();
            let own = load.block_on(hammer(ours, &request, 200, CONNECTIONS, ROUND)).unwrap();
            rounds.push((peer, own, own.rate / peer.rate));
        }
        rounds.sort_by(|a, b| a.2.total_cmp(&b.2));
        let (peer, own, ratio) = rounds[ROUNDS / 2];
        print("bare warp route", &peer, 1.0);
        print(path, &own, ratio);
    }
    load.block_on(refusals(ours, &cookie));
}

/// Whether the time of a refusal tells which devices there are, or how far a secret is right.
async fn refusals(server: SocketAddr, cookie: &str) {
    let (device, secret) = cookie.trim_start_matches("device_id=").split_once('.').unwrap();
    let nearly = format!("{}{}", &secret[..42], if secret.ends_with('A') { 'E' } else { 'A' });
    let refused = [
        ("unknown device", format!("{}.{secret}", "0".repeat(32))),
        ("another secret", format!("{device}.{}", "A".repeat(43))),
        ("nearly the secret", format!("{device}.{nearly}")),
    ];
    println!("\none connection, median of {ROUNDS} rounds of {ROUND:?}, in turn");
    let mut rounds = vec![Vec::new(); refused.len()];
    for _ in 0..ROUNDS {
        for ((_, credential), rounds) in refused.iter().zip(&mut rounds) {
            let cookie = format!("cookie: device_id={credential}");
            let request = format!("GET /v1/session HTTP/1.1\r\nhost: {server}\r\n{cookie}\r\n\r\n");
            rounds.push(hammer(server, &request, 401, 1, ROUND).await.unwrap());
        }
    }
    println!(
        "{:<22} {:>12} {:>10} {:>10} {:>24}",
        "", "answers/s", "p50", "p99", "slowest, fastest round"
    );
    for ((name, _), mut rounds) in refused.iter().zip(rounds) {
        rounds.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let Report { rate, p50, p99 } = rounds[ROUNDS / 2];
        let (slowest, fastest) = (rounds[0].rate, rounds[ROUNDS - 1].rate);
        println!(
            "{name:<22} {rate:>12.0} {p50:>10.0?} {p99:>10.0?} {slowest:>12.0} {fastest:>11.0}"
        );
    }
}

fn print(name: &str, report: &Report, ratio: f64) {
    let Report { rate, p50, p99 } = report;
    println!("{name:<22} {rate:>12.0} {p50:>10.0?} {p99:>10.0?} {ratio:>8.2}");
}

/// Starts both servers; returns their addresses and the cookie of a session.
async fn start() -> (SocketAddr, SocketAddr, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bare = listener.local_addr().unwrap();
    let route = warp::path!("bare").map(|| "ok");
    tokio::spawn(warp::serve(route).incoming(listener).run());

    let directory = tempfile::tempdir().unwrap().keep();
    let store = Engine::open(&directory, Options::default()).unwrap();
    let clock = Arc::new(SystemClock::new());
    let sessions = Sessions::new(store, FakeIssuer::new(), clock.clone(), Settings::default());
    let login = LoginRequest {
        username: "ada@example.org".into(),
        password: Password::new("secret"),
        presented: None,
        client: ClientInfo::default(),
    };
    let credential = sessions.login(login).await.unwrap().credential;
    let settings = ServerSettings { cookie: CookiePolicy::Loopback, ..ServerSettings::default() };
    let app = App::new(sessions, clock, Arc::new(NoServiceKeys), settings).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = listener.local_addr().unwrap();
    tokio::spawn(async move { serve(listener, Arc::new(app), std::future::pending()).await });
    (bare, ours, format!("device_id={}", credential.expose().as_str()))
}
