//! The record of one device, and all arithmetic on its times.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::{AccessToken, DeviceId, Email, HolderId, RefreshToken, Timestamp, TokenType, Verifier};

/// Counts the replacements of a record; the expectation of compare-and-set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version of a record that was just inserted.
    pub const FIRST: Self = Self(1);

    /// The version with this number.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number of this version.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The version that follows this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Everything that is kept of one logged-in device.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// Key of the record; names the device to people and programs.
    pub device_id: DeviceId,
    /// Counts replacements: compare-and-set expects it.
    pub version: Version,
    /// Recognises the device's secret.
    pub verifier: Verifier,
    /// Who logged in.
    pub email: Email,
    /// How the access token is presented, as the auth server said it.
    pub token_type: TokenType,
    /// The token for requests.
    pub access_token: AccessToken,
    /// When the access token was asked for: with `access_expires_at`, its life.
    pub access_issued_at: Timestamp,
    /// When the access token stops working.
    pub access_expires_at: Timestamp,
    /// The token that buys a new pair.
    pub refresh_token: RefreshToken,
    /// When the refresh token stops working; the record dies with it at the latest.
    pub refresh_expires_at: Timestamp,
    /// When the device logged in.
    pub created_at: Timestamp,
    /// When the device was last used. May be behind by the touch interval.
    pub last_seen_at: Timestamp,
    /// When the visit before this one ended: what is newer is news to the user. Absent during
    /// the first visit.
    pub previous_visit_at: Option<Timestamp>,
    /// When the session ends however much it is used, if that is limited.
    pub absolute_expires_at: Option<Timestamp>,
    /// How long the session lives without use, if that is limited.
    pub idle_limit: Option<Duration>,
    /// What the device said of itself when it logged in.
    pub client: ClientInfo,
    /// The name that the device's owner gave it.
    pub label: Option<Label>,
    /// A refresh that is under way, or whose outcome is not known.
    pub refresh_intent: Option<RefreshIntent>,
}

impl TokenRecord {
    /// The instant at which the record is gone: the earliest of the refresh token's expiry, the
    /// absolute limit and the idle limit.
    #[must_use]
    pub fn dies_at(&self) -> Timestamp {
        let absolute = self.absolute_expires_at.unwrap_or(Timestamp::MAX);
        let idle = self.idle_limit.map_or(Timestamp::MAX, |limit| self.last_seen_at + limit);
        self.refresh_expires_at.min(absolute).min(idle)
    }

    /// Whether the record is absent at `now`. The very instant of death counts as dead.
    #[must_use]
    pub fn is_dead(&self, now: Timestamp) -> bool {
        now >= self.dies_at()
    }

    /// Notes that the device was used at `now`; a use after half an hour without one begins a
    /// new visit. An instant before the last use changes nothing.
    pub fn touch(&mut self, now: Timestamp) {
        (self.last_seen_at, self.previous_visit_at) =
            Self::touched(self.last_seen_at, self.previous_visit_at, now);
    }

    /// What [`TokenRecord::touch`] makes of `last_seen_at` and `previous_visit_at`, for a store
    /// that keeps them apart from the record.
    #[must_use]
    pub fn touched(
        last_seen_at: Timestamp,
        previous_visit_at: Option<Timestamp>,
        now: Timestamp,
    ) -> (Timestamp, Option<Timestamp>) {
        let begins_a_visit = now.duration_since(last_seen_at) >= VISIT_GAP;
        let previous = if begins_a_visit { Some(last_seen_at) } else { previous_visit_at };
        (last_seen_at.max(now), previous)
    }

    /// What the record is good for at `now`.
    #[must_use]
    pub fn standing(&self, now: Timestamp, leeway: &Leeway) -> Standing {
        if self.is_dead(now) {
            Standing::Expired
        } else if now >= self.access_expires_at {
            Standing::Refreshable
        } else if now + leeway.of(self) >= self.access_expires_at {
            Standing::Fading
        } else {
            Standing::Usable
        }
    }
}

