//! Sizes in bytes as people write them: `65536`, `64KiB`, `16MiB`, `1GiB`.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// The text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a size like 65536, \"64KiB\", \"16MiB\" or \"1GiB\" is expected")]
pub struct InvalidSize;

/// Units from the largest to the smallest.
const UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a whole number with a unit; bytes without one.
///
/// # Errors
/// [`InvalidSize`] if it is anything else, or does not fit the machine.
pub fn parse(text: &str) -> Result<usize, InvalidSize> {
    let text = text.trim();
    let unit = UNITS.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)));
    let (number, unit) = unit.unwrap_or((text, 1));
    let number = number.trim_end();
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidSize);
    }
    number.parse::<usize>().ok().and_then(|n| n.checked_mul(unit)).ok_or(InvalidSize)
}

/// Writes a size in the largest unit that is exact.
#[must_use]
pub fn format(bytes: usize) -> String {
    let exact = UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    exact.map_or_else(|| "0B".to_owned(), |(name, unit)| format!("{}{name}", bytes / unit))
}

pub(super) fn serialize<S: Serializer>(value: &usize, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format(*value))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Bytes(u64),
        Text(String),
    }
    let written = Written::deserialize(from).map_err(|_| D::Error::custom(InvalidSize))?;
    match written {
        Written::Bytes(bytes) => usize::try_from(bytes).map_err(D::Error::custom),
        Written::Text(text) => parse(&text).map_err(D::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("64KiB", 65_536),
            ("1 MiB", 1 << 20),
            ("2GiB", 2 << 30),
            ("7B", 7),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "KiB",
            "-1",
            "+1",
            "1.5MiB",
            "64kb",
            "99999999999999999999",
            "99999999999999999GiB",
        ] {
            assert_eq!(parse(text), Err(InvalidSize), "{text}");
        }
    }

    #[test]
    fn writing_and_reading_agree() {
        for (bytes, shown) in [(65_536, "64KiB"), (65_537, "65537B"), (0, "0B"), (1 << 30, "1GiB")]
        {
            assert_eq!(format(bytes), shown);
            assert_eq!(parse(shown), Ok(bytes));
        }
    }
}
