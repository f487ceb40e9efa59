//! The calls of a service about all users.

use serde_json::json;

use crate::stub::{self, Stub, credential};

#[tokio::test]
async fn admin_calls_go_with_the_service_key_and_an_escaped_email() {
    let stats = json!({
        "devices": 3, "users": 2, "size_bytes": 1, "garbage_rows": 0, "unreadable": 0,
        "refreshes_in_flight": 0, "refreshes_done": 5, "refreshes_failed": 0, "logins": 4, "panics": 0,
    });
    let server = Stub::start(move |ask| {
        let answer = match ask.line.split([' ', '?']).take(2).collect::<Vec<_>>()[..] {
            ["GET", "/v1/admin/devices"] => stub::ok(&json!({ "devices": [] })),
            ["DELETE", "/v1/admin/devices"] => stub::ok(&json!({ "ended": 2 })),
            _ => stub::ok(&stats),
        };
        async { answer }
    })
    .await;
    let client = server.client();
    let email = "a+b&c@example.org".parse().unwrap();
    assert!(client.devices_of(&email).await.unwrap().is_empty());
    assert_eq!(client.end_all_of(&email).await.unwrap(), 2);
    assert_eq!(client.stats().await.unwrap().refreshes_done, 5);
    let asked = server.asked();
    assert_eq!(asked[0].line, "GET /v1/admin/devices?email=a%2Bb%26c%40example.org");
    assert_eq!(asked[1].line, "DELETE /v1/admin/devices?email=a%2Bb%26c%40example.org");
    assert_eq!(asked[2].line, "GET /v1/admin/stats");
    let bearer = format!("Bearer {}", stub::KEY);
    assert!(asked.iter().all(|ask| ask.header("authorization") == bearer));
}

#[tokio::test]
async fn ending_a_user_forgets_the_tokens_of_all_devices() {
    let (first, second) = (credential(), credential());
    let known = [first.clone(), second.clone()];
    let server = Stub::start(move |ask| {
        let text = ask.header("x-device-credential");
        let who = known.iter().find(|known| known.expose().as_str() == text);
        let answer = match who {
            Some(who) => stub::token(who, "token", 600),
            None => stub::ok(&json!({ "ended": 2 })),
        };
        async { answer }
    })
    .await;
    let client = server.client();
    for round in 1..=2 {
        client.token(&first).await.unwrap();
        client.token(&second).await.unwrap();
        client.end_all_of(&stub::EMAIL.parse().unwrap()).await.unwrap();
        assert_eq!(server.asked().len(), round * 3);
    }
}
