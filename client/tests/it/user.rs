//! The calls of a user's own device.

use serde_json::json;
use tokenkeep_client::{ErrorCode, Password};

use crate::stub::{self, Answer, Ask, Stub, credential};

async fn serving(answer: impl Fn(&Ask) -> Answer + Send + Sync + 'static) -> Stub {
    Stub::start(move |ask| {
        let answer = answer(&ask);
        async { answer }
    })
    .await
}

#[tokio::test]
async fn a_login_brings_the_credential_of_the_cookie() {
    let given = credential();
    for name in ["device_id", "__Host-device_id"] {
        let (body, text) = (stub::session(&given), given.expose().to_string());
        let server = serving(move |_| {
            let cookie = format!("{name}={text}; HttpOnly; SameSite=Lax; Path=/");
            stub::answer(200, "application/json", &[("set-cookie", &cookie)], body.to_string())
        })
        .await;
        let password = Password::new("canary-password");
        let (credential, session) = server.client().login("Ann@x", &password).await.unwrap();
        assert_eq!(*credential.expose(), *given.expose());
        assert_eq!(session.device_id, given.device_id());
        let asked = server.asked();
        assert_eq!(asked[0].line, "POST /v1/login");
        assert_eq!(asked[0].json(), json!({"email": "Ann@x", "password": "canary-password"}));
        assert_eq!(asked[0].header("authorization"), "", "a login needs no service key");
    }
}

#[tokio::test]
async fn a_login_without_a_cookie_or_with_a_wrong_password_is_an_error() {
    let body = stub::session(&credential());
    let server = serving(move |_| stub::ok(&body)).await;
    let error = server.client().login("a@b", &Password::new("p")).await.unwrap_err();
    assert!(!error.is_refused() && !error.is_unavailable());
    let server = serving(|_| stub::problem(401, "login_refused", &[])).await;
    let error = server.client().login("a@b", &Password::new("p")).await.unwrap_err();
    assert!(error.is_refused() && !error.is_logged_out());
}

#[tokio::test]
async fn the_credential_goes_as_a_cookie_and_the_service_key_stays_at_home() {
    let credential = credential();
    let body = stub::session(&credential);
    let server = serving(move |ask| match ask.line.as_str() {
        "GET /v1/session" => stub::ok(&body),
        "GET /v1/devices" => stub::ok(&json!({ "devices": [] })),
        _ => stub::empty(204),
    })
    .await;
    let client = server.client();
    assert_eq!(client.session(&credential).await.unwrap().email.as_str(), stub::EMAIL);
    assert!(client.devices(&credential).await.unwrap().is_empty());
    client.end_device(&credential, credential.device_id()).await.unwrap();
    client.logout(&credential).await.unwrap();
    let lines: Vec<String> = server.asked().iter().map(|ask| ask.line.clone()).collect();
    let ended = format!("DELETE /v1/devices/{}", credential.device_id());
    assert_eq!(lines, ["GET /v1/session", "GET /v1/devices", ended.as_str(), "POST /v1/logout"]);
    for ask in server.asked() {
        let cookie = format!("device_id={}", credential.expose().as_str());
        assert_eq!(ask.header("cookie"), cookie, "{}", ask.line);
        assert_eq!(ask.header("authorization"), "", "{}", ask.line);
    }
    let secure = server.builder().secure_cookie(true).build().unwrap();
    secure.session(&credential).await.unwrap();
    assert!(server.asked()[4].header("cookie").starts_with("__Host-device_id="));
}

#[tokio::test]
async fn ending_a_session_forgets_its_token() {
    let credential = credential();
    let given = credential.clone();
    let server = serving(move |ask| match ask.line.as_str() {
        "POST /v1/token" => stub::token(&given, "token", 600),
        _ => stub::empty(204),
    })
    .await;
    let client = server.client();
    client.token(&credential).await.unwrap();
    client.logout(&credential).await.unwrap();
    client.token(&credential).await.unwrap();
    client.end_device(&credential, credential.device_id()).await.unwrap();
    client.token(&credential).await.unwrap();
    let calls = server.asked().iter().filter(|ask| ask.line == "POST /v1/token").count();
    assert_eq!(calls, 3);
}

#[tokio::test]
async fn a_device_of_somebody_else_is_no_device() {
    let server = serving(|_| stub::problem(404, "no_such_device", &[])).await;
    let (own, other) = (credential(), credential());
    let error = server.client().end_device(&own, other.device_id()).await.unwrap_err();
    assert!(error.is_refused());
    assert_eq!(error.code(), Some(ErrorCode::NoSuchDevice));
}
