//! `tokenkeep keys`: the keys of services, which a running server sees at once, and those that
//! seal tokens.

use anyhow::Context as _;
use tokenkeep_core::keyring::KeyId;
use tokenkeep_core::{Clock as _, SystemClock};
use tokenkeep_server::config::Config;
use tokenkeep_server::service_key::{Scope, ServiceKeys};

use super::admin::Target;
use super::{Failure, ring};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a key and prints it, this once.
    Add {
        /// What the key is for.
        #[arg(long)]
        name: String,
        /// What it may do: `token`, `admin:read`, `admin:write`; several may be given.
        #[arg(long, required = true)]
        scope: Vec<Scope>,
    },
    /// Lists the keys, without their secrets.
    List,
    /// Revokes a key, at once.
    Revoke {
        /// The key's id, as the list shows it.
        id: String,
    },
    /// Lists the ids of the keys that seal tokens.
    ListRing,
    /// Adds a key that seals tokens from here on, and prints its id. The older ones still open.
    RotateRing(Target),
    /// Seals everything that is under an older key with the active one. Nobody is logged out.
    Reseal(Target),
    /// Takes a key out of the ring that nothing is sealed with any more.
    Retire {
        /// The key's id, as list-ring shows it.
        key: KeyId,
        #[command(flatten)]
        target: Target,
    },
}

pub(crate) fn run(config: &Config, command: Command) -> Result<(), Failure> {
    match command {
        Command::ListRing => ring::list(config),
        Command::RotateRing(target) => ring::rotate(config, target),
        Command::Reseal(target) => ring::reseal(config, target),
        Command::Retire { key, target } => ring::retire(config, key, target),
        Command::Add { name, scope } => add(&open(config)?, &name, &scope),
        Command::List => list(&open(config)?),
        Command::Revoke { id } => {
            open(config)?.revoke(&id).context("the key was not revoked")?;
            eprintln!("Key {id} is revoked.");
            Ok(())
        }
    }
}

fn open(config: &Config) -> Result<ServiceKeys, Failure> {
    tokenkeep_server::assembly::make_data_dir(&config.store).map_err(Failure::unavailable)?;
    let path = config.store.service_keys_file();
    Ok(ServiceKeys::open(&path).context("the service keys cannot be opened")?)
}

fn add(keys: &ServiceKeys, name: &str, scopes: &[Scope]) -> Result<(), Failure> {
    let added = keys.add(name, scopes, SystemClock::new().now());
    let added = added.context("the key was not stored")?;
    println!("{}", added.text.expose());
    eprintln!("This key is shown once and cannot be read again. Its id is {}.", added.id);
    Ok(())
}

fn list(keys: &ServiceKeys) -> Result<(), Failure> {
    let mut table = comfy_table::Table::new();
    table.set_header(["id", "name", "scopes", "made"]);
    for key in keys.list().context("the service keys cannot be read")? {
        let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
        let made = key.created_at.to_string();
        table.add_row([key.id.to_string(), key.name, scopes.join(" "), made]);
    }
    println!("{table}");
    Ok(())
}
