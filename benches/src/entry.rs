//! What a bench stores, small enough to hand around: every store makes its own record of it.

use std::time::Duration;

use tokenkeep::{Insert, Timestamp, TokenRecord};

use crate::{NOW, device, email, record};

/// One generation of the session of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which device.
    pub number: u64,
    /// Which pair of tokens.
    pub generation: u64,
    /// When it dies, in seconds after [`NOW`].
    pub dies_after: u64,
}

impl Entry {
    /// A session that outlives every bench; a later generation dies later.
    #[must_use]
    pub const fn lasting(number: u64, generation: u64) -> Self {
        Self { number, generation, dies_after: A_MONTH + number % 3600 + generation }
    }

    /// A first generation that dies `dies_after` seconds after [`NOW`].
    #[must_use]
    pub const fn dying(number: u64, dies_after: u64) -> Self {
        Self { number, generation: 0, dies_after }
    }

    /// The id of the device.
    #[must_use]
    pub fn device(self) -> [u8; 16] {
        *device(self.number).as_bytes()
    }

    /// The user's email.
    #[must_use]
    pub fn email(self) -> String {
        email(self.number).to_string()
    }

    /// When it dies.
    #[must_use]
    pub fn dies_at(self) -> Timestamp {
        NOW + Duration::from_secs(self.dies_after)
    }

    /// The record that the engine stores.
    #[must_use]
    pub fn record(self) -> TokenRecord {
        let mut record = record(self.number, self.generation);
        record.refresh_expires_at = self.dies_at();
        record
    }

    /// The login that the engine stores.
    #[must_use]
    pub fn login(self) -> Insert {
        Insert { record: self.record(), replaces: None, ceiling: None }
    }
}

const A_MONTH: u64 = 30 * 86_400;
