//! Access tokens for services.

use reqwest::{RequestBuilder, StatusCode};
use serde_json::json;
use tokenkeep_core::AccessToken;
use tokenkeep_core::wire::TokenBody;

use crate::world::{World, header, refused};

fn ask(world: &World, key: &str, credential: &str) -> RequestBuilder {
    world.post("/v1/token").bearer_auth(key).header("x-device-credential", credential)
}

async fn credential(world: &World) -> String {
    world.login("ada@example.org").await.split_once('=').unwrap().1.to_owned()
}

#[tokio::test]
async fn a_service_gets_a_usable_token() {
    let world = World::new().await;
    let credential = credential(&world).await;
    let answer = ask(&world, "token-key", &credential).send().await.unwrap();
    assert_eq!(header(&answer, "cache-control"), "no-store");
    let token: TokenBody = answer.json().await.unwrap();
    assert_eq!((token.token_type.as_str(), token.access_token.as_str()), ("Bearer", "access-1-1"));
    world.outlive_access();
    let answer = ask(&world, "token-key", &credential).json(&json!({})).send().await.unwrap();
    let token: TokenBody = answer.json().await.unwrap();
    assert_eq!((token.access_token.as_str(), token.access_seconds_left), ("access-1-2", 120));
}

#[tokio::test]
async fn a_token_that_met_a_401_is_renewed_once() {
    let world = World::new().await;
    let credential = credential(&world).await;
    let spent = AccessToken::new("access-1-1").unwrap().spent().to_string();
    for _ in 0..3 {
        let body = json!({"spent": spent});
        let answer = ask(&world, "token-key", &credential).json(&body).send().await.unwrap();
        assert_eq!(answer.json::<TokenBody>().await.unwrap().access_token, "access-1-2");
    }
    assert_eq!(world.issuer.refresh_calls(), 1);
}

#[tokio::test]
async fn both_the_key_and_the_credential_are_needed() {
    let world = World::new().await;
    let credential = credential(&world).await;
    let answer = ask(&world, "wrong", &credential).send().await.unwrap();
    assert_eq!(header(&answer, "www-authenticate"), "Bearer");
    refused(answer, 401, "invalid_service_key").await;
    let answer = ask(&world, "read-key", &credential).send().await.unwrap();
    refused(answer, 403, "missing_scope").await;
    let answer = ask(&world, "token-key", "rubbish").send().await.unwrap();
    refused(answer, 401, "not_logged_in").await;
    let cookie = format!("device_id={credential}");
    let answer = world.post("/v1/token").header("cookie", &cookie).send().await.unwrap();
    refused(answer, 401, "invalid_service_key").await;
    let request = world.post("/v1/token").bearer_auth("token-key").header("cookie", &cookie);
    refused(request.send().await.unwrap(), 401, "not_logged_in").await;
    let twice = ask(&world, "token-key", &credential).header("x-device-credential", &credential);
    refused(twice.send().await.unwrap(), 401, "not_logged_in").await;
}

#[tokio::test]
async fn a_token_request_is_read_strictly() {
    let world = World::new().await;
    let credential = credential(&world).await;
    for body in [json!({"spent": "abc"}), json!({"spend": "abc"}), json!([])] {
        let answer = ask(&world, "token-key", &credential).json(&body).send().await.unwrap();
        refused(answer, 400, "bad_request").await;
    }
    let answer = ask(&world, "token-key", &credential).body("x").send().await.unwrap();
    refused(answer, 415, "unsupported_media_type").await;
    let answer = ask(&world, "token-key", &credential).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_ended_session_gives_no_token_and_the_reason() {
    let world = World::new().await;
    let credential = credential(&world).await;
    let cookie = format!("device_id={credential}");
    world.post("/v1/logout").header("cookie", cookie).send().await.unwrap();
    let answer = ask(&world, "token-key", &credential).send().await.unwrap();
    assert_eq!(header(&answer, "set-cookie"), "<absent>", "a service has no cookie");
    assert_eq!(refused(answer, 401, "session_ended").await.reason.as_deref(), Some("logout"));
}
