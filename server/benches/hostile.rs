//! A well-behaved client while others attack: its service time beside its quiet one, and the memory
//! of the server, which is the real binary.
//!
//! `cargo bench -p tokenkeep-server --bench hostile [-- PART-OF-A-NAME]`
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench prints, measures time, and stops where it is wrong"
)]

#[path = "hostile/attack.rs"]
mod attack;
#[path = "hostile/client.rs"]
mod client;
#[path = "hostile/server.rs"]
mod server;

use std::process::Command;
use std::time::Duration;

use attack::Attack;
use client::measure;
use server::Server;

fn main() {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: files.maximum, ..files };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    // Attackers have machines of their own: here they get what server and client leave.
    let mut attacking = tokio::runtime::Builder::new_multi_thread();
    let attacking = attacking.worker_threads(1).on_thread_start(yield_to_all).enable_all();
    let attacking = attacking.build().unwrap();
    println!(
        "{:<26} {:>6} {:>9} {:>9} {:>9} {:>9} {:>6} {:>6} {:>8} {:>7}",
        "attack",
        "conns",
        "p50",
        "p99",
        "p50 then",
        "p99 then",
        "p50 x",
        "p99 x",
        "peak MB",
        "failed"
    );
    for attack in attack::all() {
        if wanted.as_ref().is_some_and(|part| !attack.name.contains(part.as_str())) {
            continue;
        }
        report(&attack, attacking.handle());
    }
}

/// Has this thread run only where nobody else wants to.
fn yield_to_all() {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let done = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    assert!(done.is_ok_and(|status| status.success()), "chrt is needed: install util-linux");
}

fn report(attack: &Attack, attacking: &tokio::runtime::Handle) {
    let server = Server::start(attack.limit);
    let quiet = measure(server.address, TIME);
    let attackers = attack.start(attacking, server.address);
    std::thread::sleep(RAMP);
    let during = measure(server.address, TIME);
    let peak = server.peak_bytes() >> 20;
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    println!(
        "{:<26} {:>6} {:>9.0?} {:>9.0?} {:>9.0?} {:>9.0?} {:>6.1} {:>6.1} {:>8} {:>7}",
        attack.name,
        attack.connections,
        quiet.p50,
        quiet.p99,
        during.p50,
        during.p99,
        during.p50.as_secs_f64() / quiet.p50.as_secs_f64(),
        during.p99.as_secs_f64() / quiet.p99.as_secs_f64(),
        peak,
        during.failed
    );
}

const TIME: Duration = Duration::from_secs(4);
/// How long the attackers have to come in.
const RAMP: Duration = Duration::from_secs(3);
