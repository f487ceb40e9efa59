//! Ended sessions at the issuer: it is told that their refresh tokens are not needed any more.
//!
//! With an outbox nothing of that is forgotten: a session is noted there before it ends, and its
//! note goes when the issuer has heard of it. The note of a session that still lives is passed over
//! until the session ends: a crash leaves such notes, and one that may run out by the idle or the
//! absolute limit has its note from the beginning, for a store forgets it without a word.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Sessions;
use crate::{
    ClientInfo, DeviceId, Email, EndReason, Issuer, Lookup, RefreshToken, StoreError, TokenRecord,
    TokenStore, Verifier,
};

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// This flow with an outbox: ended sessions stand in `outbox` until the issuer has heard of
    /// them, over a crash as well. An outbox is a store of its own, and nothing else writes to it.
    ///
    /// Without one the issuer is told once, and what it misses it never hears, nor of sessions that
    /// ran out by a limit.
    #[must_use]
    pub fn with_outbox(self, outbox: S) -> Self {
        // A flow has one outbox: the first.
        let _ = self.inner.outbox.set(outbox);
        self
    }

    fn outbox(&self) -> Option<&S> {
        self.inner.outbox.get().filter(|_| self.inner.issuer.revokes())
    }

    /// Notes sessions that are about to end, or ended just now. A note that fails keeps nobody
    /// from logging out.
    pub(super) async fn note(&self, ending: &[Arc<TokenRecord>]) {
        let Some(outbox) = self.outbox() else { return };
        for record in ending {
            if let Err(error) = outbox.import(noted(record), self.now()).await {
                warn_of(&error);
            }
        }
    }

    /// Notes a session that may run out before its refresh token does.
    pub(super) async fn note_limited(&self, record: &Arc<TokenRecord>) {
        let absolute = record.absolute_expires_at;
        let is_limited = record.idle_limit.is_some()
            || absolute.is_some_and(|limit| limit < record.refresh_expires_at);
        if is_limited {
            self.note(std::slice::from_ref(record)).await;
        }
    }

    /// Has the issuer hear of sessions that ran out by a limit.
    pub(super) fn tell_of_limits(&self) {
        let limits = &self.inner.settings;
        let has_limits = limits.idle_limit.is_some() || limits.absolute_limit.is_some();
        let is_told = || self.inner.telling_of_limits.swap(true, Ordering::SeqCst);
        if !has_limits || self.outbox().is_none() || is_told() {
            return;
        }
        // Nobody's store stays open for this.
        let flow = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LIMITS_PAUSE).await;
                let Some(inner) = flow.upgrade().filter(|inner| !inner.tasks.is_closed()) else {
                    break;
                };
                Self { inner, witness: None }.tell_again();
            }
        });
    }

    /// Notes what [`Sessions::end_devices`] is about to end.
    pub(super) async fn note_all_of(&self, email: &Email, except: Option<DeviceId>) {
        if self.outbox().is_none() {
            return;
        }
        match self.inner.store.devices_of(email, self.now()).await {
            Ok(mut ending) => {
                ending.retain(|record| Some(record.device_id) != except);
                self.note(&ending).await;
            }
            Err(error) => warn_of(&error),
        }
    }

    /// Tells the issuer of sessions that ended. Bounded in time, and nobody waits for it.
    pub(super) fn revoke(&self, ended: Vec<Arc<TokenRecord>>) {
        if ended.is_empty() || !self.inner.issuer.revokes() {
            return;
        }
        let this = self.clone();
        self.inner.tasks.spawn(async move {
            // A refresh may have come between the note and the end; a displaced session has none.
            this.note(&ended).await;
            let mut told = 0;
            let telling = async {
                for record in &ended {
                    told += usize::from(this.tell_issuer(record).await);
                }
            };
            let _ = tokio::time::timeout(TELLING_TOGETHER, telling).await;
            if told < ended.len() {
                let missed = ended.len() - told;
                tracing::warn!(missed, "the auth server was not told of all ended sessions");
                this.tell_again();
            }
        });
    }

    /// Gives a pair back that came for a session which had ended meanwhile.
    pub(super) async fn give_back(&self, mut unwanted: TokenRecord) {
        // Its own place in the outbox: of the session itself the issuer may have heard already.
        if let Ok(place) = DeviceId::random() {
            unwanted.device_id = place;
        }
        let unwanted = vec![Arc::new(unwanted)];
        self.note(&unwanted).await;
        self.revoke(unwanted);
    }

    /// Gives back what a login got that was not stored.
    pub(super) fn give_back_grant(&self, token: RefreshToken) {
        if self.inner.issuer.revokes() {
            let this = self.clone();
            self.inner.tasks.spawn(async move {
                let telling = this.inner.issuer.revoke(&token);
                let _ = tokio::time::timeout(TELLING_TOGETHER, telling).await;
            });
        }
    }

    /// Tells the issuer of one session, and takes its note away if it heard.
    async fn tell_issuer(&self, record: &TokenRecord) -> bool {
        if self.inner.issuer.revoke(&record.refresh_token).await.is_err() {
            return false;
        }
        if let Some(outbox) = self.outbox() {
            let (device, now) = (record.device_id, self.now());
            // If this fails, the issuer hears of it twice.
            let _ = outbox.remove(device, None, EndReason::Logout, now).await;
        }
        true
    }

    /// Goes on telling the issuer, until it has heard of everything in the outbox.
    pub(super) fn tell_again(&self) {
        if self.outbox().is_none() || self.inner.telling_again.swap(true, Ordering::SeqCst) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            while !this.inner.tasks.is_closed() {
                if this.tell_all_noted().await.is_ok_and(|all| all) {
                    break;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            this.inner.telling_again.store(false, Ordering::SeqCst);
        });
    }

    /// Walks the outbox; false if the issuer did not hear of everything.
    async fn tell_all_noted(&self) -> Result<bool, StoreError> {
        let Some(outbox) = self.outbox() else { return Ok(true) };
        let mut after = None;
        loop {
            let page = outbox.scan(after, PAGE, self.now()).await?;
            for noted in page.records {
                // Never for a session that lives: a crash came between its note and its end.
                match self.inner.store.get(noted.device_id, self.now()).await {
                    Ok(Lookup::Live(_)) | Err(StoreError::Unreadable { .. }) => continue,
                    found => drop(found?),
                }
                let telling = tokio::time::timeout(TELLING_TOGETHER, self.tell_issuer(&noted));
                if !telling.await.unwrap_or(false) {
                    return Ok(false);
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(true),
            }
        }
    }
}

fn warn_of(error: &StoreError) {
    tracing::warn!(%error, "an ended session could not be noted for the auth server");
}

/// What the issuer must hear of, and nothing that lets anybody in. It lives as long as its refresh
/// token.
fn noted(record: &TokenRecord) -> TokenRecord {
    TokenRecord {
        verifier: Verifier::NOBODY,
        absolute_expires_at: None,
        idle_limit: None,
        client: ClientInfo::default(),
        label: None,
        refresh_intent: None,
        ..record.clone()
    }
}

/// How long the issuer may take to hear of sessions that ended together.
const TELLING_TOGETHER: Duration = Duration::from_secs(5);
/// How long to wait before an issuer that did not hear is told again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);
/// How often it is looked for sessions that ran out by a limit.
const LIMITS_PAUSE: Duration = Duration::from_secs(5 * 60);
/// So many notes are read at a time.
const PAGE: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(255);
