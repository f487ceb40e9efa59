//! What the application hears of who it is: from the server alone.

use super::Site;
use super::front::BOTH;
use crate::api::seen;
use crate::world::{device_of, raw};

#[tokio::test]
async fn the_application_hears_who_it_is_and_never_the_cookie() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        for (cookies, kept) in [
            (cookie.clone(), ""),
            (format!("{cookie}; a=b"), "a=b"),
            (format!("a=b; {cookie}"), "a=b"),
            (format!("a=b; {cookie}; c=\"d e\""), "a=b; c=\"d e\""),
            (format!("a=b;{cookie};c=d"), "a=b;c=d"),
            (format!("{cookie}; a=b; {cookie}"), "a=b"),
            (format!("my_device_id=x; {cookie}"), "my_device_id=x"),
        ] {
            let lines = format!("connection: close\r\ncookie: {cookies}\r\n");
            let got = site.seen_of("/app?x=1", &lines).await;
            assert_eq!(got["path"], "/app?x=1", "{kind:?}");
            assert_eq!(seen(&got, "authorization"), ["Bearer access-1-1"], "{kind:?}");
            assert_eq!(seen(&got, "x-auth-request-email"), ["ada@example.org"], "{kind:?}");
            assert_eq!(seen(&got, "x-auth-request-device"), [device_of(&cookie)], "{kind:?}");
            assert_eq!(seen(&got, "x-forwarded-for"), ["127.0.0.1"], "{kind:?}");
            let cookies = seen(&got, "cookie").concat();
            assert_eq!(cookies, kept, "{kind:?}");
            let secret = cookie.split_once('.').unwrap().1;
            assert!(!got.to_string().contains(secret), "{kind:?}: {got}");
        }
    }
}

#[tokio::test]
async fn a_second_cookie_line_hides_no_device_cookie() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        let secret = cookie.split_once('.').unwrap().1;
        for lines in [
            format!("cookie: a=b\r\ncookie: {cookie}\r\ncookie: {cookie}\r\n"),
            format!("cookie: {cookie}\r\ncookie: a=b\r\n"),
            format!("cookie: {cookie}; {cookie}; {cookie}; {cookie}\r\n"),
            format!("cookie: a=b; __Host-{cookie}; {cookie}; c=d\r\n"),
        ] {
            let got = site.seen_of("/app", &format!("connection: close\r\n{lines}")).await;
            assert_eq!(seen(&got, "x-auth-request-email"), ["ada@example.org"], "{kind:?}");
            assert!(!got.to_string().contains(secret), "{kind:?}: {got}");
        }
    }
}

/// Headers by which a client says who it is, or what `Connection` makes of ours.
const FORGED: &str = "X-Auth-Request-Email: root\r\n\
    x-auth-request-email: root\r\n\
    X_Auth_Request_Email: root\r\n\
    X.Auth.Request.Email: root\r\n\
    X-Auth_Request-Email: root\r\n\
    x-auth-request-device: root\r\n\
    x_auth_request_device: root\r\n\
    X-Auth-Request-User: root\r\n\
    X_Auth_Request_User: root\r\n\
    X-Auth-Request-Groups: root\r\n\
    X-Auth-Request-Preferred-Username: root\r\n\
    X-Auth-Request-Access-Token: root\r\n\
    X-Forwarded-User: root\r\n\
    X_Forwarded_User: root\r\n\
    X-Forwarded-Email: root\r\n\
    X-Forwarded-Groups: root\r\n\
    X-Forwarded-Preferred-Username: root\r\n\
    X-Forwarded-Access-Token: root\r\n\
    X-Forwarded-For: 6.6.6.6\r\n\
    X-Forwarded-Host: evil.example\r\n\
    X-Forwarded-Proto: root\r\n\
    Forwarded: for=6.6.6.6\r\n\
    X-Real-IP: 6.6.6.6\r\n\
    Remote-User: root\r\n\
    X-Remote-User: root\r\n\
    X-WebAuth-User: root\r\n\
    X-User: root\r\n\
    X-Email: root\r\n\
    X-Device-Credential: root\r\n\
    X-Original-URL: /root\r\n\
    X-Rewrite-URL: /root\r\n\
    Proxy: root\r\n\
    Authorization: Bearer root\r\n";

