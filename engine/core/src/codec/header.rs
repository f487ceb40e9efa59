//! The header: the small part of a row that an index needs, readable without keys.

use std::time::Duration;

use super::layout::{append, checksum, known_format, read};
use super::{CodecError, FORMAT};
use crate::{DeviceId, EndReason, HolderId, Timestamp, TokenRecord, Verifier, Version};

/// What a row says to an index.
#[derive(Clone, Copy, Debug)]
pub enum Header<'a> {
    /// The row holds a record; the body has the rest of it.
    Record(RecordHeader<'a>),
    /// The device's session ended.
    Tombstone {
        /// Whose session it was.
        device: DeviceId,
        /// Why it ended.
        reason: EndReason,
        /// When it ended.
        ended_at: Timestamp,
        /// Tells its owner from a stranger.
        verifier: Verifier,
    },
    /// The device was used.
    Touch {
        /// Which device it was.
        device: DeviceId,
        /// When it was used.
        last_seen_at: Timestamp,
        /// When the visit before that one ended.
        previous_visit_at: Option<Timestamp>,
    },
    /// A refresh of the device's record is under way, or its outcome is not known.
    Intent {
        /// Whose record it is.
        device: DeviceId,
        /// The version that is to be refreshed.
        version: Version,
        /// Who took the lease.
        holder: HolderId,
        /// When the first attempt whose outcome is unknown began.
        since: Timestamp,
    },
    /// The device's record has no intent any more.
    IntentCleared {
        /// Whose record it is.
        device: DeviceId,
    },
}

/// What the header of a record holds.
#[derive(Clone, Copy, Debug)]
pub struct RecordHeader<'a> {
    /// Key of the record.
    pub device: DeviceId,
    /// Counts replacements.
    pub version: Version,
    /// Recognises the device's secret.
    pub verifier: Verifier,
    /// When the device logged in.
    pub created_at: Timestamp,
    /// When the device was last used.
    pub last_seen_at: Timestamp,
    /// When the visit before that one ended.
    pub previous_visit_at: Option<Timestamp>,
    /// When the refresh token stops working.
    pub refresh_expires_at: Timestamp,
    /// When the session ends at the latest, if that is limited.
    pub absolute_expires_at: Option<Timestamp>,
    /// How long the session lives without use, in whole microseconds, if that is limited.
    pub idle_limit: Option<Duration>,
    /// Who logged in, canonical as [`crate::Email`] has it.
    pub email: &'a str,
}

impl<'a> RecordHeader<'a> {
    /// The header of `record`.
    #[must_use]
    pub fn of(record: &'a TokenRecord) -> Self {
        Self {
            device: record.device_id,
            version: record.version,
            verifier: record.verifier,
            created_at: record.created_at,
            last_seen_at: record.last_seen_at,
            previous_visit_at: record.previous_visit_at,
            refresh_expires_at: record.refresh_expires_at,
            absolute_expires_at: record.absolute_expires_at,
            idle_limit: record.idle_limit,
            email: record.email.as_str(),
        }
    }
}

