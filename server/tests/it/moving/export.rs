//! Exports that are whole, interrupted, changed, and of somebody else.

use std::path::Path;

use tokenkeep_core::{Clock as _, EndReason, SystemClock, TokenStore as _};

use super::sessions::{all_of, device, fill, how_many, open, open_at, place, record};
use crate::commands::complaint;
use crate::process::Installation;

/// An installation with some sessions, and the path of a file beside its data.
async fn filled(count: u32) -> (Installation, String) {
    let place = place();
    let engine = open(&place);
    fill(&engine, 0..count).await;
    engine.close().await.unwrap();
    let file = place.data_dir().with_file_name("export").to_str().unwrap().to_owned();
    (place, file)
}

/// Another installation with the same ring.
fn with_ring_of(other: &Installation) -> Installation {
    let place = place();
    std::fs::create_dir(place.data_dir()).unwrap();
    std::fs::copy(other.data_dir().join("keyring"), place.data_dir().join("keyring")).unwrap();
    place
}

fn has_store(place: &Installation) -> bool {
    place.data_dir().join("tokens.redb").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_brings_every_session_to_another_store_as_it_was() {
    let (place, file) = filled(how_many()).await;
    let before = all_of(&open(&place)).await;
    assert_eq!(before.len(), how_many() as usize);
    place.must(&["export", "--to", &file]).await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("canary"), "no token is readable");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let other = with_ring_of(&place);
    let said = other.must(&["import", &file]).await;
    assert!(said.starts_with(&format!("{} imported, 0 were there", how_many())), "{said}");
    let engine = open(&other);
    assert_eq!(engine.id(), open(&place).id());
    assert!(all_of(&engine).await == before);
    drop(engine);
    let said = other.must(&["import", &file]).await;
    assert!(said.starts_with(&format!("0 imported, {} were there", how_many())), "{said}");
    assert!(all_of(&open(&other)).await == before, "again changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_export_is_asked_for_by_name_and_moves_to_another_ring() {
    let (place, file) = filled(50).await;
    let before = all_of(&open(&place)).await;
    place.must(&["export", "--plain-tokens", "--to", &file]).await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"access_token\":\"canary-access-49\""));
    let stranger = super::sessions::place();
    stranger.must(&["import", &file]).await;
    assert!(all_of(&open(&stranger)).await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_interrupts_an_export_costs_nothing_but_the_rest_of_it() {
    let (place, file) = filled(60).await;
    place.must(&["export", "--to", &file]).await;
    let whole = std::fs::read(&file).unwrap();
    let lines: Vec<usize> = whole
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1)
        .collect();
    // One session ends after it was exported, one logs in.
    let engine = open(&place);
    let now = SystemClock::new().now();
    engine.remove(device(3), None, EndReason::Logout, now).await.unwrap();
    fill(&engine, 60..61).await;
    let expected = all_of(&engine).await;
    engine.close().await.unwrap();
    let head = lines[0];
    let (first, middle, last) = (lines[1], lines[30], lines[60]);
    for cut in
        [head, head + 1, first, first + 200, middle, middle - 1, last - 1, last, whole.len() - 1]
    {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let import = with_ring_of(&place);
        let said = complaint(import.command(&["import", &file]), 65).await;
        assert!(said.contains("truncated"), "{said}");
        assert!(!has_store(&import), "nothing was stored");
        place.must(&["export", "--resume", "--to", &file]).await;
        import.must(&["import", &file]).await;
        let engine = open(&import);
        assert!(all_of(&engine).await == expected, "cut at {cut}");
    }
    // What a power loss leaves may be longer than what was written.
    let mut torn = whole[..middle].to_vec();
    torn.extend_from_slice(&[0; 5000]);
    std::fs::write(&file, &torn).unwrap();
    place.must(&["export", "--resume", "--to", &file]).await;
    let import = with_ring_of(&place);
    import.must(&["import", &file]).await;
    assert!(all_of(&open(&import)).await == expected);
    place.must(&["export", "--resume", "--to", &file]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_was_changed_is_refused_before_anything_is_stored() {
    let (place, file) = filled(20).await;
    place.must(&["export", "--to", &file]).await;
    let whole = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let mut left_out = lines.clone();
    left_out.remove(5);
    let mut swapped = lines.clone();
    swapped.swap(5, 6);
    let mut twice = lines.clone();
    twice.insert(5, lines[5]);
    let other_user = whole.replacen("user3@", "user4@", 1);
    for (changed, part) in [
        (joined(&left_out), "counts or its digest"),
        (joined(&swapped), "counts or its digest"),
        (joined(&twice), "counts or its digest"),
        (other_user, "does not open"),
        (whole.replacen("\"record\"", "\"colour\"", 1), "line 2 of the export is damaged"),
        (whole.replacen("\"format\":1", "\"format\":2", 1), "format 2"),
        (format!("{whole}{}\n", lines[5]), "counts or its digest"),
        ("hello\n".to_owned(), "not an export"),
        (String::new(), "not an export"),
    ] {
        std::fs::write(&file, changed).unwrap();
        let import = with_ring_of(&place);
        let said = complaint(import.command(&["import", &file]), 65).await;
        assert!(said.contains(part), "{part}: {said}");
        assert!(!has_store(&import), "{part}: nothing was stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_for_another_ring_or_store_is_refused() {
    let (place, file) = filled(5).await;
    place.must(&["export", "--to", &file]).await;
    let (stranger, _) = filled(1).await;
    let said = complaint(stranger.command(&["import", &file]), 78).await;
    assert!(said.contains("key ring does not fit"), "{said}");
    let nobody = super::sessions::place();
    let said = complaint(nobody.command(&["import", &file]), 78).await;
    assert!(said.contains("keyring is missing"), "{said}");
    assert!(!nobody.data_dir().exists(), "no ring was made");
    let other_store = with_ring_of(&place);
    open(&other_store).close().await.unwrap();
    let said = complaint(other_store.command(&["import", &file]), 78).await;
    assert!(said.contains("store") && said.contains("expected"), "{said}");
    assert!(all_of(&open(&other_store)).await.is_empty());
    let said = complaint(stranger.command(&["export", "--resume", "--to", &file]), 78).await;
    assert!(said.contains("of store"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_at_the_destination_stays_ended_and_what_is_newer_stays() {
    let (place, file) = filled(10).await;
    place.must(&["export", "--to", &file]).await;
    let engine = open(&place);
    let now = SystemClock::new().now();
    engine.remove(device(1), None, EndReason::Logout, now).await.unwrap();
    let mut newer = record(2);
    newer.version = newer.version.next();
    engine.import(newer.clone(), now).await.unwrap();
    engine.close().await.unwrap();
    let said = place.must(&["import", &file]).await;
    assert!(said.contains("0 imported, 9 were there already, 1 ended here"), "{said}");
    let engine = open(&place);
    assert!(engine.get(device(1), now).await.unwrap().live().is_none());
    assert_eq!(engine.get(device(2), now).await.unwrap().live().unwrap().version, newer.version);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_read_or_found_is_said_in_one_line() {
    let (place, file) = filled(5).await;
    std::fs::write(&file, "mine").unwrap();
    let refuse = async |arguments: &[&str], code, part: &str| {
        let said = complaint(place.command(arguments), code).await;
        assert!(said.contains(part), "{part}: {said}");
    };
    refuse(&["export", "--to", &file], 73, "cannot be made").await;
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    refuse(&["export", "--to", "/dev/full"], 73, "cannot be made").await;
    refuse(&["import", "/no/such/file"], 66, "cannot be opened").await;
    refuse(&["export", "--from", "redb:/no/such/store"], 66, "no store at redb:").await;
    refuse(&["export", "--from", "mysql://:canary@host"], 2, "not the address").await;
    refuse(&["migrate", "--to", "original+sqlite:x"], 2, "original application").await;
    let own = format!("redb:{}", place.data_dir().display());
    refuse(&["migrate", "--to", &own], 2, "same store").await;
    std::fs::write(&file, "").unwrap();
    refuse(&["import", "/dev/null"], 65, "not an export").await;
    let engine = open(&place);
    refuse(&["export"], 69, "in use").await;
    drop(engine);
    let mut full = place.command(&["export"]);
    full.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let said = complaint(full, 74).await;
    assert!(said.contains("cannot be written"), "{said}");
    assert!(!Path::new("x").exists());
    drop(open_at(&place.data_dir()));
}
