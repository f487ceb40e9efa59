//! The `tokenkeep` binary: arguments, the log, and which command runs.

mod command;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use command::{Failure, backup, devices, export, import, keys, log, migrate, restore, serve};

/// Keeps the tokens of logged-in devices, refreshes them, and forgets them when they are dead.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    /// The settings; without it, defaults and the environment.
    #[arg(long, global = true, env = "TOKENKEEP_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where records lie; wins over the settings.
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves sessions until it is told to stop.
    Serve(serve::Arguments),
    /// Tries everything out on this machine: an auth server, the session server, and the lines
    /// to type.
    Demo(command::demo::Arguments),
    /// Makes, lists and revokes the keys of services; rotates those that seal tokens.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Lists and ends the devices of a user.
    #[command(subcommand)]
    Devices(devices::Command),
    /// Counts what the store holds.
    Stats(command::admin::Target),
    /// Gives the space of ended sessions back to the file system. The server must not run.
    Compact,
    /// Writes all sessions into a file of JSON lines, tokens sealed.
    Export(export::Arguments),
    /// Takes the sessions of an export over.
    Import(import::Arguments),
    /// Moves all sessions to another store.
    Migrate(migrate::Arguments),
    /// Copies the store into a file, served from or not.
    Backup(backup::Arguments),
    /// Brings a backup back. The server must not run; what a newer store knows wins.
    Restore(restore::Arguments),
    /// Reads the settings, says what is wrong with them, and prints what would count.
    CheckConfig,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let undumpable = command::hardening::forbid_core_dumps();
    let settings = command::Source { file: arguments.config, data_dir: arguments.data_dir };
    if let Command::CheckConfig = arguments.command {
        return command::check_config(&settings);
    }
    if let Command::Demo(demo) = arguments.command {
        return command::demo::run(&demo, settings.data_dir);
    }
    let config = settings.read()?;
    log::start(&config.log)?;
    if let Err(error) = undumpable {
        tracing::warn!(%error, "a core image of this process would hold tokens");
    }
    match arguments.command {
        Command::Serve(arguments) => serve::run(settings, config, &arguments),
        Command::Keys(command) => keys::run(&config, command),
        Command::Devices(command) => devices::run(&config, command),
        Command::Stats(target) => command::stats::run(&config, &target),
        Command::Export(arguments) => export::run(&config, &arguments),
        Command::Import(arguments) => import::run(&config, &arguments),
        Command::Migrate(arguments) => migrate::run(&config, &arguments),
        Command::Backup(arguments) => backup::run(&config, arguments),
        Command::Restore(arguments) => restore::run(&config, &arguments),
        Command::Compact => command::compact::run(&config),
        Command::Demo(_) | Command::CheckConfig => Ok(()),
    }
}
