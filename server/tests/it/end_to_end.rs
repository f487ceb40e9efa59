//! Sessions from registration to logout, over the real parts.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use tokenkeep_client::{Change, Email, Password};
use tokenkeep_server::config::StoreKind;

use crate::stores::over_every_store;
use crate::whole::Whole;
use crate::world::{PATIENCE, clears_cookie, refused, until};

over_every_store! {
    #[tokio::test]
    a_session_lives_from_registration_to_logout,
    a_wrong_password_and_a_taken_address_are_refused_by_the_auth_servers_word,
    a_refused_refresh_token_ends_the_session_and_says_so,
    a_new_device_is_marked_until_it_was_there_at_the_last_visit,
    a_hundred_callers_that_meet_one_401_cost_one_refresh,
    a_service_that_watches_drops_the_tokens_of_a_user_whom_another_one_ends,
}

async fn a_session_lives_from_registration_to_logout(kind: StoreKind) {
    let whole = Whole::new(kind).await;
    let laptop = whole.join("ada@example.org").await;
    whole.reaches_the_resource(&laptop).await;
    assert_eq!(whole.demo.stats().refresh_calls, 0);
    whole.outlive_access();
    whole.reaches_the_resource(&laptop).await;
    whole.reaches_the_resource(&laptop).await;
    assert_eq!(whole.demo.stats().refresh_calls, 1);

    let phone = whole.login("ada@example.org").await;
    let devices = whole.client.devices(&laptop).await.unwrap();
    let ids: Vec<_> = devices.iter().map(|device| device.device_id).collect();
    assert_eq!(ids, [laptop.device_id(), phone.device_id()]);
    whole.client.end_device(&phone, laptop.device_id()).await.unwrap();
    for path in ["/v1/session", "/api/protected", "/authz/nginx"] {
        let problem = refused(whole.get(path, &laptop).await, 401, "session_ended").await;
        assert_eq!(problem.reason.as_deref(), Some("ended_by_user"), "{path}");
    }
    whole.reaches_the_resource(&phone).await;

    let answer = whole.send(Method::POST, "/v1/logout", &phone).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert!(clears_cookie(&answer));
    let problem = refused(whole.get("/v1/session", &phone).await, 401, "session_ended").await;
    assert_eq!(problem.reason.as_deref(), Some("logout"));
    assert!(whole.client.session(&phone).await.unwrap_err().is_logged_out());
    // The auth server hears of both, behind the answers.
    until(async || whole.demo.stats().revocations == 2).await;
}

async fn a_wrong_password_and_a_taken_address_are_refused_by_the_auth_servers_word(
    kind: StoreKind,
) {
    let whole = Whole::new(kind).await;
    whole.join("ada@example.org").await;
    let error = whole.client.login("ada@example.org", &Password::new("wrong")).await.unwrap_err();
    assert!(error.is_refused() && !error.is_unavailable(), "{error:?}");
    let body = serde_json::json!({"email": "ada@example.org", "password": "another"});
    let answer = whole.ask(Method::POST, "/v1/register").json(&body).send().await.unwrap();
    let problem = refused(answer, 400, "registration_refused").await;
    assert_eq!(problem.detail, "User already exists");
    assert_eq!(whole.demo.stats().logins, 1);
}

async fn a_refused_refresh_token_ends_the_session_and_says_so(kind: StoreKind) {
    let whole = Whole::new(kind).await;
    let ada = whole.join("ada@example.org").await;
    whole.demo.forget_refresh_tokens();
    whole.reaches_the_resource(&ada).await;
    whole.outlive_access();
    let problem = refused(whole.get("/api/protected", &ada).await, 401, "session_ended").await;
    assert_eq!(problem.reason.as_deref(), Some("refused"));
    let error = whole.client.token(&ada).await.unwrap_err();
    assert_eq!((error.is_logged_out(), error.reason()), (true, Some("refused")));
    assert_eq!(whole.demo.stats().refresh_calls, 1, "a verdict is asked for once");
}

async fn a_new_device_is_marked_until_it_was_there_at_the_last_visit(kind: StoreKind) {
    let whole = Whole::new(kind).await;
    let laptop = whole.join("ada@example.org").await;
    whole.clock.advance(Duration::from_secs(10));
    let phone = whole.login("ada@example.org").await;
    let marks = async || {
        let devices = whole.client.devices(&laptop).await.unwrap();
        devices.iter().map(|device| device.new_since_last_visit).collect::<Vec<_>>()
    };
    assert_eq!(marks().await, [false, true]);
    // Two visits later the phone is nothing new to the laptop; both are used, so both live.
    for _ in 0..3 {
        whole.clock.advance(Duration::from_secs(45 * 60));
        whole.reaches_the_resource(&phone).await;
        whole.reaches_the_resource(&laptop).await;
        let seen = whole.sessions.now();
        until(async || {
            let devices = whole.client.devices(&laptop).await.unwrap();
            devices.iter().all(|device| device.last_seen_at == seen)
        })
        .await;
    }
    assert_eq!(marks().await, [false, false]);
}

async fn a_hundred_callers_that_meet_one_401_cost_one_refresh(kind: StoreKind) {
    let whole = Whole::new(kind).await;
    let ada = whole.join("ada@example.org").await;
    let first = whole.client.token(&ada).await.unwrap();
    assert_eq!((first.email().as_str(), first.scheme()), ("ada@example.org", "Bearer"));
    whole.demo.forget_access_tokens();
    let url = format!("{}/protected", whole.resource.url());
    let calls = (0..100).map(|_| whole.client.send(&ada, whole.http.get(&url)));
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    let stats = whole.demo.stats();
    assert_eq!((stats.refresh_calls, stats.reuses), (1, 0));
    let renewed = whole.client.token(&ada).await.unwrap();
    assert_ne!(renewed.access_token().expose(), first.access_token().expose());
}

async fn a_service_that_watches_drops_the_tokens_of_a_user_whom_another_one_ends(kind: StoreKind) {
    let whole = Whole::new(kind).await;
    let (laptop, bob) = (whole.join("ada@example.org").await, whole.join("bob@example.org").await);
    let phone = whole.login("ada@example.org").await;
    let mut watch = whole.client.watch();
    // The client knows nothing yet, and the server tells so to every newcomer.
    for _ in 0..2 {
        assert_eq!(watch.next().await.unwrap(), Change::Reset);
    }
    for credential in [&laptop, &phone, &bob] {
        whole.client.token(credential).await.unwrap();
    }
    let ada: Email = "ada@example.org".parse().unwrap();
    assert_eq!(whole.other_client().end_all_of(&ada).await.unwrap(), 2);
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let change = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
        let Change::Ended(event) = change else { panic!("{change:?}") };
        assert_eq!(event.reason.as_deref(), Some("ended_by_service"));
        ended.push(event.device_id);
    }
    assert!(ended.contains(&laptop.device_id()) && ended.contains(&phone.device_id()));
    for credential in [&laptop, &phone] {
        let error = whole.client.token(credential).await.unwrap_err();
        assert_eq!(error.reason(), Some("ended_by_service"));
    }
    whole.client.token(&bob).await.unwrap();
    assert!(whole.client.devices_of(&ada).await.unwrap().is_empty());
}
