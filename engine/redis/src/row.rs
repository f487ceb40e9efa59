//! A record as the fields of a hash: the columns of the original application and our own.

use std::collections::HashMap;

use tokenkeep_core::codec::{CodecError, Columns, Sealing};
use tokenkeep_core::{
    DeviceId, EndReason, Ended, HolderId, RefreshIntent, StoreId, TimeText, Timestamp, TokenRecord,
    Verifier,
};
use zeroize::Zeroizing;

use crate::driver::Reply;

/// The fields of a hash, as they were read.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    fields: HashMap<String, Zeroizing<Vec<u8>>>,
}

impl Row {
    /// The row in the answer to `HGETALL`, if there is one.
    pub(crate) fn read(reply: &Reply) -> Option<Self> {
        let pair = |pair: &[Reply]| match pair {
            [name, value] => {
                Some((name.text()?.to_owned(), Zeroizing::new(value.bytes()?.to_vec())))
            }
            _ => None,
        };
        let fields: HashMap<_, _> = reply.list().chunks(2).filter_map(pair).collect();
        (!fields.is_empty()).then_some(Self { fields })
    }

    /// The text of the field `name`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.fields.get(name)?).ok()
    }

    /// What follows `prefix` in the names of the fields that begin with it.
    pub(crate) fn names(&self, prefix: &str) -> impl Iterator<Item = &str> {
        self.fields.keys().filter_map(move |name| name.strip_prefix(prefix))
    }

    /// The instant in our own field `name`.
    pub(crate) fn instant(&self, name: &str) -> Option<Timestamp> {
        self.text(name)?.parse().ok().map(Timestamp::from_unix_micros)
    }

    /// Whether somebody else wrote it after this program.
    pub(crate) fn is_foreign(&self) -> bool {
        self.text("dies_at").is_none() || self.text("written") != self.text("refresh_expiry")
    }

    /// The record of the row.
    pub(crate) fn decode(
        &self,
        device: DeviceId,
        sealing: &Sealing,
        store: &StoreId,
        now: Timestamp,
    ) -> Result<TokenRecord, CodecError> {
        let columns = self.columns()?;
        let mut record = columns.decode(device, sealing, store, now)?;
        if columns.rest.is_none() {
            return Ok(record);
        }
        if self.text("version") != Some(&record.version.number().to_string()) {
            return Err(CodecError::Tampered);
        }
        record.last_seen_at = self.instant("last_seen_at").ok_or(CodecError::Malformed)?;
        record.previous_visit_at = self.instant("previous_visit_at");
        record.refresh_intent = self.intent()?;
        Ok(record)
    }

    /// The columns of the original application, and `rest`.
    pub(crate) fn columns(&self) -> Result<Columns, CodecError> {
        let text = |name| self.text(name).map(str::to_owned).ok_or(CodecError::Malformed);
        Ok(Columns {
            email: text("email")?,
            token_type: text("token_type")?,
            access_token: Zeroizing::new(text("access_token")?),
            access_expiry: text("access_expiry")?,
            refresh_token: Zeroizing::new(text("refresh_token")?),
            refresh_expiry: text("refresh_expiry")?,
            rest: self.fields.get("rest").map(|rest| rest.to_vec()),
        })
    }

    fn intent(&self) -> Result<Option<RefreshIntent>, CodecError> {
        let Some(holder) = self.text("intent_holder") else { return Ok(None) };
        let instant = |name| self.instant(name).ok_or(CodecError::Malformed);
        Ok(Some(RefreshIntent {
            holder: HolderId::from_bytes(unhex(holder).ok_or(CodecError::Malformed)?),
            since: instant("intent_since")?,
            leased_until: instant("intent_until")?,
            uncertain: self.text("intent_uncertain") == Some("1"),
        }))
    }
}

/// How long a record lives, as scripts and the index know it.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// The refresh token's end or the absolute limit, in microseconds.
    pub(crate) hard: String,
    /// The idle limit in microseconds, or `-`.
    pub(crate) idle: String,
    pub(crate) seen: String,
    pub(crate) created: String,
}

