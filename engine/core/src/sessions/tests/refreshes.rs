//! One refresh per device, whoever asks and whoever goes away.

use super::*;
use crate::{SpentToken, TokenStore as _};

async fn resume_at_once(rig: &Rig, credential: &Credential, count: usize) -> Vec<String> {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let (sessions, credential) = (rig.sessions.clone(), credential.clone());
            tokio::spawn(async move { sessions.resume(&credential).await })
        })
        .collect();
    let mut tokens = Vec::new();
    for task in tasks {
        tokens.push(token(&task.await.unwrap().unwrap()).to_owned());
    }
    tokens
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_with_one_dead_token_cost_one_refresh() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    let tokens = resume_at_once(&rig, &credential, 1000).await;
    assert!(tokens.iter().all(|token| token == "access-1-2"));
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_on_one_store_refresh_once() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    let other = rig.another_instance();
    rig.issuer.close_gate();
    let tasks: Vec<_> = [rig.sessions.clone(), other]
        .into_iter()
        .flat_map(|instance| std::iter::repeat_n(instance, 50))
        .map(|instance| {
            let credential = credential.clone();
            tokio::spawn(async move { instance.resume(&credential).await })
        })
        .collect();
    rig.issuer.until_running(1).await;
    rig.issuer.open_gate();
    for task in tasks {
        assert_eq!(token(&task.await.unwrap().unwrap()), "access-1-2");
    }
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_lose_the_pair() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.close_gate();
    let (sessions, presented) = (rig.sessions.clone(), credential.clone());
    let request = tokio::spawn(async move { sessions.resume(&presented).await });
    rig.issuer.until_running(1).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    rig.issuer.open_gate();
    rig.sessions.shutdown().await;
    assert_eq!(token(&rig.sessions.look(&credential).await.unwrap()), "access-1-2");
}

#[tokio::test]
async fn shutdown_waits_for_a_running_refresh_and_starts_no_other() {
    let rig = Rig::new();
    let (first, second) = (rig.login(ADA).await, rig.login(BOB).await);
    rig.outlive_access();
    rig.issuer.close_gate();
    let (sessions, presented) = (rig.sessions.clone(), first.clone());
    let request = tokio::spawn(async move { sessions.resume(&presented).await });
    rig.issuer.until_running(1).await;
    let sessions = rig.sessions.clone();
    let shutdown = tokio::spawn(async move { sessions.shutdown().await });
    rig.let_tasks_run().await;
    assert!(!shutdown.is_finished(), "a refresh is under way");
    assert!(matches!(rig.resume(&second).await, Err(Error::ShuttingDown)));
    rig.issuer.open_gate();
    shutdown.await.unwrap();
    assert_eq!(token(&request.await.unwrap().unwrap()), "access-1-2");
}

#[tokio::test]
async fn logout_beats_a_running_refresh() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.close_gate();
    let (sessions, presented) = (rig.sessions.clone(), credential.clone());
    let request = tokio::spawn(async move { sessions.resume(&presented).await });
    rig.issuer.until_running(1).await;
    rig.sessions.logout(&credential).await.unwrap();
    rig.issuer.open_gate();
    assert_eq!(over(request.await.unwrap()), EndReason::Logout);
    assert_eq!(over(rig.resume(&credential).await), EndReason::Logout, "it stays ended");
    rig.sessions.shutdown().await;
    let mut revoked = rig.issuer.revoked();
    revoked.sort();
    assert_eq!(revoked, ["refresh-1-1", "refresh-1-2"], "the new pair is given back");
}

#[tokio::test]
async fn a_label_set_during_a_refresh_does_not_lose_the_pair() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.close_gate();
    let (sessions, presented) = (rig.sessions.clone(), credential.clone());
    let request = tokio::spawn(async move { sessions.resume(&presented).await });
    rig.issuer.until_running(1).await;
    let label = Some("desk".parse().unwrap());
    rig.sessions.label_device(&credential, credential.device_id(), label.clone()).await.unwrap();
    rig.issuer.open_gate();
    assert_eq!(token(&request.await.unwrap().unwrap()), "access-1-2");
    let session = rig.resume(&credential).await.unwrap();
    assert_eq!((token(&session), &session.record().label), ("access-1-2", &label));
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_that_met_one_401_cost_one_refresh() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    let spent = rig.resume(&credential).await.unwrap().record().access_token.spent();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (sessions, credential) = (rig.sessions.clone(), credential.clone());
            tokio::spawn(async move { sessions.renew(&credential, spent).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(token(&task.await.unwrap().unwrap()), "access-1-2");
    }
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test]
async fn renewing_a_token_that_nobody_holds_gives_the_newer_one() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    let unknown: SpentToken = "00".repeat(32).parse().unwrap();
    assert_eq!(token(&rig.sessions.renew(&credential, unknown).await.unwrap()), "access-1-1");
    assert_eq!(rig.issuer.refresh_calls(), 0);
}

