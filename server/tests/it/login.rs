//! Login and registration.

use reqwest::StatusCode;
use serde_json::json;
use tokenkeep_core::wire::{RegisteredBody, SessionBody};
use tokenkeep_server::settings::{LoginLimits, Rate, ServerSettings};

use crate::world::{World, cookie_of, device_of, header, plain, refused};

#[tokio::test]
async fn a_login_hands_over_a_cookie_and_no_token() {
    let world = World::new().await;
    let body = json!({"email": "Ada@example.org", "password": "right"});
    let answer = world.post("/v1/login").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(header(&answer, "cache-control"), "no-store");
    assert_eq!(header(&answer, "vary"), "Cookie");
    assert_eq!(header(&answer, "cross-origin-resource-policy"), "same-origin");
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    let cookie = cookie_of(&answer).unwrap();
    let text = answer.text().await.unwrap();
    assert!(!text.contains("access-1") && !text.contains("refresh-1"), "{text}");
    let session: SessionBody = serde_json::from_str(&text).unwrap();
    assert_eq!(session.device_id.to_string(), device_of(&cookie));
    assert_eq!((session.email.as_str(), session.access_seconds_left), ("ada@example.org", 120));
}

#[tokio::test]
async fn a_login_may_be_a_form() {
    let world = World::new().await;
    for path in ["/v1/login", "/api_v1/auth/login"] {
        let form = [("username", "ada@example.org"), ("password", "right")];
        let answer = world.post(path).form(&form).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(cookie_of(&answer).is_some());
    }
}

#[tokio::test]
async fn what_is_no_login_is_refused_with_a_word() {
    let world = World::new().await;
    let form = "application/x-www-form-urlencoded";
    for (kind, body, status, code) in [
        (form, "username=a@b&username=c@d&password=x", 400, "bad_request"),
        (form, "username=a@b&password=x&password=y", 400, "bad_request"),
        (form, "username=a@b&email=a@b&password=x", 400, "bad_request"),
        (form, "username=a@b&password=x&device_id=1", 400, "bad_request"),
        (form, "username=a@b", 400, "bad_request"),
        ("application/json", "{\"email\":\"a@b\"}", 400, "bad_request"),
        ("application/json", "[", 400, "bad_request"),
        ("application/json", "", 400, "bad_request"),
        (
            "application/json",
            "{\"email\":\"a@b\",\"password\":\"x\",\"admin\":true}",
            400,
            "bad_request",
        ),
        (
            "application/json",
            "{\"email\":\"a@b\",\"password\":\"x\",\"password\":\"y\"}",
            400,
            "bad_request",
        ),
        (
            "application/json; charset=utf-8",
            "{\"email\":\"a\",\"password\":\"x\"}",
            400,
            "invalid_email",
        ),
        ("text/plain", "{\"email\":\"a@b\",\"password\":\"x\"}", 415, "unsupported_media_type"),
        ("application/json", "{\"email\":\"a@b\",\"password\":\"wrong\"}", 401, "login_refused"),
    ] {
        let request = world.post("/v1/login").header("content-type", kind).body(body);
        let answer = request.send().await.unwrap();
        assert!(cookie_of(&answer).is_none());
        let problem = refused(answer, status, code).await;
        assert!(!problem.detail.contains("admin"), "the body is not quoted");
    }
    let answer = world.post("/v1/login").body("x").send().await.unwrap();
    refused(answer, 415, "unsupported_media_type").await;
}

#[tokio::test]
async fn a_wrong_password_is_told_in_the_words_of_the_auth_server() {
    let world = World::new().await;
    let body = json!({"email": "ada@example.org", "password": "wrong"});
    let answer = world.post("/v1/login").json(&body).send().await.unwrap();
    assert_eq!(header(&answer, "referrer-policy"), "no-referrer");
    assert!(header(&answer, "content-security-policy").starts_with("default-src 'none'"));
    let problem = refused(answer, 401, "login_refused").await;
    assert_eq!(problem.detail, "Invalid credentials");
}

#[tokio::test]
async fn a_login_makes_a_new_device_and_ends_the_one_before() {
    let world = World::new().await;
    let first = world.login("ada@example.org").await;
    let body = json!({"email": "ada@example.org", "password": "right"});
    let answer = world.post("/v1/login").header("cookie", &first).json(&body).send().await.unwrap();
    let second = cookie_of(&answer).unwrap();
    assert_ne!(device_of(&first), device_of(&second));
    let answer = world.get("/v1/session").header("cookie", &first).send().await.unwrap();
    let problem = refused(answer, 401, "session_ended").await;
    assert_eq!(problem.reason.as_deref(), Some("replaced"));
}

