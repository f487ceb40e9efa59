//! `tokenkeep stats`: what the store holds, and what a running server has done.

use comfy_table::Table;
use reqwest::Method;
use tokenkeep_core::wire::{self, StatsBody};
use tokenkeep_core::{Clock as _, SystemClock, TokenStore as _};
use tokenkeep_server::assembly;
use tokenkeep_server::config::Config;

use super::admin::{RunningServer, Target};
use super::{Failure, runtime};

pub(crate) fn run(config: &Config, target: &Target) -> Result<(), Failure> {
    let rows = runtime()?.block_on(counts(config, target))?;
    let mut table = Table::new();
    for (name, count) in rows {
        table.add_row([name.to_owned(), count.to_string()]);
    }
    println!("{table}");
    Ok(())
}

async fn counts(config: &Config, target: &Target) -> Result<Vec<(&'static str, u64)>, Failure> {
    if let Some(server) = target.server.clone() {
        let server = RunningServer::at(server)?;
        let stats: StatsBody = server.ask(Method::GET, wire::ADMIN_STATS, &[]).await?;
        return Ok(vec![
            ("devices", stats.devices),
            ("users", stats.users),
            ("bytes on disk", stats.size_bytes),
            ("rows to reclaim", stats.garbage_rows),
            ("unreadable records", stats.unreadable),
            ("logins since the start", stats.logins),
            ("refreshes since the start", stats.refreshes_done),
            ("refreshes that failed", stats.refreshes_failed),
            ("refreshes under way", stats.refreshes_in_flight),
            ("faults of the server", stats.panics),
        ]);
    }
    let store = assembly::open_store(config).await?;
    let stats = store.stats(SystemClock::new().now()).await.map_err(Failure::unavailable)?;
    Ok(vec![
        ("devices", stats.devices),
        ("users", stats.users),
        ("bytes on disk", stats.size_bytes),
        ("rows to reclaim", stats.garbage_rows),
        ("unreadable records", stats.unreadable),
    ])
}
