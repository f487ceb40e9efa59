//! A record as the named columns of the original application, and one column of our own.
//!
//! Redis and SQLite keep records in this form: the six columns that the original application
//! reads and writes, and `rest`, which holds what it does not know.
//!
//! `rest`, format 1: format (1), sealed (0 or 1), the fields in the layout of [`super`] (header
//! bytes, access token issued and expires, user agent, address, label), and, if sealed, key id (4
//! bytes) and HMAC-SHA256 over a label, the store id, every other column with its length in
//! front, and `rest` up to the tag. A sealed token stands in its column as unpadded URL-safe
//! base64 of the bytes that [`super`] describes.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::layout::{append, known_format, read};
use super::record::{ACCESS, REFRESH, text};
use super::seal::{Place, open, seal};
use super::{CodecError, FORMAT, Header, RecordHeader};
use crate::keyring::{Key, KeyId, KeyRing};
use crate::{
    AccessToken, ClientInfo, DeviceId, Email, Label, RefreshToken, StoreId, TimeText, Timestamp,
    TokenRecord, TokenType, Verifier, Version,
};

/// Whether a store seals what it keeps.
#[derive(Clone, Debug)]
pub enum Sealing {
    /// Tokens are sealed, and every column is under a tag.
    On(KeyRing),
    /// Tokens lie in the clear, for those who share the rows with the original application. What
    /// it writes into its columns wins over what this program wrote before.
    Off,
}

/// The columns of one record. The tokens are sealed unless [`Sealing::Off`] wrote them.
#[derive(Clone)]
pub struct Columns {
    /// Who logged in.
    pub email: String,
    /// How the access token is presented.
    pub token_type: String,
    /// The access token.
    pub access_token: Zeroizing<String>,
    /// When the access token stops working, as [`TimeText`] writes it.
    pub access_expiry: String,
    /// The refresh token.
    pub refresh_token: Zeroizing<String>,
    /// When the refresh token stops working, as [`TimeText`] writes it.
    pub refresh_expiry: String,
    /// Our own column; the rows of the original application have none.
    pub rest: Option<Vec<u8>>,
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Columns").field("email", &self.email).finish_non_exhaustive()
    }
}

impl Columns {
    /// Turns `record` into columns for `store`, with its times in the style of `times`.
    ///
    /// The refresh intent is not part of it: a store keeps it in its own way.
    ///
    /// # Errors
    /// [`CodecError::NoRandom`] if no nonce can be drawn.
    pub fn encode(
        record: &TokenRecord,
        sealing: &Sealing,
        store: &StoreId,
        times: TimeText,
    ) -> Result<Self, CodecError> {
        let mut columns = Self {
            email: record.email.as_str().to_owned(),
            token_type: record.token_type.as_str().to_owned(),
            access_token: Zeroizing::new(record.access_token.expose().to_owned()),
            access_expiry: times.write(record.access_expires_at),
            refresh_token: Zeroizing::new(record.refresh_token.expose().to_owned()),
            refresh_expiry: times.write(record.refresh_expires_at),
            rest: None,
        };
        let mut rest = rest_of(record)?;
        if let Sealing::On(ring) = sealing {
            let key = ring.active_key().ok_or(CodecError::UnknownKey)?;
            columns.seal(record, &key, store)?;
            if let Some(sealed) = rest.get_mut(1) {
                *sealed = SEALED;
            }
            rest.extend_from_slice(key.id.as_bytes());
            let tag = columns.tag(&key, store, &rest)?.finalize().into_bytes();
            rest.extend_from_slice(&tag);
        }
        columns.rest = Some(rest);
        Ok(columns)
    }

    /// Reads the record of `device` that came from `store`.
    ///
    /// With [`Sealing::On`] nothing of the columns is trusted before the tag was checked. With
    /// [`Sealing::Off`] the columns of the original application win over `rest`, and a row
    /// without `rest` is read as one of its own: with [`Version::FIRST`] and
    /// [`Verifier::NOBODY`], and as old as can be known at `now`. The refresh intent is absent.
    ///
    /// # Errors
    /// [`CodecError::Unsealed`] if `sealing` is on and the row is not sealed: reading it with
    /// [`Sealing::Off`] is how it is taken over. [`CodecError::UnknownKey`] if it is sealed and
    /// `sealing` is off. Any other [`CodecError`].
    pub fn decode(
        &self,
        device: DeviceId,
        sealing: &Sealing,
        store: &StoreId,
        now: Timestamp,
    ) -> Result<TokenRecord, CodecError> {
        match (sealing, self.rest.as_deref()) {
            (Sealing::On(ring), Some(rest)) => self.decode_sealed(device, rest, ring, store),
            (Sealing::On(_), None) => Err(CodecError::Unsealed),
            (Sealing::Off, Some(rest)) => self.decode_plain(device, rest),
            (Sealing::Off, None) => self.decode_original(device, now),
        }
    }