/// Every spelling of `Connection` with which a client asks a proxy to take our headers off.
const CONNECTIONS: [&str; 4] = [
    "Connection: close\r\n",
    "Connection: close, Authorization, X-Auth-Request-Email, X-Auth-Request-Device\r\n",
    "Connection: close\r\nConnection: x-auth-request-email\r\nConnection: authorization\r\n",
    "Connection: close, Cookie\r\n",
];

#[tokio::test]
async fn a_client_smuggles_no_identity() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        for connection in CONNECTIONS {
            let lines = format!("{FORGED}{connection}cookie: {cookie}\r\n");
            let got = site.seen_of("/app", &lines).await;
            let text = got.to_string();
            for forged in ["root", "6.6.6.6", "evil.example"] {
                assert!(!text.contains(forged), "{kind:?}: {forged} came through: {text}");
            }
            assert_eq!(seen(&got, "authorization"), ["Bearer access-1-1"], "{kind:?}");
            assert_eq!(seen(&got, "x-auth-request-email"), ["ada@example.org"], "{kind:?}");
            assert_eq!(seen(&got, "x-auth-request-device"), [device_of(&cookie)], "{kind:?}");
        }
    }
}

#[tokio::test]
async fn nobody_is_anybody_where_no_session_is_needed() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        for connection in CONNECTIONS {
            let lines = format!("{FORGED}{connection}cookie: {cookie}\r\n");
            let got = site.seen_of("/public/x", &lines).await;
            let text = got.to_string();
            let secret = cookie.split_once('.').unwrap().1;
            for forged in ["root", "6.6.6.6", "evil.example", "ada@", secret] {
                assert!(!text.contains(forged), "{kind:?}: {forged} came through: {text}");
            }
            assert_eq!(seen(&got, "authorization").concat(), "", "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_client_does_not_say_where_it_is_or_which_page_it_asked_for() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let said = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-uri", "/forged"),
            ("x-original-uri", "/forged"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-method", "POST"),
            ("x_forwarded_uri", "/forged"),
        ];
        let forge = |request: reqwest::RequestBuilder| {
            said.iter().fold(request, |request, (name, value)| request.header(*name, *value))
        };
        let page = forge(site.get("/app")).header("accept", "text/html").send().await.unwrap();
        assert_eq!(page.headers()["location"], "/login?rd=%2Fapp", "{kind:?}");
        let body = serde_json::json!({"email": "ada@example.org", "password": "right"});
        let login = forge(site.ask(reqwest::Method::POST, "/v1/login")).json(&body);
        let cookie = crate::world::cookie_of(&login.send().await.unwrap()).unwrap();
        let devices = site.get("/v1/devices").header("cookie", &cookie).send().await.unwrap();
        let devices = devices.text().await.unwrap();
        assert!(devices.contains("127.0.0.1") && !devices.contains("6.6.6.6"), "{devices}");
    }
}

#[tokio::test]
async fn an_identity_that_is_said_twice_is_refused_or_overwritten() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        let host = site.front.address;
        for name in ["Authorization", "X-Auth-Request-Email", "X-Auth-Request-Device", "Cookie"] {
            let twice = format!("{name}: root=root\r\n{}: root=root\r\n", name.to_uppercase());
            let head = format!("GET /app HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
            let answer = raw(host, format!("{head}{twice}cookie: {cookie}\r\n\r\n")).await;
            let refused = answer.starts_with("HTTP/1.1 400 ");
            let overwritten = answer.contains(r#"["x-auth-request-email","ada@example.org"]"#)
                && answer.contains(r#"["authorization","Bearer access-1-1"]"#)
                && (name == "Cookie" || !answer.contains("root"));
            assert!(refused || overwritten, "{kind:?} {name}: {answer}");
        }
    }
}
