//! Records, times, secrets, the two ports and the session flow of tokenkeep. No I/O, no driver.
//!
//! - The vocabulary: [`DeviceId`], [`Credential`], [`Email`], [`TokenRecord`], [`Timestamp`], [`Standing`].
//! - The ports: [`TokenStore`] (who keeps records) and [`Issuer`] (who grants and renews tokens).
//!   Their documentation is the contract that every implementation is tested against.
//! - The flow: [`Sessions`] (login, resume, refresh, renew, logout, devices), written once over the ports.
//! - Storage format: [`codec`] and [`keyring`], shared by every store.
//! - HTTP vocabulary: [`wire`], shared by the server and the client.

mod clock_guard;
pub mod codec;
pub mod cookie;
mod device;
mod email;
mod error;
pub mod event;
mod issuer;
pub mod keyring;
mod record;
pub mod sessions;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod token;
pub mod wire;

pub use clock_guard::ClockGuard;
pub use device::{
    Credential, DeviceId, DeviceSecret, InvalidCredential, InvalidDeviceId, RandomUnavailable,
    StoreId, Verifier,
};
pub use email::{Email, InvalidEmail};
pub use error::{Chain, Error, SharedCause};
pub use event::{Event, EventKind, Heard, Origin, Witness};
pub use issuer::{Grant, Issuer, IssuerError, Refusal, Renewal, Rotation};
pub use keyring::KeyRing;
pub use record::{
    ClientInfo, EndReason, InvalidLabel, Label, Leeway, RefreshIntent, Standing, TokenRecord,
    Version,
};
pub use sessions::{Session, Sessions};
pub use store::{
    Ceiling, CeilingPolicy, Cursor, Ended, HolderId, ImportOutcome, Insert, InsertOutcome,
    LeaseOutcome, Lookup, Page, Release, RemoveOutcome, Removed, ReplaceOutcome, SealedStore,
    StoreError, StoreStats, TokenStore, Tokens,
};
pub use time::{Clock, InvalidTimestamp, ManualClock, SystemClock, TimeText, Timestamp};
pub use token::{AccessToken, InvalidToken, Password, RefreshToken, SpentToken, TokenType};
