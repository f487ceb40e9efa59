//! Login and registration.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Session, Sessions};
use crate::{
    ClientInfo, Credential, Email, EndReason, Error, EventKind, Grant, Insert, InsertOutcome,
    Issuer, Password, RemoveOutcome, Removed, Timestamp, TokenRecord, TokenStore, Version,
};

/// What a user presents to log in.
#[derive(Clone, Debug)]
pub struct LoginRequest {
    /// The address as it was typed; the issuer gets it as it is.
    pub username: String,
    /// The password.
    pub password: Password,
    /// The credential that the browser had already: its session ends with the login.
    pub presented: Option<Credential>,
    /// What the device says of itself.
    pub client: ClientInfo,
}

/// A login that is stored.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// What the device must present from here on. It is in no store: hand it over, forget it.
    pub credential: Credential,
    /// The session.
    pub session: Session,
}

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// Logs a user in at the issuer and stores the session under a new device id and secret.
    /// It is durable when this returns.
    ///
    /// # Errors
    /// [`Error::InvalidEmail`] and [`Error::Refused`] for what the user presented,
    /// [`Error::CeilingReached`] for one device too many, [`Error::Unavailable`] without an
    /// issuer, [`Error::Store`] and [`Error::Random`] if it could not be kept.
    pub async fn login(&self, request: LoginRequest) -> Result<LoggedIn, Error> {
        let email: Email = request.username.parse()?;
        let asked_at = self.now();
        let call = self.inner.issuer.login(&request.username, &request.password, asked_at);
        let grant = self.ask_issuer(call).await?;
        let token = grant.refresh_token.clone();
        let LoginRequest { presented, client, .. } = request;
        let login = self.login_with_grant(email, grant, asked_at, presented, client).await;
        if matches!(login, Err(Error::CeilingReached | Error::Random(_))) {
            self.give_back_grant(token);
        }
        login
    }

    /// Stores the session of a user who is logged in already: `grant` was asked for at
    /// `asked_at`, by whatever protocol.
    ///
    /// # Errors
    /// As [`Sessions::login`], without the issuer's.
    pub async fn login_with_grant(
        &self,
        email: Email,
        grant: Grant,
        asked_at: Timestamp,
        presented: Option<Credential>,
        client: ClientInfo,
    ) -> Result<LoggedIn, Error> {
        let credential = Credential::random()?;
        let before = match &presented {
            Some(credential) => self.presented(credential).await?,
            None => None,
        };
        if let Some(other_user) = before.as_ref().filter(|before| before.email != email) {
            self.end_replaced(other_user).await?;
        }
        let same_user = before.as_ref().filter(|record| record.email == email);
        let mut record = self.fresh_record(&credential, email.clone(), grant, asked_at);
        record.client = client;
        record.label = same_user.and_then(|record| record.label.clone());
        self.note(&same_user.map(Arc::clone).into_iter().collect::<Vec<_>>()).await;
        let insert = Insert {
            record,
            replaces: same_user.map(|record| record.device_id),
            ceiling: self.inner.settings.ceiling,
        };
        let (record, displaced) = match self.inner.store.insert(insert, self.now()).await? {
            InsertOutcome::Inserted { record, displaced } => (record, displaced),
            InsertOutcome::CeilingReached => return Err(Error::CeilingReached),
            // 122 random bits met an id that is there: the generator is broken.
            InsertOutcome::Taken => return Err(Error::Random(crate::RandomUnavailable)),
        };
        self.inner.counters.logins.fetch_add(1, Ordering::Relaxed);
        self.note_limited(&record).await;
        self.announce(&record, displaced);
        Ok(LoggedIn { credential, session: record.into() })
    }

    /// Makes an account at the issuer; returns its message for the user.
    ///
    /// # Errors
    /// [`Error::InvalidEmail`], [`Error::Refused`], or [`Error::Unavailable`].
    pub async fn register(
        &self,
        username: &str,
        password: &Password,
    ) -> Result<Option<String>, Error> {
        let _: Email = username.parse()?;
        self.ask_issuer(self.inner.issuer.register(username, password)).await
    }

    /// The live record that a login came with, if it came with one.
    async fn presented(&self, credential: &Credential) -> Result<Option<Arc<TokenRecord>>, Error> {
        match self.authenticate(credential).await {
            Ok(record) => Ok(Some(record)),
            Err(Error::Ended(EndReason::Expired)) => {
                self.end_expired(credential.device_id()).await?;
                Ok(None)
            }
            Err(error) if error.is_logged_out() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn fresh_record(
        &self,
        credential: &Credential,
        email: Email,
        grant: Grant,
        asked_at: Timestamp,
    ) -> TokenRecord {
        let now = self.now();
        TokenRecord {
            device_id: credential.device_id(),
            version: Version::FIRST,
            verifier: credential.verifier(&self.inner.store.id()),
            email,
            token_type: grant.token_type,
            access_token: grant.access_token,
            access_issued_at: asked_at,
            access_expires_at: grant.access_expires_at,
            refresh_token: grant.refresh_token,
            refresh_expires_at: grant.refresh_expires_at,
            created_at: now,
            last_seen_at: now,
            previous_visit_at: None,
            absolute_expires_at: self.inner.settings.absolute_limit.map(|limit| now + limit),
            idle_limit: self.inner.settings.idle_limit,
            client: ClientInfo::default(),
            label: None,
            refresh_intent: None,
        }
    }

    fn announce(&self, record: &TokenRecord, displaced: Vec<Removed>) {
        self.tell(record, EventKind::LoggedIn(record.client.clone()));
        for removed in &displaced {
            self.tell(&removed.record, EventKind::LoggedOut(removed.reason));
        }
        self.revoke(displaced.into_iter().map(|removed| removed.record).collect());
    }

    /// The browser belonged to somebody else before: that session ends with this login.
    async fn end_replaced(&self, before: &Arc<TokenRecord>) -> Result<(), Error> {
        let reason = EndReason::Replaced;
        self.note(std::slice::from_ref(before)).await;
        let removed = self.inner.store.remove(before.device_id, None, reason, self.now()).await?;
        if let RemoveOutcome::Removed(record) = removed {
            self.tell(&record, EventKind::LoggedOut(reason));
            self.revoke(vec![record]);
        }
        Ok(())
    }
}
