//! A running server that changes its store under the hands of its users.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokenkeep_core::wire::TaskBody;
use tokio::task::JoinSet;

use super::redis::Redis;
use crate::commands::complaint;
use crate::crash::Site;
use crate::crash::worker::{Wire, Worker};
use crate::process::{must, output};

/// Users who log in, refresh, label, log out and end each other's sessions while the server goes
/// over to the store at `to`; afterwards it is served by `settings`.
async fn move_under_load(to: &str, settings: &str) {
    let mut site = Site::with_settings(64, 4, &format!("[store]\nmove_to = \"{to}\"\n")).await;
    let server = site.place.serve().await;
    let wire = Wire::to(&server, &site.http, &site.demo);
    let working: JoinSet<Worker> =
        site.workers.drain(..).map(|worker| worker.work(wire.clone())).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut moving = site.place.command(&["migrate", "--live", "--to", to]);
    moving.args(["--server", &server.url("")]).env("TOKENKEEP_SERVICE_KEY", &site.key);
    let said = must(moving).await;
    assert!(said.contains("records copied"), "{said}");
    let mut again = site.place.command(&["migrate", "--live", "--to", to]);
    again.args(["--server", &server.url("")]).env("TOKENKEEP_SERVICE_KEY", &site.key);
    assert!(complaint(again, 1).await.contains("moved already"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    wire.killed.store(true, Ordering::SeqCst);
    server.stop().await;
    site.workers = working.join_all().await;

    let old = site.place.command(&["serve", "--listen", "127.0.0.1:0"]);
    let said = complaint(old, 78).await;
    assert!(said.contains("were moved to"), "{said}");
    let file = site.place.data_dir().with_file_name("settings.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let (others, _) = before.split_once("[store]").unwrap();
    std::fs::write(&file, format!("{others}{settings}")).unwrap();
    let server = site.place.serve().await;
    let wire = Wire::to(&server, &site.http, &site.demo);
    // The reasons of sessions that were not copied stayed behind; that they ended did not.
    for worker in &mut site.workers {
        for ended in worker.entries.extract_if(.., |entry| entry.ended.is_some()) {
            let asked = wire.ask(Method::GET, "/v1/session").header("cookie", &ended.cookie);
            let status = wire.send(asked).await.unwrap().status();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "revived: {ended:?}");
        }
    }
    assert!(site.workers.iter().map(|worker| worker.entries.len()).sum::<usize>() >= 32);
    site.check(&wire).await;
    assert_eq!(site.interrupted, 0, "no refresh was lost");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_goes_over_to_sqlite_and_logs_nobody_out() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("tokens.sqlite").display().to_string();
    let settings = format!("[store]\nkind = \"sqlite\"\n[store.sqlite]\nfile = \"{file}\"\n");
    move_under_load(&format!("sqlite:{file}"), &settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_goes_over_to_redis_and_logs_nobody_out() {
    let redis = Redis::start(&[]).await;
    let settings = format!("[store]\nkind = \"redis\"\n[store.redis]\nurl = \"{}\"\n", redis.url());
    move_under_load(&redis.url(), &settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_fails_or_is_called_off_changes_nothing() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("tokens.sqlite");
    let to = format!("sqlite:{}", file.display());
    let mut site = Site::with_settings(8, 5, &format!("[store]\nmove_to = \"{to}\"\n")).await;
    let server = site.place.serve().await;
    let wire = Wire::to(&server, &site.http, &site.demo);
    for worker in &mut site.workers {
        worker.login(&wire).await.unwrap();
    }
    let moving = |to: &str| {
        let mut moving = site.place.command(&["migrate", "--live", "--to", to]);
        moving.args(["--server", &server.url("")]).env("TOKENKEEP_SERVICE_KEY", &site.key);
        moving
    };
    let said = complaint(moving("sqlite:/somewhere/else"), 1).await;
    assert!(said.contains("store.move_to"), "{said}");
    std::fs::write(&file, "something else").unwrap();
    let said = complaint(moving(&to), 69).await;
    assert!(said.contains("not a token store"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), b"something else");
    let task = wire.ask(Method::GET, "/v1/admin/task").bearer_auth(&site.key);
    let task: TaskBody = wire.send(task).await.unwrap().json().await.unwrap();
    assert_eq!(task.kind, "move");
    // A store of the same id that was used already.
    std::fs::remove_file(&file).unwrap();
    site.check(&wire).await;
    server.stop().await;
    site.place.must(&["migrate", "--to", &to]).await;
    let server = site.place.serve().await;
    let mut again = site.place.command(&["migrate", "--live", "--to", &to]);
    again.args(["--server", &server.url("")]).env("TOKENKEEP_SERVICE_KEY", &site.key);
    let said = complaint(again, 69).await;
    assert!(said.contains("not empty"), "{said}");
    site.check(&Wire::to(&server, &site.http, &site.demo)).await;
    server.stop().await;
    let nobody = site.place.command(&["migrate", "--live", "--to", &to]);
    assert_eq!(output(nobody).await.status.code(), Some(2), "--live needs --server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_server_serves_from_every_kind_of_store() {
    let redis = Redis::start(&[]).await;
    let url = format!("[store.redis]\nurl = \"{}\"\n", redis.url());
    for kind in ["redb", "sqlite", "redis"] {
        let mut site = Site::with_settings(2, 6, &url).await;
        for _ in 0..2 {
            let server = site.place.serve_with(&["--store", kind]).await;
            let wire = Wire::to(&server, &site.http, &site.demo);
            for worker in &mut site.workers {
                worker.login(&wire).await.unwrap();
            }
            site.check(&wire).await;
            server.stop().await;
        }
        let mut compact = site.place.command(&["compact"]);
        compact.env("TOKENKEEP_STORE__KIND", kind);
        if kind == "redb" {
            must(compact).await;
        } else {
            assert!(complaint(compact, 2).await.contains("does not apply"));
        }
    }
}
