//! `tokenkeep keys`: the keys of services. A running server sees a change at once.

use anyhow::Context as _;
use tokenkeep_core::{Clock as _, SystemClock};
use tokenkeep_server::config::Config;
use tokenkeep_server::service_key::{Scope, ServiceKeys};

use super::Failure;

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
}

pub(crate) fn run(config: &Config, command: Command) -> Result<(), Failure> {
    tokenkeep_server::assembly::make_data_dir(&config.store).map_err(Failure::unavailable)?;
    let path = config.store.service_keys_file();
    let keys = ServiceKeys::open(&path).context("the service keys cannot be opened")?;
    match command {
        Command::Add { name, scope } => {
            let added = keys
                .add(&name, &scope, SystemClock::new().now())
                .context("the key was not stored")?;
            println!("{}", added.text.expose());
            eprintln!("This key is shown once and cannot be read again. Its id is {}.", added.id);
        }
        Command::List => {
            let mut table = comfy_table::Table::new();
            table.set_header(["id", "name", "scopes", "made"]);
            for key in keys.list().context("the service keys cannot be read")? {
                let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
                table.add_row([
                    key.id.to_string(),
                    key.name,
                    scopes.join(" "),
                    key.created_at.to_string(),
                ]);
            }
            println!("{table}");
        }
        Command::Revoke { id } => {
            keys.revoke(&id).context("the key was not revoked")?;
            eprintln!("Key {id} is revoked.");
        }
    }
    Ok(())
}