/// How long a device is unused between two visits.
const VISIT_GAP: Duration = Duration::from_secs(30 * 60);

/// What a record is good for at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The access token is good for longer than the leeway.
    Usable,
    /// The access token is good, but ends within the leeway: refresh in the background.
    Fading,
    /// The access token is dead, the refresh token is not: refresh before going on.
    Refreshable,
    /// The record is dead.
    Expired,
}

/// How early a refresh is due: a share of the access token's life, at most a fixed time.
///
/// Devices that logged in together are spread over the second half of their leeway by their id,
/// so that they do not refresh in the same second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leeway {
    /// The longest leeway.
    pub longest: Duration,
    /// The share of the access token's life, in percent; at most [`Leeway::MOST_PERCENT`] counts.
    pub percent: u32,
}

impl Default for Leeway {
    fn default() -> Self {
        Self { longest: Duration::from_secs(60), percent: 10 }
    }
}

impl Leeway {
    /// A larger share counts as this one: a fresh token must not be due at once.
    pub const MOST_PERCENT: u32 = 50;

    /// The leeway of `record`.
    #[must_use]
    pub fn of(&self, record: &TokenRecord) -> Duration {
        let life = record.access_expires_at.duration_since(record.access_issued_at);
        let full =
            self.longest.min(life.saturating_mul(self.percent.min(Self::MOST_PERCENT)) / 100);
        let spread = u32::from(record.device_id.as_bytes().last().copied().unwrap_or(0));
        full / 2 + (full / 2).saturating_mul(spread) / 255
    }
}

/// What a device says of itself: shown in the device list, never decided upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    user_agent: Option<Box<str>>,
    address: Option<IpAddr>,
}

impl ClientInfo {
    /// The longest user agent that is kept, in bytes.
    pub const MAX_USER_AGENT_LEN: usize = 256;

    /// A description with the user agent cut to what is kept and freed of control characters.
    #[must_use]
    pub fn new(user_agent: Option<&str>, address: Option<IpAddr>) -> Self {
        let clean = |text: &str| {
            let mut kept = String::new();
            for c in text.chars().filter(|c| !c.is_control()) {
                if kept.len() + c.len_utf8() > Self::MAX_USER_AGENT_LEN {
                    break;
                }
                kept.push(c);
            }
            kept.into_boxed_str()
        };
        Self { user_agent: user_agent.map(clean).filter(|kept| !kept.is_empty()), address }
    }

    /// The browser or program, in its own words.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }

    /// The network address that it logged in from.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

/// The name that a user gives a device: 1 to 64 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(Box<str>);

impl Label {
    /// The longest label in characters.
    pub const MAX_CHARS: usize = 64;

    /// The label's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text was not a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a label: 1 to 64 characters without control characters are expected")]
pub struct InvalidLabel;

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let text = text.trim();
        let fits = (1..=Self::MAX_CHARS).contains(&text.chars().count());
        if !fits || text.chars().any(char::is_control) {
            return Err(InvalidLabel);
        }
        Ok(Self(text.into()))
    }
}

/// The durable note that a refresh of a record is under way.
///
/// It is on disk before the request goes to the auth server. While the lease lives, its holder
/// is at work. A note whose lease has run out, or was released as uncertain, says that the
/// refresh token may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshIntent {
    /// Who took the lease.
    pub holder: HolderId,
    /// When the first attempt whose outcome is unknown began.
    pub since: Timestamp,
    /// Until when nobody else may refresh this record.
    pub leased_until: Timestamp,
    /// Whether an attempt ended, or its holder went away, without a known outcome.
    pub uncertain: bool,
}

impl RefreshIntent {
    /// Whether somebody may be at work on the record at `now`.
    #[must_use]
    pub fn is_held(&self, now: Timestamp) -> bool {
        now < self.leased_until
    }
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The user logged out on this device.
    Logout,
    /// The user ended this device from another one.
    EndedByUser,
    /// A service ended it: the address changed, or the account was closed.
    EndedByService,
    /// A login over the device ceiling took its place.
    Evicted,
    /// A new login on the same browser took its place.
    Replaced,
    /// The auth server refused the refresh token.
    Refused,
    /// The outcome of a refresh was lost, and the refresh token is spent.
    Interrupted,
    /// The refresh token, the absolute limit or the idle limit ran out.
    Expired,
}

