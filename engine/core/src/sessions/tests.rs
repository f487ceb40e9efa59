//! The flow, claim by claim, over a store in memory and an issuer with one-time refresh tokens.

mod devices;
mod outages;
mod refreshes;
mod resumes;
mod revoking;
mod uncertainty;
mod witnesses;

use std::sync::Arc;
use std::time::Duration;

use super::{LoggedIn, LoginRequest, Sessions, Settings};
use crate::testing::{ACCESS_TTL, FakeIssuer, Fault, MemoryStore};
use crate::{
    ClientInfo, Credential, EndReason, Error, EventKind, Heard, ManualClock, Password, Rotation,
    Session, Timestamp,
};

const ADA: &str = "ada@example.org";
const BOB: &str = "bob@example.org";

/// The flow with its surroundings in the test's hands.
struct Rig {
    sessions: Sessions<MemoryStore, FakeIssuer>,
    store: MemoryStore,
    issuer: FakeIssuer,
    clock: Arc<ManualClock>,
}

impl Rig {
    fn new() -> Self {
        Self::with(Settings::default(), Rotation::Strict)
    }

    fn rotating(rotation: Rotation) -> Self {
        Self::with(Settings::default(), rotation)
    }

    fn with(settings: Settings, rotation: Rotation) -> Self {
        let store = MemoryStore::new();
        let issuer = FakeIssuer::new().with_rotation(rotation);
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_800_000_000)));
        let sessions = Sessions::new(store.clone(), issuer.clone(), clock.clone(), settings);
        Self { sessions, store, issuer, clock }
    }

    /// A second instance on the same store and issuer.
    fn another_instance(&self) -> Sessions<MemoryStore, FakeIssuer> {
        let (store, issuer) = (self.store.clone(), self.issuer.clone());
        Sessions::new(store, issuer, self.clock.clone(), Settings::default())
    }

    async fn login(&self, username: &str) -> Credential {
        self.login_with(username, None).await.unwrap().credential
    }

    async fn login_with(
        &self,
        username: &str,
        presented: Option<Credential>,
    ) -> Result<LoggedIn, Error> {
        let request = LoginRequest {
            username: username.into(),
            password: Password::new("secret"),
            presented,
            client: ClientInfo::new(Some("browser"), None),
        };
        self.sessions.login(request).await
    }

    async fn resume(&self, credential: &Credential) -> Result<Session, Error> {
        self.sessions.resume(credential).await
    }

    /// Lets the access token run out.
    fn outlive_access(&self) {
        self.clock.advance(ACCESS_TTL);
    }

    /// Lets the tasks that are ready run.
    async fn let_tasks_run(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

fn token(session: &Session) -> &str {
    session.record().access_token.expose()
}

/// Why the session is over.
fn over(result: Result<Session, Error>) -> EndReason {
    match result {
        Err(Error::Ended(reason)) => reason,
        other => panic!("the session is not over: {other:?}"),
    }
}

fn is_unavailable(result: &Result<Session, Error>) -> bool {
    matches!(result, Err(Error::Unavailable { .. }))
}
