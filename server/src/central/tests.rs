//! Claims about the adapter against servers that answer in every way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

mod tls;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);
const PAIR: &str =
    r#"{"access_token":"canary-a2","refresh_token":"canary-r2","token_type":"bearer"}"#;

/// What a broken or honest server does after it has read the request.
#[derive(Clone)]
enum Act {
    Answer(String),
    Reset,
    Silence,
    Endless,
}

/// A server that acts the same on every connection, and what it heard.
struct Server {
    address: std::net::SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, act.clone(), log.clone()));
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn issuer(&self, change: impl FnOnce(&mut AuthServerSettings)) -> CentralIssuer {
        let mut settings = AuthServerSettings {
            base_url: Some(format!("http://{}", self.address)),
            deadline: Duration::from_millis(300),
            connect: Duration::from_millis(200),
            ..AuthServerSettings::default()
        };
        change(&mut settings);
        CentralIssuer::new(settings).unwrap()
    }
}

async fn converse(mut stream: TcpStream, act: Act, log: Arc<Mutex<Vec<String>>>) {
    let request = read_request(&mut stream).await;
    log.lock().unwrap().push(request);
    match act {
        Act::Answer(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        // Dropping an unread byte makes the kernel send a reset.
        Act::Reset => {
            let _ = stream.set_zero_linger();
        }
        Act::Silence => std::future::pending().await,
        Act::Endless => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"a\":\"";
            let mut alive = stream.write_all(head.as_bytes()).await;
            while alive.is_ok() {
                alive = stream.write_all(&[b'x'; 8192]).await;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length =
                length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if body.len() >= length.map_or(0, |text| text.parse().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return text,
        }
    }
}

fn raw(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Answer(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    ))
}

fn json(status: u16, body: &str) -> Act {
    raw(&format!("{status} X"), "content-type: application/json; charset=utf-8\r\n", body)
}

/// The kind of an outcome in one word, for tables.
fn kind<T: std::fmt::Debug>(outcome: &Result<T, IssuerError>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(IssuerError::Refused(_)) => "refused",
        Err(IssuerError::NotSent { .. }) => "not sent",
        Err(IssuerError::Unknown(_)) => "unknown",
        Err(IssuerError::Misconfigured(_)) => "misconfigured",
        Err(_) => "other",
    }
}

/// Everything that a log could show of an outcome.
fn shown<T: std::fmt::Debug>(outcome: &Result<T, IssuerError>) -> String {
    let mut text = format!("{outcome:?}");
    let mut error = outcome.as_ref().err().map(|error| error as &dyn std::error::Error);
    while let Some(cause) = error {
        text.push_str(&cause.to_string());
        error = cause.source();
    }
    text
}

fn token() -> RefreshToken {
    RefreshToken::new("canary-r1").unwrap()
}

async fn refresh(act: Act) -> Result<Renewal, IssuerError> {
    let server = Server::start(act).await;
    let outcome = server.issuer(|_| {}).refresh(&token(), NOW).await;
    assert!(!shown(&outcome).contains("canary"), "{outcome:?}");
    assert_eq!(server.heard().len(), 1, "one attempt");
    outcome
}

