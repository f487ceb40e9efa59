//! Instants and the clocks that tell them; the only file that reads a clock or names chrono.

use std::fmt;
use std::ops::Add;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant of the wall clock: whole microseconds since 1970-01-01T00:00:00Z.
///
/// Arithmetic saturates: an absurd lifetime gives a far instant, never a panic or a wrap.
/// Written and read as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest instant that RFC 3339 can write: the end of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// The instant `micros` microseconds after the epoch, capped at [`Timestamp::MAX`].
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        if micros > Self::MAX.0 { Self::MAX } else { Self(micros) }
    }

    /// The instant `seconds` seconds after the epoch, capped at [`Timestamp::MAX`].
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self::from_unix_micros(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_unix_micros(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The instant `duration` before this one.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self::from_unix_micros(self.0.saturating_add(micros(duration)))
    }
}

/// RFC 3339 in UTC with the microseconds that are there, e.g. `2025-09-06T19:01:45.165131Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_digits() {
            Some((text, length)) => {
                f.write_str(std::str::from_utf8(text.get(..length).unwrap_or(&text)).unwrap_or(""))
            }
            None => match DateTime::<Utc>::from_timestamp_micros(self.0) {
                Some(instant) => f.write_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
                None => write!(f, "{}us", self.0),
            },
        }
    }
}

impl Timestamp {
    /// The written form of an instant between the years 1970 and 9999, without an allocation:
    /// every answer about a session holds three of them.
    fn to_digits(self) -> Option<([u8; 27], usize)> {
        let micros = u64::try_from(self.0).ok().filter(|_| self <= Self::MAX)?;
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Years are counted from March, so that the leap day is the last of its year, and in
        // eras of 400 years, which all have as many days.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let parts = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, second / 3600),
            (14..16, second / 60 % 60),
            (17..19, second % 60),
            (20..26, fraction),
        ];
        for (place, mut number) in parts {
            for digit in text.get_mut(place)?.iter_mut().rev() {
                *digit = b'0' + u8::try_from(number % 10).ok()?;
                number /= 10;
            }
        }
        let length = match fraction {
            0 => 20,
            _ if fraction % 1000 == 0 => 24,
            _ => 27,
        };
        *text.get_mut(length - 1)? = b'Z';
        Some((text, length))
    }
}

/// How the original application writes an instant, by the store it is in. Always UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeText {
    /// In Redis: `2025-09-06 19:01:45.165131+00:00`.
    WithOffset,
    /// In SQLite: `2025-09-06 19:01:45.165131`.
    WithoutOffset,
}

impl TimeText {
    /// Writes `instant`, with all six digits of the fraction: not every reader of the original
    /// application does without them.
    #[must_use]
    pub fn write(self, instant: Timestamp) -> String {
        let form = match self {
            Self::WithOffset => "%Y-%m-%d %H:%M:%S%.6f+00:00",
            Self::WithoutOffset => "%Y-%m-%d %H:%M:%S%.6f",
        };
        match DateTime::<Utc>::from_timestamp_micros(instant.0) {
            Some(instant) => instant.format(form).to_string(),
            None => instant.to_string(),
        }
    }

    /// Reads what either store holds: Python leaves out a fraction that is zero, and an instant
    /// without an offset is UTC.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] if it is neither.
    pub fn read(text: &str) -> Result<Timestamp, InvalidTimestamp> {
        let without_offset = || {
            let text = text.replace('T', " ");
            NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
                .map(|instant| Timestamp::from_unix_micros(instant.and_utc().timestamp_micros()))
        };
        text.parse().or_else(|_| without_offset().map_err(|_| InvalidTimestamp))
    }
}