#[tokio::test]
async fn a_wish_to_refresh_is_granted_once_in_the_cool_down() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    assert_eq!(token(&rig.sessions.refresh(&credential).await.unwrap()), "access-1-1");
    rig.clock.advance(Duration::from_secs(5));
    for _ in 0..3 {
        assert_eq!(token(&rig.sessions.refresh(&credential).await.unwrap()), "access-1-2");
    }
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshes_towards_the_issuer_are_bounded() {
    let four = std::num::NonZeroUsize::new(4).unwrap();
    let settings = Settings { concurrent_refreshes: four, ..Settings::default() };
    let rig = Rig::with(settings, Rotation::Strict);
    let mut credentials = Vec::new();
    for number in 0..100 {
        credentials.push(rig.login(&format!("user{number}@example.org")).await);
    }
    rig.outlive_access();
    rig.issuer.close_gate();
    let tasks: Vec<_> = credentials
        .into_iter()
        .map(|credential| {
            let sessions = rig.sessions.clone();
            tokio::spawn(async move { sessions.resume(&credential).await })
        })
        .collect();
    rig.issuer.until_running(4).await;
    rig.issuer.open_gate();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!((rig.issuer.busiest(), rig.issuer.refresh_calls()), (4, 100));
}

#[tokio::test]
async fn without_a_new_refresh_token_the_old_one_stays() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    let before = rig.resume(&credential).await.unwrap();
    rig.outlive_access();
    rig.issuer.fail_next([Fault::AccessOnly]);
    let after = rig.resume(&credential).await.unwrap();
    assert_ne!(token(&before), token(&after));
    assert_eq!(before.record().refresh_token, after.record().refresh_token);
    assert_eq!(before.record().refresh_expires_at, after.record().refresh_expires_at);
}

#[tokio::test]
async fn a_token_that_is_dead_on_arrival_costs_one_refresh() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.close_gate();
    rig.issuer.fail_next([Fault::Stillborn; 200]);
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let (sessions, credential) = (rig.sessions.clone(), credential.clone());
            tokio::spawn(async move { sessions.resume(&credential).await })
        })
        .collect();
    rig.issuer.until_running(1).await;
    rig.let_tasks_run().await;
    rig.issuer.open_gate();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test]
async fn an_upstream_that_accepts_no_token_costs_one_refresh_in_the_cool_down() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    for _ in 0..100 {
        let spent = rig.resume(&credential).await.unwrap().record().access_token.spent();
        rig.sessions.renew(&credential, spent).await.unwrap();
    }
    assert_eq!(rig.issuer.refresh_calls(), 1);
    rig.clock.advance(Duration::from_secs(5));
    let spent = rig.resume(&credential).await.unwrap().record().access_token.spent();
    assert_eq!(token(&rig.sessions.renew(&credential, spent).await.unwrap()), "access-1-3");
}

fn one_place() -> Settings {
    let one = std::num::NonZeroUsize::MIN;
    Settings { concurrent_refreshes: one, ..Settings::default() }
}

#[tokio::test]
async fn a_request_does_not_wait_behind_the_background() {
    let rig = Rig::with(
        Settings { concurrent_refreshes: 2.try_into().unwrap(), ..Settings::default() },
        Rotation::Strict,
    );
    let (ada, bob) = (rig.login(ADA).await, rig.login(BOB).await);
    rig.clock.advance(ACCESS_TTL - Duration::from_secs(1));
    rig.issuer.close_gate();
    // One place is the background's: Bob's refresh finds none and is left to a later request.
    rig.resume(&ada).await.unwrap();
    rig.issuer.until_running(1).await;
    rig.resume(&bob).await.unwrap();
    rig.clock.advance(Duration::from_secs(1));
    let (sessions, presented) = (rig.sessions.clone(), bob.clone());
    let request = tokio::spawn(async move { sessions.resume(&presented).await });
    rig.issuer.until_running(2).await;
    rig.issuer.open_gate();
    assert!(request.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_refresh_that_only_queues_is_given_up_at_shutdown() {
    let rig = Rig::with(one_place(), Rotation::Strict);
    let (ada, bob) = (rig.login(ADA).await, rig.login(BOB).await);
    rig.outlive_access();
    rig.issuer.close_gate();
    let resume = |credential: &Credential| {
        let (sessions, presented) = (rig.sessions.clone(), credential.clone());
        tokio::spawn(async move { sessions.resume(&presented).await })
    };
    let first = resume(&ada);
    rig.issuer.until_running(1).await;
    let second = resume(&bob);
    rig.let_tasks_run().await;
    let sessions = rig.sessions.clone();
    let shutdown = tokio::spawn(async move { sessions.shutdown().await });
    assert!(matches!(second.await.unwrap(), Err(Error::ShuttingDown)));
    rig.issuer.open_gate();
    shutdown.await.unwrap();
    assert!(first.await.unwrap().is_ok());
    assert_eq!(rig.issuer.refresh_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_instance_takes_no_place() {
    let rig = Rig::with(one_place(), Rotation::Strict);
    let (ada, bob) = (rig.login(ADA).await, rig.login(BOB).await);
    rig.outlive_access();
    let now = rig.sessions.now();
    let holder = crate::HolderId::from_bytes([1; 16]);
    let version = crate::Version::FIRST;
    let until = now + Duration::from_secs(20);
    rig.store.lease(ada.device_id(), version, holder, until, now).await.unwrap();
    let (sessions, presented) = (rig.sessions.clone(), ada.clone());
    let waiting = tokio::spawn(async move { sessions.resume(&presented).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(rig.resume(&bob).await.is_ok(), "Bob has nothing to do with it");
    rig.clock.advance(Duration::from_secs(10));
    assert!(is_unavailable(&waiting.await.unwrap()), "after the issuer's deadline");
}
