//! Addresses of stores on the command line.

use tokenkeep_server::config::Config;
use tokenkeep_server::store::{self, Address};

use super::Failure;

/// The address in `text`.
pub(crate) fn parse(text: &str) -> Result<Address, Failure> {
    text.parse::<Address>().map_err(Failure::arguments)
}

/// The address in `text`, or that of the store of the settings.
pub(crate) fn given_or_configured(config: &Config, text: Option<&str>) -> Result<Address, Failure> {
    match text {
        Some(text) => parse(text),
        None => Ok(store::configured(config)?),
    }
}