/// The text was not an RFC 3339 instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 instant")]
pub struct InvalidTimestamp;

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let instant = DateTime::parse_from_rfc3339(text).map_err(|_| InvalidTimestamp)?;
        Ok(Self::from_unix_micros(instant.timestamp_micros()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock. It may leap in either direction.
    fn now(&self) -> Timestamp;

    /// Time since some fixed instant in the life of this process. It never goes back.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins here.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "SystemClock is the one place that reads it")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "SystemClock is the one place that reads it")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::default() + since_epoch
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is told to move: for tests, and for replaying a run.
#[derive(Debug)]
pub struct ManualClock {
    hands: Mutex<Hands>,
}

#[derive(Clone, Copy, Debug)]
struct Hands {
    wall: Timestamp,
    monotonic: Duration,
}

impl ManualClock {
    /// A clock that says `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { hands: Mutex::new(Hands { wall: now, monotonic: Duration::ZERO }) }
    }

    /// Lets `duration` pass on both clocks.
    pub fn advance(&self, duration: Duration) {
        self.move_hands(|hands| {
            hands.wall = hands.wall + duration;
            hands.monotonic = hands.monotonic.saturating_add(duration);
        });
    }

    /// Sets the wall clock alone, as an administrator or a bad time server does.
    pub fn leap_to(&self, wall: Timestamp) {
        self.move_hands(|hands| hands.wall = wall);
    }

    fn move_hands(&self, change: impl FnOnce(&mut Hands)) {
        change(&mut self.hands.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn hands(&self) -> Hands {
        *self.hands.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.hands().wall
    }

    fn monotonic(&self) -> Duration {
        self.hands().monotonic
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_round_trips_to_the_microsecond() {
        for text in ["2025-09-06T19:01:45.165131Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
        {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn an_instant_is_written_as_chrono_writes_it() {
        let step = 86_400_000_000 * 7 + 3_723_004_005;
        let instants =
            (0..).map(|count| count * step).take_while(|micros| *micros <= Timestamp::MAX.0);
        let edges =
            [0, 1_000, 1_500_000, 951_782_400_000_000, 951_868_799_999_999, Timestamp::MAX.0];
        for micros in instants.chain(edges).chain([-1, -1_000_000, i64::MIN / 4]) {
            let written = Timestamp(micros).to_string();
            let expected = DateTime::<Utc>::from_timestamp_micros(micros).unwrap();
            assert_eq!(written, expected.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        }
    }

    #[test]
    fn instants_are_written_as_the_original_application_does() {
        let instant = "2025-09-06T19:01:45.165131Z".parse().unwrap();
        assert_eq!(TimeText::WithOffset.write(instant), "2025-09-06 19:01:45.165131+00:00");
        assert_eq!(TimeText::WithoutOffset.write(instant), "2025-09-06 19:01:45.165131");
        let whole = "2025-09-06T19:01:45Z".parse().unwrap();
        assert_eq!(TimeText::WithOffset.write(whole), "2025-09-06 19:01:45.000000+00:00");
        for micros in [0, 1, 951_868_799_999_999, Timestamp::MAX.0, -1] {
            for style in [TimeText::WithOffset, TimeText::WithoutOffset] {
                assert_eq!(TimeText::read(&style.write(Timestamp(micros))), Ok(Timestamp(micros)));
            }
        }
    }

    #[test]
    fn every_spelling_of_python_is_read() {
        let (exact, whole) = ("2025-09-06T19:01:45.165131Z", "2025-09-06T19:01:45Z");
        for (text, expected) in [
            ("2025-09-06 19:01:45.165131+00:00", exact),
            ("2025-09-06 19:01:45.165131", exact),
            ("2025-09-06T19:01:45.165131", exact),
            ("2025-09-06T19:01:45.165131+00:00", exact),
            ("2025-09-06 21:01:45.165131+02:00", exact),
            ("2025-09-06 19:01:45+00:00", whole),
            ("2025-09-06 19:01:45", whole),
        ] {
            assert_eq!(TimeText::read(text), Ok(expected.parse().unwrap()), "{text}");
        }
        for bad in ["", "None", "2025-09-06", "2025-13-06 19:01:45", "1757185305", "19:01:45"] {
            assert_eq!(TimeText::read(bad), Err(InvalidTimestamp), "{bad}");
        }
    }

    #[test]
    fn absurd_lifetimes_saturate() {
        let now = Timestamp::from_unix_seconds(1_700_000_000);
        assert_eq!(now + Duration::MAX, Timestamp::MAX);
        assert_eq!(now.duration_since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn a_leap_moves_the_wall_clock_only() {
        let clock = ManualClock::new(Timestamp::from_unix_seconds(100));
        clock.advance(Duration::from_secs(5));
        clock.leap_to(Timestamp::from_unix_seconds(9_000));
        assert_eq!(clock.now(), Timestamp::from_unix_seconds(9_000));
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
    }
}
