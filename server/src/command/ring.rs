//! `tokenkeep keys list-ring`, `rotate-ring`, `reseal`, `retire`: the keys that seal tokens.
//!
//! The file of the ring is changed here, where its owner is; a server that runs reads it again.

use std::sync::Arc;

use anyhow::anyhow;
use tokenkeep::key_file::{self, KeyFileError};
use tokenkeep_core::keyring::KeyId;
use tokenkeep_core::wire::TaskOrder;
use tokenkeep_core::{KeyRing, SystemClock};
use tokenkeep_server::config::Config;
use tokenkeep_server::store::{Sealed, StoreFailure, ring_file};

use super::admin::{RunningServer, Target};
use super::{Failure, progress, runtime, task};

/// Shows the keys of the ring, never what is in them.
pub(super) fn list(config: &Config) -> Result<(), Failure> {
    let ring = Sealed::read_ring(config)?;
    let mut table = comfy_table::Table::new();
    table.set_header(["id", "use"]);
    for id in ring.ids() {
        let what = if id == ring.active() { "active: seals and opens" } else { "opens" };
        table.add_row([id.to_string(), what.to_owned()]);
    }
    println!("{table}");
    Ok(())
}

/// Adds a key and makes it the active one.
pub(super) fn rotate(config: &Config, target: Target) -> Result<(), Failure> {
    let ring = change(config, |ring| {
        ring.rotated().map_err(|cause| StoreFailure::KeyFile(KeyFileError::Random(cause)))
    })?;
    println!("{}", ring.active());
    let Some(server) = target.server else {
        eprintln!(
            "A server that runs takes it up at SIGHUP; then `tokenkeep keys reseal`, and \
             `tokenkeep keys retire` for each old key."
        );
        return Ok(());
    };
    let order = TaskOrder::TakeRing { active: ring.active().to_string() };
    runtime()?.block_on(async {
        eprintln!("{}", task::carry_out(&RunningServer::at(server)?, &order).await?);
        Ok(())
    })
}

/// Brings everything under the active key.
pub(super) fn reseal(config: &Config, target: Target) -> Result<(), Failure> {
    runtime()?.block_on(async {
        if let Some(server) = target.server {
            let told = task::carry_out(&RunningServer::at(server)?, &TaskOrder::Reseal {}).await?;
            eprintln!("{told}");
            return Ok(());
        }
        let sealed = Sealed::open(config, Arc::new(SystemClock::new())).await?;
        let bar = progress::spinner();
        let resealed = sealed.reseal(|done| {
            bar.set_position(done);
            true
        });
        let resealed = resealed.await;
        bar.finish_and_clear();
        sealed.close(true).await?;
        resealed?;
        eprintln!("everything is under the active key");
        Ok(())
    })
}

/// Takes a key out that nothing is under: the store forgets it first, then the ring.
pub(super) fn retire(config: &Config, key: KeyId, target: Target) -> Result<(), Failure> {
    let ring = Sealed::read_ring(config)?;
    if !ring.ids().any(|id| id == key) {
        return Err(Failure::arguments(anyhow!("the key ring has no key {key}")));
    }
    // Before the store is asked, which would have forgotten the key for nothing.
    let is_file = ring_file(config);
    without(&ring, key)?;
    runtime()?.block_on(async {
        if let Some(server) = target.server {
            let order = TaskOrder::Retire { key: key.to_string() };
            return task::carry_out(&RunningServer::at(server)?, &order).await.map(drop);
        }
        let sealed = Sealed::open(config, Arc::new(SystemClock::new())).await?;
        let retired = sealed.retire(key).await;
        sealed.close(true).await?;
        Ok(retired?)
    })?;
    if is_file.is_err() {
        eprintln!("Nothing needs the key {key} any more: take its line out of TOKENKEEP_KEY_RING.");
        return Ok(());
    }
    change(config, |ring| without(ring, key))?;
    eprintln!("The key {key} is gone. A backup from before needs a copy of the ring from before.");
    Ok(())
}

fn without(ring: &KeyRing, key: KeyId) -> Result<KeyRing, Failure> {
    let active = || Failure::arguments(anyhow!("{key} is the active key: rotate the ring first"));
    ring.without(key).ok_or_else(active)
}

/// Changes the file of the ring.
fn change<E>(
    config: &Config,
    change: impl FnOnce(&KeyRing) -> Result<KeyRing, E>,
) -> Result<KeyRing, Failure>
where
    Failure: From<E>,
{
    let path = ring_file(config)?;
    key_file::change(&path, |ring| change(ring).map_err(Failure::from))
}

impl From<KeyFileError> for Failure {
    fn from(cause: KeyFileError) -> Self {
        StoreFailure::KeyFile(cause).into()
    }
}
