//! The mark of a store whose sessions went elsewhere: all who share the store see it.

use std::time::Duration;

use tokenkeep_core::StoreError;

use crate::driver::{Driver, Reply};
use crate::store::{Inner, RedisStore};

impl RedisStore {
    /// Marks the store: its sessions are at `to` from here on. The mark is kept with the store.
    /// It stops nobody by itself; see [`until_moved`](Self::until_moved).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis cannot help; whether the mark is there is not known
    /// then.
    pub async fn mark_moved(&self, to: &str) -> Result<(), StoreError> {
        let key = self.inner.moved();
        let words = ["XADD", &key, "*", "to", to].map(str::as_bytes);
        self.inner.driver.command(&words).await?;
        Ok(())
    }

    /// Takes the mark away: the store counts again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis cannot help.
    pub async fn forget_move(&self) -> Result<(), StoreError> {
        let key = self.inner.moved();
        self.inner.driver.command(&[b"DEL", key.as_bytes()]).await?;
        Ok(())
    }

    /// Where the sessions are, if the store is marked.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis cannot help.
    pub async fn moved_to(&self) -> Result<Option<String>, StoreError> {
        let key = self.inner.moved();
        let words = ["XRANGE", &key, "-", "+", "COUNT", "1"].map(str::as_bytes);
        Ok(place_in(&self.inner.driver.command(&words).await?))
    }

    /// Waits until the store is marked, however often Redis goes away meanwhile, and says where
    /// the sessions are. It is known as soon as the mark is set.
    pub async fn until_moved(&self) -> String {
        loop {
            // A read that waits would keep the commands of others waiting.
            if let Ok(driver) = Driver::connect(&self.inner.settings).await
                && let Some(to) = self.inner.wait_for_mark(&driver).await
            {
                return to;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Inner {
    /// A stream: whoever waits for its first entry hears of it.
    fn moved(&self) -> String {
        format!("{}tokenkeep:moved", self.settings.prefix)
    }

    /// Reads the mark as soon as it is there; none if Redis went away.
    async fn wait_for_mark(&self, driver: &Driver) -> Option<String> {
        let key = self.moved();
        let wait = (self.settings.response_timeout / 2).as_millis().max(1).to_string();
        loop {
            let words = ["XREAD", "COUNT", "1", "BLOCK", &wait, "STREAMS", &key, "0-0"];
            driver.command(&words.map(str::as_bytes)).await.ok()?;
            let words = ["XRANGE", &key, "-", "+", "COUNT", "1"].map(str::as_bytes);
            if let Some(to) = place_in(&driver.command(&words).await.ok()?) {
                return Some(to);
            }
        }
    }
}

/// What the first entry of the stream says.
fn place_in(entries: &Reply) -> Option<String> {
    entries.at(0).at(1).at(1).text().map(str::to_owned)
}

const PAUSE: Duration = Duration::from_millis(500);