    /// The id of the key that they are sealed with, if they are sealed.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        Self::key_in(self.rest.as_deref()?)
    }

    /// The id of the key that the columns with this `rest` are sealed with, if they are sealed.
    #[must_use]
    pub fn key_in(rest: &[u8]) -> Option<KeyId> {
        if rest.get(1) != Some(&SEALED) {
            return None;
        }
        let (content, _tag) = rest.split_last_chunk::<32>()?;
        Some(KeyId::from_bytes(*content.last_chunk::<4>()?))
    }

    fn seal(&mut self, record: &TokenRecord, key: &Key, store: &StoreId) -> Result<(), CodecError> {
        let (device, version) = (record.device_id, record.version);
        for (token, field) in [(&mut self.access_token, ACCESS), (&mut self.refresh_token, REFRESH)]
        {
            let sealed = seal(key, &Place { store, device, version, field }, token)?;
            *token = Zeroizing::new(URL_SAFE_NO_PAD.encode(sealed));
        }
        Ok(())
    }

    fn decode_sealed(
        &self,
        device: DeviceId,
        rest: &[u8],
        ring: &KeyRing,
        store: &StoreId,
    ) -> Result<TokenRecord, CodecError> {
        if known_format(rest)?.first() == Some(&PLAIN) {
            return Err(CodecError::Unsealed);
        }
        let (content, tagged) = rest.split_last_chunk::<32>().ok_or(CodecError::Malformed)?;
        let (fields, id) = content.split_last_chunk::<4>().ok_or(CodecError::Malformed)?;
        let key = ring.key(KeyId::from_bytes(*id)).ok_or(CodecError::UnknownKey)?;
        let tag = self.tag(&key, store, content)?;
        tag.verify_slice(tagged).map_err(|_| CodecError::Tampered)?;
        let rest = Rest::read(fields, SEALED, device)?;
        let version = rest.header.version;
        let opened = |token: &str, field| {
            let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| CodecError::Malformed)?;
            text(&open(ring, &Place { store, device, version, field }, &sealed)?)
        };
        let mut record = self.record(device, &rest)?;
        record.access_token = access_token(&opened(&self.access_token, ACCESS)?)?;
        record.refresh_token = refresh_token(&opened(&self.refresh_token, REFRESH)?)?;
        Ok(record)
    }

    fn decode_plain(&self, device: DeviceId, rest: &[u8]) -> Result<TokenRecord, CodecError> {
        if known_format(rest)?.first() == Some(&SEALED) {
            return Err(CodecError::UnknownKey);
        }
        let mut record = self.record(device, &Rest::read(rest, PLAIN, device)?)?;
        record.access_token = access_token(&self.access_token)?;
        record.refresh_token = refresh_token(&self.refresh_token)?;
        Ok(record)
    }

    /// The record of the original application: all that is known of its age is that it was there
    /// before its access token ran out.
    fn decode_original(&self, device: DeviceId, now: Timestamp) -> Result<TokenRecord, CodecError> {
        let access_expires_at = instant(&self.access_expiry)?;
        let known_since = now.min(access_expires_at);
        Ok(TokenRecord {
            device_id: device,
            version: Version::FIRST,
            verifier: Verifier::NOBODY,
            email: self.email()?,
            token_type: self.token_type()?,
            access_token: access_token(&self.access_token)?,
            access_issued_at: known_since,
            access_expires_at,
            refresh_token: refresh_token(&self.refresh_token)?,
            refresh_expires_at: instant(&self.refresh_expiry)?,
            created_at: known_since,
            last_seen_at: known_since,
            previous_visit_at: None,
            absolute_expires_at: None,
            idle_limit: None,
            client: ClientInfo::default(),
            label: None,
            refresh_intent: None,
        })
    }

    /// The record of the columns and `rest`, but with the tokens as they stand in their columns.
    fn record(&self, device: DeviceId, rest: &Rest<'_>) -> Result<TokenRecord, CodecError> {
        let Rest { header, access_issued_at, access_expires_at, .. } = rest;
        let expires = either(&self.access_expiry, *access_expires_at)?;
        let moved = expires.as_unix_micros().saturating_sub(access_expires_at.as_unix_micros());
        // Another expiry is another token: it was asked for as much later.
        let issued = access_issued_at.as_unix_micros().saturating_add(moved);
        Ok(TokenRecord {
            device_id: device,
            version: header.version,
            verifier: header.verifier,
            email: self.email()?,
            token_type: self.token_type()?,
            access_token: access_token(&self.access_token)?,
            access_issued_at: Timestamp::from_unix_micros(issued),
            access_expires_at: expires,
            refresh_token: refresh_token(&self.refresh_token)?,
            refresh_expires_at: either(&self.refresh_expiry, header.refresh_expires_at)?,
            created_at: header.created_at,
            last_seen_at: header.last_seen_at,
            previous_visit_at: header.previous_visit_at,
            absolute_expires_at: header.absolute_expires_at,
            idle_limit: header.idle_limit,
            client: ClientInfo::new(rest.user_agent, rest.address),
            label: rest.label.map(str::parse).transpose().map_err(|_| CodecError::Malformed)?,
            refresh_intent: None,
        })
    }

    fn email(&self) -> Result<Email, CodecError> {
        self.email.parse().map_err(|_| CodecError::Malformed)
    }

    fn token_type(&self) -> Result<TokenType, CodecError> {
        TokenType::new(self.token_type.as_str()).map_err(|_| CodecError::Malformed)
    }

    fn tag(&self, key: &Key, store: &StoreId, rest: &[u8]) -> Result<Hmac<Sha256>, CodecError> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*key.tagging).map_err(|_| CodecError::Malformed)?;
        mac.update(b"tokenkeep columns tag v1\0");
        mac.update(store.as_bytes());
        for column in [
            self.email.as_str(),
            &self.token_type,
            &self.access_token,
            &self.access_expiry,
            &self.refresh_token,
            &self.refresh_expiry,
        ] {
            mac.update(&u64::try_from(column.len()).unwrap_or(u64::MAX).to_le_bytes());
            mac.update(column.as_bytes());
        }
        mac.update(rest);
        Ok(mac)
    }
}

