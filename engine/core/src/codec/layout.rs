//! Bytes as bincode 2 writes them with `config::legacy()`, and the checksum of headers.

use wincode::config::DefaultConfig;
use wincode::{SchemaRead, SchemaWrite};

use super::{CodecError, FORMAT};

/// Appends `fields` to `bytes`.
pub(super) fn append<T>(bytes: &mut Vec<u8>, fields: &T) -> Result<(), CodecError>
where
    T: SchemaWrite<DefaultConfig, Src = T>,
{
    let fields = wincode::serialize(fields).map_err(|_| CodecError::Malformed)?;
    bytes.extend_from_slice(&fields);
    Ok(())
}

/// Reads fields that fill `bytes` exactly.
pub(super) fn read<'de, T>(bytes: &'de [u8]) -> Result<T, CodecError>
where
    T: SchemaRead<'de, DefaultConfig, Dst = T>,
{
    wincode::deserialize_exact(bytes).map_err(|_| CodecError::Malformed)
}

/// Takes the format off the front of `bytes`.
pub(super) fn known_format(bytes: &[u8]) -> Result<&[u8], CodecError> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => Ok(rest),
        Some((&other, _)) => Err(CodecError::UnknownFormat(other)),
        None => Err(CodecError::Malformed),
    }
}

/// The checksum of headers, FNV-1a of 64 bits: every step is a bijection, so a change of one byte
/// is always found.
#[must_use]
pub fn checksum(bytes: &[u8]) -> [u8; 8] {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325_u64.to_le_bytes());
        assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8_u64.to_le_bytes());
    }

    #[test]
    fn the_layout_is_that_of_bincode_2() {
        type Fields<'a> =
            ([u8; 3], u64, i64, Option<i64>, Option<&'a str>, Option<std::net::IpAddr>, &'a [u8]);
        let (v4, v6) = ([127, 0, 0, 1].into(), [9; 16].into());
        let table: [Fields; 3] = [
            ([1, 2, 3], 4, -5, Some(6), Some("seven"), Some(v4), b"eight"),
            ([0; 3], u64::MAX, i64::MIN, None, Some(""), Some(v6), b""),
            ([255; 3], 0, i64::MAX, Some(i64::MIN), None, None, &[0; 300]),
        ];
        for fields in table {
            let mut bytes = Vec::new();
            append(&mut bytes, &fields).unwrap();
            let expected = bincode::encode_to_vec(fields, bincode::config::legacy()).unwrap();
            assert_eq!(bytes, expected);
            assert_eq!(read::<Fields>(&bytes).unwrap(), fields);
        }
    }
}
