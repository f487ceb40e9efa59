//! Login and the ways a request goes on.

use super::*;
use crate::testing::without_random;
use crate::{Clock as _, TokenStore as _};

#[tokio::test]
async fn a_good_token_goes_on_without_a_call_or_a_write() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.store.set_failing(true);
    let session = rig.resume(&credential).await.unwrap();
    assert_eq!(token(&session), "access-1-1");
    assert_eq!(rig.issuer.refresh_calls(), 0);
}

#[tokio::test]
async fn a_dead_token_is_refreshed_before_going_on() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    let session = rig.resume(&credential).await.unwrap();
    assert_eq!(token(&session), "access-1-2");
    assert_eq!(session.record().device_id, credential.device_id(), "the same device");
    assert_eq!(token(&rig.resume(&credential).await.unwrap()), "access-1-2");
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test]
async fn a_fading_token_goes_on_and_is_refreshed_behind() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.clock.advance(ACCESS_TTL - Duration::from_secs(1));
    rig.issuer.close_gate();
    assert_eq!(token(&rig.resume(&credential).await.unwrap()), "access-1-1", "nobody waits");
    rig.issuer.until_running(1).await;
    assert_eq!(token(&rig.resume(&credential).await.unwrap()), "access-1-1");
    rig.issuer.open_gate();
    rig.sessions.shutdown().await;
    assert_eq!(token(&rig.sessions.look(&credential).await.unwrap()), "access-1-2");
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test]
async fn a_session_dies_with_its_refresh_token() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.clock.advance(crate::testing::REFRESH_TTL);
    assert_eq!(over(rig.resume(&credential).await), EndReason::Expired);
    assert!(rig.sessions.devices_of(&ADA.parse().unwrap()).await.unwrap().is_empty());
    assert_eq!(rig.issuer.refresh_calls(), 0);
}

#[tokio::test]
async fn an_unknown_device_and_a_wrong_secret_look_alike() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    let secret = crate::DeviceSecret::from_bytes([9; 32]);
    let forged = Credential::new(credential.device_id(), secret);
    let unknown = Credential::random().unwrap();
    for stranger in [&forged, &unknown] {
        let error = rig.resume(stranger).await.unwrap_err();
        assert!(matches!(error, Error::NotLoggedIn), "{error:?}");
    }
    rig.sessions.logout(&forged).await.unwrap();
    assert!(rig.resume(&credential).await.is_ok(), "a wrong secret logs nobody out");
    rig.sessions.logout(&credential).await.unwrap();
    let error = rig.resume(&forged).await.unwrap_err();
    assert!(matches!(error, Error::NotLoggedIn), "the reason is for its owner: {error:?}");
}

#[tokio::test]
async fn a_generator_that_fails_refuses_the_login_and_ends_nothing() {
    let rig = Rig::new();
    let before = rig.login(ADA).await;
    for user in [ADA, BOB] {
        let failing = without_random();
        let refused = rig.login_with(user, Some(before.clone())).await;
        drop(failing);
        assert!(matches!(refused, Err(Error::Random(_))), "{refused:?}");
    }
    rig.resume(&before).await.unwrap();
    let stats = rig.store.stats(rig.clock.now()).await.unwrap();
    assert_eq!(stats.devices, 1);
    rig.let_tasks_run().await;
    assert_eq!(rig.issuer.revoked(), ["refresh-2-1", "refresh-3-1"], "nobody has these tokens");
}

#[tokio::test]
async fn a_login_never_adopts_what_was_presented() {
    let rig = Rig::new();
    let planted = Credential::random().unwrap();
    let login = rig.login_with(ADA, Some(planted.clone())).await.unwrap();
    assert_ne!(login.credential.device_id(), planted.device_id());
    assert!(matches!(rig.resume(&planted).await, Err(Error::NotLoggedIn)));
}

