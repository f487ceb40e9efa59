//! What services may see and end.

use reqwest::{Method, StatusCode};
use tokenkeep_core::sessions::Settings;
use tokenkeep_core::wire::{DevicesBody, EndedBody, StatsBody};

use crate::world::{World, plain, refused};

#[tokio::test]
async fn a_service_lists_and_ends_the_devices_of_an_email() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    world.login("ada@example.org").await;
    world.login("bob@example.org").await;
    let path = "/v1/admin/devices?email=ADA%40example.org";
    let answer = world.get(path).bearer_auth("read-key").send().await.unwrap();
    let devices = answer.json::<DevicesBody>().await.unwrap().devices;
    assert_eq!(devices.len(), 2);
    assert!(devices.iter().all(|device| !device.current));
    let end = || world.ask(Method::DELETE, path).bearer_auth("write-key").send();
    assert_eq!(end().await.unwrap().json::<EndedBody>().await.unwrap().ended, 2);
    assert_eq!(end().await.unwrap().json::<EndedBody>().await.unwrap().ended, 0);
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    let problem = refused(answer, 401, "session_ended").await;
    assert_eq!(problem.reason.as_deref(), Some("ended_by_service"));
}

#[tokio::test]
async fn each_scope_opens_its_own_doors() {
    let world = World::new().await;
    let devices = "/v1/admin/devices?email=a@b";
    for (method, path, good) in [
        (Method::GET, devices, "read-key"),
        (Method::DELETE, devices, "write-key"),
        (Method::GET, "/v1/admin/stats", "read-key"),
        (Method::GET, "/v1/admin/events", "read-key"),
    ] {
        for key in ["read-key", "write-key", "token-key"] {
            let answer = world.ask(method.clone(), path).bearer_auth(key).send().await.unwrap();
            match key == good {
                true => assert_eq!(answer.status(), StatusCode::OK, "{method} {path}"),
                false => drop(refused(answer, 403, "missing_scope").await),
            }
        }
        let answer = world.ask(method.clone(), path).bearer_auth("").send().await.unwrap();
        refused(answer, 401, "invalid_service_key").await;
        let answer = world.ask(method, path).send().await.unwrap();
        refused(answer, 401, "invalid_service_key").await;
    }
}

#[tokio::test]
async fn an_admin_query_is_read_strictly() {
    let world = World::new().await;
    for query in ["", "?email=a@b&email=c@d", "?mail=a@b", "?email=a@b&x=y"] {
        let path = format!("/v1/admin/devices{query}");
        let answer = world.get(&path).bearer_auth("read-key").send().await.unwrap();
        refused(answer, 400, "bad_request").await;
    }
    let answer = world.get("/v1/admin/devices?email=ab").bearer_auth("read-key").send().await;
    refused(answer.unwrap(), 400, "invalid_email").await;
}

#[tokio::test]
async fn the_counts_are_told() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    world.get("/authz/nginx").header("cookie", &cookie).send().await.unwrap();
    let answer = world.get("/v1/admin/stats").bearer_auth("read-key").send().await.unwrap();
    let stats: StatsBody = answer.json().await.unwrap();
    assert_eq!((stats.devices, stats.users, stats.logins, stats.refreshes_done), (1, 1, 1, 1));
}

#[tokio::test]
async fn with_a_listener_of_its_own_administration_is_nowhere_else() {
    let world = World::build(plain(), Settings::default(), true).await;
    let admin = |path: &str| {
        let url = format!("http://{}{path}", world.admin.unwrap());
        world.http.get(url).bearer_auth("read-key").send()
    };
    assert_eq!(admin("/v1/admin/stats").await.unwrap().status(), StatusCode::OK);
    assert_eq!(admin("/readyz").await.unwrap().status(), StatusCode::OK);
    refused(admin("/v1/session").await.unwrap(), 404, "not_found").await;
    refused(admin("/authz/nginx").await.unwrap(), 404, "not_found").await;
    let answer = world.get("/v1/admin/stats").bearer_auth("read-key").send().await.unwrap();
    refused(answer, 404, "not_found").await;
}
