//! The stores behind the session flow, beside each other: what each costs a login, a refresh and a
//! session check, and how checks scale with the servers on one Redis.

mod checks;
mod fixture;
mod writes;

pub use checks::serve_child;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;
use serde::Serialize;

use fixture::Fixture;

/// What a run is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Records that each store holds when it begins.
    pub records: u64,
    /// How long one cell is measured.
    pub time: Duration,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The store.
    pub store: &'static str,
    /// What was done.
    pub what: Work,
    /// How many at once: tasks that write, or connections that check.
    pub at_once: usize,
    /// How many processes serve; none for writes, which go to the store itself.
    pub servers: usize,
    /// Operations a second.
    pub rate: f64,
    /// Half of them took at most this, in microseconds.
    pub p50_micros: f64,
    /// 99 of 100 took at most this, in microseconds.
    pub p99_micros: f64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A login is stored, durably.
    Login,
    /// A lease is taken and the new pair stored, both durably, as the flow does.
    Refresh,
    /// A session check over HTTP, `/authz/nginx`, with keep-alive.
    Check,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login => "login",
            Self::Refresh => "refresh",
            Self::Check => "session check",
        })
    }
}

/// Measures every store in `directory`, and hands each figure to `tell` when it is there.
///
/// # Errors
/// What a store or the system says.
pub fn run(directory: &Path, plan: &Plan, mut tell: impl FnMut(Row)) -> Result<()> {
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(200));
    let redb = fixture::Redb::open(directory)?;
    of(&redb, plan, &progress, &mut tell)?;
    drop(redb);
    let sqlite = fixture::Sqlite::open(directory)?;
    of(&sqlite, plan, &progress, &mut tell)?;
    drop(sqlite);
    let redis = fixture::Redis::open(directory)?;
    of(&redis, plan, &progress, &mut tell)?;
    for servers in SERVERS {
        progress.set_message(format!("{servers} servers on one redis"));
        tell(checks::with_processes(&redis, servers, plan)?);
    }
    Ok(())
}

fn of<F: Fixture>(
    fixture: &F,
    plan: &Plan,
    progress: &ProgressBar,
    tell: &mut impl FnMut(Row),
) -> Result<()> {
    progress.set_message(format!("{}: loading", F::NAME));
    writes::load(fixture, plan.records)?;
    for tasks in AT_ONCE {
        progress.set_message(format!("{}: {tasks} at once", F::NAME));
        tell(writes::logins(fixture, tasks, plan)?);
        tell(writes::refreshes(fixture, tasks, plan)?);
    }
    progress.set_message(format!("{}: session checks", F::NAME));
    tell(checks::in_process(fixture, plan)?);
    Ok(())
}

const AT_ONCE: [usize; 3] = [1, 16, 64];
const SERVERS: [usize; 3] = [1, 2, 4];
