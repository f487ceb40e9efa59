//! Tokens at hand: for how long, for whom, and how many calls they cost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokenkeep_client::{Credential, Timestamp};
use tokenkeep_core::{DeviceSecret, ManualClock};
use tokio::sync::Semaphore;

use crate::stub::{self, Stub, credential};

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_800_000_000)))
}

/// A server that gives `token-<number of the call>`, good for `seconds`.
async fn numbered(credential: &Credential, seconds: u64) -> Stub {
    let credential = credential.clone();
    Stub::start(move |ask| {
        let answer = stub::token(&credential, &format!("token-{}", ask.number), seconds);
        async { answer }
    })
    .await
}

#[tokio::test]
async fn a_token_is_asked_for_as_a_service_and_kept_at_hand() {
    let credential = credential();
    let server = numbered(&credential, 600).await;
    let client = server.client();
    for _ in 0..3 {
        let token = client.token(&credential).await.unwrap();
        assert_eq!(token.access_token().expose(), "token-1");
        assert_eq!(token.header(), "Bearer token-1");
        assert_eq!((token.scheme(), token.email().as_str()), ("Bearer", stub::EMAIL));
        assert_eq!(token.expires_at().to_string(), "2030-01-01T00:00:00Z");
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "POST /v1/token");
    assert_eq!(asked[0].header("authorization"), format!("Bearer {}", stub::KEY));
    assert_eq!(asked[0].header("x-device-credential"), credential.expose().as_str());
    assert_eq!(asked[0].header("cookie"), "");
    assert_eq!(asked[0].json(), serde_json::json!({}));
}

#[tokio::test]
async fn a_token_is_asked_for_again_shortly_before_it_expires() {
    // 600 s left: a leeway of 30 s. 100 s left: a tenth, 10 s.
    for (seconds, leeway) in [(600, 30), (100, 10)] {
        let (credential, clock) = (credential(), clock());
        let server = numbered(&credential, seconds).await;
        let client = server.builder().clock(Arc::clone(&clock)).build().unwrap();
        client.token(&credential).await.unwrap();
        clock.advance(Duration::from_secs(seconds - leeway) - Duration::from_micros(1));
        let early = client.token(&credential).await.unwrap();
        assert_eq!(early.access_token().expose(), "token-1");
        clock.advance(Duration::from_micros(1));
        let late = client.token(&credential).await.unwrap();
        assert_eq!(late.access_token().expose(), "token-2");
    }
}

