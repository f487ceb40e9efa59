//! Requests to an upstream: with the token, and once more with another one after a 401.

use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream;
use reqwest::{Body, Client};
use tokenkeep_client::Credential;
use tokenkeep_core::AccessToken;
use tokio::sync::{Barrier, Semaphore};

use crate::repeats::plain_http;
use crate::stub::{self, Stub, credential};

/// A session server that gives `old`, and `fresh` to whoever says that `old` is spent.
async fn sessions(credential: &Credential) -> Stub {
    let credential = credential.clone();
    Stub::start(move |ask| {
        let spent = AccessToken::new("old").unwrap().spent().to_string();
        let renews = ask.json()["spent"] == spent;
        let answer = stub::token(&credential, if renews { "fresh" } else { "old" }, 600);
        async { answer }
    })
    .await
}

/// An upstream that takes `fresh` alone, and says 401 only when `crowd` requests have met it.
async fn upstream(crowd: usize) -> Stub {
    let crowd = Arc::new(Barrier::new(crowd));
    Stub::start(move |ask| {
        let crowd = Arc::clone(&crowd);
        async move {
            if ask.header("authorization") == "Bearer fresh" {
                return stub::empty(200);
            }
            crowd.wait().await;
            stub::empty(401)
        }
    })
    .await
}

fn renewals(sessions: &Stub) -> usize {
    sessions.asked().iter().filter(|ask| ask.json()["spent"].is_string()).count()
}

#[tokio::test]
async fn a_401_of_the_upstream_renews_once_and_repeats_once() {
    let credential = credential();
    let (sessions, upstream) = (sessions(&credential).await, upstream(1).await);
    let (client, http) = (sessions.client(), plain_http());
    let request = http.post(&upstream.url).header("authorization", "mine").body("the order");
    let response = client.send(&credential, request).await.unwrap();
    assert_eq!(response.status(), 200);
    let asked = upstream.asked();
    assert_eq!(asked.len(), 2);
    for (ask, token) in asked.iter().zip(["Bearer old", "Bearer fresh"]) {
        assert_eq!(ask.header("authorization"), token);
        assert_eq!(ask.headers.get_all("authorization").iter().count(), 1);
        assert_eq!(ask.body, "the order");
    }
    let response = client.send(&credential, http.get(&upstream.url)).await.unwrap();
    assert_eq!(response.status(), 200, "the renewed token is kept at hand");
    assert_eq!((sessions.asked().len(), renewals(&sessions)), (2, 1));
}

#[tokio::test]
async fn a_hundred_callers_that_met_the_same_401_cost_one_renewal() {
    let credential = credential();
    let (sessions, upstream) = (sessions(&credential).await, upstream(100).await);
    let (client, http) = (sessions.client(), plain_http());
    let calls = (0..100).map(|_| client.send(&credential, http.get(&upstream.url)));
    for response in join_all(calls).await {
        assert_eq!(response.unwrap().status(), 200);
    }
    assert_eq!((sessions.asked().len(), renewals(&sessions)), (2, 1));
}

#[tokio::test]
async fn a_renewal_is_not_answered_by_a_plain_call_that_brings_the_spent_token() {
    let credential = credential();
    let (arrived, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(1)));
    let sessions = Stub::start({
        let (credential, arrived, gate) =
            (credential.clone(), Arc::clone(&arrived), Arc::clone(&gate));
        move |ask| {
            let renews = ask.json()["spent"].is_string();
            let answer = stub::token(&credential, if renews { "fresh" } else { "old" }, 600);
            arrived.add_permits(1);
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                answer
            }
        }
    })
    .await;
    // The upstream says its 401 when a plain call is under way again.
    let (met, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let upstream = Stub::start({
        let (met, go) = (Arc::clone(&met), Arc::clone(&go));
        move |ask| {
            let go = Arc::clone(&go);
            met.add_permits(1);
            async move {
                if ask.header("authorization") == "Bearer fresh" {
                    return stub::empty(200);
                }
                go.acquire().await.unwrap().forget();
                stub::empty(401)
            }
        }
    })
    .await;
    let client = sessions.client();
    let send = client.send(&credential, plain_http().get(&upstream.url));
    let plain = async {
        met.acquire().await.unwrap().forget();
        client.invalidate(&credential);
        let plain = client.token(&credential);
        let release = async {
            arrived.acquire_many(2).await.unwrap().forget();
            go.add_permits(9);
            // A renewal beside the plain call would be asked for while that is held back.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            assert_eq!(sessions.asked().len(), 2);
            gate.add_permits(9);
        };
        tokio::join!(plain, release).0
    };
    let (response, plain) = tokio::join!(send, plain);
    assert_eq!(plain.unwrap().access_token().expose(), "old");
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!((sessions.asked().len(), renewals(&sessions)), (3, 1));
}

#[tokio::test]
async fn an_upstream_that_refuses_the_renewed_token_too_has_the_last_word() {
    let credential = credential();
    let sessions = sessions(&credential).await;
    let upstream = Stub::start(|_| async { stub::empty(401) }).await;
    let request = plain_http().get(&upstream.url);
    let response = sessions.client().send(&credential, request).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!((upstream.asked().len(), renewals(&sessions)), (2, 1));
}

#[tokio::test]
async fn a_request_with_a_streamed_body_is_not_repeated_but_the_token_is_renewed() {
    let credential = credential();
    let (sessions, upstream) = (sessions(&credential).await, upstream(1).await);
    let (client, http) = (sessions.client(), plain_http());
    let body = Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>("part")]));
    let response = client.send(&credential, http.post(&upstream.url).body(body)).await.unwrap();
    assert_eq!((response.status().as_u16(), upstream.asked().len()), (401, 1));
    let response = client.send(&credential, http.get(&upstream.url)).await.unwrap();
    assert_eq!((response.status().as_u16(), renewals(&sessions)), (200, 1));
}

#[tokio::test]
async fn a_renewal_is_never_repeated_and_its_verdict_is_the_answer() {
    let credential = credential();
    for (status, code, logged_out) in
        [(503, "auth_server_unavailable", false), (401, "session_ended", true)]
    {
        let sessions = Stub::start({
            let credential = credential.clone();
            move |ask| {
                let answer = match ask.json()["spent"].is_string() {
                    true => stub::problem(status, code, &[("retry-after", "0")]),
                    false => stub::token(&credential, "old", 600),
                };
                async { answer }
            }
        })
        .await;
        let upstream = upstream(1).await;
        let request = plain_http().get(&upstream.url);
        let error = sessions.client().send(&credential, request).await.unwrap_err();
        assert_eq!(error.is_logged_out(), logged_out);
        assert_eq!((renewals(&sessions), upstream.asked().len()), (1, 1));
    }
}

#[tokio::test]
async fn an_upstream_that_is_away_is_told_apart_from_the_session_server() {
    let credential = credential();
    let sessions = sessions(&credential).await;
    let http: Client = plain_http();
    let request = http.get("http://127.0.0.1:1/?key=canary");
    let error = sessions.client().send(&credential, request).await.unwrap_err();
    assert!(error.is_upstream() && !error.is_unavailable());
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}
