//! One attempt at the issuer under a lease, and what becomes of each of its answers.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::SemaphorePermit;

use super::breaker::Admission;
use super::refresh::{Need, gone, unavailable};
use super::{Outcome, Sessions};
use crate::{
    Chain, EndReason, Error, EventKind, HolderId, Issuer, IssuerError, Release, RemoveOutcome,
    Renewal, ReplaceOutcome, SharedCause, StoreError, Timestamp, TokenRecord, TokenStore, Tokens,
};

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// Sends the refresh token of `record` once, under the lease of `holder`.
    pub(super) async fn attempt(
        &self,
        record: Arc<TokenRecord>,
        holder: HolderId,
        need: Need,
        admission: Admission<'_>,
        permit: SemaphorePermit<'_>,
    ) -> Outcome {
        let work = async {
            let asked_at = self.now();
            let call = self.inner.issuer.refresh(&record.refresh_token, asked_at);
            let answer = self.in_time(call).await;
            // A pair that waits for its store keeps nobody else from the issuer.
            drop(permit);
            match answer {
                Ok(renewal) => {
                    admission.succeeded();
                    self.keep(&record, &renewal, asked_at).await
                }
                Err(IssuerError::Refused(_)) => {
                    admission.succeeded();
                    self.end_refused(&record).await
                }
                Err(error) => self.without_verdict(&record, holder, need, error, admission).await,
            }
        };
        tokio::select! {
            outcome = work => outcome,
            never = self.keep_lease(&record, holder) => match never {},
        }
    }

    /// One call to the issuer on behalf of a user who waits for it.
    ///
    /// An open breaker spares it the time-out. Its failures open nothing: whoever types a
    /// password must not be able to keep everybody else from being refreshed.
    pub(super) async fn ask_issuer<T>(
        &self,
        call: impl Future<Output = Result<T, IssuerError>>,
    ) -> Result<T, Error> {
        if let Some(pause) = self.inner.breaker.pause(self.inner.clock.monotonic()) {
            return Err(unavailable(Some(pause), None));
        }
        match self.in_time(call).await {
            Ok(answer) => Ok(answer),
            Err(IssuerError::Refused(refusal)) => Err(Error::Refused(refusal)),
            Err(error) => {
                let pause = match &error {
                    IssuerError::NotSent { retry_after, .. } => *retry_after,
                    _ => None,
                };
                Err(unavailable(pause, Some(Arc::new(error))))
            }
        }
    }

    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, IssuerError>>,
    ) -> Result<T, IssuerError> {
        match tokio::time::timeout(self.inner.settings.issuer_deadline, call).await {
            Ok(answer) => answer,
            Err(late) => Err(IssuerError::Unknown(late.into())),
        }
    }

    /// No verdict: the record stays, and is marked if its refresh token may be spent.
    async fn without_verdict(
        &self,
        record: &Arc<TokenRecord>,
        holder: HolderId,
        need: Need,
        error: IssuerError,
        admission: Admission<'_>,
    ) -> Outcome {
        let now = self.inner.clock.monotonic();
        let (pause, release) = match &error {
            IssuerError::NotSent { retry_after: Some(pause), .. } => {
                (admission.trip(now, *pause), Release::NotSent)
            }
            IssuerError::NotSent { .. } => (admission.failed(now), Release::NotSent),
            IssuerError::Misconfigured(_) => {
                // Consecutive ones open the breaker; an odd answer to one device does not.
                let pause = admission.failed(now);
                (pause.max(self.inner.pacing.failed(record.device_id, now)), Release::NotSent)
            }
            _ => {
                let pause = admission.failed(now);
                (pause.max(self.inner.pacing.failed(record.device_id, now)), Release::Uncertain)
            }
        };
        self.release(record, holder, release).await;
        self.count_failure(record);
        let (device, chain) = (record.device_id, Chain(&error));
        if matches!(error, IssuerError::Misconfigured(_)) {
            tracing::error!(%device, error = %chain, "a refresh failed; the session stays: check the settings of the auth server");
        } else {
            tracing::warn!(%device, error = %chain, "a refresh failed; the session stays");
        }
        let cause: SharedCause = Arc::new(error);
        if release == Release::Uncertain && need != Need::Uncertain {
            self.settle_in_grace(record.device_id);
        }
        self.without_refresh(Arc::clone(record), need, Some(pause), Some(cause))
    }

    /// Stores a new pair before anyone uses it. The pair is precious, for the one before is spent: a
    /// store that fails is offered it again long after those who waited have left, but at a
    /// shutdown only for the store's patience.
    async fn keep(
        &self,
        spent: &Arc<TokenRecord>,
        renewal: &Renewal,
        asked_at: Timestamp,
    ) -> Outcome {
        let at_shutdown = self.patience();
        let precious = self.inner.clock.monotonic().saturating_add(PAIR_PATIENCE);
        let mut current = Arc::clone(spent);
        loop {
            let renewed = with_renewal(&current, renewal, asked_at);
            let (version, store) = (current.version, &self.inner.store);
            let replace = store.replace(version, renewed.clone(), Tokens::Renewed, self.now());
            match self.in_patience(replace).await {
                Ok(ReplaceOutcome::Replaced(record)) => return Ok(self.kept(record).await),
                // An earlier try got through, though its answer did not.
                Ok(ReplaceOutcome::Conflict(other)) if same_tokens(&other, &renewed) => {
                    return Ok(self.kept(other).await);
                }
                // The label changed meanwhile; the tokens are still the ones that were spent.
                Ok(ReplaceOutcome::Conflict(other)) if same_tokens(&other, spent) => {
                    current = other;
                }
                Ok(ReplaceOutcome::Conflict(winner)) => return Ok(winner),
                Ok(ReplaceOutcome::Gone(reason)) => {
                    self.give_back(renewed).await;
                    return Err(gone(reason));
                }
                Err(error) => {
                    let stops = self.inner.tasks.is_closed();
                    let patience = if stops { &at_shutdown } else { &precious };
                    if let Err(error) = self.try_again(patience, error).await {
                        self.count_failure(spent);
                        tracing::error!(device = %spent.device_id, error = %Chain(&error), "a new pair could not be stored and is lost");
                        return Err(error.into());
                    }
                }
            }
        }
    }

    async fn kept(&self, record: Arc<TokenRecord>) -> Arc<TokenRecord> {
        self.note_limited(&record).await;
        self.inner.counters.refreshes_done.fetch_add(1, Ordering::Relaxed);
        self.inner.pacing.succeeded(record.device_id);
        self.tell(&record, EventKind::Refreshed);
        record
    }

    /// A verdict: unless somebody has replaced the pair meanwhile, the session ends. A store
    /// that fails is asked again, so that the refused token is not sent a second time.
    async fn end_refused(&self, spent: &Arc<TokenRecord>) -> Outcome {
        let interrupted = spent.refresh_intent.is_some_and(|intent| intent.uncertain);
        let reason = if interrupted { EndReason::Interrupted } else { EndReason::Refused };
        let patience = self.patience();
        let mut version = spent.version;
        let mut unanswered = false;
        loop {
            let store = &self.inner.store;
            let remove = store.remove(spent.device_id, Some(version), reason, self.now());
            match self.in_patience(remove).await {
                Ok(RemoveOutcome::Removed(record)) => {
                    self.tell(&record, EventKind::LoggedOut(reason));
                    return Err(Error::Ended(reason));
                }
                Ok(RemoveOutcome::Conflict(other)) if same_tokens(&other, spent) => {
                    version = other.version;
                }
                Ok(RemoveOutcome::Conflict(winner)) => return Ok(winner),
                Ok(RemoveOutcome::Gone(found)) => {
                    // An earlier try got through, though its answer did not.
                    if unanswered && found == Some(reason) {
                        self.tell(spent, EventKind::LoggedOut(reason));
                    }
                    return Err(gone(found));
                }
                Err(error) => {
                    unanswered = true;
                    self.try_again(&patience, error).await?;
                }
            }
        }
    }

    /// Until when a store that fails is asked again, on the monotonic clock.
    fn patience(&self) -> Duration {
        self.inner.clock.monotonic().saturating_add(self.inner.settings.store_patience)
    }

    /// A store that does not answer has failed.
    async fn in_patience<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.inner.settings.store_patience, call).await {
            Ok(answer) => answer,
            Err(late) => Err(StoreError::unavailable(late)),
        }
    }

    /// Waits before a store is asked again; the error if it is to be given up.
    async fn try_again(&self, patience: &Duration, error: StoreError) -> Result<(), StoreError> {
        if matches!(error, StoreError::Closed) || self.inner.clock.monotonic() >= *patience {
            return Err(error);
        }
        tokio::time::sleep(STORE_RETRY_PAUSE).await;
        Ok(())
    }

    fn count_failure(&self, record: &TokenRecord) {
        self.inner.counters.refreshes_failed.fetch_add(1, Ordering::Relaxed);
        self.tell(record, EventKind::RefreshFailed);
    }

    /// Gives the lease of `holder` back. A store that fails is asked again behind the caller's
    /// back, for as long as the lease would keep everybody else from refreshing.
    pub(super) async fn release(&self, record: &TokenRecord, holder: HolderId, release: Release) {
        let device = record.device_id;
        let Err(error) = self.inner.store.release(device, holder, release, self.now()).await else {
            return;
        };
        tracing::warn!(%device, error = %Chain(&error), "a refresh lease was not given back at once");
        let Ok(permit) = Arc::clone(&self.inner.release_permits).try_acquire_owned() else {
            return;
        };
        let this = self.clone();
        tokio::spawn(async move {
            let now = this.inner.clock.monotonic();
            let patience = now.saturating_add(this.inner.settings.lease_ttl());
            let mut failed = error;
            while !this.inner.tasks.is_closed() && this.try_again(&patience, failed).await.is_ok() {
                let (store, now) = (&this.inner.store, this.now());
                match this.in_patience(store.release(device, holder, release, now)).await {
                    Ok(_) => break,
                    Err(error) => failed = error,
                }
            }
            drop(permit);
        });
    }

    /// Extends the lease while work goes on beside it, so that nobody else begins.
    async fn keep_lease(&self, record: &TokenRecord, holder: HolderId) -> std::convert::Infallible {
        let ttl = self.inner.settings.lease_ttl();
        loop {
            tokio::time::sleep(ttl / 4).await;
            let (store, now) = (&self.inner.store, self.now());
            let extended = store.extend_lease(record.device_id, holder, now + ttl, now).await;
            if !matches!(extended, Ok(true)) {
                tracing::warn!(device = %record.device_id, "a refresh lease was not extended");
            }
        }
    }
}

/// `current` with the tokens of `renewal`.
fn with_renewal(current: &TokenRecord, renewal: &Renewal, asked_at: Timestamp) -> TokenRecord {
    let mut record = current.clone();
    record.access_token = renewal.access_token.clone();
    record.access_issued_at = asked_at;
    record.access_expires_at = renewal.access_expires_at;
    if let Some(token_type) = &renewal.token_type {
        record.token_type = token_type.clone();
    }
    if let Some((token, expires_at)) = &renewal.refresh {
        record.refresh_token = token.clone();
        record.refresh_expires_at = *expires_at;
    }
    record
}

fn same_tokens(one: &TokenRecord, other: &TokenRecord) -> bool {
    one.refresh_token == other.refresh_token && one.access_token == other.access_token
}

const STORE_RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How long a store may be away without costing a pair that is there already.
const PAIR_PATIENCE: Duration = Duration::from_secs(10 * 60);