#[tokio::test]
async fn a_wall_clock_that_leaps_makes_no_token_older_or_younger() {
    let (credential, clock) = (credential(), clock());
    let server = numbered(&credential, 600).await;
    let client = server.builder().clock(Arc::clone(&clock)).build().unwrap();
    client.token(&credential).await.unwrap();
    clock.leap_to(Timestamp::MAX);
    client.token(&credential).await.unwrap();
    assert_eq!(server.asked().len(), 1);
    clock.leap_to(Timestamp::from_unix_seconds(0));
    clock.advance(Duration::from_secs(600));
    client.token(&credential).await.unwrap();
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_hundred_callers_cost_one_call() {
    let credential = credential();
    let gate = Arc::new(Semaphore::new(0));
    let server = Stub::start({
        let (credential, gate) = (credential.clone(), Arc::clone(&gate));
        move |_| {
            let (credential, gate) = (credential.clone(), Arc::clone(&gate));
            async move {
                gate.acquire().await.unwrap().forget();
                stub::token(&credential, "token", 600)
            }
        }
    })
    .await;
    let client = server.client();
    let calls = join_all((0..100).map(|_| client.token(&credential)));
    let (tokens, ()) = tokio::join!(calls, async { gate.add_permits(100) });
    assert!(tokens.iter().all(|token| token.is_ok()));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_the_call_from_nobody() {
    let credential = credential();
    let (arrived, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let server = Stub::start({
        let (credential, arrived, gate) =
            (credential.clone(), Arc::clone(&arrived), Arc::clone(&gate));
        move |_| {
            let (credential, gate) = (credential.clone(), Arc::clone(&gate));
            arrived.add_permits(1);
            async move {
                gate.acquire().await.unwrap().forget();
                stub::token(&credential, "token", 600)
            }
        }
    })
    .await;
    let client = server.client();
    let first = tokio::spawn({
        let (client, credential) = (client.clone(), credential.clone());
        async move { client.token(&credential).await }
    });
    arrived.acquire().await.unwrap().forget();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    client.token(&credential).await.unwrap();
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn another_secret_of_the_same_device_never_gets_the_token_at_hand() {
    let right = credential();
    let wrong = Credential::new(right.device_id(), DeviceSecret::from_bytes([7; 32]));
    let server = Stub::start({
        let right = right.clone();
        move |ask| {
            let known = ask.header("x-device-credential") == right.expose().as_str();
            let answer = match known {
                true => stub::token(&right, "token", 600),
                false => stub::problem(401, "not_logged_in", &[]),
            };
            async { answer }
        }
    })
    .await;
    let client = server.client();
    // At the same time, and with the token at hand.
    let (good, bad) = tokio::join!(client.token(&right), client.token(&wrong));
    assert!(good.is_ok() && bad.unwrap_err().is_logged_out());
    assert!(client.token(&wrong).await.unwrap_err().is_logged_out());
    assert_eq!(server.asked().len(), 3, "a refusal is not kept at hand");
    client.invalidate(&wrong);
    client.token(&right).await.unwrap();
    assert_eq!(server.asked().len(), 3, "a wrong secret costs the right one nothing");
}

#[tokio::test]
async fn a_token_is_forgotten_when_told_so_and_when_the_session_is_over() {
    let (credential, clock) = (credential(), clock());
    let server = Stub::start({
        let credential = credential.clone();
        move |ask| {
            let answer = match ask.number {
                3 => stub::problem(401, "session_ended", &[]),
                4.. => stub::problem(503, "store_unavailable", &[]),
                _ => stub::token(&credential, "token", 100),
            };
            async { answer }
        }
    })
    .await;
    let client = server.builder().clock(Arc::clone(&clock)).build().unwrap();
    client.token(&credential).await.unwrap();
    client.invalidate(&credential);
    client.token(&credential).await.unwrap();
    assert_eq!(server.asked().len(), 2);
    // The token would work for 5 s more, but the verdict ends it.
    clock.advance(Duration::from_secs(95));
    assert!(client.token(&credential).await.unwrap_err().is_logged_out());
    assert!(client.token(&credential).await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn while_the_server_is_away_a_token_serves_to_its_end() {
    let (credential, clock) = (credential(), clock());
    let server = Stub::start({
        let credential = credential.clone();
        move |ask| {
            let answer = match ask.number {
                1 => stub::token(&credential, "token", 100),
                _ => stub::problem(503, "auth_server_unavailable", &[("retry-after", "60")]),
            };
            async { answer }
        }
    })
    .await;
    let client = server.builder().clock(Arc::clone(&clock)).build().unwrap();
    client.token(&credential).await.unwrap();
    clock.advance(Duration::from_secs(99));
    assert!(client.token(&credential).await.is_ok());
    clock.advance(Duration::from_secs(1));
    let error = client.token(&credential).await.unwrap_err();
    assert!(error.is_unavailable() && !error.is_logged_out());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn a_bound_limits_how_many_tokens_are_kept() {
    let (first, second) = (credential(), credential());
    let server = Stub::start({
        let known = [first.clone(), second.clone()];
        move |ask| {
            let who = ask.header("x-device-credential");
            let who = known.iter().find(|known| known.expose().as_str() == who).unwrap();
            let answer = stub::token(who, "token", 600);
            async { answer }
        }
    })
    .await;
    let client = server.builder().cache_bound(1).build().unwrap();
    for credential in [&first, &second, &second, &first] {
        client.token(credential).await.unwrap();
    }
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn an_answer_about_another_device_is_not_taken() {
    let server = numbered(&credential(), 600).await;
    let error = server.client().token(&credential()).await.unwrap_err();
    assert!(!error.is_logged_out() && !error.is_unavailable());
}

#[test]
fn a_runtime_that_ends_takes_no_later_call_with_it() {
    let credential = credential();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let serving = runtime();
    let server = serving.block_on(numbered(&credential, 600));
    let client = server.client();
    let short = runtime();
    // Polled once: the call is started, and its task never runs.
    short.block_on(async {
        let call = client.token(&credential);
        tokio::select! { biased; _ = call => unreachable!(), () = async {} => {} }
    });
    drop(short);
    serving.block_on(client.token(&credential)).unwrap();
}
