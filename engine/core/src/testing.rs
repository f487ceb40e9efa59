//! Doubles and suites for the tests of stores and of the flow (feature `testing`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test double that is wrong should stop the test"
)]

pub mod conformance;
mod fake_issuer;
mod memory_store;
pub mod parsers;
mod random;

pub use fake_issuer::{ACCESS_TTL, FakeIssuer, Fault, REFRESH_TTL};
pub use memory_store::MemoryStore;
pub(crate) use random::is_without_random;
pub use random::{WithoutRandom, without_random};

use std::time::Duration;

use crate::{
    AccessToken, ClientInfo, Credential, DeviceId, DeviceSecret, RefreshToken, StoreId, Timestamp,
    TokenRecord, TokenType, Version,
};

/// A record of `device` that logged in at `now`: access token for 2 minutes, refresh token for
/// 4, as the original application's defaults are.
#[must_use]
pub fn record(device: DeviceId, email: &str, now: Timestamp) -> TokenRecord {
    let credential = Credential::new(device, DeviceSecret::from_bytes([7; 32]));
    TokenRecord {
        device_id: device,
        version: Version::FIRST,
        verifier: credential.verifier(&StoreId::from_bytes([0; 16])),
        email: email.parse().unwrap(),
        token_type: TokenType::default(),
        access_token: AccessToken::new(format!("access-of-{device}")).unwrap(),
        access_issued_at: now,
        access_expires_at: now + Duration::from_secs(120),
        refresh_token: RefreshToken::new(format!("refresh-of-{device}")).unwrap(),
        refresh_expires_at: now + Duration::from_secs(240),
        created_at: now,
        last_seen_at: now,
        previous_visit_at: None,
        absolute_expires_at: None,
        idle_limit: None,
        client: ClientInfo::new(Some("test/1.0"), Some([127, 0, 0, 1].into())),
        label: None,
        refresh_intent: None,
    }
}
