//! What the client makes of every answer that is not a success.

use std::error::Error as _;
use std::time::Duration;

use serde_json::json;
use tokenkeep_client::{Error, ErrorCode, SessionClient};

use crate::stub::{self, Answer, Stub, credential};

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    LoggedOut,
    Refused,
    Misconfigured,
    Unavailable,
    Other,
}

fn meaning(error: &Error) -> Meaning {
    let table = [
        (error.is_logged_out(), Meaning::LoggedOut),
        (error.is_refused(), Meaning::Refused),
        (error.is_misconfigured(), Meaning::Misconfigured),
        (error.is_unavailable(), Meaning::Unavailable),
    ];
    assert!(table.iter().filter(|(is, _)| *is).count() <= 1, "{error:?} means two things");
    table.into_iter().find(|(is, _)| *is).map_or(Meaning::Other, |(_, meaning)| meaning)
}

async fn answered(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Error {
    let server = Stub::start(move |_| {
        let answer = answer();
        async { answer }
    })
    .await;
    server.client().token(&credential()).await.unwrap_err()
}

#[tokio::test]
async fn every_word_of_the_server_has_its_meaning() {
    for (status, code, expected) in [
        (401, "not_logged_in", Meaning::LoggedOut),
        (401, "session_ended", Meaning::LoggedOut),
        (401, "login_refused", Meaning::Refused),
        (400, "registration_refused", Meaning::Refused),
        (409, "account_exists", Meaning::Refused),
        (409, "ceiling_reached", Meaning::Refused),
        (404, "no_such_device", Meaning::Refused),
        (400, "bad_request", Meaning::Refused),
        (400, "invalid_email", Meaning::Refused),
        (413, "body_too_large", Meaning::Refused),
        (414, "uri_too_long", Meaning::Refused),
        (431, "headers_too_large", Meaning::Refused),
        (401, "invalid_service_key", Meaning::Misconfigured),
        (403, "missing_scope", Meaning::Misconfigured),
        (403, "cross_site", Meaning::Misconfigured),
        (429, "too_many_requests", Meaning::Unavailable),
        (408, "request_timeout", Meaning::Unavailable),
        (503, "auth_server_unavailable", Meaning::Unavailable),
        (502, "upstream_unavailable", Meaning::Unavailable),
        (503, "store_unavailable", Meaning::Unavailable),
        (503, "shutting_down", Meaning::Unavailable),
        (500, "internal", Meaning::Unavailable),
        (404, "not_found", Meaning::Other),
        (405, "method_not_allowed", Meaning::Other),
        (415, "unsupported_media_type", Meaning::Other),
    ] {
        let error = answered(move || stub::problem(status, code, &[])).await;
        assert_eq!(meaning(&error), expected, "{code}");
        let read = serde_json::from_value::<ErrorCode>(json!(code)).unwrap();
        assert_eq!(error.code(), Some(read));
        let shown = error.to_string();
        assert!(shown.ends_with(&format!(": {code}")) && shown.starts_with("the "), "{shown}");
    }
}

#[tokio::test]
async fn an_answer_without_a_word_of_ours_logs_nobody_out() {
    let html = |status| move || stub::answer(status, "text/html", &[], "<h1>no</h1>".into());
    for (status, expected) in [
        (302, Meaning::Other),
        (401, Meaning::Other),
        (403, Meaning::Other),
        (404, Meaning::Other),
        (429, Meaning::Unavailable),
        (500, Meaning::Unavailable),
        (502, Meaning::Unavailable),
        (504, Meaning::Unavailable),
        (200, Meaning::Other),
    ] {
        assert_eq!(meaning(&answered(html(status)).await), expected, "{status}");
    }
    let error = answered(|| stub::problem(401, "a_word_of_tomorrow", &[])).await;
    assert_eq!((meaning(&error), error.code()), (Meaning::Other, None));
    let plain = || stub::answer(401, "text/plain", &[], r#"{"code":"session_ended"}"#.into());
    assert_eq!(meaning(&answered(plain).await), Meaning::Other, "not a problem's media type");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Stub::start(|_| async { stub::empty(200) }).await;
    let url = target.url.clone();
    let error = answered(move || {
        stub::answer(307, "text/plain", &[("location", url.as_str())], String::new())
    })
    .await;
    assert_eq!(meaning(&error), Meaning::Other);
    assert!(target.asked().is_empty());
}

#[tokio::test]
async fn reason_request_id_and_retry_after_are_passed_on_if_they_are_plain_words() {
    let full = |reason: &'static str, id: &'static str| {
        let body = json!({
            "type": "about:blank", "title": "t", "status": 401, "detail": "d",
            "code": "session_ended", "reason": reason, "request_id": id,
        });
        move || {
            let headers = [("retry-after", "7"), ("x-request-id", "from-header")];
            stub::answer(401, "application/problem+json", &headers, body.to_string())
        }
    };
    let error = answered(full("expired", "r-1")).await;
    assert_eq!((error.reason(), error.request_id()), (Some("expired"), Some("r-1")));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(error.to_string(), "the session is over: expired");
    let error = answered(full("forged\nline", "r\u{1b}[2J")).await;
    assert_eq!((error.reason(), error.request_id()), (None, None));

    let bare = || stub::problem(503, "internal", &[("x-request-id", "from-header")]);
    assert_eq!(answered(bare).await.request_id(), Some("from-header"));
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let huge = || stub::answer(200, "application/json", &[], " ".repeat(5 * 1024 * 1024));
    let error = answered(huge).await;
    assert!(error.source().unwrap().to_string().contains("larger than"), "{error:?}");
}

#[tokio::test]
async fn a_client_without_a_key_says_so_and_asks_nobody() {
    let server = Stub::start(|_| async { stub::empty(200) }).await;
    let client = SessionClient::builder(&server.url).build().unwrap();
    let error = client.token(&credential()).await.unwrap_err();
    assert_eq!(meaning(&error), Meaning::Misconfigured);
    assert_eq!(error.source().unwrap().to_string(), "the call needs a service key");
    assert!(server.asked().is_empty());
}
