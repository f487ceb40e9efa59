//! What the model knows of a device.

use std::time::Duration;

use tokenkeep_core::{EndReason, Timestamp, TokenRecord};

/// What the model knows of a device.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Live {
        record: Box<TokenRecord>,
        /// The last use that is on the disk for certain.
        synced_last_seen_at: Timestamp,
    },
    Ended {
        reason: EndReason,
        forget_at: Timestamp,
    },
}

impl Known {
    /// When the engine may let go of it.
    pub(super) fn due_at(&self) -> Timestamp {
        match self {
            Self::Live { record, .. } => record.dies_at(),
            Self::Ended { forget_at, .. } => *forget_at,
        }
    }

    /// What reading it from the file does to it.
    pub(super) fn reopen(&mut self) {
        if let Self::Live { record, synced_last_seen_at } = self {
            *synced_last_seen_at = record.last_seen_at;
            if let Some(intent) = &mut record.refresh_intent {
                (intent.leased_until, intent.uncertain) = (Timestamp::default(), true);
            }
        }
    }

    /// Whether both say the same of a device that is gone.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Live { record, .. }, Self::Live { record: other, .. }) => {
                let token = |record: &TokenRecord| record.access_token.expose().to_owned();
                let seen = |record: &TokenRecord| (record.last_seen_at, record.refresh_intent);
                token(record) == token(other) && seen(record) == seen(other)
            }
            (Self::Ended { reason, .. }, Self::Ended { reason: other, .. }) => reason == other,
            _ => false,
        }
    }

    /// A time at which it lived in any case, even if its last use was lost.
    pub(super) fn alive_at(&self) -> Option<Timestamp> {
        let Self::Live { record, synced_last_seen_at } = self else { return None };
        let lost = TokenRecord { last_seen_at: *synced_last_seen_at, ..TokenRecord::clone(record) };
        Some(lost.dies_at().saturating_sub(Duration::from_micros(1)))
    }

    /// A device of which only the id is left.
    pub(super) fn faded() -> Self {
        Self::Ended { reason: EndReason::Expired, forget_at: Timestamp::default() }
    }
}
