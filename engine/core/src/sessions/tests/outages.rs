//! Only a verdict ends a session: not an auth server that is down, slow or misconfigured, and
//! not a store that fails.

use std::num::NonZeroUsize;

use super::*;
use crate::TokenStore;

#[tokio::test]
async fn a_refused_refresh_token_ends_the_session() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.fail_next([Fault::Refused]);
    assert_eq!(over(rig.resume(&credential).await), EndReason::Refused);
    assert_eq!(over(rig.resume(&credential).await), EndReason::Refused);
    assert_eq!(rig.issuer.refresh_calls(), 1, "a spent token is not sent again");
}

#[tokio::test]
async fn an_auth_server_that_is_down_logs_nobody_out() {
    for fault in [Fault::NotSent, Fault::LostBefore, Fault::Misconfigured] {
        let rig = Rig::new();
        let credential = rig.login(ADA).await;
        rig.outlive_access();
        rig.issuer.fail_next([fault]);
        assert!(is_unavailable(&rig.resume(&credential).await), "{fault:?}");
        rig.clock.advance(Duration::from_secs(10));
        assert_eq!(token(&rig.resume(&credential).await.unwrap()), "access-1-2", "{fault:?}");
    }
}

#[tokio::test]
async fn a_live_token_is_served_while_the_auth_server_is_down() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.clock.advance(ACCESS_TTL - Duration::from_secs(1));
    rig.issuer.fail_next([Fault::NotSent; 3]);
    for _ in 0..3 {
        assert_eq!(token(&rig.resume(&credential).await.unwrap()), "access-1-1");
        rig.let_tasks_run().await;
    }
    assert_eq!(rig.issuer.refresh_calls(), 3);
    assert_eq!(token(&rig.resume(&credential).await.unwrap()), "access-1-1");
    rig.let_tasks_run().await;
    assert_eq!(token(&rig.sessions.look(&credential).await.unwrap()), "access-1-2");
}

#[tokio::test(start_paused = true)]
async fn an_auth_server_that_hangs_is_given_up_at_the_deadline() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.fail_next([Fault::Hang]);
    let asked_at = tokio::time::Instant::now();
    assert!(is_unavailable(&rig.resume(&credential).await));
    assert_eq!(asked_at.elapsed().as_secs(), 10);
    rig.clock.advance(Duration::from_secs(1));
    assert!(rig.resume(&credential).await.is_ok(), "it had not acted: the retry works");
}

#[tokio::test]
async fn an_open_breaker_asks_nobody() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.fail_next([Fault::NotSent; 5]);
    for _ in 0..20 {
        assert!(is_unavailable(&rig.resume(&credential).await));
    }
    assert_eq!(rig.issuer.refresh_calls(), 5);
    rig.clock.advance(Duration::from_secs(1));
    assert!(rig.resume(&credential).await.is_ok(), "one probe is enough");
}

#[tokio::test]
async fn a_busy_auth_server_is_left_alone_as_long_as_it_asked() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.fail_next([Fault::Busy(Duration::from_secs(7))]);
    for _ in 0..3 {
        match rig.resume(&credential).await.unwrap_err() {
            Error::Unavailable { retry_after, .. } => assert_eq!(retry_after.as_secs(), 7),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rig.issuer.refresh_calls(), 1);
    rig.clock.advance(Duration::from_secs(7));
    assert!(rig.resume(&credential).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_new_pair_is_offered_until_the_store_takes_it() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.close_gate();
    let (sessions, presented) = (rig.sessions.clone(), credential.clone());
    let request = tokio::spawn(async move { sessions.resume(&presented).await });
    rig.issuer.until_running(1).await;
    rig.store.set_failing(true);
    rig.issuer.open_gate();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!request.is_finished(), "the pair is precious");
    rig.store.set_failing(false);
    assert_eq!(token(&request.await.unwrap().unwrap()), "access-1-2");
}

