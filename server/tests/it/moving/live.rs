//! A running server that changes its store under the hands of its users.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokenkeep::key_file;
use tokenkeep_core::wire::TaskBody;
use tokenkeep_core::{Clock as _, SystemClock};
use tokio::task::JoinSet;

use super::places::{Kind, Place, home, seeded};
use super::redis::Redis;
use super::sessions::shown;
use crate::commands::complaint;
use crate::crash::Site;
use crate::crash::worker::{Wire, Worker};
use crate::process::{must, output};

/// How many sessions lie in the store that a running server leaves;
/// `TOKENKEEP_MOVED_SESSIONS=100000` is the full form.
fn how_many() -> u32 {
    std::env::var("TOKENKEEP_MOVED_SESSIONS").map_or(500, |count| count.parse().unwrap())
}

/// Users who log in, refresh, label, log out and end each other's sessions while the server goes
/// over from one store to another, with many sessions besides that nobody uses.
async fn move_under_load(from: Kind, to: Kind) {
    let elsewhere = tempfile::tempdir().unwrap();
    let to = Place::make(to, &elsewhere, "there").await;
    let from = Place::make(from, &elsewhere, "here").await;
    let move_to = format!("move_to = \"{}\"\n", to.address());
    let mut site = Site::with_settings(24, 4, &from.settings(&move_to)).await;
    let from = if matches!(from, Place::Redb(_)) { home(&site.place) } else { from };
    let ring = key_file::open_or_create(&site.place.data_dir().join("keyring")).unwrap();
    from.seed(&ring, how_many()).await;
    site.others = how_many() as usize;
    let source = from.open(&ring).await;
    let before: Vec<_> = seeded(&source, how_many()).await;
    source.close().await.unwrap();
    drop(source);

    let server = site.place.serve().await;
    let wire = Wire::to(&server, &site.http, &site.demo);
    let working: JoinSet<Worker> =
        site.workers.drain(..).map(|worker| worker.work(wire.clone())).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut moving = site.place.command(&["migrate", "--live", "--to", &to.address()]);
    moving.args(["--server", &server.url("")]).env("TOKENKEEP_SERVICE_KEY", &site.key);
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let said = must(moving).await;
    assert!(said.contains("records copied"), "{said}");
    println!("{:?} for {}", clock.monotonic() - began, said.trim());
    let mut again = site.place.command(&["migrate", "--live", "--to", &to.address()]);
    again.args(["--server", &server.url("")]).env("TOKENKEEP_SERVICE_KEY", &site.key);
    assert!(complaint(again, 1).await.contains("moved already"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    wire.killed.store(true, Ordering::SeqCst);
    server.stop().await;
    site.workers = working.join_all().await;

    let old = site.place.command(&["serve", "--listen", "127.0.0.1:0"]);
    let said = complaint(old, 78).await;
    assert!(said.contains("were moved to"), "{said}");
    let destination = to.open(&ring).await;
    let after = seeded(&destination, how_many()).await;
    assert!(before.iter().map(shown).eq(after.iter().map(shown)), "each is there as it was");
    to.check_ttls(&after);
    destination.close().await.unwrap();
    drop(destination);

    let file = site.place.data_dir().with_file_name("settings.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let (others, _) = settings.split_once("[store]").unwrap();
    std::fs::write(&file, format!("{others}{}", to.settings(""))).unwrap();
    let serving = match &to {
        Place::Redb(directory) => {
            let directory = directory.to_str().unwrap();
            std::fs::copy(
                site.place.data_dir().join("service-keys.json"),
                to_path(directory).join("service-keys.json"),
            )
            .unwrap();
            vec!["--data-dir", directory]
        }
        _ => vec![],
    };
    let server = site.place.serve_with(&serving).await;
    let wire = Wire::to(&server, &site.http, &site.demo);
    // The reasons of sessions that were not copied stayed behind; that they ended did not.
    for worker in &mut site.workers {
        for ended in worker.entries.extract_if(.., |entry| entry.ended.is_some()) {
            let asked = wire.ask(Method::GET, "/v1/session").header("cookie", &ended.cookie);
            let status = wire.send(asked).await.unwrap().status();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "revived: {ended:?}");
        }
    }
    assert!(site.workers.iter().map(|worker| worker.entries.len()).sum::<usize>() >= 12);
    site.check(&wire).await;
    assert_eq!(site.interrupted, 0, "no refresh was lost");
    server.stop().await;
}

fn to_path(text: &str) -> &std::path::Path {
    std::path::Path::new(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_goes_from_redb_to_sqlite_and_logs_nobody_out() {
    move_under_load(Kind::Redb, Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_goes_from_redb_to_redis_and_logs_nobody_out() {
    move_under_load(Kind::Redb, Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_goes_from_sqlite_to_redb_and_logs_nobody_out() {
    move_under_load(Kind::Sqlite, Kind::Redb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_goes_from_sqlite_to_redis_and_logs_nobody_out() {
    move_under_load(Kind::Sqlite, Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_goes_from_redis_to_redb_and_logs_nobody_out() {
    move_under_load(Kind::Redis, Kind::Redb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_goes_from_redis_to_sqlite_and_logs_nobody_out() {
    move_under_load(Kind::Redis, Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_fails_changes_nothing() {
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
    let said = complaint(moving(&to), 65).await;
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
    let said = complaint(again, 78).await;
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
