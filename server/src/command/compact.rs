//! `tokenkeep compact`: gives the space of ended sessions back to the file system.

use anyhow::anyhow;
use tokenkeep_core::{Clock as _, SystemClock, TokenStore as _};
use tokenkeep_server::assembly;
use tokenkeep_server::config::Config;

use super::{Failure, runtime};

pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let store = assembly::open_store(config).await?;
        let Some(engine) = store.engine() else {
            let kind = store.kind();
            return Err(Failure::arguments(anyhow!("compact does not apply to a {kind} store")));
        };
        let now = SystemClock::new().now();
        let before = store.stats(now).await.map_err(Failure::unavailable)?.size_bytes;
        engine.compact().await.map_err(Failure::unavailable)?;
        let after = store.stats(now).await.map_err(Failure::unavailable)?.size_bytes;
        println!("{before} bytes before, {after} bytes after");
        Ok(())
    })
}
