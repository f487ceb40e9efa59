//! `tokenkeep import`: takes an export over, if it is whole.

use std::fs::File;
use std::path::PathBuf;

use tokenkeep_core::{SystemClock, TokenStore as _};
use tokenkeep_server::config::Config;
use tokenkeep_server::moving::archive::{self, ArchiveError, Reader};
use tokenkeep_server::store;

use super::{Failure, address, progress, runtime};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The export.
    file: PathBuf,
    /// The store that takes it over; that of the settings unless given.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
}

pub(crate) fn run(config: &Config, arguments: &Arguments) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let to = address::given_or_configured(config, arguments.to.as_deref())?;
        let file = File::open(&arguments.file).map_err(ArchiveError::Open)?;
        let length = file.metadata().map_err(ArchiveError::Read)?.len();
        let mut reader = Reader::new(file)?;
        let id = reader.head().store_id();
        let ring = match reader.head().sealed {
            true => store::existing_ring(config, &to)?,
            false => store::ring(config, &to)?,
        };
        let sealing = reader.sealing(Some(&ring))?;
        let clock = SystemClock::new();
        let bar = progress::bar("checking", length / RECORD_BYTES);
        let verified = reader.verify(&sealing, &clock, |records| bar.set_position(records))?;
        bar.finish_and_clear();
        let destination = store::open_destination(config, &to, &ring, id).await?;
        let bar = progress::bar("importing", verified.records);
        let copied = archive::import(reader, &verified, &sealing, &destination, &clock, |copied| {
            bar.set_position(copied.total());
        });
        let copied = copied.await?;
        bar.finish_and_clear();
        println!(
            "{} imported, {} were there already, {} ended here, {} expired; store {}",
            copied.imported,
            copied.kept,
            copied.ended,
            copied.expired,
            destination.id()
        );
        destination.close().await?;
        Ok(())
    })
}

/// About what a record takes in an export; for the bar alone.
const RECORD_BYTES: u64 = 1200;
