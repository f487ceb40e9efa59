//! The token store on SQLite, in the table of the original application.
//!
//! [`SqliteStore`] implements [`TokenStore`] for one process on one machine. What it promises,
//! and every store with it, the documentation of [`TokenStore`] says.
//!
//! [`TokenStore`]: tokenkeep_core::TokenStore
//!
//! ```
//! use std::time::Duration;
//!
//! use tokenkeep_core::codec::Sealing;
//! use tokenkeep_core::{
//!     AccessToken, ClientInfo, Clock, Credential, Insert, KeyRing, RefreshToken, SystemClock,
//!     TokenRecord, TokenStore, TokenType, Version,
//! };
//! use tokenkeep_sqlite::{Options, SqliteStore};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path();
//! let sealing = Sealing::On(KeyRing::generate()?);
//! let store = SqliteStore::open(directory.join("tokens.sqlite"), Options::new(sealing))?;
//! let now = SystemClock::new().now();
//! let credential = Credential::random()?;
//! let record = TokenRecord {
//!     device_id: credential.device_id(),
//!     version: Version::FIRST,
//!     verifier: credential.verifier(&store.id()),
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
//! store.insert(Insert { record, replaces: None, ceiling: None }, now).await?;
//!
//! let found = store.get(credential.device_id(), now).await?.live().unwrap();
//! assert_eq!(found.email.as_str(), "ada@example.org");
//! assert!(store.get(credential.device_id(), dies_at).await?.live().is_none());
//! store.backup(&directory.join("backup.sqlite")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The file
//!
//! The table `user_auth_credentials` has the columns that the original application made, and
//! these of our own:
//!
//! | column | holds |
//! | --- | --- |
//! | `rest` | what the other columns do not say, the version included, under a tag: see [`Columns`] |
//! | `last_seen_at`, `previous_visit_at` | the last use, and the end of the visit before |
//! | `dies_at` | when the record dies, for freeing its space; whether it lives, the record says |
//! | `holder`, `leased_since`, `leased_until`, `uncertain` | the refresh intent, if there is one |
//! | `written` | both expiries as this store wrote them: where they differ from the columns, the original application wrote last |
//!
//! Instants are microseconds since 1970. Why a session ended stands for a while in
//! `tokenkeep_ended`, format, store id and check values of the keys in `tokenkeep_meta`. The
//! version stands in `rest` alone: a column beside it could say something else.
//!
//! [`Columns`]: tokenkeep_core::codec::Columns
//!
//! # Taking over
//!
//! A file without our columns gets them when it is opened, and its rows become records, in one
//! transaction: a crash leaves either the old file or the new one. They belong to nobody yet
//! ([`Verifier::NOBODY`]), for the original application gave out no secrets. What makes no sense
//! (no device id, no times, an older row of the same device) goes to `tokenkeep_set_aside`.
//!
//! With [`Sealing::On`] the tokens are sealed, and the file is rewritten so that nothing of them
//! stays in free pages or in logs; a row that another program writes later is not trusted. With
//! [`Sealing::Off`] the columns of the original application stay as it wrote them. It may go on
//! working on the table: what it inserts is found at once, and what it updates wins.
//! Triggers in the file are not fired by what this store writes.
//!
//! [`Verifier::NOBODY`]: tokenkeep_core::Verifier::NOBODY
//! [`Sealing::On`]: tokenkeep_core::codec::Sealing::On
//! [`Sealing::Off`]: tokenkeep_core::codec::Sealing::Off
//!
//! # How it works
//!
//! One thread writes. It takes what waits, decides each write in a savepoint of one transaction,
//! commits once, with the write-ahead log synced, and answers everybody. Reads go to connections
//! of their own, away from the async threads, and see what was committed before they began.
//!
//! | to learn about | read |
//! | --- | --- |
//! | the tables | `schema.rs` |
//! | what becomes of a write | `decide.rs` |
//! | commits, and what happens when one fails | `writer.rs` |
//! | rows of the original application | `take_over.rs`, `row.rs` |
//! | what is refused at opening | `open.rs` |
//! | keys that change while the store is used | `rotation.rs` |

mod backup;
mod command;
mod connection;
mod decide;
mod failure;
mod meta;
mod open;
mod options;
mod port;
mod readers;
mod reading;
mod rotation;
mod row;
mod rows;
mod schema;
mod shared;
mod store;
mod take_over;
mod writer;

pub use backup::BackupError;
pub use open::OpenError;
pub use options::Options;
pub use store::SqliteStore;
