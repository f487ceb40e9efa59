//! Refresh: when it is needed, who waits for it, and the one flight that does it.

use std::sync::Arc;
use std::time::Duration;

use super::flight::Lead;
use super::{Outcome, Session, Sessions};
use crate::{
    Credential, DeviceId, Error, HolderId, Issuer, LeaseOutcome, Lookup, SharedCause, SpentToken,
    Standing, TokenRecord, TokenStore,
};

/// Why a refresh is wanted. It is checked again on the record as it is when the turn comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    /// The access token is dead, or nearly.
    Due,
    /// This access token does not work any more, whatever its expiry says.
    Spent(SpentToken),
    /// The outcome of an earlier refresh is not known.
    Uncertain,
}

/// Who waits for a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A request.
    Request,
    /// Nobody.
    Background,
}

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// Refreshes the session of `credential`, unless its access token is younger than the
    /// cool-down: many tabs may ask at once.
    ///
    /// # Errors
    /// As [`Sessions::resume`].
    pub async fn refresh(&self, credential: &Credential) -> Result<Session, Error> {
        let record = self.authenticate(credential).await?;
        let age = self.now().duration_since(record.access_issued_at);
        let alive = self.now() < record.access_expires_at;
        if alive && age < self.inner.settings.cool_down {
            return Ok(record.into());
        }
        let need = Need::Spent(record.access_token.spent());
        self.refreshed(record.device_id, need, Urgency::Request).await
    }

    /// Gives a session whose access token is another one than `spent`, which an upstream did
    /// not accept. A hundred requests that met the same 401 cost one refresh.
    ///
    /// # Errors
    /// As [`Sessions::resume`].
    pub async fn renew(
        &self,
        credential: &Credential,
        spent: SpentToken,
    ) -> Result<Session, Error> {
        let record = self.authenticate(credential).await?;
        let need = Need::Spent(spent);
        if self.is_needed(need, &record) {
            return self.refreshed(record.device_id, need, Urgency::Request).await;
        }
        self.usable(record).await
    }

    pub(super) fn refresh_in_background(&self, record: &TokenRecord) {
        if self.must_wait_for_settling(record) || self.is_closing() {
            return;
        }
        if let (_, Some(lead)) = self.inner.flights.join(record.device_id) {
            self.take_off(lead, record.device_id, Need::Due, Urgency::Background);
        }
    }

    /// Waits for the refresh of `device`, and starts it if nobody has. A caller that goes away
    /// gives up its seat; the refresh goes on.
    pub(super) async fn refreshed(
        &self,
        device: DeviceId,
        need: Need,
        urgency: Urgency,
    ) -> Result<Session, Error> {
        loop {
            let (seat, lead) = self.inner.flights.join(device);
            let leads = lead.is_some();
            if let Some(lead) = lead {
                if self.is_closing() {
                    lead.land(Err(Error::ShuttingDown));
                } else {
                    self.take_off(lead, device, need, urgency);
                }
            }
            let outcome = seat.outcome().await.unwrap_or_else(|| Err(unavailable(None, None)))?;
            // A flight that somebody else started may have had another need.
            if leads || !self.is_needed(need, &outcome) {
                return Ok(outcome.into());
            }
        }
    }

    fn take_off(&self, lead: Lead, device: DeviceId, need: Need, urgency: Urgency) {
        let this = self.clone();
        self.inner.tasks.spawn(async move {
            let outcome = this.fly(device, need, urgency).await;
            lead.land(outcome);
        });
    }

    /// The refresh of one device, from the queue to the outcome.
    async fn fly(&self, device: DeviceId, need: Need, urgency: Urgency) -> Outcome {
        let closed = |_| Error::ShuttingDown;
        let _background = match urgency {
            Urgency::Background => {
                Some(self.inner.background_permits.acquire().await.map_err(closed)?)
            }
            Urgency::Request => None,
        };
        let _permit = self.inner.permits.acquire().await.map_err(closed)?;
        let holder = HolderId::random()?;
        let give_up_at = self.now() + self.inner.settings.lease_ttl() * 2;
        loop {
            let now = self.now();
            let record = match self.inner.store.get(device, now).await? {
                Lookup::Live(record) => record,
                Lookup::Ended(ended) => return Err(Error::Ended(ended.reason)),
                Lookup::Absent => return Err(Error::NotLoggedIn),
            };
            if !self.is_needed(need, &record) {
                return Ok(record);
            }
            if !matches!(need, Need::Spent(_)) && self.must_wait_for_settling(&record) {
                return self.without_refresh(record, need, None, None);
            }
            if let Some(pause) = self.inner.breaker.pause(self.inner.clock.monotonic()) {
                return self.without_refresh(record, need, Some(pause), None);
            }
            let until = now + self.inner.settings.lease_ttl();
            match self.inner.store.lease(device, record.version, holder, until, now).await? {
                LeaseOutcome::Granted(record) => return self.attempt(record, holder, need).await,
                LeaseOutcome::Conflict(_) => {}
                LeaseOutcome::Gone(reason) => return Err(gone(reason)),
                LeaseOutcome::Held { .. } if now >= give_up_at => {
                    return self.without_refresh(record, need, None, None);
                }
                LeaseOutcome::Held { .. } => tokio::time::sleep(jittered_pause(holder)).await,
            }
        }
    }

    pub(super) fn is_needed(&self, need: Need, record: &TokenRecord) -> bool {
        match need {
            Need::Due => {
                record.standing(self.now(), &self.inner.settings.leeway) != Standing::Usable
            }
            Need::Spent(spent) => record.access_token.spent() == spent,
            Need::Uncertain => {
                record.refresh_intent.is_some_and(|intent| !intent.is_held(self.now()))
            }
        }
    }

    /// The outcome when the issuer gave nothing and said nothing: the token in hand as long as
    /// it is good, otherwise "unavailable".
    pub(super) fn without_refresh(
        &self,
        record: Arc<TokenRecord>,
        need: Need,
        retry_after: Option<Duration>,
        cause: Option<SharedCause>,
    ) -> Outcome {
        let good = self.now() < record.access_expires_at;
        match need {
            Need::Due | Need::Uncertain if good => Ok(record),
            _ => Err(unavailable(retry_after, cause)),
        }
    }
}

pub(super) fn unavailable(retry_after: Option<Duration>, cause: Option<SharedCause>) -> Error {
    Error::Unavailable { retry_after: retry_after.unwrap_or(Duration::from_secs(1)), cause }
}

pub(super) fn gone(reason: Option<crate::EndReason>) -> Error {
    reason.map_or(Error::NotLoggedIn, Error::Ended)
}

/// 20 to 84 ms, different for each holder, so that waiters do not knock together.
fn jittered_pause(holder: HolderId) -> Duration {
    let spread = u64::from(holder.as_bytes().first().copied().unwrap_or(0)) / 4;
    Duration::from_millis(20 + spread)
}
