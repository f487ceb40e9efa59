//! Backups of stores that are served from, and restores.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokenkeep::key_file;
use tokenkeep_core::{Clock as _, DeviceId, EndReason, KeyRing, SystemClock, TokenStore as _};
use tokenkeep_server::store::AnyStore;

use super::places::{Kind, Place, home};
use super::sessions::{all_of, device, fill, how_many, open, place, record};
use crate::commands::complaint;
use crate::process::{Installation, must};

/// An installation with sessions in a store of some kind, and a backup of it.
struct Backed {
    place: Installation,
    store: Place,
    ring: KeyRing,
    backup: String,
}

impl Backed {
    async fn up(kind: Kind, count: u32) -> Self {
        let settings = match kind {
            Kind::Sqlite => format!("{SETTINGS}[store]\nkind = \"sqlite\"\n"),
            _ => SETTINGS.to_owned(),
        };
        let place = Installation::with_settings(&settings);
        std::fs::create_dir(place.data_dir()).unwrap();
        let ring = key_file::open_or_create(&place.data_dir().join("keyring")).unwrap();
        let store = match kind {
            Kind::Sqlite => Place::Sqlite(place.data_dir().join("tokens.sqlite")),
            _ => home(&place),
        };
        let open = store.open(&ring).await;
        fill(&open, 0..count).await;
        open.close().await.unwrap();
        let backup = place.data_dir().with_file_name("backup").display().to_string();
        place.must(&["backup", "--to", &backup]).await;
        Self { place, store, ring, backup }
    }

    async fn open(&self) -> AnyStore {
        self.store.open(&self.ring).await
    }

    /// All records that are there now.
    async fn all(&self) -> BTreeMap<DeviceId, String> {
        let store = self.open().await;
        let all = all_of(&store).await;
        store.close().await.unwrap();
        all
    }

    /// The data file.
    fn data(&self) -> PathBuf {
        match &self.store {
            Place::Redb(directory) => directory.join("tokens.redb"),
            Place::Sqlite(file) => file.clone(),
            Place::Redis(_) => panic!("not a file"),
        }
    }
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
    std::fs::remove_file(place.data_dir().join("tokens.redb")).unwrap();
    let path = path.to_str().unwrap();
    let said = place.must(&["restore", path]).await;
    assert_eq!(said.trim(), format!("{} records are back", how_many()));
    assert!(all_of(&open(&place)).await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_revives_nothing_that_the_newer_store_knows_to_be_over() {
    for kind in KINDS {
        let backed = Backed::up(kind, 20).await;
        let store = backed.open().await;
        let now = SystemClock::new().now();
        store.remove(device(1), None, EndReason::Logout, now).await.unwrap();
        let mut newer = record(2);
        newer.version = newer.version.next();
        store.import(newer.clone(), now).await.unwrap();
        fill(&store, 20..25).await;
        let expected = all_of(&store).await;
        store.close().await.unwrap();
        drop(store);
        let said = backed.place.must(&["restore", &backed.backup]).await;
        assert_eq!(
            said.trim(),
            "0 records came back, 19 were there, 1 ended since and stay ended, 0 expired"
        );
        assert!(backed.all().await == expected);
        let names = names(&backed.place.data_dir());
        assert!(!names.iter().any(|name| name.starts_with("restore-")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_fills_an_empty_place() {
    for kind in KINDS {
        let backed = Backed::up(kind, 20).await;
        let before = backed.all().await;
        std::fs::remove_file(backed.data()).unwrap();
        let said = backed.place.must(&["restore", &backed.backup]).await;
        assert_eq!(said.trim(), "20 records are back");
        assert!(backed.all().await == before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_puts_a_damaged_file_aside() {
    for kind in KINDS {
        let backed = Backed::up(kind, 20).await;
        let before = backed.all().await;
        let mut bytes = std::fs::read(backed.data()).unwrap();
        let half = bytes.len() / 2;
        bytes.truncate(half);
        std::fs::write(backed.data(), &bytes).unwrap();
        backed.place.must(&["restore", &backed.backup]).await;
        assert!(backed.all().await == before);
        let data = backed.data();
        let beginning = format!("{}.damaged-", data.file_name().unwrap().to_str().unwrap());
        let aside: Vec<_> = names(&backed.place.data_dir())
            .into_iter()
            .filter(|name| name.starts_with(&beginning))
            .collect();
        assert_eq!(aside.len(), 1);
        assert!(std::fs::read(backed.place.data_dir().join(&aside[0])).unwrap() == bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_damaged_or_somebody_elses_changes_nothing() {
    for kind in KINDS {
        let backed = Backed::up(kind, 20).await;
        let Backed { place, backup, .. } = &backed;
        let before = std::fs::read(backed.data()).unwrap();
        let whole = std::fs::read(backup).unwrap();
        let refused = async |code, part: &str| {
            let said = complaint(place.command(&["restore", backup]), code).await;
            assert!(said.contains(part), "{part}: {said}");
            assert!(std::fs::read(backed.data()).unwrap() == before);
        };
        std::fs::write(backup, &whole[..whole.len() / 2]).unwrap();
        refused(65, "damaged").await;
        std::fs::write(backup, "a letter").unwrap();
        refused(65, "not a token store").await;
        let stranger = Backed::up(kind, 1).await;
        std::fs::copy(&stranger.backup, backup).unwrap();
        refused(78, "key ring does not fit").await;
        drop(stranger);
        std::fs::remove_file(backup).unwrap();
        refused(66, "no backup").await;
        std::fs::write(backup, &whole).unwrap();
        let server = place.serve().await;
        let said = complaint(place.command(&["restore", backup]), 69).await;
        assert!(said.contains("in use"), "{said}");
        server.stop().await;
        std::fs::remove_file(place.data_dir().join("keyring")).unwrap();
        let said = complaint(place.command(&["restore", backup]), 78).await;
        assert!(said.contains("keyring is missing"), "{said}");
    }
}

const KINDS: [Kind; 2] = [Kind::Redb, Kind::Sqlite];
const SETTINGS: &str =
    "[auth_server]\nbase_url = \"http://127.0.0.1:9\"\n[log]\nformat = \"json\"\n";
