//! Ended sessions at the issuer: it is told that their refresh tokens are not needed any more.
//!
//! With an outbox nothing of that is forgotten: a session is noted there before it ends, and its
//! note goes when the issuer has heard of it. A crash in between leaves the note of a session that
//! still lives, which is passed over until the session ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Sessions;
use crate::{
    ClientInfo, DeviceId, Email, EndReason, Issuer, Lookup, StoreError, TokenRecord, TokenStore,
    Verifier,
};

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// This flow with an outbox: ended sessions stand in `outbox` until the issuer has heard of
    /// them, over a crash as well. An outbox is a store of its own, and nothing else writes to it.
    ///
    /// Without one the issuer is told once, and what it misses it never hears. It hears of no
    /// session that ran out by itself, which a store forgets without a word.
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
                let found = self.inner.store.get(noted.device_id, self.now()).await?;
                if matches!(found, Lookup::Live(_)) {
                    continue;
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
/// So many notes are read at a time.
const PAGE: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(255);