#[tokio::test]
async fn a_second_login_of_a_browser_replaces_the_first_and_keeps_its_label() {
    let rig = Rig::new();
    let first = rig.login(ADA).await;
    let label = Some("desk".parse().unwrap());
    rig.sessions.label_device(&first, first.device_id(), label.clone()).await.unwrap();
    let second = rig.login_with(ADA, Some(first.clone())).await.unwrap();
    assert_eq!(second.session.record().label, label);
    assert_eq!(over(rig.resume(&first).await), EndReason::Replaced);
    assert_eq!(rig.sessions.devices(&second.credential).await.unwrap().all.len(), 1);
}

#[tokio::test]
async fn a_login_ends_the_session_of_another_user_of_the_browser() {
    let rig = Rig::new();
    let bob = rig.login(BOB).await;
    rig.login_with(ADA, Some(bob.clone())).await.unwrap();
    assert_eq!(over(rig.resume(&bob).await), EndReason::Replaced);
}

#[tokio::test]
async fn a_refused_login_changes_nothing() {
    let rig = Rig::new();
    let before = rig.login(ADA).await;
    let request = LoginRequest {
        username: ADA.into(),
        password: Password::new("wrong"),
        presented: Some(before.clone()),
        client: ClientInfo::default(),
    };
    match rig.sessions.login(request).await.unwrap_err() {
        Error::Refused(refusal) => {
            assert_eq!(refusal.detail.as_deref(), Some("Invalid credentials"));
        }
        other => panic!("{other:?}"),
    }
    assert!(rig.resume(&before).await.is_ok());
    let error = rig.login_with("no address", None).await.unwrap_err();
    assert!(matches!(error, Error::InvalidEmail(_)));
}

#[tokio::test]
async fn use_is_noted_once_in_the_touch_interval() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    let seen = async || {
        rig.resume(&credential).await.unwrap();
        rig.let_tasks_run().await;
        rig.sessions.look(&credential).await.unwrap().record().last_seen_at
    };
    let login_at = rig.sessions.now();
    rig.clock.advance(Duration::from_secs(59));
    assert_eq!(seen().await, login_at);
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(seen().await, rig.sessions.now());
}

#[tokio::test]
async fn looking_neither_refreshes_nor_counts_as_use() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    let login_at = rig.sessions.now();
    rig.outlive_access();
    let session = rig.sessions.look(&credential).await.unwrap();
    rig.let_tasks_run().await;
    assert_eq!(token(&session), "access-1-1");
    assert_eq!(rig.sessions.look(&credential).await.unwrap().record().last_seen_at, login_at);
    assert_eq!(rig.issuer.refresh_calls(), 0);
}

#[tokio::test]
async fn a_refresh_is_no_use_and_extends_no_idle_limit() {
    let idle = Duration::from_secs(600);
    let settings = Settings { idle_limit: Some(idle), ..Settings::default() };
    let rig = Rig::with(settings, Rotation::Strict);
    let credential = rig.login(ADA).await;
    let login_at = rig.sessions.now();
    for _ in 0..5 {
        rig.outlive_access();
        if rig.sessions.refresh(&credential).await.is_err() {
            break;
        }
        rig.let_tasks_run().await;
    }
    assert_eq!(rig.sessions.now(), login_at + idle);
    assert_eq!(over(rig.resume(&credential).await), EndReason::Expired);
    assert_eq!(rig.issuer.refresh_calls(), 4);
}

#[tokio::test]
async fn a_store_that_fails_fails_the_login_whole() {
    let rig = Rig::new();
    let bob = rig.login(BOB).await;
    rig.store.set_failing(true);
    let failed = rig.login_with(ADA, Some(bob.clone())).await;
    assert!(matches!(failed, Err(Error::Store(_))));
    rig.store.set_failing(false);
    assert!(rig.resume(&bob).await.is_ok());
    assert!(rig.sessions.devices_of(&ADA.parse().unwrap()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_absolute_limit_ends_a_session_that_is_refreshed() {
    let settings =
        Settings { absolute_limit: Some(Duration::from_secs(300)), ..Settings::default() };
    let rig = Rig::with(settings, Rotation::Strict);
    let credential = rig.login(ADA).await;
    for _ in 0..2 {
        rig.outlive_access();
        rig.resume(&credential).await.unwrap();
    }
    rig.outlive_access();
    assert_eq!(over(rig.resume(&credential).await), EndReason::Expired);
}
