//! `tokenkeep migrate`: moves all sessions to another store, with the server stopped or running.

use std::path::PathBuf;

use anyhow::anyhow;
use comfy_table::Table;
use reqwest::Url;
use tokenkeep_core::wire::TaskOrder;
use tokenkeep_core::{Clock as _, SystemClock, TokenStore as _};
use tokenkeep_server::config::Config;
use tokenkeep_server::moving::{self, Checked, Copied, Credentials};
use tokenkeep_server::store::{self, Address, AnyStore};

use super::admin::RunningServer;
use super::{Failure, address, progress, runtime, task};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the sessions are, e.g. redis://127.0.0.1:6379 or original+sqlite:app.db; the store
    /// of the settings unless given.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Where they are to be, e.g. redb:/var/lib/tokenkeep.
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// Draws a credential for each session of the original application, and writes them here:
    /// a line with the device id and the value of the new cookie.
    #[arg(long, value_name = "FILE")]
    issue_credentials: Option<PathBuf>,
    /// Moves a server that runs, without logging anybody out: `--to` is the address that its
    /// settings name as store.move_to.
    #[arg(long, requires = "server", conflicts_with_all = ["from", "issue_credentials"])]
    live: bool,
    /// With --live: the server, with a service key of scope admin:write in TOKENKEEP_SERVICE_KEY.
    #[arg(long, value_name = "URL", requires = "live")]
    server: Option<Url>,
}

pub(crate) fn run(config: &Config, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(server) = &arguments.server {
        return runtime()?.block_on(async {
            let to = address::parse(&arguments.to)?.to_string();
            let server = RunningServer::at(server.clone())?;
            println!("{}", task::carry_out(&server, &TaskOrder::Move { to }).await?);
            Ok(())
        });
    }
    let from = address::given_or_configured(config, arguments.from.as_deref())?;
    let to = address::parse(&arguments.to)?;
    if from == to {
        return Err(Failure::arguments(anyhow!("--from and --to are the same store")));
    }
    if to.is_original() {
        let original =
            anyhow!("--to is the original application's data: it takes sessions of its own only");
        return Err(Failure::arguments(original));
    }
    runtime()?.block_on(migrate(config, arguments, &from, &to))
}

async fn migrate(
    config: &Config,
    arguments: &Arguments,
    from: &Address,
    to: &Address,
) -> Result<(), Failure> {
    let opened = store::open_source(config, from).await?;
    let source = &opened.store;
    let (ring, id) = match opened.ring.clone() {
        Some(ring) => (ring, Some(source.id())),
        None => (store::ring(config, to)?, None),
    };
    let mut credentials = match &arguments.issue_credentials {
        Some(path) => Some(Credentials::open(path).map_err(moving::CopyError::from)?),
        None => None,
    };
    let destination = store::open_destination(config, to, &ring, id).await?;
    let copied = copy(source, &destination, credentials.as_mut()).await?;
    let clock = SystemClock::new();
    let bar = progress::bar("checking", copied.total());
    let checked =
        moving::check(source, &destination, &clock, |checked| bar.set_position(checked.total()));
    let checked = checked.await?;
    bar.finish_and_clear();
    let here = source.stats(clock.now()).await?.devices;
    let there = destination.stats(clock.now()).await?.devices;
    println!("{}", figures(&copied, &checked, here, there));
    match &credentials {
        Some(credentials) => eprintln!(
            "{} credentials issued: hand each to its browser as the device cookie, and delete the file",
            credentials.issued()
        ),
        None if from.is_original() => eprintln!(
            "warning: nobody can present these sessions: no device has a secret; users log in \
             again, unless --issue-credentials draws them one"
        ),
        None => {}
    }
    source.close().await?;
    destination.close().await?;
    if !checked.is_whole() {
        let gaps = anyhow!(
            "{} records are missing at the destination and {} differ: run it again",
            checked.missing,
            checked.different
        );
        return Err(Failure::bad_data(gaps));
    }
    Ok(())
}

async fn copy(
    source: &AnyStore,
    destination: &AnyStore,
    mut credentials: Option<&mut Credentials>,
) -> Result<Copied, Failure> {
    let clock = SystemClock::new();
    let bar = progress::bar("copying", source.stats(clock.now()).await?.devices);
    let prepare = async |records: &mut Vec<tokenkeep_core::TokenRecord>| {
        if let Some(credentials) = &mut credentials {
            credentials.issue(records, destination, &clock).await?;
        }
        Ok(())
    };
    let copied = moving::copy(source, destination, &clock, prepare, |copied| {
        bar.set_position(copied.total());
    });
    let copied = copied.await?;
    bar.finish_and_clear();
    Ok(copied)
}

fn figures(copied: &Copied, checked: &Checked, here: u64, there: u64) -> Table {
    let mut table = Table::new();
    for (name, count) in [
        ("stored at the destination", copied.imported),
        ("there already", copied.kept),
        ("ended there", copied.ended),
        ("expired on the way", copied.expired),
        ("checked: the same, with its remaining life", checked.same),
        ("checked: newer there", checked.newer),
        ("checked: ended there", checked.ended),
        ("checked: expired meanwhile", checked.expired),
        ("checked: missing", checked.missing),
        ("checked: different", checked.different),
        ("devices at the source", here),
        ("devices at the destination", there),
    ] {
        table.add_row([name.to_owned(), count.to_string()]);
    }
    table
}
