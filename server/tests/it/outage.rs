//! The auth server away, mad or busy: nobody is logged out by anything but a verdict.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use tokenkeep_client::Password;
use tokenkeep_core::Credential;
use tokenkeep_server::config::StoreKind;
use tokenkeep_server::demo::Fault;

use crate::stores::over_every_store;
use crate::whole::{PASSWORD, Whole};
use crate::world::{header, refused};

/// Checks that the session is there, cannot be used, and when to come back is said, long before
/// a call to the auth server would be given up.
async fn waits(whole: &Whole, credential: &Credential, what: &str) -> u64 {
    let answer = whole.get("/authz/nginx", credential);
    let answer = tokio::time::timeout(QUICKLY, answer).await.expect("a quick answer");
    let retry_after = header(&answer, "retry-after").parse().unwrap_or(0);
    assert!(retry_after > 0, "{what}: {answer:?}");
    assert!(answer.headers().get("set-cookie").is_none(), "{what}: the cookie stays");
    refused(answer, 503, "auth_server_unavailable").await;
    goes_on(whole, credential, what).await;
    retry_after
}

async fn goes_on(whole: &Whole, credential: &Credential, what: &str) {
    assert_eq!(whole.get("/v1/session", credential).await.status(), StatusCode::OK, "{what}");
}

over_every_store! {
    #[tokio::test]
    while_the_auth_server_is_away_live_tokens_work_and_nobody_is_logged_out,
    no_fault_that_is_no_verdict_logs_anybody_out,
    a_lost_answer_leaves_the_session_until_the_auth_server_has_spoken,
    a_slow_auth_server_is_waited_for,
}

async fn while_the_auth_server_is_away_live_tokens_work_and_nobody_is_logged_out(kind: StoreKind) {
    let mut whole = Whole::new(kind).await;
    let mut dead = vec![whole.join("ada@example.org").await];
    for _ in 0..20 {
        dead.push(whole.login("ada@example.org").await);
    }
    whole.outlive_access();
    let live = whole.join("bob@example.org").await;
    whole.auth_server.go_away().await;
    for _ in 0..2 {
        // The second time nobody is asked any more: the breaker is open.
        join_all(dead.iter().map(|dead| waits(&whole, dead, "away"))).await;
        whole.reaches_the_resource(&live).await;
    }
    for email in ["bob@example.org", "new@example.org"] {
        let error = whole.client.login(email, &Password::new(PASSWORD)).await.unwrap_err();
        assert!(error.is_unavailable() && !error.is_logged_out(), "{error:?}");
        assert!(error.retry_after().is_some());
    }
    assert_eq!(whole.client.stats().await.unwrap().devices, 22);

    whole.auth_server.come_back();
    whole.clock.advance(Duration::from_secs(11));
    // One probe closes the breaker.
    whole.reaches_the_resource(&dead[0]).await;
    join_all(dead.iter().map(|dead| whole.reaches_the_resource(dead))).await;
    whole.login("bob@example.org").await;
    let stats = whole.demo.stats();
    assert_eq!((stats.refresh_calls, stats.reuses), (21, 0));
}

async fn no_fault_that_is_no_verdict_logs_anybody_out(kind: StoreKind) {
    for fault in [
        Fault::Garbage,
        Fault::Down(500),
        Fault::Down(502),
        Fault::Down(403),
        Fault::Down(404),
        Fault::Down(429),
        Fault::Busy(7),
    ] {
        let whole = Whole::new(kind).await;
        let what = format!("{fault:?}");
        let dead = whole.join("ada@example.org").await;
        whole.outlive_access();
        let live = whole.login("ada@example.org").await;
        whole.demo.set_fault(fault);
        let retry_after = waits(&whole, &dead, &what).await;
        if let Fault::Busy(seconds) = fault {
            assert_eq!(retry_after, u64::from(seconds));
        }
        assert_eq!(whole.get("/authz/nginx", &live).await.status(), StatusCode::OK, "{what}");
        let asked = whole.send(Method::POST, "/v1/session/refresh", &live).await;
        assert!([StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&asked.status()));
        let error = whole.client.login("ada@example.org", &Password::new(PASSWORD)).await;
        let error = error.unwrap_err();
        // A login is no session: 403 is a verdict on the password.
        assert!(error.is_unavailable() || fault == Fault::Down(403), "{what}: {error:?}");
        whole.demo.set_fault(Fault::None);
        whole.clock.advance(Duration::from_secs(61));
        whole.reaches_the_resource(&dead).await;
        whole.outlive_access();
        whole.reaches_the_resource(&live).await;
        assert_eq!(whole.demo.stats().reuses, 0, "{what}");
    }
}

async fn a_lost_answer_leaves_the_session_until_the_auth_server_has_spoken(kind: StoreKind) {
    let whole = Whole::new(kind).await;
    let dead = whole.join("ada@example.org").await;
    whole.outlive_access();
    let live = whole.login("ada@example.org").await;
    whole.clock.advance(Duration::from_secs(10));
    whole.demo.set_fault(Fault::LostAnswer);
    waits(&whole, &dead, "lost").await;
    let asked = whole.send(Method::POST, "/v1/session/refresh", &live).await;
    refused(asked, 503, "auth_server_unavailable").await;
    assert_eq!(whole.demo.stats().refreshes, 2, "both refresh tokens are spent");
    whole.demo.set_fault(Fault::None);
    // The token in hand works to its end, and a wish does not replay what may be spent.
    for path in ["/authz/nginx", "/api/protected"] {
        assert_eq!(whole.get(path, &live).await.status(), StatusCode::OK);
    }
    let asked = whole.send(Method::POST, "/v1/session/refresh", &live).await;
    assert_eq!(asked.status(), StatusCode::OK);
    assert_eq!(whole.demo.stats().refresh_calls, 2);
    whole.outlive_access();
    for credential in [&dead, &live] {
        let problem = refused(whole.get("/authz/nginx", credential).await, 401, "session_ended");
        assert_eq!(problem.await.reason.as_deref(), Some("interrupted"));
    }
    assert_eq!(whole.demo.stats().reuses, 2, "each was tried once more");
}

async fn a_slow_auth_server_is_waited_for(kind: StoreKind) {
    let whole = Whole::new(kind).await;
    let ada = whole.join("ada@example.org").await;
    whole.outlive_access();
    whole.demo.set_fault(Fault::Slow(Duration::from_millis(300)));
    assert_eq!(whole.get("/authz/nginx", &ada).await.status(), StatusCode::OK);
    assert_eq!(whole.demo.stats().refresh_calls, 1);
}

/// A small part of what a call to the auth server may take.
const QUICKLY: Duration = Duration::from_secs(10);
