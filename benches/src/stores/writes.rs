//! Durable logins and refreshes through the store contract.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokenkeep::{HolderId, InsertOutcome, LeaseOutcome, ReplaceOutcome, TokenStore, Tokens};

use super::fixture::Fixture;
use super::{Plan, Row, Work};
use crate::{NOW, device, instant, login, record, scatter};

/// Fills the store with the devices from 0 to `records`.
pub(super) fn load<F: Fixture>(fixture: &F, records: u64) -> Result<()> {
    fixture.runtime().block_on(async {
        let tasks = (0..LOADERS).map(|first| {
            let store = fixture.store().clone();
            tokio::spawn(async move {
                for number in (first..records).step_by(LOADERS as usize) {
                    store.insert(login(number), NOW).await?;
                }
                anyhow::Ok(())
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await??;
        }
        Ok(())
    })
}

/// Devices that log in for the first time.
pub(super) fn logins<F: Fixture>(fixture: &F, tasks: usize, plan: &Plan) -> Result<Row> {
    measure(fixture, Work::Login, tasks, plan, |store, _task| async move {
        let number = NEXT_LOGIN.fetch_add(1, Ordering::Relaxed);
        match store.insert(login(number), NOW).await? {
            InsertOutcome::Inserted { .. } => Ok(()),
            other => bail!("the login was not stored: {other:?}"),
        }
    })
}

/// Devices of the store, picked at random, each task among its own.
pub(super) fn refreshes<F: Fixture>(fixture: &F, tasks: usize, plan: &Plan) -> Result<Row> {
    let (records, step) = (plan.records, tasks as u64);
    measure(fixture, Work::Refresh, tasks, plan, move |store, task| async move {
        let pick = scatter(NEXT_PICK.fetch_add(1, Ordering::Relaxed));
        let number = pick % (records / step) * step + task;
        let current =
            store.get(device(number), NOW).await?.live().context("a device is missing")?;
        let holder = HolderId::random()?;
        let until = NOW + Duration::from_secs(20);
        let leased = store.lease(device(number), current.version, holder, until, NOW).await?;
        let LeaseOutcome::Granted(leased) = leased else { bail!("not granted: {leased:?}") };
        let next = record(number, leased.version.number());
        match store.replace(leased.version, next, Tokens::Renewed, NOW).await? {
            ReplaceOutcome::Replaced(_) => Ok(()),
            other => bail!("the pair was not stored: {other:?}"),
        }
    })
}

/// Lets `tasks` tasks do `operation` again and again.
fn measure<F, Op, Done>(
    fixture: &F,
    what: Work,
    tasks: usize,
    plan: &Plan,
    operation: Op,
) -> Result<Row>
where
    F: Fixture,
    Op: Fn(F::Store, u64) -> Done + Copy + Send + 'static,
    Done: Future<Output = Result<()>> + Send,
{
    let time = plan.time;
    fixture.runtime().block_on(async {
        let begun = instant();
        let running = (0..tasks as u64).map(|task| {
            let store = fixture.store().clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while begun.elapsed() < time {
                    let asked = instant();
                    operation(store.clone(), task).await?;
                    took.push(asked.elapsed());
                }
                anyhow::Ok(took)
            })
        });
        let mut took = Vec::new();
        for task in running.collect::<Vec<_>>() {
            took.extend(task.await??);
        }
        let elapsed = begun.elapsed();
        took.sort_unstable();
        let share = |percent: usize| took.get(took.len() * percent / 100).copied();
        Ok(Row {
            store: F::NAME,
            what,
            at_once: tasks,
            servers: 0,
            rate: took.len() as f64 / elapsed.as_secs_f64(),
            p50_micros: micros(share(50).unwrap_or_default()),
            p99_micros: micros(share(99).unwrap_or_default()),
        })
    })
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// No store sees a number twice: the first is beyond what any store was filled with.
static NEXT_LOGIN: AtomicU64 = AtomicU64::new(1 << 40);
static NEXT_PICK: AtomicU64 = AtomicU64::new(0);
const LOADERS: u64 = 64;
