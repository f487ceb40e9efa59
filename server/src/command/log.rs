//! The log: to standard error, as text or JSON lines.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tokenkeep_server::config::{LogFormat, LogSettings};
use tracing_subscriber::EnvFilter;

use super::Failure;

/// Starts the log. `RUST_LOG` wins over the level of the settings.
pub(crate) fn start(settings: &LogSettings) -> Result<(), Failure> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) => EnvFilter::try_new(directives).context("RUST_LOG")?,
        Err(_) => EnvFilter::try_new(&settings.level).context("log.level")?,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