/// A refresh whose pair the store does not take until it is back, 30 s later; the request that
/// waited for it.
async fn store_is_away_for_long(rig: &Rig, credential: &Credential) -> Result<Session, Error> {
    rig.outlive_access();
    rig.issuer.close_gate();
    let (sessions, presented) = (rig.sessions.clone(), credential.clone());
    let request = tokio::spawn(async move { sessions.resume(&presented).await });
    rig.issuer.until_running(1).await;
    rig.store.set_failing(true);
    rig.issuer.open_gate();
    for _ in 0..30 {
        rig.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // The pair is offered every 100 ms: whoever asks at once is faster.
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.store.set_failing(false);
    request.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_long_costs_an_answer_and_no_session() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    let answer = store_is_away_for_long(&rig, &credential).await;
    assert!(is_unavailable(&answer), "nobody waits for ever");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(token(&rig.resume(&credential).await.unwrap()), "access-1-2");
    assert_eq!(rig.issuer.refresh_calls(), 1, "what is spent is not sent again");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_while_the_store_was_away_lets_nobody_replay() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    let answer = store_is_away_for_long(&rig, &credential).await;
    assert!(is_unavailable(&answer));
    // Another server sees the store come back before the one that has the pair.
    let session = rig.another_instance().resume(&credential).await.unwrap();
    assert_eq!(token(&session), "access-1-2");
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_logout_beats_a_pair_that_waits_for_its_store() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    assert!(is_unavailable(&store_is_away_for_long(&rig, &credential).await));
    assert!(rig.another_instance().logout(&credential).await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(over(rig.resume(&credential).await), EndReason::Logout);
    assert_eq!(rig.sessions.stats().refreshes_in_flight, 0, "nobody offers it any more");
}

#[tokio::test(start_paused = true)]
async fn pairs_that_wait_for_their_store_leave_the_places_at_the_issuer_and_the_shutdown_free() {
    let one = Settings { concurrent_refreshes: NonZeroUsize::MIN, ..Settings::default() };
    let rig = Rig::with(one, Rotation::Strict);
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.close_gate();
    let (sessions, presented) = (rig.sessions.clone(), credential.clone());
    let request = tokio::spawn(async move { sessions.resume(&presented).await });
    rig.issuer.until_running(1).await;
    rig.store.set_failing(true);
    rig.issuer.open_gate();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.sessions.inner.permits.available_permits(), 1);
    rig.clock.advance(Duration::from_secs(5));
    rig.sessions.shutdown().await;
    assert!(matches!(request.await.unwrap(), Err(Error::Store(_))));
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_sent_again_because_the_store_failed() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.fail_next([Fault::Refused]);
    rig.issuer.close_gate();
    let (sessions, presented) = (rig.sessions.clone(), credential.clone());
    let request = tokio::spawn(async move { sessions.resume(&presented).await });
    rig.issuer.until_running(1).await;
    rig.store.set_failing(true);
    rig.issuer.open_gate();
    tokio::time::sleep(Duration::from_secs(2)).await;
    rig.store.set_failing(false);
    assert_eq!(over(request.await.unwrap()), EndReason::Refused);
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_answer_was_lost_is_told_once() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    let mut listener = rig.sessions.subscribe(None).receiver;
    rig.issuer.fail_next([Fault::Refused]);
    rig.issuer.close_gate();
    let (sessions, presented) = (rig.sessions.clone(), credential.clone());
    let request = tokio::spawn(async move { sessions.resume(&presented).await });
    rig.issuer.until_running(1).await;
    rig.store.set_failing(true);
    rig.issuer.open_gate();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // The first try got through, and nobody heard of it.
    rig.store.set_failing(false);
    let (device, now) = (credential.device_id(), rig.sessions.now());
    rig.store.remove(device, None, EndReason::Refused, now).await.unwrap();
    assert_eq!(over(request.await.unwrap()), EndReason::Refused);
    let Ok(Heard::Event(event)) = listener.try_recv() else { panic!("nothing was told") };
    assert!(matches!(event.kind, EventKind::LoggedOut(EndReason::Refused)));
    assert!(listener.try_recv().is_err());
}

/// A refresh that never reached the auth server, and whose lease the store did not take back.
async fn lease_is_stuck(rig: &Rig, credential: &Credential) {
    rig.outlive_access();
    rig.issuer.fail_next([Fault::NotSent]);
    rig.issuer.close_gate();
    let (sessions, presented) = (rig.sessions.clone(), credential.clone());
    let request = tokio::spawn(async move { sessions.resume(&presented).await });
    rig.issuer.until_running(1).await;
    rig.store.set_failing(true);
    rig.issuer.open_gate();
    assert!(is_unavailable(&request.await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_as_soon_as_the_store_is_back() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    lease_is_stuck(&rig, &credential).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    rig.store.set_failing(false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked_at = tokio::time::Instant::now();
    let session = rig.another_instance().resume(&credential).await.unwrap();
    assert_eq!(token(&session), "access-1-2");
    assert_eq!(asked_at.elapsed(), Duration::ZERO, "nobody holds it, nothing is uncertain");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_store_does_not_take_back_keeps_no_shutdown_waiting() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    lease_is_stuck(&rig, &credential).await;
    let asked_at = tokio::time::Instant::now();
    rig.sessions.shutdown().await;
    assert_eq!(asked_at.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn logins_that_fail_keep_nobody_else_from_being_refreshed() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    for _ in 0..20 {
        let failed = rig.login_with("broken@example.org", None).await;
        assert!(matches!(failed, Err(Error::Unavailable { .. })));
    }
    assert!(rig.resume(&credential).await.is_ok());
}

#[tokio::test]
async fn a_device_that_keeps_failing_is_spaced_out() {
    let rig = Rig::rotating(Rotation::None);
    let credential = rig.login(ADA).await;
    let other = rig.login(BOB).await;
    rig.outlive_access();
    let mut calls = 0;
    for _ in 0..3 {
        rig.issuer.fail_next([Fault::LostBefore]);
        for _ in 0..10 {
            assert!(is_unavailable(&rig.resume(&credential).await));
        }
        calls += 1;
        assert_eq!(rig.issuer.refresh_calls(), calls, "one try in a pause");
        // Another device's success tells the breaker that the auth server is well.
        rig.clock.advance(Duration::from_secs(32));
        rig.sessions.refresh(&other).await.unwrap();
        calls += 1;
    }
}

#[tokio::test]
async fn without_a_lease_nothing_is_sent() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.store.set_failing(true);
    assert!(matches!(rig.resume(&credential).await, Err(Error::Store(_))));
    assert_eq!(rig.issuer.refresh_calls(), 0);
}
