//! Fills a store quickly: many logins under way, and the disk is waited for once, at the end.

use std::ops::Range;

use indicatif::{ProgressBar, ProgressStyle};
use tokenkeep::{Engine, Insert, InsertOutcome, TokenStore as _};
use tokio::task::JoinSet;

use crate::{NOW, runtime};

/// Logs the devices with these numbers in, and puts them on the disk. The engine should have been
/// opened with [`Durability::Interval`](tokenkeep::Durability::Interval).
pub(super) fn load<F>(engine: &Engine, numbers: Range<u64>, login: F) -> anyhow::Result<()>
where
    F: Fn(u64) -> Insert + Copy + Send + 'static,
{
    let bar = bar(numbers.end - numbers.start, "logins");
    runtime().block_on(async {
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (engine, bar) = (engine.clone(), bar.clone());
            let numbers = (numbers.start + task..numbers.end).step_by(TASKS as usize);
            tasks.spawn(async move {
                for number in numbers {
                    let outcome = engine.insert(login(number), NOW).await?;
                    let inserted = matches!(outcome, InsertOutcome::Inserted { .. });
                    anyhow::ensure!(inserted, "device {number} is there already");
                    bar.inc(1);
                }
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        engine.flush().await?;
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// Shows how far something long has come, on a terminal.
pub(super) fn bar(length: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length).with_message(what);
    let style = "{elapsed_precise} {wide_bar} {human_pos} of {human_len} {msg}, {eta}";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

const TASKS: u64 = 1024;

#[cfg(test)]
mod tests {
    use tokenkeep::Options;

    use super::*;
    use crate::{device, login};

    #[test]
    fn every_number_is_loaded_once() {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::open(directory.path(), Options::new()).unwrap();
        load(&engine, 0..3000, login).unwrap();
        load(&engine, 3000..3001, login).unwrap();
        assert_eq!(engine.figures().rows, 3001);
        for number in [0, 1023, 1024, 2999, 3000] {
            let found = engine.blocking().get(device(number), NOW).unwrap();
            assert!(found.live().is_some(), "{number}");
        }
        assert!(load(&engine, 3000..3002, login).is_err(), "one of them is taken");
    }
}
