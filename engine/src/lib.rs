//! An embedded token store: one file, native expiry, tokens sealed at rest.
//!
//! [`Engine`] implements [`TokenStore`] for one process on one machine. What it promises, and
//! every store with it, the documentation of [`TokenStore`] says; this crate re-exports all of
//! [`tokenkeep_core`], so that a program needs no other.
//!
//! ```
//! use std::time::Duration;
//!
//! use tokenkeep::{
//!     AccessToken, ClientInfo, Clock, Credential, Engine, Insert, Options, RefreshToken,
//!     SystemClock, TokenRecord, TokenStore, TokenType, Version,
//! };
//!
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path().join("tokens");
//! let engine = Engine::open(directory, Options::new())?;
//! let now = SystemClock::new().now();
//! let credential = Credential::random()?;
//! let record = TokenRecord {
//!     device_id: credential.device_id(),
//!     version: Version::FIRST,
//!     verifier: credential.verifier(&engine.id()),
//!     email: "ada@example.org".parse()?,
//!     token_type: TokenType::default(),
//!     access_token: AccessToken::new("an-access-token")?,
//!     access_issued_at: now,
//!     access_expires_at: now + Duration::from_secs(15 * 60),
//!     refresh_token: RefreshToken::new("a-refresh-token")?,
//!     refresh_expires_at: now + Duration::from_secs(30 * 24 * 60 * 60),
//!     created_at: now,
//!     last_seen_at: now,
//!     previous_visit_at: None,
//!     absolute_expires_at: None,
//!     idle_limit: None,
//!     client: ClientInfo::default(),
//!     label: None,
//!     refresh_intent: None,
//! };
//! let dies_at = record.dies_at();
//! // Without a runtime; with one, `engine.insert(..).await` does the same.
//! engine.blocking().insert(Insert { record, replaces: None, ceiling: None }, now)?;
//!
//! let found = engine.blocking().get(credential.device_id(), now)?.live().unwrap();
//! assert_eq!(found.email.as_str(), "ada@example.org");
//! assert!(engine.blocking().get(credential.device_id(), dies_at)?.live().is_none());
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! The file is a log: every login, refresh and logout appends a row under the next sequence
//! number, and the rows of one commit are packed into blocks, so that a batch of them is a handful
//! of pages. Which row of a device is the newest, an
//! index in memory knows; it is rebuilt from the rows' small headers when the store is opened,
//! and the newest row wins. One thread writes: it takes what waits, decides each write against
//! the index, commits once, publishes, and answers. A reader never sees what is not durable, and
//! needs neither a lock nor the disk for a record that is cached.
//!
//! | to learn about | read |
//! | --- | --- |
//! | the index, the cache, the expiry queue | `index.rs` |
//! | rows, packed into pages | `block.rs` |
//! | deciding and committing a batch | `writer/batch.rs`, `writer/commit.rs` |
//! | which rows may go, and why that is safe | `writer/reclaim.rs` |
//! | what happens when the disk fails | `writer/repair.rs` |
//! | clocks that leap | [`ClockGuard`] |
//! | keys that change while the store is used | `rotation.rs`, `writer/rotation.rs` |
//! | what is refused at opening | `open.rs` |
//!
//! # Invariants
//!
//! - A row is written once and never changed.
//! - The newest record or tombstone of a device is dropped only after all its older rows.
//! - A row is dropped only if the index that readers see does not need it.
//! - The index changes only after the commit, and only in the writer; readers change nothing but
//!   which records are cached.
//! - What expired is destroyed by a clock that cannot leap.
//! - A block is vouched for by the key that its bodies are sealed with; a key is in the meta row
//!   before anything is sealed with it, and leaves it after nothing is. While there is a block that
//!   no key vouches for, no row is dropped.

mod backup;
mod block;
mod blocking;
mod command;
mod disk;
mod engine;
mod index;
pub mod key_file;
mod meta;
mod open;
mod options;
mod port;
mod reading;
mod rotation;
mod shared;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod writer;

pub use tokenkeep_core as core;
pub use tokenkeep_core::*;

pub use backup::{BackupError, BackupProgress};
pub use blocking::Blocking;
pub use engine::{Engine, Figures};
pub use open::OpenError;
pub use options::{Durability, Options};
