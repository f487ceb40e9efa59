//! Claims about service keys, as tables.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

fn path(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("data").join("service-keys.json")
}

fn add(keys: &ServiceKeys, scopes: &[Scope]) -> NewKey {
    keys.add("billing", scopes, NOW).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_opens_what_its_scopes_say_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ServiceKeys::open(path(&directory)).unwrap();
    let key = add(&keys, &[Scope::Token, Scope::AdminRead]);
    let text = key.text.expose();
    assert_eq!(keys.check(text, Scope::Token).unwrap().id, key.id);
    assert_eq!(keys.check(text, Scope::AdminRead).unwrap().name, "billing");
    assert_eq!(keys.check(text, Scope::AdminWrite), Err(KeyRefusal::MissingScope));
}

#[test]
fn a_changed_key_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ServiceKeys::open(path(&directory)).unwrap();
    let key = add(&keys, &[Scope::Token]);
    let text = key.text.expose();
    assert_eq!((text.len(), text.starts_with(&format!("tk_{}_", key.id))), (KEY_LEN, true));
    let other_id = format!("tk_00000000_{}", &text[12..]);
    let other_end = format!("{}{}", &text[..54], if text.ends_with('A') { 'B' } else { 'A' });
    for bad in [
        "",
        "tk_",
        &text[..54],
        &format!("{text}A"),
        &text.to_uppercase(),
        &other_id,
        &other_end,
        &"\u{e9}".repeat(28),
    ] {
        assert_eq!(keys.check(bad, Scope::Token), Err(KeyRefusal::Unknown), "{bad:?}");
    }
}

#[test]
fn the_file_is_private_and_has_no_key_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    let keys = ServiceKeys::open(&path).unwrap();
    let key = add(&keys, &[Scope::Token]);
    let content = std::fs::read_to_string(&path).unwrap();
    assert!(!content.contains(&key.text.expose()[12..]));
    assert!(!format!("{keys:?} {key:?}").contains(&key.text.expose()[12..]));
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn another_process_is_heard_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServiceKeys::open(path(&directory)).unwrap();
    let command = ServiceKeys::open(path(&directory)).unwrap();
    for _ in 0..20 {
        let key = add(&command, &[Scope::Token]);
        assert!(server.check(key.text.expose(), Scope::Token).is_ok());
        command.revoke(key.id.as_str()).unwrap();
        assert_eq!(server.check(key.text.expose(), Scope::Token), Err(KeyRefusal::Unknown));
    }
    assert!(matches!(command.revoke("00000000"), Err(KeyError::NoSuchKey)));
}

#[test]
fn a_damaged_file_allows_nothing_and_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    let keys = ServiceKeys::open(&path).unwrap();
    let key = add(&keys, &[Scope::Token]);
    let good = std::fs::read_to_string(&path).unwrap();
    for bad in
        [&good[..good.len() / 2], "", "[]", &good.replace("\"version\": 1", "\"version\": 2")]
    {
        std::fs::write(&path, bad).unwrap();
        assert_eq!(keys.check(key.text.expose(), Scope::Token), Err(KeyRefusal::Unknown));
        assert!(matches!(keys.add("b", &[Scope::Token], NOW), Err(KeyError::Damaged { .. })));
        assert!(matches!(ServiceKeys::open(&path), Err(KeyError::Damaged { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
    }
    std::fs::write(&path, &good).unwrap();
    assert!(keys.check(key.text.expose(), Scope::Token).is_ok());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(keys.check(key.text.expose(), Scope::Token), Err(KeyRefusal::Unknown));
}

#[test]
fn adding_at_the_same_time_loses_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = path(&directory);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| add(&ServiceKeys::open(&path).unwrap(), &[Scope::Token]));
        }
    });
    assert_eq!(ServiceKeys::open(&path).unwrap().list().unwrap().len(), 8);
}

#[test]
fn names_and_scopes_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ServiceKeys::open(path(&directory)).unwrap();
    assert!(matches!(keys.add("", &[Scope::Token], NOW), Err(KeyError::Name(_))));
    assert!(matches!(keys.add("a\nb", &[Scope::Token], NOW), Err(KeyError::Name(_))));
    assert!(matches!(keys.add("a", &[], NOW), Err(KeyError::NoScope)));
    for scope in [Scope::Token, Scope::AdminRead, Scope::AdminWrite] {
        assert_eq!(scope.to_string().parse(), Ok(scope));
    }
    assert_eq!("admin".parse::<Scope>(), Err(InvalidScope));
}
