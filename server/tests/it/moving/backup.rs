//! Backups of stores that are served from, and restores.

use std::path::{Path, PathBuf};

use tokenkeep_core::{Clock as _, EndReason, SystemClock, TokenStore as _};

use super::sessions::{all_of, device, fill, how_many, open, place, record};
use crate::commands::complaint;
use crate::process::{Installation, must};

fn data(place: &Installation) -> PathBuf {
    place.data_dir().join("tokens.redb")
}

/// An installation with sessions, and a backup of it.
async fn backed_up(count: u32) -> (Installation, String) {
    let place = place();
    let engine = open(&place);
    fill(&engine, 0..count).await;
    engine.close().await.unwrap();
    let backup = place.data_dir().with_file_name("backup").display().to_string();
    place.must(&["backup", "--to", &backup]).await;
    (place, backup)
}

fn names(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_backed_up_into_its_own_directory() {
    let place = place();
    let engine = open(&place);
    fill(&engine, 0..how_many()).await;
    let before = all_of(&engine).await;
    engine.close().await.unwrap();
    let server = place.serve().await;
    let key = place.key(&["admin:write"]).await;
    let backup = |name: &str, key: &str| {
        let mut command = place.command(&["backup", "--to", name, "--server", &server.url("")]);
        command.env("TOKENKEEP_SERVICE_KEY", key);
        command
    };
    let said = must(backup("monday", &key)).await;
    let path = place.data_dir().join("backups/monday");
    assert_eq!(said.trim(), path.to_str().unwrap());
    for name in ["../monday", "/tmp/monday", ".."] {
        let said = complaint(backup(name, &key), 1).await;
        assert!(said.contains("without a path"), "{said}");
    }
    let said = complaint(backup("monday", &key), 73).await;
    assert!(said.contains("there already"), "{said}");
    let reading = place.key(&["admin:read"]).await;
    let said = complaint(backup("tuesday", &reading), 1).await;
    assert!(said.contains("403"), "{said}");
    server.stop().await;
    std::fs::remove_file(data(&place)).unwrap();
    let path = path.to_str().unwrap();
    let said = place.must(&["restore", path]).await;
    assert_eq!(said.trim(), format!("{} records are back", how_many()));
    assert!(all_of(&open(&place)).await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_revives_nothing_that_the_newer_store_knows_to_be_over() {
    let (place, backup) = backed_up(20).await;
    let engine = open(&place);
    let now = SystemClock::new().now();
    engine.remove(device(1), None, EndReason::Logout, now).await.unwrap();
    let mut newer = record(2);
    newer.version = newer.version.next();
    engine.import(newer.clone(), now).await.unwrap();
    fill(&engine, 20..25).await;
    let expected = all_of(&engine).await;
    engine.close().await.unwrap();
    let said = place.must(&["restore", &backup]).await;
    assert_eq!(
        said.trim(),
        "0 records came back, 19 were there, 1 ended since and stay ended, 0 expired"
    );
    assert!(all_of(&open(&place)).await == expected);
    assert!(!names(&place.data_dir()).iter().any(|name| name.starts_with("restore-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_puts_a_damaged_file_aside() {
    let (place, backup) = backed_up(20).await;
    let before = all_of(&open(&place)).await;
    let mut bytes = std::fs::read(data(&place)).unwrap();
    let half = bytes.len() / 2;
    bytes.truncate(half);
    std::fs::write(data(&place), &bytes).unwrap();
    place.must(&["restore", &backup]).await;
    assert!(all_of(&open(&place)).await == before);
    let aside: Vec<_> = names(&place.data_dir())
        .into_iter()
        .filter(|name| name.starts_with("tokens.redb.damaged-"))
        .collect();
    assert_eq!(aside.len(), 1);
    assert!(std::fs::read(place.data_dir().join(&aside[0])).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_damaged_or_somebody_elses_changes_nothing() {
    let (place, backup) = backed_up(20).await;
    let before = std::fs::read(data(&place)).unwrap();
    let whole = std::fs::read(&backup).unwrap();
    let refused = async |code, part: &str| {
        let said = complaint(place.command(&["restore", &backup]), code).await;
        assert!(said.contains(part), "{part}: {said}");
        assert!(std::fs::read(data(&place)).unwrap() == before);
    };
    std::fs::write(&backup, &whole[..whole.len() / 2]).unwrap();
    refused(65, "damaged").await;
    std::fs::write(&backup, "a letter").unwrap();
    refused(65, "not a token store").await;
    let (stranger, theirs) = backed_up(1).await;
    std::fs::copy(&theirs, &backup).unwrap();
    refused(78, "key ring does not fit").await;
    drop(stranger);
    std::fs::remove_file(&backup).unwrap();
    refused(66, "no backup").await;
    std::fs::write(&backup, &whole).unwrap();
    let server = place.serve().await;
    let said = complaint(place.command(&["restore", &backup]), 69).await;
    assert!(said.contains("in use"), "{said}");
    server.stop().await;
    std::fs::remove_file(place.data_dir().join("keyring")).unwrap();
    let said = complaint(place.command(&["restore", &backup]), 78).await;
    assert!(said.contains("keyring is missing"), "{said}");
}
