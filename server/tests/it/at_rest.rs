//! No secret in a file or in the log of the real binary, and nobody else may read the files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokenkeep_core::{ManualClock, SystemClock, Timestamp};
use tokenkeep_server::assembly;
use tokenkeep_server::demo::{Demo, DemoSettings};

use crate::auth_server::AuthServer;
use crate::process::{Installation, Server, must};
use crate::wiretap::Wiretap;
use crate::world::cookie_of;

/// A secret, and the ways in which it could be written down.
struct Secret {
    name: String,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    /// `text` as it is, in hex and in base64; if its last 43 characters are 32 bytes in base64,
    /// then those bytes, too.
    fn new(name: &str, text: &str) -> Self {
        let mut forms = vec![text.as_bytes().to_vec(), hex(text.as_bytes()).into_bytes()];
        forms.push(BASE64_STANDARD_NO_PAD.encode(text).into_bytes());
        let tail = text.get(text.len().saturating_sub(43)..).unwrap_or_default();
        if let Some(bytes) = BASE64_URL_SAFE_NO_PAD.decode(tail).ok().filter(|b| b.len() == 32) {
            forms.push(tail.as_bytes().to_vec());
            forms.push(hex(&bytes).into_bytes());
            forms.push(hex(&bytes).to_uppercase().into_bytes());
            forms.push(BASE64_STANDARD_NO_PAD.encode(&bytes).into_bytes());
            forms.push(bytes);
        }
        Self { name: name.to_owned(), forms }
    }