/// What `rest` holds, apart from key id and tag.
struct Rest<'a> {
    header: RecordHeader<'a>,
    access_issued_at: Timestamp,
    access_expires_at: Timestamp,
    user_agent: Option<&'a str>,
    address: Option<IpAddr>,
    label: Option<&'a str>,
}

/// Header, access token issued and expires, user agent, address, label.
type RestFields<'a> = (&'a [u8], i64, i64, Option<&'a str>, Option<IpAddr>, Option<&'a str>);

impl<'a> Rest<'a> {
    fn read(bytes: &'a [u8], sealed: u8, device: DeviceId) -> Result<Self, CodecError> {
        let fields = known_format(bytes)?.strip_prefix(&[sealed]).ok_or(CodecError::Malformed)?;
        let fields: RestFields<'a> = read(fields)?;
        let (header, issued, expires, user_agent, address, label) = fields;
        let Header::Record(header) = Header::decode(header)? else {
            return Err(CodecError::Malformed);
        };
        if header.device != device {
            return Err(CodecError::Tampered);
        }
        Ok(Self {
            header,
            access_issued_at: Timestamp::from_unix_micros(issued),
            access_expires_at: Timestamp::from_unix_micros(expires),
            user_agent,
            address,
            label,
        })
    }
}

/// `rest` of `record` as it is without sealing.
fn rest_of(record: &TokenRecord) -> Result<Vec<u8>, CodecError> {
    let header = Header::Record(RecordHeader::of(record)).encode()?;
    let fields: RestFields<'_> = (
        &header,
        record.access_issued_at.as_unix_micros(),
        record.access_expires_at.as_unix_micros(),
        record.client.user_agent(),
        record.client.address(),
        record.label.as_ref().map(Label::as_str),
    );
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&[FORMAT, PLAIN]);
    append(&mut bytes, &fields)?;
    Ok(bytes)
}

