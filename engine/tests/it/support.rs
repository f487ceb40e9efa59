//! A store in a directory of its own, with a clock that stands still.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokenkeep::{
    AccessToken, ClientInfo, Clock, DeviceId, Email, Engine, HolderId, Insert, InsertOutcome,
    Lookup, ManualClock, OpenError, Options, RefreshToken, Timestamp, TokenRecord, TokenType,
    Tokens, Verifier, Version,
};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A directory with a store in it, once it was opened.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000)));
        Self { directory: tempfile::tempdir().unwrap(), clock }
    }

    pub(crate) fn options(&self) -> Options {
        Options::new().clock(self.clock.clone())
    }

    pub(crate) fn try_open(&self) -> Result<Engine, OpenError> {
        Engine::open(self.directory.path(), self.options())
    }

    pub(crate) fn open(&self) -> Engine {
        self.try_open().unwrap()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("tokens.redb")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

pub(crate) fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 16])
}

pub(crate) fn holder(n: u8) -> HolderId {
    HolderId::from_bytes([n; 16])
}

pub(crate) fn email(text: &str) -> Email {
    text.parse().unwrap()
}

/// A record of Ada's that lives for 30 days; the access token for an hour.
pub(crate) fn record(n: u8, now: Timestamp) -> TokenRecord {
    TokenRecord {
        device_id: device(n),
        version: Version::FIRST,
        verifier: Verifier::from_bytes([n; 32]),
        email: email("ada@example.org"),
        token_type: TokenType::default(),
        access_token: AccessToken::new(format!("canary-access-{n}")).unwrap(),
        access_issued_at: now,
        access_expires_at: now + HOUR,
        refresh_token: RefreshToken::new(format!("canary-refresh-{n}")).unwrap(),
        refresh_expires_at: now + 30 * DAY,
        created_at: now,
        last_seen_at: now,
        previous_visit_at: None,
        absolute_expires_at: None,
        idle_limit: None,
        client: ClientInfo::new(Some("a browser"), Some([127, 0, 0, 1].into())),
        label: None,
        refresh_intent: None,
    }
}

pub(crate) fn login(record: TokenRecord) -> Insert {
    Insert { record, replaces: None, ceiling: None }
}

/// Logs device `n` in.
#[track_caller]
pub(crate) fn log_in(engine: &Engine, n: u8, now: Timestamp) -> Arc<TokenRecord> {
    match engine.blocking().insert(login(record(n, now)), now).unwrap() {
        InsertOutcome::Inserted { record, .. } => record,
        other => panic!("{other:?}"),
    }
}

/// Replaces the record of device `n` by one with the same tokens.
#[track_caller]
pub(crate) fn replace(engine: &Engine, n: u8, expected: u64, now: Timestamp) {
    let expected = Version::from_number(expected);
    let outcome = engine.blocking().replace(expected, record(n, now), Tokens::Kept, now).unwrap();
    assert!(matches!(outcome, tokenkeep::ReplaceOutcome::Replaced(_)), "{outcome:?}");
}

#[track_caller]
pub(crate) fn live(engine: &Engine, n: u8, now: Timestamp) -> Arc<TokenRecord> {
    match engine.blocking().get(device(n), now).unwrap() {
        Lookup::Live(record) => record,
        other => panic!("device {n}: {other:?}"),
    }
}

/// Why the session of device `n` ended, by its name; `absent` if nothing is known of it.
#[track_caller]
pub(crate) fn ended(engine: &Engine, n: u8, now: Timestamp) -> &'static str {
    match engine.blocking().get(device(n), now).unwrap() {
        Lookup::Ended(ended) => ended.reason.as_str(),
        Lookup::Absent => "absent",
        Lookup::Live(_) => "live",
    }
}

/// Waits until writes are taken again.
#[track_caller]
pub(crate) fn wait_until_writable(engine: &Engine) {
    for _ in 0..100 {
        if engine.blocking().check_writable().is_ok() {
            return;
        }
        // The writer tries again by itself; this only gives it time.
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(Duration::from_millis(100));
    }
    panic!("{:?}", engine.blocking().check_writable());
}