impl Life {
    pub(crate) fn of(record: &TokenRecord) -> Self {
        let absolute = record.absolute_expires_at.unwrap_or(Timestamp::MAX);
        let idle = record.idle_limit.map(|limit| limit.as_micros().to_string());
        Self {
            hard: micros(record.refresh_expires_at.min(absolute)),
            idle: idle.unwrap_or_else(none),
            seen: micros(record.last_seen_at),
            created: micros(record.created_at),
        }
    }
}

/// The fields of `record` that a script stores as they are, name and value in turn.
pub(crate) fn encode(
    record: &TokenRecord,
    sealing: &Sealing,
    store: &StoreId,
) -> Result<Vec<Vec<u8>>, CodecError> {
    let columns = Columns::encode(record, sealing, store, TimeText::WithOffset)?;
    let life = Life::of(record);
    let verifier = hex(record.verifier.as_bytes());
    let version = record.version.number().to_string();
    let texts = [
        ("email", columns.email.as_str()),
        ("token_type", &columns.token_type),
        ("access_token", &columns.access_token),
        ("access_expiry", &columns.access_expiry),
        ("refresh_token", &columns.refresh_token),
        ("refresh_expiry", &columns.refresh_expiry),
        ("written", &columns.refresh_expiry),
        ("version", &version),
        ("verifier", &verifier),
        ("hard_death", &life.hard),
        ("idle_limit", &life.idle),
    ];
    let mut fields = pairs(&texts);
    fields.push(b"rest".to_vec());
    fields.push(columns.rest.unwrap_or_default());
    Ok(fields)
}

/// The fields that change without the rest of a record: its notes of use, and when it dies.
pub(crate) fn notes(record: &TokenRecord) -> Vec<Vec<u8>> {
    pairs(&[
        ("last_seen_at", &micros(record.last_seen_at)),
        ("previous_visit_at", &record.previous_visit_at.map_or_else(none, micros)),
        ("dies_at", &micros(record.dies_at())),
    ])
}

/// The fields of an intent.
pub(crate) fn intent(intent: &RefreshIntent) -> Vec<Vec<u8>> {
    pairs(&[
        ("intent_holder", &hex(intent.holder.as_bytes())),
        ("intent_since", &micros(intent.since)),
        ("intent_until", &micros(intent.leased_until)),
        ("intent_uncertain", if intent.uncertain { "1" } else { "0" }),
    ])
}

fn pairs(texts: &[(&str, &str)]) -> Vec<Vec<u8>> {
    texts
        .iter()
        .flat_map(|(name, value)| [name.as_bytes().to_vec(), value.as_bytes().to_vec()])
        .collect()
}

/// The fields of the original application.
pub(crate) const SHARED: [&str; 6] =
    ["email", "token_type", "access_token", "access_expiry", "refresh_token", "refresh_expiry"];

/// A note why a session ended, as the scripts write it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note<'a> {
    pub(crate) ended: Ended,
    /// Whether it only keeps a login that was given up from being stored.
    pub(crate) is_fence: bool,
    /// Which operation ended it.
    pub(crate) by: &'a str,
    forget_at: Timestamp,
}

impl<'a> Note<'a> {
    /// The note in `text`, if it is one.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let mut words = text.split(' ');
        let is_fence = words.next()? == "f";
        let reason = EndReason::from_code(words.next()?.parse().ok()?)?;
        let verifier = Verifier::from_bytes(unhex(words.next()?)?);
        let forget_at = Timestamp::from_unix_micros(words.next()?.parse().ok()?);
        let by = words.next()?;
        Some(Self { ended: Ended { reason, verifier }, is_fence, by, forget_at })
    }

    /// What it answers at `now`.
    pub(crate) fn answer(&self, now: Timestamp) -> Option<Ended> {
        (!self.is_fence && now < self.forget_at).then_some(self.ended)
    }
}

/// `instant` in the form that scripts calculate with.
pub(crate) fn micros(instant: Timestamp) -> String {
    instant.as_unix_micros().to_string()
}

/// What stands for no value in our own fields.
pub(crate) fn none() -> String {
    "-".to_owned()
}

/// `bytes` as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that `text` is the hex digits of.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}
