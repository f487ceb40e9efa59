//! What a server does as long as others share its store: it carries events between them, and
//! hears when they take the sessions elsewhere.

use tokenkeep_core::{Issuer, Sessions};
use tokenkeep_redis::RedisStore;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::moving::Switchable;
use crate::relay::Relay;
use crate::store::AnyStore;

/// Follows the store in charge, whichever that is.
#[derive(Debug)]
pub struct Sharing {
    following: JoinHandle<()>,
    stop: CancellationToken,
}

impl Sharing {
    /// Begins with the store that is in charge of `sessions`.
    pub fn start<I: Issuer>(
        sessions: &Sessions<Switchable<AnyStore>, I>,
        store: &Switchable<AnyStore>,
    ) -> Self {
        let (changes, stop) = (store.changes(), CancellationToken::new());
        let first = Ties::to_others(sessions, store);
        let following =
            tokio::spawn(follow(sessions.clone(), store.clone(), first, changes, stop.clone()));
        Self { following, stop }
    }

    /// Tells what is not told yet, if the store takes it in time, and stops.
    pub async fn stop(self) {
        self.stop.cancel();
        if self.following.await.is_err() {
            tracing::warn!("other servers were not told of the last that happened here");
        }
    }
}

async fn follow<I: Issuer>(
    sessions: Sessions<Switchable<AnyStore>, I>,
    store: Switchable<AnyStore>,
    mut ties: Option<Ties>,
    mut changes: watch::Receiver<u64>,
    stop: CancellationToken,
) {
    loop {
        let goes_on = tokio::select! {
            () = stop.cancelled() => false,
            changed = changes.changed() => changed.is_ok(),
        };
        // The next ones are tied first, so that nothing happens unheard.
        let next = if goes_on { Ties::to_others(&sessions, &store) } else { None };
        if let Some(ties) = std::mem::replace(&mut ties, next) {
            ties.cut().await;
        }
        if !goes_on {
            return;
        }
    }
}

/// What ties a server to the others on one Redis.
struct Ties {
    relay: Relay,
    hearing: JoinHandle<()>,
}

impl Ties {
    /// To those who share the store in charge; none if nobody can.
    fn to_others<I: Issuer>(
        sessions: &Sessions<Switchable<AnyStore>, I>,
        store: &Switchable<AnyStore>,
    ) -> Option<Self> {
        let (number, AnyStore::Redis(redis)) = store.numbered() else { return None };
        let relay = Relay::start(sessions, &redis);
        let hearing = tokio::spawn(hear_of_a_move(store.clone(), number, redis));
        Some(Self { relay, hearing })
    }

    async fn cut(self) {
        self.hearing.abort();
        self.relay.stop().await;
    }
}

/// Refuses everything once others took the sessions of `redis` elsewhere: what was written here
/// would be lost, and what ended there would live on here.
async fn hear_of_a_move(store: Switchable<AnyStore>, number: u64, redis: RedisStore) {
    let to = Box::pin(redis.until_moved()).await;
    if store.give_away(number, &to).await {
        tracing::error!(to, "another server moved the sessions: start this one with its settings");
    }
}
