//! A whole record as a header and a body, and back.

use std::net::IpAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::header::{Header, RecordHeader};
use super::layout::{append, known_format, read};
use super::seal::{Place, open, seal};
use super::{CodecError, FORMAT};
use crate::keyring::{Key, KeyId, KeyRing};
use crate::{
    AccessToken, ClientInfo, Email, Label, RefreshToken, StoreId, Timestamp, TokenRecord, TokenType,
};

/// The bytes of a record. Neither part shows a token.
#[derive(Clone, Debug)]
pub struct EncodedRecord {
    /// What an index needs; see [`Header`].
    pub header: Vec<u8>,
    /// The rest, tokens sealed.
    pub body: Vec<u8>,
}

/// Turns `record` into bytes for `store`, sealed with the active key of `ring`.
///
/// The refresh intent is not part of it: a store keeps it in its own way.
///
/// # Errors
/// [`CodecError::NoRandom`] if no nonce can be drawn.
pub fn encode(
    record: &TokenRecord,
    ring: &KeyRing,
    store: &StoreId,
) -> Result<EncodedRecord, CodecError> {
    let key = ring.active_key().ok_or(CodecError::UnknownKey)?;
    let place = |field| Place { store, device: record.device_id, version: record.version, field };
    let header = Header::Record(RecordHeader::of(record)).encode()?;
    let access = seal(&key, &place(ACCESS), record.access_token.expose())?;
    let refresh = seal(&key, &place(REFRESH), record.refresh_token.expose())?;
    let fields: BodyFields<'_> = (
        &access,
        &refresh,
        record.token_type.as_str(),
        record.access_issued_at.as_unix_micros(),
        record.access_expires_at.as_unix_micros(),
        record.client.user_agent(),
        record.client.address(),
        record.label.as_ref().map(Label::as_str),
    );
    let mut body = Vec::with_capacity(access.len() + refresh.len() + 512);
    body.push(FORMAT);
    body.extend_from_slice(key.id.as_bytes());
    append(&mut body, &fields)?;
    let tag = tag(&key, store, &header, &body)?.finalize().into_bytes();
    body.extend_from_slice(&tag);
    Ok(EncodedRecord { header, body })
}

/// Reads the record in `header` and `body`, both of which came from `store`.
///
/// The refresh intent is absent in what is returned.
///
/// # Errors
/// Any [`CodecError`]: nothing of the bytes is trusted before the tag was checked.
pub fn decode(
    header: &[u8],
    body: &[u8],
    ring: &KeyRing,
    store: &StoreId,
) -> Result<TokenRecord, CodecError> {
    let fields = check(header, body, ring, store)?;
    let Header::Record(head) = Header::decode(header)? else { return Err(CodecError::Malformed) };
    let fields: BodyFields<'_> = read(fields)?;
    let (access, refresh, token_type, issued, expires, user_agent, address, label) = fields;
    let place = |field| Place { store, device: head.device, version: head.version, field };
    let access = text(&open(ring, &place(ACCESS), access)?)?;
    let refresh = text(&open(ring, &place(REFRESH), refresh)?)?;
    Ok(TokenRecord {
        device_id: head.device,
        version: head.version,
        verifier: head.verifier,
        email: canonical(head.email)?,
        token_type: TokenType::new(token_type).map_err(|_| CodecError::Malformed)?,
        access_token: AccessToken::new(access).map_err(|_| CodecError::Malformed)?,
        access_issued_at: Timestamp::from_unix_micros(issued),
        access_expires_at: Timestamp::from_unix_micros(expires),
        refresh_token: RefreshToken::new(refresh).map_err(|_| CodecError::Malformed)?,
        refresh_expires_at: head.refresh_expires_at,
        created_at: head.created_at,
        last_seen_at: head.last_seen_at,
        previous_visit_at: head.previous_visit_at,
        absolute_expires_at: head.absolute_expires_at,
        idle_limit: head.idle_limit,
        client: ClientInfo::new(user_agent, address),
        label: label.map(str::parse).transpose().map_err(|_| CodecError::Malformed)?,
        refresh_intent: None,
    })
}

/// The key that the record in `body` says it is sealed with.
#[must_use]
pub fn body_key(body: &[u8]) -> Option<KeyId> {
    known_format(body).ok()?.first_chunk::<4>().copied().map(KeyId::from_bytes)
}

/// Sealed access token, sealed refresh token, token type, access token issued and expires, user
/// agent, address, label.
type BodyFields<'a> =
    (&'a [u8], &'a [u8], &'a str, i64, i64, Option<&'a str>, Option<IpAddr>, Option<&'a str>);

/// Checks the tag, and returns the fields that it vouches for.
fn check<'a>(
    header: &[u8],
    body: &'a [u8],
    ring: &KeyRing,
    store: &StoreId,
) -> Result<&'a [u8], CodecError> {
    let (content, tagged) = body.split_last_chunk::<32>().ok_or(CodecError::Malformed)?;
    let rest = known_format(content)?;
    let (id, fields) = rest.split_first_chunk::<4>().ok_or(CodecError::Malformed)?;
    let key = ring.key(KeyId::from_bytes(*id)).ok_or(CodecError::UnknownKey)?;
    tag(&key, store, header, content)?.verify_slice(tagged).map_err(|_| CodecError::Tampered)?;
    Ok(fields)
}

