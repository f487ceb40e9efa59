//! Tokens that the upstream refuses, and requests without a session.

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokenkeep_core::sessions::Settings;
use tokenkeep_server::settings::ServerSettings;

use super::{proxy, world_before};
use crate::api::{Api, seen};
use crate::world::{World, clears_cookie, header, plain, refused};

#[tokio::test]
async fn a_401_of_the_upstream_renews_once_and_repeats_once() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    api.expect("access-1-2");
    let request = world.post("/api/x").header("cookie", &cookie).body("kept");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let got: Value = answer.json().await.unwrap();
    assert_eq!(
        (seen(&got, "authorization"), &got["body"]),
        (vec!["Bearer access-1-2"], &"kept".into())
    );
    assert_eq!((api.times_asked(), world.issuer.refresh_calls()), (2, 1));
    api.expect("never");
    let ask = || world.get("/api/x").header("cookie", &cookie).send();
    assert_eq!(ask().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let times = (api.times_asked(), world.issuer.refresh_calls());
    assert_eq!(times, (3, 1), "the token is as young as can be: nothing is repeated");
    world.clock.advance(Settings::default().cool_down);
    let answer = ask().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "a second 401 is the upstream's word");
    assert_eq!((api.times_asked(), world.issuer.refresh_calls()), (5, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_that_meet_one_401_cost_one_refresh() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    api.expect("access-1-2");
    let asking: Vec<_> = (0..100)
        .map(|_| tokio::spawn(world.get("/api/x").header("cookie", &cookie).send()))
        .collect();
    for answer in asking {
        assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(world.issuer.refresh_calls(), 1);
}

#[tokio::test]
async fn a_large_body_streams_through_without_the_repeat() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    let body = vec![b'x'; 1024 * 1024];
    let answer = world.post("/api/x").header("cookie", &cookie).body(body.clone()).send().await;
    let got: Value = answer.unwrap().json().await.unwrap();
    assert_eq!(got["body"].as_str().unwrap().len(), body.len());
    api.expect("access-1-2");
    let answer = world.post("/api/x").header("cookie", &cookie).body(body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "there is nothing to repeat it with");
    assert_eq!((api.times_asked(), world.issuer.refresh_calls()), (2, 1));
    api.expect("access-1-2");
    let next = world.get("/api/x").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(next.status(), StatusCode::OK, "the token was renewed all the same");
    assert_eq!(world.issuer.refresh_calls(), 1);
}

#[tokio::test]
async fn without_a_session_programs_get_a_401_and_browsers_the_login_page() {
    let api = Api::start().await;
    let proxies = vec![proxy("/api", format!("http://{}", api.address))];
    let login_page = Some("/login".to_owned());
    let world = World::with(ServerSettings { proxies, login_page, ..plain() }).await;
    refused(world.get("/api/x").send().await.unwrap(), 401, "not_logged_in").await;
    let html = |method: Method| world.ask(method, "/api/x?y=z").header("accept", "text/html");
    refused(html(Method::POST).send().await.unwrap(), 401, "not_logged_in").await;
    let answer = html(Method::GET).header("cookie", "device_id=dead").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(header(&answer, "location"), "/login?rd=%2Fapi%2Fx%3Fy%3Dz");
    assert!(clears_cookie(&answer));
    assert_eq!(api.times_asked(), 0);
}
