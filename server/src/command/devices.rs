//! `tokenkeep devices`: the devices of a user, on the store or on a running server.

use comfy_table::Table;
use reqwest::Method;
use tokenkeep_core::wire::{self, DeviceBody, DevicesBody, EndedBody};
use tokenkeep_core::{Clock as _, Email, EndReason, SystemClock, TokenStore as _};
use tokenkeep_server::assembly;
use tokenkeep_server::config::Config;

use super::admin::{RunningServer, Target};
use super::{Failure, runtime};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists the devices that are logged in.
    List(Selection),
    /// Ends all sessions of the user. Without a running server, the auth server is not told.
    End(Selection),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    /// Whose devices.
    #[arg(long)]
    email: Email,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(config: &Config, command: Command) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match command {
            Command::List(selection) => {
                let devices = list(config, selection).await?;
                println!("{}", table(&devices));
            }
            Command::End(selection) => {
                let ended = end(config, selection).await?;
                println!("{ended} ended");
            }
        }
        Ok(())
    })
}

async fn list(config: &Config, selection: Selection) -> Result<Vec<DeviceBody>, Failure> {
    let email = selection.email;
    if let Some(server) = selection.target.server {
        let query = [("email", email.as_str())];
        let server = RunningServer::at(server)?;
        let answer: DevicesBody = server.ask(Method::GET, wire::ADMIN_DEVICES, &query).await?;
        return Ok(answer.devices);
    }
    let store = assembly::open_store(config).await?;
    let records = store.devices_of(&email, SystemClock::new().now()).await;
    let records = records.map_err(Failure::unavailable)?;
    Ok(records.iter().map(|record| DeviceBody::new(record, None)).collect())
}

async fn end(config: &Config, selection: Selection) -> Result<usize, Failure> {
    let email = selection.email;
    if let Some(server) = selection.target.server {
        let query = [("email", email.as_str())];
        let server = RunningServer::at(server)?;
        let answer: EndedBody = server.ask(Method::DELETE, wire::ADMIN_DEVICES, &query).await?;
        return Ok(answer.ended);
    }
    let store = assembly::open_store(config).await?;
    let now = SystemClock::new().now();
    let ended = store.remove_all_of(&email, None, EndReason::EndedByService, now).await;
    Ok(ended.map_err(Failure::unavailable)?.len())
}

fn table(devices: &[DeviceBody]) -> Table {
    let mut table = Table::new();
    table.set_header(["device", "label", "user agent", "address", "logged in", "last seen"]);
    for device in devices {
        table.add_row([
            device.device_id.to_string(),
            device.label.clone().unwrap_or_default(),
            device.user_agent.clone().unwrap_or_default(),
            device.address.map(|address| address.to_string()).unwrap_or_default(),
            device.created_at.to_string(),
            device.last_seen_at.to_string(),
        ]);
    }
    table
}
