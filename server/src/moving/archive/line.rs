//! The lines of an export.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tokenkeep_core::codec::{CodecError, Columns, Sealing};
use tokenkeep_core::{
    DeviceId, EndReason, HolderId, KeyRing, RefreshIntent, StoreId, TimeText, Timestamp,
    TokenRecord, Version,
};
use zeroize::Zeroizing;

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Export(Head),
    Record(Box<RecordLine>),
    Ended(EndedLine),
    End(Tail),
}

/// The first line: what the export is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The format of the lines.
    pub format: u32,
    /// The store's id, as hex digits.
    pub store: String,
    /// Whether tokens are sealed.
    pub sealed: bool,
    /// The key that sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How that key is recognised, as base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_check: Option<String>,
    /// When the export began.
    pub begun_at: Timestamp,
}

impl Head {
    /// The head of an export of `store`.
    #[must_use]
    pub fn new(store: &StoreId, sealing: &Sealing, begun_at: Timestamp) -> Self {
        let (key, key_check) = match sealing {
            Sealing::On(ring) => (Some(ring.active().to_string()), check_value(ring, store)),
            Sealing::Off => (None, None),
        };
        let sealed = matches!(sealing, Sealing::On(_));
        Self { format: FORMAT, store: store.to_string(), sealed, key, key_check, begun_at }
    }

    /// The id of the store that was exported.
    #[must_use]
    pub fn store_id(&self) -> Option<StoreId> {
        let mut bytes = [0; 16];
        if self.store.len() != 32 || !self.store.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = self.store.get(2 * at..2 * at + 2)?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(StoreId::from_bytes(bytes))
    }

    /// Whether `ring` has the key that sealed.
    #[must_use]
    pub fn fits(&self, ring: &KeyRing) -> bool {
        let (Some(store), Some(key)) = (self.store_id(), &self.key) else { return false };
        let Ok(key) = key.parse() else { return false };
        let value = ring.check_value(key, &store).map(|value| URL_SAFE_NO_PAD.encode(value));
        value.is_some() && value == self.key_check
    }
}

fn check_value(ring: &KeyRing, store: &StoreId) -> Option<String> {
    ring.check_value(ring.active(), store).map(|value| URL_SAFE_NO_PAD.encode(value))
}

/// A record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordLine {
    pub(super) device_id: DeviceId,
    pub(super) version: u64,
    pub(super) last_seen_at: Timestamp,
    email: String,
    token_type: String,
    access_token: String,
    access_expiry: String,
    refresh_token: String,
    refresh_expiry: String,
    rest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intent: Option<IntentLine>,
}

/// A refresh that is under way or uncertain.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IntentLine {
    holder: String,
    since: Timestamp,
    leased_until: Timestamp,
    uncertain: bool,
}

/// A session that ended after its record was written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndedLine {
    pub(super) device_id: DeviceId,
    reason: String,
}

/// The last line: what must have been read by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// Lines with a record.
    pub records: u64,
    /// Lines with a session that ended.
    pub ended: u64,
    /// SHA-256 of all bytes before this line, as hex digits.
    pub sha256: String,
}

impl RecordLine {
    pub(super) fn new(
        record: &TokenRecord,
        sealing: &Sealing,
        store: &StoreId,
    ) -> Result<Self, CodecError> {
        let mut columns = Columns::encode(record, sealing, store, TimeText::WithOffset)?;
        let intent = record.refresh_intent.map(|intent| IntentLine {
            holder: URL_SAFE_NO_PAD.encode(intent.holder.as_bytes()),
            since: intent.since,
            leased_until: intent.leased_until,
            uncertain: intent.uncertain,
        });
        Ok(Self {
            device_id: record.device_id,
            version: record.version.number(),
            last_seen_at: record.last_seen_at,
            email: columns.email,
            token_type: columns.token_type,
            access_token: std::mem::take(&mut *columns.access_token),
            access_expiry: columns.access_expiry,
            refresh_token: std::mem::take(&mut *columns.refresh_token),
            refresh_expiry: columns.refresh_expiry,
            rest: URL_SAFE_NO_PAD.encode(columns.rest.unwrap_or_default()),
            intent,
        })
    }

    /// The record of this line; its tag was checked if it is sealed.
    pub(super) fn open(
        self,
        sealing: &Sealing,
        store: &StoreId,
        now: Timestamp,
    ) -> Result<TokenRecord, CodecError> {
        let rest = URL_SAFE_NO_PAD.decode(self.rest).map_err(|_| CodecError::Malformed)?;
        let columns = Columns {
            email: self.email,
            token_type: self.token_type,
            access_token: Zeroizing::new(self.access_token),
            access_expiry: self.access_expiry,
            refresh_token: Zeroizing::new(self.refresh_token),
            refresh_expiry: self.refresh_expiry,
            rest: Some(rest),
        };
        let mut record = columns.decode(self.device_id, sealing, store, now)?;
        if record.version.number() != self.version || record.last_seen_at != self.last_seen_at {
            return Err(CodecError::Tampered);
        }
        record.refresh_intent = self.intent.map(IntentLine::open).transpose()?;
        Ok(record)
    }

    pub(super) fn version(&self) -> Version {
        Version::from_number(self.version)
    }
}

impl IntentLine {
    fn open(self) -> Result<RefreshIntent, CodecError> {
        let holder = URL_SAFE_NO_PAD.decode(self.holder).map_err(|_| CodecError::Malformed)?;
        let holder = holder.try_into().map_err(|_| CodecError::Malformed)?;
        Ok(RefreshIntent {
            holder: HolderId::from_bytes(holder),
            since: self.since,
            leased_until: self.leased_until,
            uncertain: self.uncertain,
        })
    }
}

impl EndedLine {
    pub(super) fn new(device_id: DeviceId, reason: EndReason) -> Self {
        Self { device_id, reason: reason.as_str().to_owned() }
    }

    pub(super) fn reason(&self) -> Option<EndReason> {
        EndReason::ALL.into_iter().find(|reason| reason.as_str() == self.reason)
    }
}

/// The format that is written.
pub(super) const FORMAT: u32 = 1;