impl<'a> Header<'a> {
    /// The device that the row is about.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        match self {
            Self::Record(record) => record.device,
            Self::Tombstone { device, .. }
            | Self::Touch { device, .. }
            | Self::Intent { device, .. }
            | Self::IntentCleared { device } => *device,
        }
    }

    /// The bytes of this header.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] if a field is too long for the format; no record has such.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut bytes = Vec::with_capacity(192);
        bytes.push(FORMAT);
        bytes.push(self.kind());
        match self {
            Self::Record(record) => append(&mut bytes, &record_fields(record))?,
            Self::Tombstone { device, reason, ended_at, verifier } => append(
                &mut bytes,
                &(
                    *device.as_bytes(),
                    reason.code(),
                    ended_at.as_unix_micros(),
                    *verifier.as_bytes(),
                ),
            )?,
            Self::Touch { device, last_seen_at, previous_visit_at } => append(
                &mut bytes,
                &(
                    *device.as_bytes(),
                    last_seen_at.as_unix_micros(),
                    previous_visit_at.map(Timestamp::as_unix_micros),
                ),
            )?,
            Self::Intent { device, version, holder, since } => append(
                &mut bytes,
                &(*device.as_bytes(), version.number(), *holder.as_bytes(), since.as_unix_micros()),
            )?,
            Self::IntentCleared { device } => append(&mut bytes, &(*device.as_bytes(),))?,
        }
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        Ok(bytes)
    }

    /// Reads the header in `bytes`.
    ///
    /// # Errors
    /// [`CodecError::UnknownFormat`] or [`CodecError::Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, CodecError> {
        known_format(bytes)?;
        let (content, sum) = bytes.split_last_chunk::<8>().ok_or(CodecError::Malformed)?;
        if checksum(content) != *sum {
            return Err(CodecError::Malformed);
        }
        let (&kind, fields) = known_format(content)?.split_first().ok_or(CodecError::Malformed)?;
        match kind {
            RECORD => read(fields).map(record_header).map(Self::Record),
            TOMBSTONE => tombstone(read(fields)?),
            TOUCH => read(fields).map(|(device, last_seen, previous): TouchFields| Self::Touch {
                device: DeviceId::from_bytes(device),
                last_seen_at: Timestamp::from_unix_micros(last_seen),
                previous_visit_at: previous.map(Timestamp::from_unix_micros),
            }),
            INTENT => read(fields).map(intent),
            INTENT_CLEARED => read(fields)
                .map(|(device,)| Self::IntentCleared { device: DeviceId::from_bytes(device) }),
            _ => Err(CodecError::Malformed),
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Record(_) => RECORD,
            Self::Tombstone { .. } => TOMBSTONE,
            Self::Touch { .. } => TOUCH,
            Self::Intent { .. } => INTENT,
            Self::IntentCleared { .. } => INTENT_CLEARED,
        }
    }
}

const RECORD: u8 = 1;
const TOMBSTONE: u8 = 2;
const TOUCH: u8 = 3;
const INTENT: u8 = 4;
const INTENT_CLEARED: u8 = 5;

/// Device, version, verifier, created, last seen, previous visit, refresh expiry, absolute limit,
/// idle limit in microseconds, email.
type RecordFields<'a> =
    ([u8; 16], u64, [u8; 32], i64, i64, Option<i64>, i64, Option<i64>, Option<u64>, &'a str);

/// Device, last seen, previous visit.
type TouchFields = ([u8; 16], i64, Option<i64>);

fn record_fields<'a>(record: &RecordHeader<'a>) -> RecordFields<'a> {
    (
        *record.device.as_bytes(),
        record.version.number(),
        *record.verifier.as_bytes(),
        record.created_at.as_unix_micros(),
        record.last_seen_at.as_unix_micros(),
        record.previous_visit_at.map(Timestamp::as_unix_micros),
        record.refresh_expires_at.as_unix_micros(),
        record.absolute_expires_at.map(Timestamp::as_unix_micros),
        record.idle_limit.map(|limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX)),
        record.email,
    )
}

