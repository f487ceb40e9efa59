//! The commands of the binary, one file each, and how they fail.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its user")]

pub(crate) mod address;
pub(crate) mod admin;
pub(crate) mod backup;
pub(crate) mod compact;
pub(crate) mod demo;
pub(crate) mod devices;
pub(crate) mod export;
mod failing;
pub(crate) mod hardening;
pub(crate) mod import;
pub(crate) mod keys;
mod listen;
pub(crate) mod log;
pub(crate) mod migrate;
mod progress;
pub(crate) mod restore;
mod ring;
pub(crate) mod serve;
mod service_manager;
pub(crate) mod stats;
mod task;

use std::path::PathBuf;
use std::process::ExitCode;

use tokenkeep_server::Tls;
use tokenkeep_server::config::{Config, ConfigError};
use tokenkeep_server::exit_code;

/// Where the settings come from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: Option<PathBuf>,
    pub(crate) data_dir: Option<PathBuf>,
}

impl Source {
    /// The settings as they are; a command that serves checks them, too.
    pub(crate) fn read(&self) -> Result<Config, Failure> {
        // No setting has a name or a value that is not text.
        let texts = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let mut config = Config::read(self.file.as_deref(), texts)?;
        if let Some(data_dir) = &self.data_dir {
            config.store.data_dir.clone_from(data_dir);
        }
        Ok(config)
    }
}

/// Why a command stopped, and the exit code that says so (those of sysexits.h).
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    cause: anyhow::Error,
}

impl Failure {
    /// What was asked for makes no sense.
    pub(crate) fn arguments(cause: impl Into<anyhow::Error>) -> Self {
        Self { code: exit_code::ARGUMENTS, cause: cause.into() }
    }

    /// What was given to read is damaged, or something else.
    pub(crate) fn bad_data(cause: impl Into<anyhow::Error>) -> Self {
        Self { code: exit_code::BAD_DATA, cause: cause.into() }
    }

    /// A file cannot be made.
    pub(crate) fn cannot_create(cause: impl Into<anyhow::Error>) -> Self {
        Self { code: exit_code::CANNOT_CREATE, cause: cause.into() }
    }

    /// The operating system could not read or write.
    pub(crate) fn io(cause: impl Into<anyhow::Error>) -> Self {
        Self { code: exit_code::IO, cause: cause.into() }
    }

    /// A task of a server failed; the server says what that means.
    pub(crate) fn of_task(code: Option<u8>, cause: impl Into<anyhow::Error>) -> Self {
        Self { code: code.unwrap_or(exit_code::UNAVAILABLE), cause: cause.into() }
    }

    /// What was given to read is not there.
    pub(crate) fn no_input(cause: impl Into<anyhow::Error>) -> Self {
        Self { code: exit_code::NO_INPUT, cause: cause.into() }
    }

    /// The settings, or the keys, do not fit.
    pub(crate) fn settings(cause: impl Into<anyhow::Error>) -> Self {
        Self { code: exit_code::SETTINGS, cause: cause.into() }
    }

    /// Something that is needed is not there: the store is in use, a port is taken.
    pub(crate) fn unavailable(cause: impl Into<anyhow::Error>) -> Self {
        Self { code: exit_code::UNAVAILABLE, cause: cause.into() }
    }

    /// Prints one line and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("tokenkeep: {:#}", self.cause);
        ExitCode::from(self.code)
    }
}

impl From<ConfigError> for Failure {
    fn from(cause: ConfigError) -> Self {
        Self { code: exit_code::SETTINGS, cause: cause.into() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(cause: anyhow::Error) -> Self {
        Self { code: 1, cause }
    }
}

pub(crate) fn check_config(source: &Source) -> Result<(), Failure> {
    let config = source.read()?;
    config.check()?;
    let tls = serve::open_tls(&config.server)?;
    if let Some(path) = tls.as_ref().and_then(Tls::loose_key_file) {
        eprintln!("warning: others can read {}; chmod 600", path.display());
    }
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    print!("{}", config.effective());
    Ok(())
}

/// A runtime for a command that serves or calls.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(Failure::unavailable)
}
