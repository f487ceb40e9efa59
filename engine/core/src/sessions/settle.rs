//! Settling refreshes whose outcome is not known: the refresh token may be spent.

use std::time::Duration;

use super::Sessions;
use super::refresh::Need;
use crate::{DeviceId, Error, Issuer, Lookup, Rotation, TokenRecord, TokenStore};

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// Settles the refreshes that a crash left open; call it before requests are served. What is
    /// left in the outbox is told to the issuer meanwhile.
    ///
    /// By the issuer's [`Rotation`], each is tried again at once, or waits until its live access
    /// token has run out. An issuer that cannot be reached changes nothing: what stays open is
    /// settled by the request that needs it.
    ///
    /// # Errors
    /// [`Error::Store`] if the open refreshes cannot be read.
    pub async fn settle(&self) -> Result<(), Error> {
        self.tell_again();
        self.tell_of_limits();
        let open = self.inner.store.open_intents(self.now()).await?;
        if open.is_empty() || self.inner.issuer.rotation() == Rotation::Strict {
            return Ok(());
        }
        tracing::info!(open = open.len(), "settling refreshes that were interrupted");
        let settling: Vec<_> = open
            .into_iter()
            .map(|device| {
                let this = self.clone();
                self.inner.tasks.spawn(async move { this.settle_one(device).await })
            })
            .collect();
        for settled in settling {
            // A task that panicked has settled nothing; the next request tries again.
            let _ = settled.await;
        }
        Ok(())
    }

    /// Whether nothing may be sent for `record` at the moment, because its refresh token may be
    /// spent, a replay would be punished, and its access token still works.
    pub(super) fn must_wait_for_settling(&self, record: &TokenRecord) -> bool {
        let Some(intent) = record.refresh_intent else { return false };
        let (now, alive) = (self.now(), self.is_alive(record));
        if intent.is_held(now) {
            return false;
        }
        match self.inner.issuer.rotation() {
            Rotation::None => false,
            Rotation::Grace(grace) => alive && now.duration_since(intent.since) >= grace,
            Rotation::Strict => alive,
        }
    }

    /// Tries again soon, while the issuer still takes the spent token.
    pub(super) fn settle_in_grace(&self, device: DeviceId) {
        let Rotation::Grace(grace) = self.inner.issuer.rotation() else { return };
        let this = self.clone();
        tokio::spawn(async move {
            let mut waited = Duration::ZERO;
            for pause in GRACE_PAUSES {
                tokio::time::sleep(pause).await;
                waited += pause;
                if waited >= grace || this.inner.tasks.is_closed() || !this.settle_one(device).await
                {
                    return;
                }
            }
        });
    }

    /// Refreshes `device` if the outcome of its last refresh is not known; returns whether that
    /// is still so.
    async fn settle_one(&self, device: DeviceId) -> bool {
        let Ok(Lookup::Live(record)) = self.inner.store.get(device, self.now()).await else {
            return false;
        };
        if record.refresh_intent.is_none() {
            return false;
        }
        let settled = self.refreshed(record, Need::Uncertain).await;
        settled.is_err() || settled.is_ok_and(|s| s.record().refresh_intent.is_some())
    }
}

/// When to try again within the grace that identity providers usually give (10 to 60 s); a
/// device that keeps failing is not asked for more often than its pacing allows.
const GRACE_PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(5)];
