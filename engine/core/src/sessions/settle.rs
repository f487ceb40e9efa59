//! Settling refreshes whose outcome is not known: the refresh token may be spent.

use std::time::Duration;

use super::Sessions;
use super::refresh::{Need, Urgency};
use crate::{DeviceId, Error, Issuer, Rotation, TokenRecord, TokenStore};

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// Settles the refreshes that a crash left open; call it before requests are served.
    ///
    /// By the issuer's [`Rotation`], each is tried again at once, or waits until its live access
    /// token has run out. An issuer that cannot be reached changes nothing: what stays open is
    /// settled by the request that needs it.
    ///
    /// # Errors
    /// [`Error::Store`] if the open refreshes cannot be read.
    pub async fn settle(&self) -> Result<(), Error> {
        let open = self.inner.store.open_intents(self.now()).await?;
        if open.is_empty() || self.inner.issuer.rotation() == Rotation::Strict {
            return Ok(());
        }
        tracing::info!(open = open.len(), "settling refreshes that were interrupted");
        let mut settling = Vec::with_capacity(open.len());
        for device in open {
            let this = self.clone();
            settling.push(self.inner.tasks.spawn(async move {
                let _ = this.refreshed(device, Need::Uncertain, Urgency::Request).await;
            }));
        }
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
        let (now, alive) = (self.now(), self.now() < record.access_expires_at);
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
        if !matches!(self.inner.issuer.rotation(), Rotation::Grace(_)) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            for pause in GRACE_PAUSES {
                tokio::time::sleep(pause).await;
                if this.is_closing() {
                    return;
                }
                if this.refreshed(device, Need::Uncertain, Urgency::Background).await.is_ok() {
                    return;
                }
            }
        });
    }
}

/// When to try again within the grace that identity providers usually give (10 to 60 s).
const GRACE_PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(5)];
