//! `[session]`: how long sessions live, and how many a user may have.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokenkeep_core::{Ceiling, CeilingPolicy, Leeway};

use super::duration;

/// `[session]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionSettings {
    /// How early a refresh is due, at most.
    #[serde(with = "duration")]
    pub leeway: Duration,
    /// How early a refresh is due, as a share of the access token's life.
    pub leeway_percent: u32,
    /// How many devices a user may have, if `ceiling_policy` says so.
    pub ceiling_devices: NonZeroUsize,
    /// What happens to a login beyond.
    pub ceiling_policy: CeilingKind,
    /// How long a session lives however much it is used.
    #[serde(with = "duration::or_off")]
    pub absolute: Option<Duration>,
    /// How long a session lives without use.
    #[serde(with = "duration::or_off")]
    pub idle: Option<Duration>,
    /// How often the last use is noted.
    #[serde(with = "duration")]
    pub touch_interval: Duration,
    /// How long a refresh that was asked for answers the next ones.
    #[serde(with = "duration")]
    pub cool_down: Duration,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            leeway: Leeway::default().longest,
            leeway_percent: Leeway::default().percent,
            ceiling_devices: NonZeroUsize::MIN.saturating_add(9),
            ceiling_policy: CeilingKind::None,
            absolute: None,
            idle: None,
            touch_interval: Duration::from_secs(60),
            cool_down: Duration::from_secs(5),
        }
    }
}

impl SessionSettings {
    /// How early a refresh is due.
    #[must_use]
    pub fn leeway(&self) -> Leeway {
        Leeway { longest: self.leeway, percent: self.leeway_percent }
    }

    /// How many devices a user may have, if that is limited.
    #[must_use]
    pub fn ceiling(&self) -> Option<Ceiling> {
        let policy = match self.ceiling_policy {
            CeilingKind::None => return None,
            CeilingKind::Reject => CeilingPolicy::Reject,
            CeilingKind::Evict => CeilingPolicy::EvictLeastRecentlySeen,
        };
        Some(Ceiling { devices: self.ceiling_devices, policy })
    }
}

/// What happens to a login over the ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CeilingKind {
    /// There is no ceiling.
    None,
    /// The login is refused.
    Reject,
    /// The device that was not seen for the longest time makes place.
    Evict,
}