fn tag(key: &Key, store: &StoreId, header: &[u8], body: &[u8]) -> Result<Hmac<Sha256>, CodecError> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(&*key.tagging).map_err(|_| CodecError::Malformed)?;
    mac.update(b"tokenkeep record tag v1\0");
    mac.update(store.as_bytes());
    mac.update(&u64::try_from(header.len()).unwrap_or(u64::MAX).to_le_bytes());
    mac.update(header);
    mac.update(body);
    Ok(mac)
}

pub(super) fn canonical(email: &str) -> Result<Email, CodecError> {
    let read: Email = email.parse().map_err(|_| CodecError::Malformed)?;
    if read.as_str() == email { Ok(read) } else { Err(CodecError::Malformed) }
}

pub(super) fn text(bytes: &[u8]) -> Result<String, CodecError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| CodecError::Malformed)
}

pub(super) const ACCESS: &[u8] = b"access_token";
pub(super) const REFRESH: &[u8] = b"refresh_token";

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;

    use super::*;
    use crate::{DeviceId, Verifier, Version};

    pub(in crate::codec) fn ring_and_store() -> (KeyRing, StoreId) {
        (KeyRing::generate().unwrap(), StoreId::random().unwrap())
    }

    prop_compose! {
        pub(in crate::codec) fn any_record()(
            (device, version, verifier) in (any::<[u8; 16]>(), any::<u64>(), any::<[u8; 32]>()),
            (access, refresh) in ("[!-~]{1,300}", "[!-~]{1,300}"),
            times: [i64; 5],
            (absolute, idle) in (any::<Option<i64>>(), any::<Option<u64>>()),
            (name, domain) in ("[a-z0-9.+]{1,40}", "[a-z0-9.]{1,40}"),
            token_type in "[A-Za-z]{1,64}",
            (agent, address) in (any::<Option<String>>(), any::<Option<[u8; 16]>>()),
            v4: bool,
            label in proptest::option::of("[a-zA-Z\u{e9}\u{4e2d}]{1,64}"),
        ) -> TokenRecord {
            let [issued, expires, refresh_expires, created, seen] =
                times.map(Timestamp::from_unix_micros);
            let address = address.map(|a| if v4 { [a[0], a[1], a[2], a[3]].into() } else { a.into() });
            TokenRecord {
                device_id: DeviceId::from_bytes(device),
                version: Version::from_number(version),
                verifier: Verifier::from_bytes(verifier),
                email: format!("{name}@{domain}").parse().unwrap(),
                token_type: TokenType::new(token_type).unwrap(),
                access_token: AccessToken::new(access).unwrap(),
                access_issued_at: issued,
                access_expires_at: expires,
                refresh_token: RefreshToken::new(refresh).unwrap(),
                refresh_expires_at: refresh_expires,
                created_at: created,
                last_seen_at: seen,
                previous_visit_at: absolute.map(Timestamp::from_unix_micros),
                absolute_expires_at: absolute.map(Timestamp::from_unix_micros),
                idle_limit: idle.map(Duration::from_micros),
                client: ClientInfo::new(agent.as_deref(), address),
                label: label.map(|label| label.parse().unwrap()),
                refresh_intent: None,
            }
        }
    }

    /// Everything of a record in the clear, to compare by.
    pub(in crate::codec) fn shown(record: &TokenRecord) -> String {
        format!(
            "{record:?} {:?} {} {}",
            record.verifier.as_bytes(),
            record.access_token.expose(),
            record.refresh_token.expose()
        )
    }

    proptest! {
        #[test]
        fn records_round_trip(record in any_record()) {
            let (ring, store) = ring_and_store();
            let EncodedRecord { header, body } = encode(&record, &ring, &store).unwrap();
            let read = decode(&header, &body, &ring.rotated().unwrap(), &store).unwrap();
            prop_assert_eq!(shown(&read), shown(&record));
        }

        #[test]
        fn no_body_makes_it_panic(header: Vec<u8>, body: Vec<u8>) {
            let (ring, store) = ring_and_store();
            prop_assert!(decode(&header, &body, &ring, &store).is_err());
            let _ = read::<BodyFields<'_>>(&body);
        }

        #[test]
        fn nothing_can_be_changed_or_swapped(
            record in any_record(),
            other in any_record(),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let (ring, store) = ring_and_store();
            let good = encode(&record, &ring, &store).unwrap();
            let mut bad = good.clone();
            let at = at.index(bad.body.len());
            bad.body[at] ^= 1 << bit;
            prop_assert!(decode(&good.header, &bad.body, &ring, &store).is_err());
            let other = encode(&other, &ring, &store).unwrap();
            prop_assert!(decode(&other.header, &good.body, &ring, &store).is_err());
            let elsewhere = StoreId::random().unwrap();
            prop_assert_eq!(
                decode(&good.header, &good.body, &ring, &elsewhere).unwrap_err(),
                CodecError::Tampered
            );
        }
    }

    #[test]
    fn encoded_records_show_no_token() {
        let (ring, store) = ring_and_store();
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut record = any_record().new_tree(&mut runner).unwrap().current();
        record.access_token = AccessToken::new("canary-access-token").unwrap();
        record.refresh_token = RefreshToken::new("canary-refresh-token").unwrap();
        let EncodedRecord { header, body } = encode(&record, &ring, &store).unwrap();
        for bytes in [header, body] {
            assert!(!bytes.windows(6).any(|window| window == b"canary"));
        }
    }
}