#[tokio::test]
async fn a_registration_is_passed_on() {
    let world = World::new().await;
    for path in ["/v1/register", "/api_v1/auth/register"] {
        let body = json!({"email": "ada@example.org", "password": "right"});
        let answer = world.post(path).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(answer.json::<RegisteredBody>().await.unwrap().message, "User created");
        let body = json!({"email": "taken@example.org", "password": "right"});
        let answer = world.post(path).json(&body).send().await.unwrap();
        let problem = refused(answer, 400, "registration_refused").await;
        assert_eq!(problem.detail, "User already exists");
    }
}

#[tokio::test]
async fn guessing_is_slowed_down_and_locks_nobody_out() {
    let world = World::with(ServerSettings {
        logins: LoginLimits {
            per_email: Rate { burst: 3, every: std::time::Duration::from_secs(10) },
            ..LoginLimits::default()
        },
        ..plain()
    })
    .await;
    let cookie = world.login("ada@example.org").await;
    let guess = || {
        let body = json!({"email": "ADA@example.org", "password": "wrong"});
        world.post("/v1/login").json(&body).send()
    };
    for _ in 0..3 {
        refused(guess().await.unwrap(), 401, "login_refused").await;
    }
    let answer = guess().await.unwrap();
    assert_eq!(header(&answer, "retry-after"), "10");
    assert_eq!(header(&answer, "ratelimit"), "\"email\";r=0;t=10");
    assert_eq!(header(&answer, "ratelimit-policy"), "\"email\";q=3;w=30");
    refused(answer, 429, "too_many_requests").await;
    for (method, path) in SESSION_REQUESTS {
        let ask = world.ask(method.parse().unwrap(), path).header("cookie", &cookie);
        let status = ask.send().await.unwrap().status();
        assert!(status.is_success(), "her sessions go on: {method} {path}: {status}");
    }
    world.login("bob@example.org").await;
    world.clock.advance(std::time::Duration::from_secs(10));
    refused(guess().await.unwrap(), 401, "login_refused").await;
}

/// What a session is used with; the last one ends it.
const SESSION_REQUESTS: [(&str, &str); 6] = [
    ("GET", "/v1/session"),
    ("POST", "/v1/session/refresh"),
    ("GET", "/v1/devices"),
    ("GET", "/authz/nginx"),
    ("DELETE", "/v1/devices?except=current"),
    ("POST", "/v1/logout"),
];

#[tokio::test]
async fn a_limit_does_not_tell_who_has_an_account() {
    let world = World::with(ServerSettings {
        logins: LoginLimits {
            per_email: Rate { burst: 2, every: std::time::Duration::from_secs(10) },
            ..LoginLimits::default()
        },
        ..plain()
    })
    .await;
    world.login("ada@example.org").await;
    let mut seen = Vec::new();
    for email in ["ada@example.org", "nobody@example.org"] {
        let mut answers = Vec::new();
        for _ in 0..4 {
            let body = json!({"email": email, "password": "wrong"});
            let answer = world.post("/v1/login").json(&body).send().await.unwrap();
            let limits = ["retry-after", "ratelimit", "ratelimit-policy"];
            let limits = limits.map(|name| header(&answer, name).to_owned());
            answers.push((answer.status(), limits));
        }
        seen.push(answers);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0][3].0, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_flood_of_logins_from_one_address_is_slowed_down() {
    let world = World::with(ServerSettings {
        logins: LoginLimits {
            per_address: Rate { burst: 2, every: std::time::Duration::from_secs(1) },
            ..LoginLimits::default()
        },
        ..plain()
    })
    .await;
    for (number, path, status) in [
        (1, "/v1/login", 401),
        (2, "/v1/register", 201),
        (3, "/v1/login", 429),
        (4, "/v1/register", 429),
        (5, "/api_v1/auth/register", 429),
    ] {
        let body = json!({"email": format!("{number}@example.org"), "password": "wrong"});
        let answer = world.post(path).json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        if status == 429 {
            assert_eq!(header(&answer, "ratelimit"), "\"address\";r=0;t=1");
            assert_eq!(header(&answer, "ratelimit-policy"), "\"address\";q=2;w=2");
        }
    }
}
