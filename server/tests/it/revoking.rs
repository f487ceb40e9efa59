//! The auth server hears of every session that ended, though it was away and the server was killed.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::json;
use tokenkeep_core::{Email, Password, SystemClock};
use tokenkeep_server::assembly;
use tokenkeep_server::demo::{Demo, DemoSettings};

use crate::auth_server::AuthServer;
use crate::process::{Installation, Server};
use crate::world::{PATIENCE, cookie_of};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_logged_out_while_it_was_away_is_revoked_after_a_kill() {
    let lives = DemoSettings {
        access_lifetime: Duration::from_secs(120),
        refresh_lifetime: Duration::from_secs(3600),
        says_lifetimes: true,
    };
    let demo = Demo::new(lives, Arc::new(SystemClock::new()));
    let email: Email = "ada@example.org".parse().unwrap();
    demo.register(email, &Password::new(PASSWORD)).unwrap();
    let mut auth_server = AuthServer::start(demo.clone());
    let place = Installation::new(&auth_server.url(), "");
    let http = assembly::http_client().unwrap();

    let server = place.serve().await;
    let (laptop, phone) = (login(&http, &server).await, login(&http, &server).await);
    auth_server.go_away().await;
    assert_eq!(logout(&http, &server, &laptop).await, StatusCode::NO_CONTENT);
    server.kill().await;

    auth_server.come_back();
    let server = place.serve().await;
    let told = async {
        while demo.stats().revocations == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it is told");
    // The other session was not touched, and its logout is the second that is heard of.
    demo.forget_access_tokens();
    let ask = |path| http.get(server.url(path)).header("cookie", &phone).send();
    assert_eq!(ask("/api/protected").await.unwrap().status(), StatusCode::OK);
    assert_eq!(logout(&http, &server, &phone).await, StatusCode::NO_CONTENT);
    server.stop().await;
    assert_eq!(demo.stats().revocations, 2, "a stop waits for what is under way");
}

async fn login(http: &Client, server: &Server) -> String {
    let body = json!({"email": "ada@example.org", "password": PASSWORD});
    let answer = http.post(server.url("/v1/login")).json(&body).send().await.unwrap();
    cookie_of(&answer).unwrap()
}

async fn logout(http: &Client, server: &Server, cookie: &str) -> StatusCode {
    let request = http.request(Method::POST, server.url("/v1/logout"));
    request.header("cookie", cookie).send().await.unwrap().status()
}

const PASSWORD: &str = "right";
