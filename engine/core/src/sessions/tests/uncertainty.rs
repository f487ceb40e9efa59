//! A refresh whose outcome is not known, by what the issuer does with spent tokens.

use super::*;
use crate::{HolderId, TokenStore};

/// Leaves an intent behind, as a process does that dies while the issuer works.
async fn crash_during_refresh(rig: &Rig, credential: &Credential) {
    let holder = HolderId::from_bytes([1; 16]);
    let record = rig.sessions.look(credential).await.unwrap();
    let now = rig.sessions.now();
    let (device, version) = (record.record().device_id, record.record().version);
    rig.store.lease(device, version, holder, now + Duration::from_secs(20), now).await.unwrap();
    rig.clock.advance(Duration::from_secs(20));
}

#[tokio::test]
async fn strict_serves_the_live_token_and_replays_nothing() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.clock.advance(ACCESS_TTL - Duration::from_secs(5));
    rig.issuer.fail_next([Fault::LostAfter]);
    for _ in 0..10 {
        assert_eq!(token(&rig.resume(&credential).await.unwrap()), "access-1-1");
        rig.let_tasks_run().await;
    }
    assert_eq!(rig.issuer.refresh_calls(), 1, "a replay could be punished");
}

#[tokio::test]
async fn strict_tries_once_when_the_token_is_needed_and_ends_as_interrupted() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.fail_next([Fault::LostAfter]);
    assert!(is_unavailable(&rig.resume(&credential).await));
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(over(rig.resume(&credential).await), EndReason::Interrupted);
    assert_eq!(rig.issuer.refresh_calls(), 2);
}

#[tokio::test]
async fn strict_goes_on_if_the_auth_server_had_not_acted() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.fail_next([Fault::LostBefore]);
    assert!(is_unavailable(&rig.resume(&credential).await));
    rig.clock.advance(Duration::from_secs(1));
    let session = rig.resume(&credential).await.unwrap();
    assert_eq!(token(&session), "access-1-2");
    assert!(session.record().refresh_intent.is_none(), "settled");
}

#[tokio::test]
async fn a_forgiving_issuer_costs_no_session() {
    for rotation in [Rotation::None, Rotation::Grace(Duration::from_secs(30))] {
        let rig = Rig::rotating(rotation);
        let credential = rig.login(ADA).await;
        rig.outlive_access();
        rig.issuer.fail_next([Fault::LostAfter]);
        assert!(is_unavailable(&rig.resume(&credential).await));
        rig.clock.advance(Duration::from_secs(1));
        assert!(rig.resume(&credential).await.is_ok(), "{rotation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn within_the_grace_it_is_settled_without_anyone_asking() {
    let rig = Rig::rotating(Rotation::Grace(Duration::from_secs(30)));
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.fail_next([Fault::LostAfter]);
    assert!(is_unavailable(&rig.resume(&credential).await));
    rig.clock.advance(Duration::from_secs(1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let session = rig.sessions.look(&credential).await.unwrap();
    assert_eq!(token(&session), "access-1-3");
    assert!(session.record().refresh_intent.is_none());
}

#[tokio::test(start_paused = true)]
async fn settling_ends_with_the_grace_and_does_not_breed() {
    let rig = Rig::rotating(Rotation::Grace(Duration::from_secs(30)));
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.fail_next([Fault::LostAfter; 30]);
    assert!(is_unavailable(&rig.resume(&credential).await));
    for _ in 0..60 {
        rig.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(rig.issuer.refresh_calls(), 4, "the request, and three tries in the grace");
}

#[tokio::test]
async fn a_wish_does_not_replay_a_token_that_may_be_spent() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.clock.advance(ACCESS_TTL - Duration::from_secs(5));
    rig.issuer.fail_next([Fault::LostAfter]);
    rig.resume(&credential).await.unwrap();
    rig.let_tasks_run().await;
    rig.clock.advance(Duration::from_secs(2));
    assert_eq!(token(&rig.sessions.refresh(&credential).await.unwrap()), "access-1-1");
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_open_is_settled_before_requests_are_served() {
    for (rotation, calls) in [
        (Rotation::None, 1),
        (Rotation::Grace(Duration::from_secs(30)), 1),
        (Rotation::Grace(Duration::from_secs(10)), 0),
        (Rotation::Strict, 0),
    ] {
        let rig = Rig::rotating(rotation);
        let credential = rig.login(ADA).await;
        crash_during_refresh(&rig, &credential).await;
        let restarted = rig.another_instance();
        restarted.settle().await.unwrap();
        assert_eq!(rig.issuer.refresh_calls(), calls, "{rotation:?}");
        assert!(restarted.resume(&credential).await.is_ok(), "{rotation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_auth_server_that_is_down_does_not_keep_the_server_from_starting() {
    let rig = Rig::rotating(Rotation::None);
    let credential = rig.login(ADA).await;
    crash_during_refresh(&rig, &credential).await;
    rig.issuer.fail_next([Fault::NotSent]);
    rig.another_instance().settle().await.unwrap();
    assert!(rig.resume(&credential).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_401_from_the_upstream_is_need_enough_for_the_one_try() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    crash_during_refresh(&rig, &credential).await;
    let spent = rig.sessions.look(&credential).await.unwrap().record().access_token.spent();
    let session = rig.sessions.renew(&credential, spent).await.unwrap();
    assert_eq!(token(&session), "access-1-2");
}