impl EndReason {
    /// Every reason, in the order of [`EndReason::code`].
    pub const ALL: [Self; 8] = [
        Self::Logout,
        Self::EndedByUser,
        Self::EndedByService,
        Self::Evicted,
        Self::Replaced,
        Self::Refused,
        Self::Interrupted,
        Self::Expired,
    ];

    /// The stable word for this reason, in answers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::EndedByUser => "ended_by_user",
            Self::EndedByService => "ended_by_service",
            Self::Evicted => "evicted",
            Self::Replaced => "replaced",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
            Self::Expired => "expired",
        }
    }

    /// The stable number for this reason, in files.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Logout => 0,
            Self::EndedByUser => 1,
            Self::EndedByService => 2,
            Self::Evicted => 3,
            Self::Replaced => 4,
            Self::Refused => 5,
            Self::Interrupted => 6,
            Self::Expired => 7,
        }
    }

    /// The reason with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    /// A record that logged in at 0, with an access token until 1000 and a refresh token until
    /// 5000; its device's leeway is the whole of it.
    fn example() -> TokenRecord {
        let mut record = record(DeviceId::from_bytes([255; 16]), "a@b", at(0));
        record.access_expires_at = at(1000);
        record.refresh_expires_at = at(5000);
        record
    }

    #[test]
    fn standing_changes_at_the_very_instant() {
        let (record, leeway) = (example(), Leeway::default());
        for (seconds, expected) in [
            (0, Standing::Usable),
            (939, Standing::Usable),
            (940, Standing::Fading),
            (999, Standing::Fading),
            (1000, Standing::Refreshable),
            (4999, Standing::Refreshable),
            (5000, Standing::Expired),
        ] {
            assert_eq!(record.standing(at(seconds), &leeway), expected, "at {seconds}");
        }
    }

    #[test]
    fn the_earliest_limit_ends_the_record() {
        let mut record = example();
        assert_eq!(record.dies_at(), at(5000));
        record.absolute_expires_at = Some(at(4000));
        assert_eq!(record.dies_at(), at(4000));
        record.idle_limit = Some(Duration::from_secs(600));
        assert_eq!(record.dies_at(), at(600));
        record.touch(at(500));
        assert_eq!(record.dies_at(), at(1100));
    }

    #[test]
    fn leeway_is_a_share_of_a_short_life_and_spread_by_device() {
        let mut record = example();
        record.access_expires_at = at(100);
        let leeway = Leeway::default();
        assert_eq!(leeway.of(&record), Duration::from_secs(10));
        record.device_id = DeviceId::from_bytes([0; 16]);
        assert_eq!(leeway.of(&record), Duration::from_secs(5), "half of it at the least");
    }

    #[test]
    fn a_visit_begins_after_half_an_hour_without_one() {
        let mut record = example();
        record.touch(at(60));
        assert_eq!(record.previous_visit_at, None);
        record.touch(at(60 + 1800));
        assert_eq!(record.previous_visit_at, Some(at(60)));
        record.touch(at(100));
        assert_eq!(record.last_seen_at, at(1860), "time does not go back");
    }

    #[test]
    fn what_a_client_says_is_cut_and_cleaned() {
        let long = format!("a\u{1b}[31m{}", "\u{e9}".repeat(300));
        let client = ClientInfo::new(Some(&long), None);
        let kept = client.user_agent().unwrap();
        assert!(kept.len() <= ClientInfo::MAX_USER_AGENT_LEN && !kept.contains('\u{1b}'));
        assert_eq!(ClientInfo::new(Some("\n"), None).user_agent(), None);
    }

    #[test]
    fn reasons_keep_their_numbers() {
        for reason in EndReason::ALL {
            assert_eq!(EndReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(EndReason::from_code(8), None);
    }
}
