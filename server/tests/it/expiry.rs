//! Records at the end of their life: absent at once, and their space comes back.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use tokenkeep_client::Email;
use tokenkeep_core::{
    AccessToken, ClientInfo, Credential, Grant, RefreshToken, Timestamp, TokenStore as _, TokenType,
};
use tokenkeep_server::config::StoreKind;

use crate::stores::over_every_store;
use crate::whole::{REFRESH, Whole};
use crate::world::refused;

over_every_store! {
    #[tokio::test]
    a_record_is_absent_the_instant_its_refresh_token_expires,
    expired_records_are_purged_in_bounded_steps_and_nothing_else_is,
}

async fn a_record_is_absent_the_instant_its_refresh_token_expires(kind: StoreKind) {
    let whole = Whole::new(kind).await;
    let ada = whole.join("ada@example.org").await;
    whole.clock.advance(Duration::from_secs(1));
    let bob = whole.join("bob@example.org").await;
    let email: Email = "ada@example.org".parse().unwrap();
    whole.clock.advance(REFRESH - Duration::from_secs(1) - Duration::from_micros(1));
    let session = whole.client.session(&ada).await.unwrap();
    assert_eq!(session.session_expires_at, whole.sessions.now() + Duration::from_micros(1));
    assert_eq!(whole.client.devices_of(&email).await.unwrap().len(), 1);
    let stats = whole.client.stats().await.unwrap();
    assert_eq!((stats.devices, stats.users), (2, 2));

    whole.clock.advance(Duration::from_micros(1));
    for path in ["/v1/session", "/authz/nginx", "/api/protected", "/v1/devices"] {
        let answer = whole.get(path, &ada).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let problem = refused(whole.get("/v1/session", &ada).await, 401, "session_ended").await;
    assert_eq!(problem.reason.as_deref(), Some("expired"));
    assert!(whole.client.token(&ada).await.unwrap_err().is_logged_out());
    assert!(whole.client.devices_of(&email).await.unwrap().is_empty());
    let stats = whole.client.stats().await.unwrap();
    assert_eq!((stats.devices, stats.users), (1, 1));
    assert_eq!(whole.demo.stats().refresh_calls, 0, "a dead token is not sent");
    whole.reaches_the_resource(&bob).await;
}

async fn expired_records_are_purged_in_bounded_steps_and_nothing_else_is(kind: StoreKind) {
    let whole = Whole::new(kind).await;
    fill(&whole, 300).await;
    let survivor = whole.join("ada@example.org").await;
    outlive_all_but(&whole, &survivor).await;
    let freed = purge(&whole, 100).await;
    // The others also free by themselves.
    assert!(freed == 300 || (kind != StoreKind::Redb && freed <= 300), "{freed}");
    let stats = whole.store.stats(whole.sessions.now()).await.unwrap();
    assert_eq!((stats.devices, stats.users, stats.unreadable), (1, 1, 0));
    whole.outlive_access();
    whole.reaches_the_resource(&survivor).await;
}

#[tokio::test]
async fn the_space_of_expired_records_comes_back() {
    let whole = Whole::new(StoreKind::Redb).await;
    fill(&whole, 3_000).await;
    let survivor = whole.join("ada@example.org").await;
    let size = || whole.data.path().join("data/tokens.redb").metadata().unwrap().len();
    let engine = whole.store.engine().unwrap();
    engine.flush().await.unwrap();
    let full = size();
    outlive_all_but(&whole, &survivor).await;
    assert_eq!(purge(&whole, 1_000).await, 3_000);
    engine.compact().await.unwrap();
    let figures = engine.figures();
    assert_eq!(figures.garbage_rows, 0);
    assert!(figures.rows <= 4, "{figures:?}");
    let left = size();
    assert!(left < full / 4, "{full} bytes before, {left} after");
    assert_eq!(whole.client.stats().await.unwrap().size_bytes, left);
    whole.outlive_access();
    whole.reaches_the_resource(&survivor).await;
}

/// Lets every session die but one, which gets a new life half-way.
async fn outlive_all_but(whole: &Whole, survivor: &Credential) {
    for _ in 0..2 {
        whole.clock.advance(REFRESH / 2 + Duration::from_secs(1));
        whole.reaches_the_resource(survivor).await;
    }
}

/// Purges until nothing is left to purge, `limit` records at most in a step; returns how many.
async fn purge(whole: &Whole, limit: usize) -> usize {
    let mut freed = Vec::new();
    while freed.last() != Some(&0) {
        freed.push(whole.store.purge_expired(limit, whole.sessions.now()).await.unwrap());
    }
    assert!(freed.iter().all(|freed| *freed <= limit), "{freed:?}");
    freed.iter().sum()
}

/// Stores sessions of users who logged in by another protocol.
async fn fill(whole: &Whole, sessions: usize) {
    let now = whole.sessions.now();
    let logins = (0..sessions).map(|number| {
        let email = format!("user{number}@example.org").parse().unwrap();
        let grant = grant(number, now);
        whole.sessions.login_with_grant(email, grant, now, None, ClientInfo::default())
    });
    for login in join_all(logins).await {
        login.unwrap();
    }
    assert_eq!(whole.store.stats(now).await.unwrap().devices, sessions as u64);
}

fn grant(number: usize, now: Timestamp) -> Grant {
    Grant {
        token_type: TokenType::default(),
        access_token: AccessToken::new(format!("a{number}-{}", "x".repeat(400))).unwrap(),
        access_expires_at: now + Duration::from_secs(120),
        refresh_token: RefreshToken::new(format!("r{number}-{}", "y".repeat(400))).unwrap(),
        refresh_expires_at: now + REFRESH,
    }
}