#[tokio::test]
async fn a_refresh_is_classified_by_what_it_means_for_the_session() {
    let grant = |code: &str| format!(r#"{{"error":"{code}","error_description":"canary-r1"}}"#);
    for (act, expected) in [
        (json(200, PAIR), "ok"),
        (json(200, r#"{"access_token":"canary-a2"}"#), "ok"),
        (json(401, r#"{"detail":"Invalid refresh token"}"#), "refused"),
        (raw("401 X", "", ""), "refused"),
        (json(400, &grant("invalid_grant")), "refused"),
        (json(400, r#"{"detail":{"error":"invalid_grant"}}"#), "refused"),
        (json(400, &grant("invalid_client")), "misconfigured"),
        (json(401, &grant("invalid_client")), "misconfigured"),
        (json(401, &grant("unauthorized_client")), "misconfigured"),
        (json(400, &grant("invalid_request")), "misconfigured"),
        (json(400, r#"{"detail":"no"}"#), "misconfigured"),
        (raw("401 X", "www-authenticate: Basic realm=x\r\n", ""), "misconfigured"),
        (json(403, "{}"), "misconfigured"),
        (json(404, "{}"), "misconfigured"),
        (json(405, "{}"), "misconfigured"),
        (json(422, r#"{"detail":[{"msg":"field required"}]}"#), "misconfigured"),
        (raw("307 X", "location: /elsewhere\r\n", ""), "misconfigured"),
        (json(429, "{}"), "not sent"),
        (json(408, "{}"), "unknown"),
        (json(500, "{}"), "unknown"),
        (json(503, r#"{"error":"invalid_grant"}"#), "unknown"),
        (json(204, ""), "unknown"),
    ] {
        let description = match &act {
            Act::Answer(text) => text.clone(),
            _ => String::new(),
        };
        assert_eq!(kind(&refresh(act).await), expected, "{description}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_unknown() {
    let typed = "content-type: application/json\r\n";
    for act in [
        json(200, ""),
        json(200, "{"),
        json(200, "[]"),
        json(200, "null"),
        json(200, r#"{"refresh_token":"canary-r2"}"#),
        json(200, r#"{"access_token":7}"#),
        json(200, r#"{"access_token":null}"#),
        json(200, r#"{"access_token":""}"#),
        json(200, r#"{"access_token":"canary\r\nx: y"}"#),
        json(200, r#"{"access_token":"a","refresh_token":"canary-\u0000"}"#),
        json(200, r#"{"access_token":"a","refresh_token":["canary"]}"#),
        json(200, r#"{"access_token":"a","token_type":"bearer x"}"#),
        json(200, &"[".repeat(100_000)),
        raw("200 OK", "content-type: text/html\r\n", PAIR),
        raw("200 OK", "", PAIR),
        raw("200 OK", "content-type: application/jsonp\r\n", PAIR),
        Act::Answer(format!("HTTP/1.1 200 OK\r\n{typed}content-length: 500\r\n\r\n{PAIR}")),
        Act::Answer(format!("HTTP/1.1 200 OK\r\n{typed}transfer-encoding: chunked\r\n\r\nzz\r\n")),
        Act::Answer("HTTP/1.1 200".into()),
        Act::Answer("SSH-2.0-canary\r\n".into()),
        Act::Answer(String::new()),
        Act::Reset,
        Act::Silence,
        Act::Endless,
    ] {
        let outcome = refresh(act).await;
        assert_eq!(kind(&outcome), "unknown", "{outcome:?}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_was_not_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let plain = Server::start(Act::Answer("HTTP/1.1 200 OK\r\n\r\n".into())).await;
    for base in [
        format!("http://{closed}"),
        "http://no-such-host.invalid".to_owned(),
        format!("https://{}", plain.address),
    ] {
        let issuer = plain.issuer(|settings| {
            settings.base_url = Some(base.clone());
            settings.deadline = Duration::from_secs(1);
            settings.connect = Duration::from_millis(300);
        });
        let outcome = issuer.refresh(&token(), NOW).await;
        assert_eq!(kind(&outcome), "not sent", "{base} {outcome:?}");
    }
}

#[tokio::test]
async fn retry_after_is_read_in_both_spellings() {
    // NOW is Tue, 14 Nov 2023 22:13:20 GMT.
    for (headers, expected) in [
        ("retry-after: 7\r\n", Some(7)),
        ("retry-after: Tue, 14 Nov 2023 22:14:20 GMT\r\n", Some(60)),
        (
            "date: Wed, 01 Jan 2020 00:00:00 GMT\r\nretry-after: Wed, 01 Jan 2020 00:00:09 GMT\r\n",
            Some(9),
        ),
        ("retry-after: Tue, 14 Nov 2023 22:00:00 GMT\r\n", Some(0)),
        ("retry-after: 99999999999999\r\n", Some(3600)),
        ("retry-after: soon\r\n", None),
        ("retry-after: -1\r\n", None),
        ("", None),
    ] {
        match refresh(raw("429 X", headers, "")).await {
            Err(IssuerError::NotSent { retry_after, .. }) => {
                assert_eq!(retry_after.map(|wait| wait.as_secs()), expected, "{headers}");
            }
            other => panic!("{headers}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn lifetimes_come_from_the_answer_else_from_the_settings() {
    let plain = refresh(json(200, PAIR)).await.unwrap();
    assert_eq!(plain.access_expires_at, NOW + Duration::from_secs(120));
    assert_eq!(plain.refresh.unwrap().1, NOW + Duration::from_secs(240));
    let said =
        r#"{"access_token":"a","refresh_token":"r","expires_in":"30","refresh_expires_in":9e99}"#;
    let said = refresh(json(200, said)).await.unwrap();
    assert_eq!(said.access_expires_at, NOW + Duration::from_secs(30));
    assert_eq!(said.refresh.unwrap().1, NOW + Duration::from_secs(365 * 86_400));
}

#[tokio::test]
async fn the_same_refresh_token_again_keeps_its_expiry() {
    let same = r#"{"access_token":"a","refresh_token":"canary-r1"}"#;
    assert!(refresh(json(200, same)).await.unwrap().refresh.is_none());
    let longer = r#"{"access_token":"a","refresh_token":"canary-r1","refresh_expires_in":60}"#;
    let (_, expiry) = refresh(json(200, longer)).await.unwrap().refresh.unwrap();
    assert_eq!(expiry, NOW + Duration::from_secs(60));
}

#[tokio::test]
async fn a_setting_makes_another_status_a_verdict() {
    let server = Server::start(json(400, r#"{"detail":"bad token"}"#)).await;
    let issuer = server.issuer(|settings| settings.refused_statuses = vec![400]);
    assert_eq!(kind(&issuer.refresh(&token(), NOW).await), "refused");
}

async fn login(act: Act) -> Result<Grant, IssuerError> {
    let server = Server::start(act).await;
    let outcome = server.issuer(|_| {}).login("Ada@x.org", &Password::new("canary p&w"), NOW).await;
    assert!(!shown(&outcome).contains("canary"), "{outcome:?}");
    outcome
}

#[tokio::test]
async fn a_login_is_classified() {
    let detail = r#"{"detail":"Incorrect"}"#;
    for (act, expected) in [
        (json(200, PAIR), "ok"),
        (json(200, r#"{"access_token":"a","refresh_token":"r"}"#), "ok"),
        (json(200, r#"{"access_token":"a"}"#), "unknown"),
        (json(401, detail), "refused"),
        (json(400, detail), "refused"),
        (json(403, detail), "refused"),
        (json(422, r#"{"detail":[{"msg":"no","input":"canary p&w"}]}"#), "refused"),
        (json(401, r#"{"error":"invalid_client"}"#), "misconfigured"),
        (json(404, detail), "misconfigured"),
        (raw("302 X", "location: http://127.0.0.1:1/\r\n", ""), "misconfigured"),
        (json(429, "{}"), "not sent"),
        (json(502, "{}"), "unknown"),
        (Act::Silence, "unknown"),
    ] {
        let outcome = login(act).await;
        assert_eq!(kind(&outcome), expected, "{outcome:?}");
    }
    match login(json(401, detail)).await {
        Err(IssuerError::Refused(refusal)) => {
            assert_eq!(refusal.detail.as_deref(), Some("Incorrect"))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_registration_is_classified() {
    for (act, expected) in [
        (json(201, r#"{"message":"made"}"#), Ok(Some("made"))),
        (raw("201 X", "", ""), Ok(None)),
        (json(200, "{}"), Ok(None)),
        (raw("200 X", "content-type: text/html\r\n", "<p>"), Err("unknown")),
        (json(400, r#"{"detail":"exists"}"#), Err("refused")),
        (json(409, "{}"), Err("refused")),
        (json(404, "{}"), Err("misconfigured")),
        (json(500, "{}"), Err("unknown")),
    ] {
        let server = Server::start(act).await;
        let outcome = server.issuer(|_| {}).register("a@b", &Password::new("canary")).await;
        match expected {
            Ok(message) => assert_eq!(outcome.unwrap().as_deref(), message),
            Err(word) => assert_eq!(kind(&outcome), word, "{outcome:?}"),
        }
        if let Some(request) = server.heard().first() {
            assert!(request.starts_with("POST /register "), "{request}");
        }
    }
}

#[tokio::test]
async fn requests_follow_the_contract_and_the_settings() {
    let server = Server::start(json(200, PAIR)).await;
    let issuer = server.issuer(|settings| {
        settings.base_url = Some(format!("http://{}/auth/", server.address));
        settings.refresh_path = "/refresh-token".into();
        settings.revoke_path = Some("/revoke".into());
        settings.username_field = "user".into();
    });
    issuer.login("Ada@x.org", &Password::new("p&w=\u{e9}"), NOW).await.unwrap();
    issuer.refresh(&token(), NOW).await.unwrap();
    issuer.register("a@b", &Password::new("pw")).await.unwrap();
    issuer.revoke(&token()).await.unwrap();
    let heard = server.heard();
    for (request, start, end) in [
        (&heard[0], "POST /auth/login ", "user=Ada%40x.org&password=p%26w%3D%C3%A9"),
        (&heard[1], "POST /auth/refresh-token ", r#"{"refresh_token":"canary-r1"}"#),
        (&heard[2], "POST /auth/register ", r#"{"email":"a@b","password":"pw"}"#),
        (&heard[3], "POST /auth/revoke ", "token=canary-r1&token_type_hint=refresh_token"),
    ] {
        assert!(request.starts_with(start) && request.ends_with(end), "{request}");
    }
}

#[tokio::test]
async fn without_a_path_there_is_nobody_to_revoke_at() {
    let server = Server::start(json(500, "{}")).await;
    server.issuer(|_| {}).revoke(&token()).await.unwrap();
    assert!(server.heard().is_empty());
}

#[test]
fn certificates_that_cannot_be_read_are_told_at_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().to_owned(), "/no/such/file.pem".into()] {
        let settings = AuthServerSettings {
            base_url: Some("https://auth.example".into()),
            ca_file: Some(path),
            ..AuthServerSettings::default()
        };
        assert!(matches!(CentralIssuer::new(settings), Err(CentralError::CaFile { .. })));
    }
}
