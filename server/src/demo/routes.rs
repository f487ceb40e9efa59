//! The contract's endpoints, and the faults in front of them.

use std::collections::HashMap;
use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokenkeep_core::{Email, Password};
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use super::ledger::Pair;
use super::{Demo, DemoRefusal, Fault};

/// Every endpoint of the demo auth server.
pub(super) fn routes(demo: &Demo) -> BoxedFilter<(Response,)> {
    let body = || warp::body::content_length_limit(16 << 10).and(warp::body::bytes());
    let with = |call: Call| {
        let demo = demo.clone();
        warp::any().map(move || (demo.clone(), call))
    };
    let post = warp::post().and(
        warp::path!("register")
            .and(with(register))
            .or(warp::path!("login").and(with(login)))
            .unify()
            .or(warp::path!("refresh").and(with(refresh)))
            .unify()
            .or(warp::path!("refresh-token").and(with(refresh)))
            .unify()
            .or(warp::path!("revoke").and(with(revoke)))
            .unify(),
    );
    let calls = post.and(body());
    let protected = warp::path!("protected")
        .and(warp::get())
        .and(with(protected))
        .and(warp::header::optional::<String>("authorization"))
        .map(|call, header: Option<String>| (call, Bytes::from(header.unwrap_or_default())))
        .untuple_one();
    let stats_of = demo.clone();
    let stats = warp::path!("stats")
        .and(warp::get())
        .map(move || warp::reply::json(&stats_of.stats()).into_response());
    calls.or(protected).unify().and_then(answer).or(stats).unify().recover(refuse).unify().boxed()
}

/// What an endpoint does with its body, or with the `Authorization` header.
type Call = fn(&Demo, &[u8]) -> Response;

async fn answer((demo, call): (Demo, Call), body: Bytes) -> Result<Response, Rejection> {
    Ok(match demo.fault() {
        Fault::None => call(&demo, &body),
        Fault::Down(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            detail(status, "down on purpose")
        }
        Fault::Busy(seconds) => {
            let mut response = detail(StatusCode::TOO_MANY_REQUESTS, "busy on purpose");
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            response
        }
        Fault::Garbage => warp::reply::html("<p>garbage on purpose").into_response(),
        Fault::Slow(delay) => {
            let response = call(&demo, &body);
            tokio::time::sleep(delay).await;
            response
        }
        Fault::LostAnswer => {
            drop(call(&demo, &body));
            detail(StatusCode::BAD_GATEWAY, "answer lost on purpose")
        }
    })
}

fn register(demo: &Demo, body: &[u8]) -> Response {
    let fields: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
    let (Some(email), Some(password)) = (text("email"), text("password")) else {
        return detail(StatusCode::BAD_REQUEST, "Email and password are required");
    };
    let Ok(email) = email.parse::<Email>() else {
        return detail(StatusCode::BAD_REQUEST, "Invalid email");
    };
    match demo.register(email, &Password::new(password)) {
        Ok(()) => reply(StatusCode::CREATED, &json!({"message": "User registered successfully"})),
        Err(refusal) => detail(StatusCode::BAD_REQUEST, &refusal.to_string()),
    }
}

fn login(demo: &Demo, body: &[u8]) -> Response {
    let fields = form(body);
    let text = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let Ok(email) = text("username").parse::<Email>() else {
        return unauthorized(DemoRefusal::WrongPassword);
    };
    let password = Password::new(text("password"));
    let pair = demo.ledger().login(&email, &password, demo.settings(), demo.now());
    pair.map_or_else(unauthorized, |pair| granted(demo, &pair))
}

fn refresh(demo: &Demo, body: &[u8]) -> Response {
    let fields: Value = serde_json::from_slice(body).unwrap_or_default();
    let token = fields.get("refresh_token").and_then(Value::as_str).unwrap_or_default();
    let pair = demo.ledger().refresh(token, demo.settings(), demo.now());
    pair.map_or_else(unauthorized, |pair| granted(demo, &pair))
}

fn revoke(demo: &Demo, body: &[u8]) -> Response {
    // An unknown token is fine: it is as dead as it was asked to be (RFC 7009, 2.2).
    demo.ledger().revoke(form(body).get("token").map(String::as_str).unwrap_or_default());
    reply(StatusCode::OK, &json!({}))
}

fn protected(demo: &Demo, authorization: &[u8]) -> Response {
    let header = std::str::from_utf8(authorization).unwrap_or_default();
    let token = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let email = demo.ledger().protected(token.map_or("", |(_, token)| token), demo.now());
    email.map_or_else(unauthorized, |email| {
        let body = json!({"message": "This is a protected resource", "email": email});
        reply(StatusCode::OK, &body)
    })
}

fn granted(demo: &Demo, pair: &Pair) -> Response {
    let mut body = json!({
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "token_type": "bearer",
    });
    let settings = demo.settings();
    if settings.says_lifetimes
        && let Some(fields) = body.as_object_mut()
    {
        fields.insert("expires_in".into(), settings.access_lifetime.as_secs().into());
        fields.insert("refresh_expires_in".into(), settings.refresh_lifetime.as_secs().into());
    }
    reply(StatusCode::OK, &body)
}

fn form(body: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(body).into_owned().collect()
}

fn unauthorized(refusal: DemoRefusal) -> Response {
    let mut response = detail(StatusCode::UNAUTHORIZED, &refusal.to_string());
    let bearer = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    response
}

fn detail(status: StatusCode, detail: &str) -> Response {
    reply(status, &json!({"detail": detail}))
}

fn reply(status: StatusCode, body: &Value) -> Response {
    warp::reply::with_status(warp::reply::json(body), status).into_response()
}

async fn refuse(rejection: Rejection) -> Result<Response, Infallible> {
    let status =
        if rejection.is_not_found() { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
    Ok(detail(status, "Not understood"))
}
