//! A user's devices.

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokenkeep_core::wire::{DeviceBody, DevicesBody, EndedBody};

use crate::world::{World, clears_cookie, device_of, refused};

async fn list(world: &World, cookie: &str) -> Vec<DeviceBody> {
    let answer = world.get("/v1/devices").header("cookie", cookie).send().await.unwrap();
    answer.json::<DevicesBody>().await.unwrap().devices
}

#[tokio::test]
async fn a_user_sees_her_devices_and_nobody_elses() {
    let world = World::new().await;
    let first = world.login("ada@example.org").await;
    world.clock.advance(std::time::Duration::from_secs(1));
    let second = world.login("ADA@example.org").await;
    world.login("bob@example.org").await;
    let devices = list(&world, &first).await;
    let ids: Vec<String> = devices.iter().map(|device| device.device_id.to_string()).collect();
    assert_eq!(ids, [device_of(&first), device_of(&second)]);
    assert_eq!((devices[0].current, devices[1].current), (true, false));
    assert!(devices[1].new_since_last_visit && !devices[0].new_since_last_visit);
    assert_eq!(devices[0].address, Some([127, 0, 0, 1].into()));
}

#[tokio::test]
async fn a_device_gets_a_label_and_loses_it() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let path = format!("/v1/devices/{}", device_of(&cookie));
    let label = |body: serde_json::Value| {
        world.ask(Method::PATCH, &path).header("cookie", &cookie).json(&body).send()
    };
    let answer = label(json!({"label": "  Kitchen "})).await.unwrap();
    let device: DeviceBody = answer.json().await.unwrap();
    assert_eq!((device.label.as_deref(), device.current), (Some("Kitchen"), true));
    let answer = label(json!({"label": null})).await.unwrap();
    assert_eq!(answer.json::<DeviceBody>().await.unwrap().label, None);
    for bad in [json!({"label": ""}), json!({"label": "a\nb"}), json!({"label": "x".repeat(65)})] {
        refused(label(bad).await.unwrap(), 400, "bad_request").await;
    }
    refused(label(json!({"label": "a", "email": "b"})).await.unwrap(), 400, "bad_request").await;
}

#[tokio::test]
async fn a_device_is_ended_from_another_one() {
    let world = World::new().await;
    let (first, second) =
        (world.login("ada@example.org").await, world.login("ada@example.org").await);
    let path = format!("/v1/devices/{}", device_of(&second));
    let end = || world.ask(Method::DELETE, &path).header("cookie", &first).send();
    let answer = end().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert!(!clears_cookie(&answer), "the asking device goes on");
    refused(end().await.unwrap(), 404, "no_such_device").await;
    let answer = world.get("/v1/session").header("cookie", &second).send().await.unwrap();
    let problem = refused(answer, 401, "session_ended").await;
    assert_eq!(problem.reason.as_deref(), Some("ended_by_user"));
}

#[tokio::test]
async fn somebody_elses_device_is_no_device() {
    let world = World::new().await;
    let (ada, bob) = (world.login("ada@example.org").await, world.login("bob@example.org").await);
    for id in [device_of(&bob), "0123456789abcdef0123456789abcdef", "rubbish", "%41"] {
        let path = format!("/v1/devices/{id}");
        let ask = |method| world.ask(method, &path).header("cookie", &ada);
        let answer = ask(Method::DELETE).send().await.unwrap();
        let ended = refused(answer, 404, "no_such_device").await;
        let answer = ask(Method::PATCH).json(&json!({"label": "x"})).send().await.unwrap();
        let labelled = refused(answer, 404, "no_such_device").await;
        assert_eq!(ended.detail, labelled.detail);
        let stranger = world.ask(Method::DELETE, &path).send().await.unwrap();
        refused(stranger, 401, "not_logged_in").await;
    }
    assert_eq!(list(&world, &bob).await.len(), 1);
}

#[tokio::test]
async fn all_others_end_or_all() {
    let world = World::new().await;
    let first = world.login("ada@example.org").await;
    for _ in 0..2 {
        world.login("ada@example.org").await;
    }
    let end = |query: &str| {
        let path = format!("/v1/devices{query}");
        world.ask(Method::DELETE, &path).header("cookie", &first).send()
    };
    for bad in ["?except=me", "?only=current", "?except=current&except=current", "?except="] {
        refused(end(bad).await.unwrap(), 400, "bad_request").await;
    }
    let answer = end("?except=current").await.unwrap();
    assert!(!clears_cookie(&answer));
    assert_eq!(answer.json::<EndedBody>().await.unwrap().ended, 2);
    let answer = end("").await.unwrap();
    assert!(clears_cookie(&answer));
    assert_eq!(answer.json::<EndedBody>().await.unwrap().ended, 1);
    refused(end("").await.unwrap(), 401, "session_ended").await;
}
