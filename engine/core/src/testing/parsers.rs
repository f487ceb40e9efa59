//! Parsers of what strangers send and of what lies on a disk, with what holds for any bytes.
//!
//! The fuzz targets call these, and tests call them with every seed: see [`replay`].

use std::collections::BTreeSet;
use std::path::Path;

use crate::codec::{Header, decode, encode};
use crate::cookie::{Presented, pairs};
use crate::{
    ClientInfo, Credential, DeviceId, Email, KeyRing, Label, SpentToken, StoreId, Timestamp, wire,
};

/// A fuzz target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    ("codec", codec),
    ("sealed_record", sealed_record),
    ("key_ring", key_ring),
    ("credential", credential),
    ("cookie", cookie),
    ("device_id", device_id),
    ("email", email),
    ("label", label),
    ("user_agent", user_agent),
    ("spent_token", spent_token),
    ("timestamp", timestamp),
];

/// Gives every target each of its seeds in `seeds`, which has a directory for each; returns the
/// names of those directories.
///
/// # Panics
/// If a target finds fault with a seed, or has none.
pub fn replay(seeds: &Path, targets: &[Target]) -> BTreeSet<String> {
    for (name, target) in targets {
        let files: Vec<_> = std::fs::read_dir(seeds.join(name)).unwrap().collect();
        assert!(!files.is_empty(), "{name} has no seed");
        for file in files {
            target(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
    let names = std::fs::read_dir(seeds).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Stored bytes, whatever they are, open or are refused; a header that is written is read alike.
pub fn codec(bytes: &[u8]) {
    if let Ok(header) = Header::decode(bytes) {
        let again = header.encode().expect("it was read");
        assert_eq!(Header::decode(&again).and_then(|header| header.encode()), Ok(again));
    }
    let split = bytes.first().map_or(0, |at| usize::from(*at).min(bytes.len()));
    let (header, body) = bytes.split_at(split);
    let ring = KeyRing::generate().unwrap();
    assert!(decode(header, body, &ring, &StoreId::from_bytes([0; 16])).is_err());
}

/// A record that was changed on the disk, at pairs of place and value, does not open.
pub fn sealed_record(bytes: &[u8]) {
    let (ring, store) = (KeyRing::generate().unwrap(), StoreId::from_bytes([0; 16]));
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    let record = super::record(DeviceId::from_bytes([1; 16]), "ada@example.org", now);
    let sealed = encode(&record, &ring, &store).unwrap();
    let (mut header, mut body) = (sealed.header.clone(), sealed.body.clone());
    for change in bytes.chunks_exact(3) {
        let part = if change[0] & 1 == 0 { &mut header } else { &mut body };
        let at = usize::from(change[1]) % part.len();
        part[at] ^= change[2];
    }
    let as_it_was = header == sealed.header && body == sealed.body;
    assert_eq!(decode(&header, &body, &ring, &store).is_ok(), as_it_was);
}

/// A key ring that parses is written as it was read.
pub fn key_ring(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(ring) = KeyRing::parse(text) {
        let written = ring.to_text();
        assert_eq!(written.trim_end_matches('\n'), text.strip_suffix('\n').unwrap_or(text));
        assert!(KeyRing::parse(&written).unwrap().ids().eq(ring.ids()));
    }
}

/// A credential that parses is written as it was read, and nothing else parses.
pub fn credential(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(credential) = text.parse::<Credential>() {
        assert!(credential.expose().eq_ignore_ascii_case(text));
    }
}

/// Cookie headers, one a line, whatever they hold, are no credential, or exactly one.
pub fn cookie(bytes: &[u8]) {
    let headers = || bytes.split(|byte| *byte == b'\n');
    if let Presented::Credential(credential) = Presented::read(headers(), wire::COOKIE) {
        let text = credential.expose();
        let devices = pairs(headers()).filter(|(name, _)| *name == wire::COOKIE.as_bytes());
        let values: Vec<_> = devices.map(|(_, value)| value).collect();
        assert!(!values.is_empty());
        assert!(values.iter().all(|value| value.eq_ignore_ascii_case(text.as_bytes())));
    }
}

/// A device id has one form.
pub fn device_id(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(device) = text.parse::<DeviceId>() {
        assert!(device.to_string().eq_ignore_ascii_case(text));
    }
}

/// An address has one form, one `@`, and nothing that breaks a line or a header.
pub fn email(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(email) = text.parse::<Email>() {
        let shown = email.as_str();
        assert!(shown.eq_ignore_ascii_case(text) && shown.matches('@').count() == 1);
        assert!(!shown.chars().any(|c| c.is_control() || c.is_whitespace()));
        assert_eq!(shown.parse::<Email>(), Ok(email));
    }
}

/// A label is short, on one line, and reads as it is written.
pub fn label(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(label) = text.parse::<Label>() {
        let shown = label.as_str();
        assert!((1..=Label::MAX_CHARS).contains(&shown.chars().count()));
        assert!(text.contains(shown) && !shown.chars().any(char::is_control));
        assert_eq!(shown.parse::<Label>(), Ok(label));
    }
}

/// What a browser says of itself is cut to a size and to one line, and not cut again.
pub fn user_agent(bytes: &[u8]) {
    let said = String::from_utf8_lossy(bytes);
    let client = ClientInfo::new(Some(&said), None);
    let kept = client.user_agent().unwrap_or_default();
    assert!(kept.len() <= ClientInfo::MAX_USER_AGENT_LEN && !kept.chars().any(char::is_control));
    assert_eq!(ClientInfo::new(Some(kept), None), client);
}

/// The name of a spent token has one form.
pub fn spent_token(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(spent) = text.parse::<SpentToken>() {
        assert!(spent.to_string().eq_ignore_ascii_case(text));
    }
}

/// An instant reads as it is written.
pub fn timestamp(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(instant) = text.parse::<Timestamp>() {
        assert_eq!(instant.to_string().parse::<Timestamp>(), Ok(instant));
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