    fn is_in(&self, haystack: &[u8]) -> bool {
        let contains = |form: &Vec<u8>| {
            // Debug output of bytes is one more way.
            let listed = form.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            [form.as_slice(), listed.as_bytes()].iter().any(|needle| find(haystack, needle))
        };
        self.forms.iter().any(contains)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    let (first, rest) = needle.split_first().unwrap();
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| byte == first) {
        from += at + 1;
        if haystack[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a user and a service do in a life; returns the cookies.
async fn live(server: &Server, http: &Client, key: &str, password: &str) -> Vec<String> {
    let ask = |method, path: &str| http.request(method, server.url(path));
    let account = json!({"email": "ada@example.org", "password": password});
    let answer = ask(Method::POST, "/v1/register").json(&account).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let mut cookies = Vec::new();
    for _ in 0..3 {
        let answer = ask(Method::POST, "/v1/login").json(&account).send().await.unwrap();
        cookies.push(cookie_of(&answer).unwrap());
    }
    let form = [("username", "ada@example.org"), ("password", password)];
    let answer = ask(Method::POST, "/v1/login").form(&form).send().await.unwrap();
    cookies.push(cookie_of(&answer).unwrap());
    let wrong = json!({"email": "ada@example.org", "password": format!("{password}-wrong")});
    let answer = ask(Method::POST, "/v1/login").json(&wrong).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    for cookie in &cookies {
        let credential = cookie.split_once('=').unwrap().1;
        let token = async |body: Value| {
            let request = ask(Method::POST, "/v1/token").bearer_auth(key).json(&body);
            let answer = request.header("x-device-credential", credential).send().await.unwrap();
            answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned()
        };
        let first = token(json!({})).await;
        let spent = hex(&Sha256::digest(&first));
        assert_ne!(token(json!({ "spent": spent })).await, first);
        for (method, path) in [
            (Method::POST, "/v1/session/refresh"),
            (Method::GET, "/v1/session"),
            (Method::GET, "/v1/devices"),
            (Method::GET, "/authz/nginx"),
            (Method::GET, "/authz/forward"),
            (Method::GET, "/api/protected"),
        ] {
            let answer = ask(method, path).header("cookie", cookie).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
        }
    }
    let logout = ask(Method::POST, "/v1/logout").header("cookie", &cookies[0]);
    assert_eq!(logout.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    cookies
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_file_or_in_the_log() {
    let clock = ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000));
    let demo = Demo::new(DemoSettings::default(), std::sync::Arc::new(clock));
    let auth_server = AuthServer::start(demo);
    let tap = Wiretap::on(auth_server.address).await;
    let mut place = Installation::new(&format!("http://{}", tap.address), "").with_trace();
    let audit = place.data_dir().join("audit.jsonl");
    place.set("TOKENKEEP_AUDIT__FILE", audit.to_str().unwrap());
    let key = place.key(&["token", "admin:read"]).await;
    let server = place.serve().await;
    let http = assembly::http_client().unwrap();
    let password = "canary-password-5f1d3a";
    let cookies = live(&server, &http, &key, password).await;

    let mut secrets = vec![Secret::new("the password", password), Secret::new("the key", &key)];
    for cookie in &cookies {
        secrets.push(Secret::new("a device secret", cookie.split_once('.').unwrap().1));
    }
    let tokens = tap.tokens();
    assert!(tap.heard(password));
    // Four logins with two refreshes each, of two tokens.
    assert_eq!(tokens.len(), 24);
    secrets.extend(tokens.iter().map(|token| Secret::new("a token", token)));

    look_through(&place.data_dir(), &secrets);
    let output = server.stop().await;
    look_through(&place.data_dir(), &secrets);
    for secret in &secrets {
        assert!(!secret.is_in(&output), "{} is in the log", secret.name);
    }
    let log = String::from_utf8(output).unwrap();
    assert!(log.contains("\"TRACE\"") && log.contains("\"serving\""), "the log is whole");
    let audit = fs::read_to_string(audit).unwrap();
    for (event, times) in [("login", 4), ("login_failed", 1), ("refresh", 8), ("logout", 1)] {
        let told = audit.matches(&format!("\"event\":\"{event}\"")).count();
        assert_eq!(told, times, "{event} in {audit}");
    }

    // A crash, and everything again from what it left.
    let server = place.serve().await;
    for cookie in &cookies[1..] {
        let answer = http.post(server.url("/v1/session/refresh")).header("cookie", cookie);
        assert_eq!(answer.send().await.unwrap().status(), StatusCode::OK);
    }
    secrets.extend(tap.tokens().iter().map(|token| Secret::new("a token", token)));
    server.kill().await;
    look_through(&place.data_dir(), &secrets);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_dropped_outside_the_data_directory() {
    for kind in ["redb", "sqlite"] {
        let demo = Demo::new(DemoSettings::default(), std::sync::Arc::new(SystemClock::new()));
        let auth_server = AuthServer::start(demo);
        let settings = format!("[store]\nkind = \"{kind}\"\n");
        let place = Installation::new(&auth_server.url(), &settings);
        let elsewhere = tempfile::tempdir().unwrap();
        let away = |mut command: std::process::Command| {
            for name in ["HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"] {
                command.env(name, elsewhere.path());
            }
            command.current_dir(elsewhere.path());
            command
        };
        let key = place.key(&["token", "admin:read"]).await;
        let server = away(place.command(&["serve", "--listen", "127.0.0.1:0"]));
        let server = Installation::start(server).await;
        let http = assembly::http_client().unwrap();
        live(&server, &http, &key, "a password").await;
        server.stop().await;
        must(away(place.command(&["stats"]))).await;
        assert_eq!(names_of(elsewhere.path()), [""; 0], "{kind}");
        let place = place.data_dir();
        assert_eq!(names_of(place.parent().unwrap()), ["data", "settings.toml"], "{kind}");
    }
}

fn names_of(directory: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

/// Checks every file: what is in it, and who may read it.
#[track_caller]
fn look_through(directory: &Path, secrets: &[Secret]) {
    let names = names_in(directory, secrets);
    for name in ["tokens.redb", "keyring", "service-keys.json", "outbox/tokens.redb"] {
        assert!(names.iter().any(|there| there == name), "{name} is among {names:?}");
    }
}

/// The files below `directory`, each looked into.
#[track_caller]
fn names_in(directory: &Path, secrets: &[Secret]) -> Vec<String> {
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(directory), 0o700, "{}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let below = names_in(&path, secrets).into_iter();
            names.extend(below.map(|below| format!("{name}/{below}")));
            continue;
        }
        assert!(path.is_file(), "{} is looked into", path.display());
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let content = fs::read(&path).unwrap();
        for secret in secrets {
            assert!(!secret.is_in(&content), "{} is in {}", secret.name, path.display());
        }
        names.push(name);
    }
    names
}

#[test]
fn a_secret_is_found_in_every_form() {
    let bytes = [7; 32];
    let text = format!("da_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
    let secret = Secret::new("it", &text);
    for written in [
        format!("x{text}x").into_bytes(),
        [&[0][..], &bytes, &[0]].concat(),
        hex(&bytes).into_bytes(),
        format!("{bytes:?}").into_bytes(),
        format!("{text:?}").into_bytes(),
        format!("{:?}", text.as_bytes()).into_bytes(),
    ] {
        assert!(secret.is_in(&written), "{written:?}");
    }
    assert!(!secret.is_in(&[7; 31]));
}
