//! Durations as people write them: `10s`, `5m`, `2h`, `30d`, `1h 30m`, `250ms`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// The text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a duration like \"250ms\", \"10s\", \"5m\", \"2h\" or \"30d\" is expected")]
pub struct InvalidDuration;

/// Units from the longest to the shortest, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a sum of whole numbers with units.
///
/// # Errors
/// [`InvalidDuration`] if a unit is missing or unknown, or the sum is over 2^64 milliseconds.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(InvalidDuration);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, tail) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, tail) = split_where(tail, |c| !c.is_ascii_alphabetic());
        let number: u64 = number.parse().map_err(|_| InvalidDuration)?;
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(InvalidDuration)?;
        let part = number.checked_mul(*millis).ok_or(InvalidDuration)?;
        total = total.checked_add(part).ok_or(InvalidDuration)?;
        rest = tail.trim_start();
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration in the longest unit that is exact.
#[must_use]
pub fn format(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let exact = UNITS.iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit));
    exact.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", millis / unit))
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at_checked(text.find(end).unwrap_or(text.len())).unwrap_or((text, ""))
}

pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format(*value))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// A duration that can be `off`.
pub(super) mod or_off {
    use super::{
        Deserialize as _, Deserializer, Duration, Serializer, deserialize as read,
        serialize as write,
    };

    pub(in super::super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => write(duration, to),
            None => to.serialize_str("off"),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(from)?;
        if text == "off" {
            return Ok(None);
        }
        read(serde::de::IntoDeserializer::into_deserializer(text)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("30d", 2_592_000_000),
            ("1h 30m", 5_400_000),
            ("1m30s", 90_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in
            ["", "10", "s", "-1s", "1.5h", "10 s", "1y", "99999999999999999999d", "9999999999999d"]
        {
            assert_eq!(parse(text), Err(InvalidDuration), "{text}");
        }
    }

    #[test]
    fn writing_and_reading_agree() {
        for (text, shown) in
            [("90s", "90s"), ("120s", "2m"), ("24h", "1d"), ("0s", "0s"), ("1ms", "1ms")]
        {
            assert_eq!(format(parse(text).unwrap()), shown);
        }
    }
}
