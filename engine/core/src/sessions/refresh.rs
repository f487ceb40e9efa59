//! Refresh: when it is needed, who waits for it, and the one flight that does it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::flight::Lead;
use super::{Outcome, Session, Sessions};
use crate::{
    Credential, DeviceId, Error, HolderId, Issuer, LeaseOutcome, Lookup, Release, SharedCause,
    SpentToken, Standing, TokenRecord, TokenStore,
};

/// Why a refresh is wanted. It is checked again on the record as it is when the turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The access token is dead, or nearly.
    Due,
    /// This access token does not work any more, whatever its expiry says.
    Spent(SpentToken),
    /// The outcome of an earlier refresh is not known.
    Uncertain,
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
        let young = age < self.inner.settings.cool_down;
        // A wish is no reason to replay a token that may be spent.
        if self.is_alive(&record) && (young || self.must_wait_for_settling(&record)) {
            return Ok(record.into());
        }
        let need = Need::Spent(record.access_token.spent());
        self.refreshed(record, need).await
    }

    /// Gives a session whose access token is another one than `spent`, which an upstream did
    /// not accept. A hundred requests that met the same 401 cost one refresh; an upstream that
    /// accepts no token at all costs one in the cool-down, and gets the same one again.
    ///
    /// # Errors
    /// As [`Sessions::resume`].
    pub async fn renew(
        &self,
        credential: &Credential,
        spent: SpentToken,
    ) -> Result<Session, Error> {
        let monotonic = self.inner.clock.monotonic();
        // Asked before the record is read: one that was read before somebody else renewed it must
        // not be taken for the renewed one.
        let may_renew = self.inner.pacing.may_renew(credential.device_id(), monotonic);
        let record = self.authenticate(credential).await?;
        let need = Need::Spent(spent);
        if !self.is_needed(need, &record) {
            return self.usable(record).await;
        }
        if self.is_alive(&record) && !may_renew {
            return Ok(record.into());
        }
        let session = self.refreshed(record, need).await?;
        let cool_down = self.inner.settings.cool_down;
        self.inner.pacing.renewed(session.record().device_id, monotonic, cool_down);
        Ok(session)
    }

    /// Refreshes behind a request that goes on; where there is no room for it, the next request
    /// tries again.
    pub(super) fn refresh_in_background(&self, record: &TokenRecord) {
        if self.must_wait_for_settling(record) {
            return;
        }
        let room = Arc::clone(&self.inner.background_permits).try_acquire_owned();
        let Ok(permit) = room else { return };
        if let (_, Some(lead)) = self.inner.flights.join(record.device_id) {
            self.take_off(lead, record.device_id, Need::Due, Some(permit));
        }
    }

    /// Waits for the refresh of the device, and starts it if nobody has. A caller that goes away, or
    /// has waited as long as a lease lasts, gives up its seat; the refresh goes on.
    pub(super) async fn refreshed(
        &self,
        record: Arc<TokenRecord>,
        need: Need,
    ) -> Result<Session, Error> {
        loop {
            let (seat, lead) = self.inner.flights.join(record.device_id);
            let leads = lead.is_some();
            if let Some(lead) = lead {
                self.take_off(lead, record.device_id, need, None);
            }
            let longest = self.inner.settings.lease_ttl();
            let outcome = tokio::time::timeout(longest, seat.outcome()).await;
            let outcome = outcome.ok().flatten().unwrap_or_else(|| Err(unavailable(None, None)))?;
            // A flight that somebody else started may have had another need.
            if leads || self.serves(need, &record, &outcome) {
                return Ok(outcome.into());
            }
        }
    }

    /// Whether what another flight brought is what somebody with `need` waited for.
    fn serves(&self, need: Need, before: &TokenRecord, outcome: &TokenRecord) -> bool {
        match need {
            Need::Due => self.is_alive(outcome) || outcome.access_token != before.access_token,
            Need::Spent(spent) => outcome.access_token.spent() != spent,
            Need::Uncertain => true,
        }
    }

    fn take_off(
        &self,
        lead: Lead,
        device: DeviceId,
        need: Need,
        background: Option<OwnedSemaphorePermit>,
    ) {
        // The token first: from here on, either the shutdown waits for this flight, or the
        // flight sees the shutdown.
        let token = self.inner.tasks.token();
        if self.inner.tasks.is_closed() {
            return lead.land(Err(Error::ShuttingDown));
        }
        let this = self.clone();
        tokio::spawn(async move {
            let outcome = this.fly(device, need).await;
            lead.land(outcome);
            drop((background, token));
        });
    }

    /// The refresh of one device, from the queue to the outcome.
    async fn fly(&self, device: DeviceId, need: Need) -> Outcome {
        let holder = HolderId::random()?;
        let patience = self.inner.settings.issuer_deadline;
        let give_up_at = self.inner.clock.monotonic().saturating_add(patience);
        let mut waited_for_holder = false;
        loop {
            let permit = self.inner.permits.acquire().await.map_err(|_| Error::ShuttingDown)?;
            let record = self.live(device).await?;
            if !self.is_needed(need, &record) {
                return Ok(record);
            }
            if let Some(pause) = self.must_pause(need, &record) {
                return self.without_refresh(record, need, Some(pause), None);
            }
            if !waited_for_holder && self.may_have_a_holder(&record) {
                waited_for_holder = true;
                drop(permit);
                tokio::time::sleep(HOLDER_PAUSE).await;
                continue;
            }
            let monotonic = self.inner.clock.monotonic();
            let admission = match self.inner.breaker.admit(monotonic) {
                Ok(admission) => admission,
                Err(pause) => return self.without_refresh(record, need, Some(pause), None),
            };
            match self.lease(&record, holder).await? {
                LeaseOutcome::Granted(record) => {
                    return self.attempt(record, holder, need, admission, permit).await;
                }
                LeaseOutcome::Conflict(_) => {}
                LeaseOutcome::Gone(reason) => return Err(gone(reason)),
                LeaseOutcome::Held { .. } if monotonic >= give_up_at => {
                    return self.without_refresh(record, need, None, None);
                }
                LeaseOutcome::Held { .. } => {
                    // Somebody else's work takes no place here.
                    drop((permit, admission));
                    tokio::time::sleep(jittered_pause(holder)).await;
                }
            }
        }
    }

    async fn live(&self, device: DeviceId) -> Outcome {
        match self.inner.store.get(device, self.now()).await? {
            Lookup::Live(record) => Ok(record),
            Lookup::Ended(ended) => Err(Error::Ended(ended.reason)),
            Lookup::Absent => Err(Error::NotLoggedIn),
        }
    }

    async fn lease(&self, record: &TokenRecord, holder: HolderId) -> Result<LeaseOutcome, Error> {
        let (now, device) = (self.now(), record.device_id);
        let until = now + self.inner.settings.lease_ttl();
        match self.inner.store.lease(device, record.version, holder, until, now).await {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                // It may be stored all the same; nothing was sent under it.
                self.release(record, holder, Release::NotSent).await;
                Err(error.into())
            }
        }
    }

    fn is_needed(&self, need: Need, record: &TokenRecord) -> bool {
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

    /// Whether the lease of `record` ran out though nobody gave it back: its holder died, or the
    /// store was away and is about to get the pair that was bought with the token in `record`.
    fn may_have_a_holder(&self, record: &TokenRecord) -> bool {
        record.refresh_intent.is_some_and(|it| !it.uncertain && !it.is_held(self.now()))
    }

    /// How long nothing may be sent for this record.
    fn must_pause(&self, need: Need, record: &TokenRecord) -> Option<Duration> {
        let monotonic = self.inner.clock.monotonic();
        if let Some(pause) = self.inner.pacing.pause(record.device_id, monotonic) {
            return Some(pause);
        }
        // A token that an upstream refused is needed now, whatever its expiry says.
        let waits = !matches!(need, Need::Spent(_)) && self.must_wait_for_settling(record);
        waits.then(|| record.access_expires_at.duration_since(self.now()))
    }

    pub(super) fn is_alive(&self, record: &TokenRecord) -> bool {
        self.now() < record.access_expires_at
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
        match need {
            Need::Due | Need::Uncertain if self.is_alive(&record) => Ok(record),
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

/// How long the holder of a lease that ran out is waited for: longer than a pair is kept from a
/// store that is back.
const HOLDER_PAUSE: Duration = Duration::from_secs(1);
