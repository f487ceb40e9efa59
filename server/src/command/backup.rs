//! `tokenkeep backup`: a consistent copy of the store, served from or not.

use std::path::PathBuf;

use anyhow::anyhow;
use tokenkeep_core::wire::TaskOrder;
use tokenkeep_server::assembly;
use tokenkeep_server::config::Config;

use super::admin::{RunningServer, Target};
use super::{Failure, progress, runtime, task};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file to write, which must not be there. With --server it is a name, and the file lies
    /// under it in the directory `backups` of the server's data directory.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(config: &Config, arguments: Arguments) -> Result<(), Failure> {
    runtime()?.block_on(async {
        if let Some(server) = arguments.target.server {
            let name = arguments.to.to_str().map(str::to_owned);
            let name = name.ok_or_else(|| Failure::arguments(anyhow!("--to is not a name")))?;
            let server = RunningServer::at(server)?;
            let path = task::carry_out(&server, &TaskOrder::Backup { name }).await?;
            println!("{path}");
            return Ok(());
        }
        let store = assembly::open_store(config).await?;
        let bar = progress::spinner();
        let bar_of_copy = bar.clone();
        let backed_up = store.back_up(&arguments.to, move |done| {
            bar_of_copy.set_position(done);
            true
        });
        backed_up.await?;
        bar.finish_and_clear();
        println!("{}", arguments.to.display());
        store.close().await?;
        Ok(())
    })
}
