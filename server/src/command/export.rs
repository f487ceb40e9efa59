//! `tokenkeep export`: a store as JSON lines.

use std::io;
use std::path::{Path, PathBuf};

use tokenkeep_core::codec::Sealing;
use tokenkeep_core::{Clock as _, StoreId, SystemClock, TokenStore as _};
use tokenkeep_server::config::Config;
use tokenkeep_server::moving::archive::{self, ArchiveError, Writer};
use tokenkeep_server::store;

use super::{Failure, address, progress, runtime};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The store, e.g. redb:/var/lib/tokenkeep; that of the settings unless given.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// The file to write, which must not be there; standard output unless given.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Goes on with the file of an export that was interrupted.
    #[arg(long, requires = "to")]
    resume: bool,
    /// Writes tokens in the clear: whoever reads the file has everybody's sessions.
    #[arg(long)]
    plain_tokens: bool,
}

pub(crate) fn run(config: &Config, arguments: &Arguments) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let from = address::given_or_configured(config, arguments.from.as_deref())?;
        let opened = store::open_source(config, &from).await?;
        let source = &opened.store;
        let sealing = match (arguments.plain_tokens, &opened.ring) {
            (true, _) => Sealing::Off,
            (false, Some(ring)) => Sealing::On(ring.clone()),
            (false, None) => Sealing::On(store::ring(config, &store::configured(config)?)?),
        };
        if arguments.plain_tokens {
            eprintln!(
                "warning: the export holds every token in the clear; guard it, and delete it"
            );
        }
        let to = arguments.to.as_deref();
        let Some(writer) = writer(to, arguments.resume, source.id(), sealing)? else {
            eprintln!("The export is complete already.");
            return Ok(());
        };
        let clock = SystemClock::new();
        let bar = progress::bar("exporting", source.stats(clock.now()).await?.devices);
        let exported = archive::export(source, writer, &clock, |exported| {
            bar.set_position(exported.written + exported.kept);
        });
        let exported = exported.await?;
        bar.finish_and_clear();
        eprintln!(
            "{} records exported, {} were there already, {} ended since",
            exported.written, exported.kept, exported.ended
        );
        source.close().await?;
        Ok(())
    })
}

fn writer(
    to: Option<&Path>,
    resume: bool,
    store: StoreId,
    sealing: Sealing,
) -> Result<Option<Writer>, ArchiveError> {
    let begun_at = SystemClock::new().now();
    match to {
        Some(path) if resume => Writer::resume(path, store, sealing),
        Some(path) => Writer::create(path, store, sealing, begun_at).map(Some),
        None => Writer::begin(Box::new(io::stdout()), store, sealing, begun_at).map(Some),
    }
}