/// What `column` says, unless it is `exact` in writing.
fn either(column: &str, exact: Timestamp) -> Result<Timestamp, CodecError> {
    let same = |style: TimeText| style.write(exact) == column;
    if same(TimeText::WithOffset) || same(TimeText::WithoutOffset) {
        return Ok(exact);
    }
    instant(column)
}

fn instant(column: &str) -> Result<Timestamp, CodecError> {
    TimeText::read(column).map_err(|_| CodecError::Malformed)
}

fn access_token(text: &str) -> Result<AccessToken, CodecError> {
    AccessToken::new(text).map_err(|_| CodecError::Malformed)
}

fn refresh_token(text: &str) -> Result<RefreshToken, CodecError> {
    RefreshToken::new(text).map_err(|_| CodecError::Malformed)
}

const PLAIN: u8 = 0;
const SEALED: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::tests::{any_record, ring_and_store, shown};
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_757_185_200);
    const STYLES: [TimeText; 2] = [TimeText::WithOffset, TimeText::WithoutOffset];

    fn columns(columns: &mut Columns) -> [&mut String; 6] {
        [
            &mut columns.email,
            &mut columns.token_type,
            &mut columns.access_token,
            &mut columns.access_expiry,
            &mut columns.refresh_token,
            &mut columns.refresh_expiry,
        ]
    }

    fn original() -> Columns {
        Columns {
            email: "Ada@Example.org".into(),
            token_type: "bearer".into(),
            access_token: Zeroizing::new("the-access-token".into()),
            access_expiry: "2025-09-06 19:01:45.165131+00:00".into(),
            refresh_token: Zeroizing::new("the-refresh-token".into()),
            refresh_expiry: "2025-09-06 19:03:45+00:00".into(),
            rest: None,
        }
    }

    proptest! {
        #[test]
        fn columns_round_trip(record in any_record(), sealed: bool) {
            let (ring, store) = ring_and_store();
            let rotated = Sealing::On(ring.rotated().unwrap());
            let (write, read) =
                if sealed { (Sealing::On(ring), rotated) } else { (Sealing::Off, Sealing::Off) };
            for style in STYLES {
                let columns = Columns::encode(&record, &write, &store, style).unwrap();
                let read = columns.decode(record.device_id, &read, &store, NOW).unwrap();
                prop_assert_eq!(shown(&read), shown(&record));
            }
        }

        #[test]
        fn no_column_can_be_changed_or_swapped(
            (record, other) in (any_record(), any_record()),
            which in 0..6_usize,
            (at, bit) in (any::<prop::sample::Index>(), 0..7_u8),
        ) {
            let (ring, store) = ring_and_store();
            let sealing = Sealing::On(ring);
            let encode = |record| {
                Columns::encode(record, &sealing, &store, TimeText::WithOffset).unwrap()
            };
            let (good, mut other) = (encode(&record), encode(&other));
            let refused = |columns: &Columns| {
                columns.decode(record.device_id, &sealing, &store, NOW).is_err()
            };
            let mut swapped = good.clone();
            let (mine, theirs) = (&mut columns(&mut swapped)[which], &columns(&mut other)[which]);
            if mine != theirs {
                mine.clone_from(theirs);
                prop_assert!(refused(&swapped), "column {} of another record", which);
            }
            let mut changed = good.clone();
            let text = &mut columns(&mut changed)[which];
            let mut bytes = text.clone().into_bytes();
            bytes[at.index(text.len())] ^= 1 << bit;
            **text = String::from_utf8(bytes).unwrap();
            prop_assert!(refused(&changed), "a bit of column {}", which);
            let mut within = good.clone();
            let (before, after) = (which, (which + 1) % 6);
            let mut all = columns(&mut within);
            let [a, b] = all.get_disjoint_mut([before, after]).unwrap();
            std::mem::swap(*a, *b);
            prop_assert!(refused(&within), "columns {} and {}", before, after);
            let mut changed = good.clone();
            let rest = changed.rest.as_mut().unwrap();
            let at = at.index(rest.len());
            rest[at] ^= 1 << bit;
            prop_assert!(refused(&changed), "byte {} of rest", at);
            let without = Columns { rest: None, ..good.clone() };
            prop_assert!(refused(&without));
            let elsewhere = DeviceId::from_bytes([0xee; 16]);
            prop_assert!(good.decode(elsewhere, &sealing, &store, NOW).is_err());
        }

        #[test]
        fn no_columns_make_it_panic(texts: [String; 6], rest: Option<Vec<u8>>, sealed: bool) {
            let (ring, store) = ring_and_store();
            let [email, token_type, access, access_expiry, refresh, refresh_expiry] = texts;
            let (access_token, refresh_token) = (Zeroizing::new(access), Zeroizing::new(refresh));
            let sealing = if sealed { Sealing::On(ring) } else { Sealing::Off };
            let columns = Columns {
                email, token_type, access_token, access_expiry, refresh_token, refresh_expiry, rest,
            };
            prop_assert!(
                columns.decode(DeviceId::from_bytes([1; 16]), &sealing, &store, NOW).is_err()
            );
        }
    }

    #[test]
    fn a_row_of_the_original_application_is_read() {
        let (ring, store) = ring_and_store();
        let device = DeviceId::from_bytes([1; 16]);
        let record = original().decode(device, &Sealing::Off, &store, NOW).unwrap();
        assert_eq!(record.email.as_str(), "ada@example.org");
        assert_eq!(record.version, Version::FIRST);
        assert!(!record.verifier.matches(&record.verifier), "nobody's");
        assert_eq!(record.access_token.expose(), "the-access-token");
        assert_eq!(record.refresh_token.expose(), "the-refresh-token");
        assert_eq!(record.access_expires_at.to_string(), "2025-09-06T19:01:45.165131Z");
        assert_eq!(record.dies_at().to_string(), "2025-09-06T19:03:45Z");
        assert_eq!((record.created_at, record.last_seen_at), (NOW, NOW));
        let late = original().decode(device, &Sealing::Off, &store, NOW + 2 * HOUR).unwrap();
        assert_eq!(late.created_at, late.access_expires_at, "it was there before");
        let refused = original().decode(device, &Sealing::On(ring), &store, NOW);
        assert_eq!(refused.unwrap_err(), CodecError::Unsealed);
    }

    #[test]
    fn what_the_original_application_writes_wins_where_nothing_is_sealed() {
        let (ring, store) = ring_and_store();
        let device = DeviceId::from_bytes([1; 16]);
        let mut first = original().decode(device, &Sealing::Off, &store, NOW).unwrap();
        first.verifier = Verifier::from_bytes([9; 32]);
        let plain = Columns::encode(&first, &Sealing::Off, &store, TimeText::WithOffset).unwrap();
        let life = first.access_expires_at.duration_since(first.access_issued_at);
        let mut renewed = original();
        *renewed.access_token = "the-next-access-token".into();
        renewed.access_expiry = "2025-09-06 20:01:45+00:00".into();
        renewed.rest = plain.rest.clone();
        let record = renewed.decode(device, &Sealing::Off, &store, NOW).unwrap();
        assert!(record.verifier.matches(&first.verifier));
        assert_eq!(record.access_token.expose(), "the-next-access-token");
        assert_eq!(record.access_expires_at.to_string(), "2025-09-06T20:01:45Z");
        assert_eq!(record.access_expires_at.duration_since(record.access_issued_at), life);
        let sealed = Sealing::On(ring);
        let refused = plain.decode(device, &sealed, &store, NOW);
        assert_eq!(refused.unwrap_err(), CodecError::Unsealed);
        let columns = Columns::encode(&first, &sealed, &store, TimeText::WithOffset).unwrap();
        let refused = columns.decode(device, &Sealing::Off, &store, NOW);
        assert_eq!(refused.unwrap_err(), CodecError::UnknownKey);
    }

    #[test]
    fn sealed_columns_show_no_token() {
        let (ring, store) = ring_and_store();
        let device = DeviceId::from_bytes([1; 16]);
        let record = original().decode(device, &Sealing::Off, &store, NOW).unwrap();
        let sealed = Sealing::On(ring);
        let mut sealed = Columns::encode(&record, &sealed, &store, TimeText::WithOffset).unwrap();
        let rest = sealed.rest.clone().unwrap();
        for text in columns(&mut sealed).into_iter().map(|text| text.clone().into_bytes()) {
            assert!(![&text, &rest].iter().any(|b| b.windows(6).any(|w| w == b"-token")));
        }
        assert!(!format!("{:?}", original()).contains("-token"));
    }

    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
}
