//! Long work of a running server, followed to its end.

use std::time::Duration;

use anyhow::anyhow;
use reqwest::Method;
use tokenkeep_core::wire::{self, TaskBody, TaskOrder, TaskState};

use super::admin::RunningServer;
use super::{Failure, progress};

/// Orders a task and waits for its end; an interrupt calls it off. Returns what came of it.
pub(crate) async fn carry_out(
    server: &RunningServer,
    order: &TaskOrder,
) -> Result<String, Failure> {
    let mut task: TaskBody = server.send(Method::POST, wire::ADMIN_TASK, order).await?;
    let bar = progress::spinner();
    loop {
        match task.state {
            TaskState::Running => {}
            TaskState::Done => return Ok(task.detail.unwrap_or_default()),
            TaskState::Failed => {
                let cause = task.detail.unwrap_or_default();
                let cause = anyhow!("the {} failed: {cause}", task.kind);
                return Err(Failure::of_task(task.exit_code, cause));
            }
        }
        bar.set_position(task.done);
        bar.set_message(task.phase);
        let method = tokio::select! {
            () = tokio::time::sleep(INTERVAL) => Method::GET,
            _ = tokio::signal::ctrl_c() => Method::DELETE,
        };
        task = server.ask(method, wire::ADMIN_TASK, &[]).await?;
    }
}

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_millis(200);
