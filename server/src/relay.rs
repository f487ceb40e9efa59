//! Carries what happens to sessions between the servers that share a Redis: what happens here is
//! told to the others, and what they tell is told to those who listen here.

use std::time::Duration;

use futures_util::future::{FutureExt as _, join_all};
use tokenkeep_core::{Event, Heard, Issuer, Origin, Sessions, TokenStore};
use tokenkeep_redis::RedisStore;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A relay that runs. Redis may come and go meanwhile: the flow never waits for the relay.
#[derive(Debug)]
pub struct Relay {
    telling: JoinHandle<()>,
    listening: JoinHandle<()>,
    stop: CancellationToken,
}

impl Relay {
    /// Starts a relay between `sessions` and the other servers on `redis`.
    pub fn start<S: TokenStore, I: Issuer>(sessions: &Sessions<S, I>, redis: &RedisStore) -> Self {
        let stop = CancellationToken::new();
        let events = sessions.subscribe(None).receiver;
        let teller = Teller { redis: redis.clone(), events, lost: false };
        let telling = tokio::spawn(teller.run(stop.clone()));
        let listening = tokio::spawn(listen(sessions.clone(), redis.clone()));
        Self { telling, listening, stop }
    }

    /// Tells what is not told yet, if Redis takes it in time, and stops.
    pub async fn stop(mut self) {
        self.listening.abort();
        self.stop.cancel();
        if tokio::time::timeout(STOP_LIMIT, &mut self.telling).await.is_err() {
            self.telling.abort();
            tracing::warn!("other servers were not told of the last that happened here");
        }
    }
}

/// Tells the other servers what happens here.
struct Teller {
    redis: RedisStore,
    events: Receiver<Heard>,
    /// Whether the others miss something that happened here, and do not know of it.
    lost: bool,
}

impl Teller {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let first = tokio::select! {
                biased;
                heard = self.events.recv() => heard,
                () = stop.cancelled() => return,
            };
            let first = match first {
                Ok(heard) => Some(heard),
                Err(RecvError::Lagged(_)) => {
                    self.lost = true;
                    None
                }
                Err(RecvError::Closed) => return,
            };
            let batch = self.batch(first);
            self.tell(batch).await;
        }
    }

    /// What happened here, beginning with `first`, as far as it is known already.
    fn batch(&mut self, first: Option<Heard>) -> Vec<Event> {
        let mut batch: Vec<Event> = first.and_then(own).into_iter().collect();
        while batch.len() < AT_ONCE {
            match self.events.try_recv() {
                Ok(heard) => batch.extend(own(heard)),
                Err(TryRecvError::Lagged(_)) => self.lost = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        batch
    }

    /// Tells of all of `batch`, however long Redis is away. What happens meanwhile waits; where
    /// that is too much, the others hear that something is lost.
    async fn tell(&mut self, mut batch: Vec<Event>) {
        let mut away = false;
        loop {
            let told = join_all(batch.iter().map(|event| self.redis.publish(event).boxed())).await;
            let mut failed = told.iter().map(Result::is_err);
            batch.retain(|_| failed.next() == Some(true));
            if self.lost && batch.is_empty() {
                self.lost = self.redis.publish_gap().boxed().await.is_err();
            }
            if batch.is_empty() && !self.lost {
                return;
            }
            if !away {
                tracing::warn!("other servers are not told what happens here at the moment");
                away = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The event in `heard`, if it happened here. What others told, they told everybody.
fn own(heard: Heard) -> Option<Event> {
    match heard {
        Heard::Event(event) if event.origin == Origin::Here => Some(event),
        Heard::Event(_) | Heard::Gap => None,
    }
}

/// Passes on what the other servers tell.
async fn listen<S: TokenStore, I: Issuer>(sessions: Sessions<S, I>, redis: RedisStore) {
    let mut missed = false;
    loop {
        match redis.listen().boxed().await {
            Ok(mut heard) => {
                if missed {
                    sessions.pass_on(Heard::Gap);
                }
                while let Some(heard) = heard.recv().await {
                    sessions.pass_on(heard);
                }
            }
            Err(error) if !missed => {
                tracing::warn!(%error, "what other servers do is not heard at the moment");
            }
            Err(_) => {}
        }
        missed = true;
        tokio::time::sleep(PAUSE).await;
    }
}

/// How many events are on their way to Redis at once.
const AT_ONCE: usize = 64;
const PAUSE: Duration = Duration::from_millis(500);
/// How long a stop waits for what is not told yet.
const STOP_LIMIT: Duration = Duration::from_secs(1);
