//! The device cookie on the wire.

use reqwest::StatusCode;
use serde_json::json;
use tokenkeep_server::settings::ServerSettings;

use crate::world::{World, header, plain, refused};

#[tokio::test]
async fn over_https_the_cookie_is_bound_to_the_host() {
    let world = World::with(ServerSettings::default()).await;
    let body = json!({"email": "ada@example.org", "password": "right"});
    let answer = world.post("/v1/login").json(&body).send().await.unwrap();
    let cookie = header(&answer, "set-cookie");
    let (name, rest) = cookie.split_once('=').unwrap();
    let (value, attributes) = rest.split_once("; ").unwrap();
    assert_eq!((name, value.len()), ("__Host-device_id", 76));
    assert_eq!(attributes, "HttpOnly; Secure; SameSite=Lax; Path=/");
    let answer = world.post("/v1/logout").send().await.unwrap();
    let cleared = "__Host-device_id=; HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=0";
    assert_eq!(header(&answer, "set-cookie"), cleared);
}

#[tokio::test]
async fn a_cookie_of_the_other_policy_is_no_session() {
    let world = World::with(plain()).await;
    let cookie = world.login("ada@example.org").await;
    let other = cookie.replace("device_id=", "__Host-device_id=");
    let answer = world.get("/v1/session").header("cookie", other).send().await.unwrap();
    refused(answer, 401, "not_logged_in").await;
}

#[tokio::test]
async fn two_cookies_that_differ_are_no_session() {
    let world = World::new().await;
    let (ada, bob) = (world.login("ada@example.org").await, world.login("bob@example.org").await);
    for cookies in
        [format!("{ada}; {bob}"), format!("{bob}; x=y; {ada}"), format!("{ada}; device_id=")]
    {
        let answer = world.get("/v1/session").header("cookie", cookies).send().await.unwrap();
        refused(answer, 401, "not_logged_in").await;
    }
    let split = world.get("/v1/session").header("cookie", &ada).header("cookie", &bob);
    refused(split.send().await.unwrap(), 401, "not_logged_in").await;
    let twice = format!("a=b; {ada}; {ada}");
    let answer = world.get("/v1/session").header("cookie", twice).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn no_cookie_makes_a_server_error() {
    let world = World::new().await;
    let good = world.login("ada@example.org").await;
    let mut bad: Vec<Vec<u8>> = vec![
        b"device_id=\"\"".to_vec(),
        format!("device_id=\"{}\"", &good[10..]).into_bytes(),
        [b"device_id=".as_slice(), &[0xff; 76]].concat(),
        format!("device_id={}", "x".repeat(20_000)).into_bytes(),
        format!("{good}A").into_bytes(),
        good.as_bytes()[..good.len() - 1].to_vec(),
        b"=;=;;device_id;device_id=;".to_vec(),
    ];
    bad.push(vec![b';'; 10_000]);
    for cookie in bad {
        let value = reqwest::header::HeaderValue::from_bytes(&cookie).unwrap();
        let answer = world.get("/v1/session").header("cookie", value).send().await.unwrap();
        refused(answer, 401, "not_logged_in").await;
    }
}
