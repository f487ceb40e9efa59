//! The original application's hashes, read and left as they are.

use tokenkeep_core::StoreId;
use tokenkeep_core::codec::Sealing;

use crate::driver::Driver;
use crate::fault::OpenError;
use crate::keys::Keys;
use crate::row::{Row, unhex};
use crate::settings::Settings;
use crate::store::RedisStore;

impl RedisStore {
    /// Connects to the original application's Redis to read its sessions by
    /// [`scan`](tokenkeep_core::TokenStore::scan). Nothing is written there: it does not become a
    /// store, and no row is taken over.
    ///
    /// # Errors
    /// [`OpenError`] if Redis cannot help, or there is a store that is sealed.
    pub async fn open_original(settings: Settings) -> Result<Self, OpenError> {
        let driver = Driver::connect(&settings).await?;
        let keys = Keys::new(&settings.prefix);
        let meta = driver.command(&[b"HGETALL", keys.meta().as_bytes()]).await?;
        let meta = Row::read(&meta);
        if meta.as_ref().is_some_and(|meta| meta.text("active").is_some()) {
            return Err(OpenError::Sealed);
        }
        let id = meta.as_ref().and_then(|meta| meta.text("store")).and_then(unhex);
        let id = match id {
            Some(id) => StoreId::from_bytes(id),
            None => StoreId::random().map_err(OpenError::Random)?,
        };
        Self::assemble(driver, keys, settings, Sealing::Off, id)
    }
}
