//! One attempt at the issuer under a lease, and what becomes of each of its answers.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::refresh::{Need, gone, unavailable};
use super::{Outcome, Sessions};
use crate::{
    EndReason, Error, EventKind, HolderId, Issuer, IssuerError, Release, RemoveOutcome, Renewal,
    ReplaceOutcome, SharedCause, StoreError, Timestamp, TokenRecord, TokenStore,
};

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// Sends the refresh token of `record` once, under the lease of `holder`.
    pub(super) async fn attempt(
        &self,
        record: Arc<TokenRecord>,
        holder: HolderId,
        need: Need,
    ) -> Outcome {
        let asked_at = self.now();
        if let Err(pause) = self.admit() {
            self.release(&record, holder, Release::NotSent).await;
            return self.without_refresh(record, need, Some(pause), None);
        }
        let call = self.inner.issuer.refresh(&record.refresh_token, asked_at);
        let answer = self.while_leased(&record, holder, self.in_time(call)).await;
        match answer {
            Ok(renewal) => {
                self.inner.breaker.succeeded();
                let kept = self.keep(&record, &renewal, asked_at, holder);
                self.while_leased(&record, holder, kept).await
            }
            Err(IssuerError::Refused(_)) => {
                self.inner.breaker.succeeded();
                self.end_refused(&record).await
            }
            Err(error) => self.without_verdict(record, holder, need, error).await,
        }
    }

    /// One call to the issuer on behalf of a user who waits for it.
    pub(super) async fn ask_issuer<T>(
        &self,
        call: impl Future<Output = Result<T, IssuerError>>,
    ) -> Result<T, Error> {
        self.admit().map_err(|pause| unavailable(Some(pause), None))?;
        match self.in_time(call).await {
            Ok(answer) => {
                self.inner.breaker.succeeded();
                Ok(answer)
            }
            Err(IssuerError::Refused(refusal)) => {
                self.inner.breaker.succeeded();
                Err(Error::Refused(refusal))
            }
            Err(error) => {
                let pause = self.pause_after(&error);
                Err(unavailable(Some(pause), Some(Arc::new(error))))
            }
        }
    }

    fn admit(&self) -> Result<(), Duration> {
        self.inner.breaker.admit(self.inner.clock.monotonic(), self.inner.settings.issuer_deadline)
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

    /// Tells the breaker how the issuer failed; returns how long to stay away.
    fn pause_after(&self, error: &IssuerError) -> Duration {
        let now = self.inner.clock.monotonic();
        match error {
            IssuerError::NotSent { retry_after: Some(pause), .. } => {
                self.inner.breaker.trip(now, *pause)
            }
            IssuerError::Misconfigured(cause) => {
                tracing::error!(%cause, "the auth server does not accept this client: check its settings");
                // Consecutive ones open the breaker; one odd record alone must not shut it for all.
                self.inner.breaker.failed(now)
            }
            _ => self.inner.breaker.failed(now),
        }
    }

    /// No verdict: the record stays, and is marked if its refresh token may be spent.
    async fn without_verdict(
        &self,
        record: Arc<TokenRecord>,
        holder: HolderId,
        need: Need,
        error: IssuerError,
    ) -> Outcome {
        let pause = self.pause_after(&error);
        let release = match error {
            IssuerError::Unknown(_) => Release::Uncertain,
            _ => Release::NotSent,
        };
        self.release(&record, holder, release).await;
        self.inner.counters.refreshes_failed.fetch_add(1, Ordering::Relaxed);
        self.tell(&record, EventKind::RefreshFailed);
        let cause: SharedCause = Arc::new(error);
        tracing::warn!(device = %record.device_id, error = %Chain(&cause), "a refresh failed; the session stays");
        if release == Release::Uncertain {
            self.settle_in_grace(record.device_id);
        }
        self.without_refresh(record, need, Some(pause), Some(cause))
    }

    /// Stores a new pair before anyone uses it. The pair is precious: a store that fails gets
    /// it again until the patience ends.
    async fn keep(
        &self,
        spent: &Arc<TokenRecord>,
        renewal: &Renewal,
        asked_at: Timestamp,
        holder: HolderId,
    ) -> Outcome {
        let give_up_at = self.inner.clock.monotonic() + self.inner.settings.store_patience;
        let mut current = Arc::clone(spent);
        loop {
            let renewed = with_renewal(&current, renewal, asked_at);
            let stored =
                self.inner.store.replace(current.version, renewed, Some(holder), self.now()).await;
            match stored {
                Ok(ReplaceOutcome::Replaced(record)) => {
                    self.inner.counters.refreshes_done.fetch_add(1, Ordering::Relaxed);
                    self.tell(&record, EventKind::Refreshed);
                    return Ok(record);
                }
                // The label changed meanwhile; the tokens are still the ones that were spent.
                Ok(ReplaceOutcome::Conflict(other))
                    if other.refresh_token == spent.refresh_token =>
                {
                    current = other;
                }
                Ok(ReplaceOutcome::Conflict(winner)) => return Ok(winner),
                Ok(ReplaceOutcome::Gone(reason)) => {
                    self.revoke(vec![Arc::new(with_renewal(spent, renewal, asked_at))]);
                    return Err(gone(reason));
                }
                Err(error) if self.inner.clock.monotonic() >= give_up_at => {
                    tracing::error!(device = %spent.device_id, %error, "a new pair could not be stored and is lost");
                    return Err(error.into());
                }
                Err(StoreError::Closed) => return Err(StoreError::Closed.into()),
                Err(_) => tokio::time::sleep(STORE_RETRY_PAUSE).await,
            }
        }
    }

    /// A verdict: unless somebody has replaced the pair meanwhile, the session ends.
    async fn end_refused(&self, spent: &Arc<TokenRecord>) -> Outcome {
        let interrupted = spent.refresh_intent.is_some_and(|intent| intent.uncertain);
        let reason = if interrupted { EndReason::Interrupted } else { EndReason::Refused };
        let mut version = spent.version;
        loop {
            let store = &self.inner.store;
            match store.remove(spent.device_id, Some(version), reason, self.now()).await? {
                RemoveOutcome::Removed(record) => {
                    self.tell(&record, EventKind::LoggedOut(reason));
                    return Err(Error::Ended(reason));
                }
                RemoveOutcome::Conflict(other) if other.refresh_token == spent.refresh_token => {
                    version = other.version;
                }
                RemoveOutcome::Conflict(winner) => return Ok(winner),
                RemoveOutcome::Absent => return Err(Error::NotLoggedIn),
            }
        }
    }

    async fn release(&self, record: &TokenRecord, holder: HolderId, release: Release) {
        let store = &self.inner.store;
        if let Err(error) = store.release(record.device_id, holder, release, self.now()).await {
            tracing::warn!(device = %record.device_id, %error, "a refresh lease was not given back");
        }
    }

    /// Does `work` and extends the lease meanwhile, so that nobody else begins.
    async fn while_leased<T>(
        &self,
        record: &TokenRecord,
        holder: HolderId,
        work: impl Future<Output = T>,
    ) -> T {
        let ttl = self.inner.settings.lease_ttl();
        tokio::pin!(work);
        loop {
            match tokio::time::timeout(ttl / 4, &mut work).await {
                Ok(done) => return done,
                Err(_) => {
                    let (store, now) = (&self.inner.store, self.now());
                    let extended =
                        store.extend_lease(record.device_id, holder, now + ttl, now).await;
                    if !matches!(extended, Ok(true)) {
                        tracing::warn!(device = %record.device_id, "a refresh lease was not extended");
                    }
                }
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

/// An error with its causes, for the one line that logs it.
struct Chain<'a>(&'a SharedCause);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

const STORE_RETRY_PAUSE: Duration = Duration::from_millis(100);