fn record_header(fields: RecordFields<'_>) -> RecordHeader<'_> {
    let (device, version, verifier, created, seen, previous, refresh, absolute, idle, email) =
        fields;
    RecordHeader {
        device: DeviceId::from_bytes(device),
        version: Version::from_number(version),
        verifier: Verifier::from_bytes(verifier),
        created_at: Timestamp::from_unix_micros(created),
        last_seen_at: Timestamp::from_unix_micros(seen),
        previous_visit_at: previous.map(Timestamp::from_unix_micros),
        refresh_expires_at: Timestamp::from_unix_micros(refresh),
        absolute_expires_at: absolute.map(Timestamp::from_unix_micros),
        idle_limit: idle.map(Duration::from_micros),
        email,
    }
}

fn tombstone<'a>(fields: ([u8; 16], u8, i64, [u8; 32])) -> Result<Header<'a>, CodecError> {
    let (device, reason, ended_at, verifier) = fields;
    Ok(Header::Tombstone {
        device: DeviceId::from_bytes(device),
        reason: EndReason::from_code(reason).ok_or(CodecError::Malformed)?,
        ended_at: Timestamp::from_unix_micros(ended_at),
        verifier: Verifier::from_bytes(verifier),
    })
}

fn intent<'a>(fields: ([u8; 16], u64, [u8; 16], i64)) -> Header<'a> {
    let (device, version, holder, since) = fields;
    Header::Intent {
        device: DeviceId::from_bytes(device),
        version: Version::from_number(version),
        holder: HolderId::from_bytes(holder),
        since: Timestamp::from_unix_micros(since),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<Header<'static>> {
        let device = DeviceId::from_bytes([0xd0; 16]);
        let at = Timestamp::from_unix_seconds;
        vec![
            Header::Record(RecordHeader {
                device,
                version: Version::from_number(7),
                verifier: Verifier::from_bytes([0x1e; 32]),
                created_at: at(1_700_000_000),
                last_seen_at: at(1_700_000_100),
                previous_visit_at: Some(at(1_700_000_050)),
                refresh_expires_at: at(1_702_000_000),
                absolute_expires_at: Some(at(1_703_000_000)),
                idle_limit: None,
                email: "ada@example.org",
            }),
            Header::Tombstone {
                device,
                reason: EndReason::Evicted,
                ended_at: at(1),
                verifier: Verifier::from_bytes([2; 32]),
            },
            Header::Touch { device, last_seen_at: at(3), previous_visit_at: None },
            Header::Intent {
                device,
                version: Version::FIRST,
                holder: HolderId::from_bytes([4; 16]),
                since: at(5),
            },
            Header::IntentCleared { device },
        ]
    }

    #[test]
    fn headers_round_trip() {
        for header in sample() {
            let bytes = header.encode().unwrap();
            let read = Header::decode(&bytes).unwrap();
            assert_eq!(read.encode().unwrap(), bytes);
            assert_eq!(read.device(), header.device());
        }
    }

    #[test]
    fn the_format_of_a_record_header_is_this() {
        let hex: String =
            sample()[0].encode().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            concat!(
                "0101",                             // format, kind
                "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0", // device
                "0700000000000000",                 // version
                "1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e", // verifier
                "1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e",
                "00401e18240a0600",   // created
                "0021141e240a0600",   // last seen
                "018030191b240a0600", // previous visit
                "006068c1f50b0600",   // refresh token expires
                "0100700d96de0c0600", // absolute limit
                "00",                 // no idle limit
                "0f00000000000000",   // email
                "616461406578616d706c652e6f7267",
                "6228a2a5a1271608", // checksum
            ),
        );
    }

    #[test]
    fn every_changed_byte_is_found() {
        for header in sample() {
            let good = header.encode().unwrap();
            for at in 0..good.len() {
                for bit in 0..8 {
                    let mut bad = good.clone();
                    bad[at] ^= 1 << bit;
                    assert!(Header::decode(&bad).is_err(), "byte {at}, bit {bit}");
                }
                assert!(Header::decode(&good[..at]).is_err());
            }
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = sample()[0].encode().unwrap();
        bytes[0] = 2;
        assert_eq!(Header::decode(&bytes).unwrap_err(), CodecError::UnknownFormat(2));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 0u8..8, fields: Vec<u8>, valid_sum: bool) {
            let mut bytes = vec![FORMAT, kind];
            bytes.extend_from_slice(&fields);
            if valid_sum {
                let sum = checksum(&bytes);
                bytes.extend_from_slice(&sum);
            }
            if let Ok(header) = Header::decode(&bytes) {
                // An instant after the year 9999 is read as the last one of it.
                let again = header.encode().unwrap();
                prop_assert_eq!(Header::decode(&again).unwrap().encode().unwrap(), again);
            }
        }
    }
}
