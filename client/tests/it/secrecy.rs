//! No secret in anything that prints.

use std::error::Error as _;

use serde_json::json;
use tokenkeep_client::{Error, ServiceKey, SessionClient};

use crate::stub::{self, Stub, credential};

fn shown(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn clients_tokens_and_builders_print_no_secret() {
    let credential = credential();
    let given = credential.clone();
    let server = Stub::start(move |_| {
        let answer = stub::token(&given, "canary-token", 600);
        async { answer }
    })
    .await;
    let client = server.client();
    let token = client.token(&credential).await.unwrap();
    let text = format!("{client:?} {token:?} {:?} {:?}", token.header(), server.builder());
    assert!(!text.contains("canary"), "{text}");
    assert!(!format!("{:?} {client:?}", client.watch()).contains("canary"));
}

#[tokio::test]
async fn errors_repeat_nothing_of_what_they_could_not_read() {
    let credential = credential();
    let secret = credential.expose().split_once('.').unwrap().1.to_owned();
    let id = credential.device_id();
    for body in [
        json!({ "access_token": "canary-token", "access_seconds_left": "canary-text" }).to_string(),
        json!({
            "token_type": "bearer", "access_token": "canary token", "device_id": id,
            "access_expires_at": "2030-01-01T00:00:00Z", "access_seconds_left": 1, "email": "a@b",
        })
        .to_string(),
        "canary".to_owned(),
    ] {
        let server = Stub::start(move |_| {
            let answer = stub::answer(200, "application/json", &[], body.clone());
            async { answer }
        })
        .await;
        let text = shown(&server.client().token(&credential).await.unwrap_err());
        assert!(!text.contains("canary") && !text.contains(&secret), "{text}");
    }
}

#[tokio::test]
async fn errors_of_a_server_that_is_away_show_no_address_and_no_key() {
    let client = SessionClient::builder("http://127.0.0.1:1/canary-path")
        .service_key(ServiceKey::new(stub::KEY).unwrap())
        .build()
        .unwrap();
    let error = client.end_all_of(&"canary@example.org".parse().unwrap()).await.unwrap_err();
    assert!(error.is_unavailable());
    let text = shown(&error);
    assert!(!text.contains("canary"), "{text}");
}
