//! Typed client of the tokenkeep session server, for services behind it.
//!
//! A service that received a device credential asks for a usable access token and never thinks
//! about refreshing: tokens are kept at hand until shortly before they expire, callers that ask at
//! the same time share one call, and a token that an upstream no longer takes is renewed once.
//!
//! ```no_run
//! use tokenkeep_client::{Credential, ServiceKey, SessionClient};
//!
//! # async fn handler(credential: Credential) -> Result<(), Box<dyn std::error::Error>> {
//! let sessions = SessionClient::builder("https://session.example")
//!     .service_key(ServiceKey::new(std::env::var("TOKENKEEP_SERVICE_KEY")?)?)
//!     .build()?;
//! let _watch = sessions.watch_in_background()?; // drops tokens of sessions that end
//!
//! let http = tokenkeep_client::upstream_http()?.build()?;
//! match sessions.send(&credential, http.get("https://api.example/orders")).await {
//!     Ok(response) => println!("the upstream says {}", response.status()),
//!     Err(error) if error.is_logged_out() => println!("log in again"),
//!     Err(error) if error.is_unavailable() => println!("later: {:?}", error.retry_after()),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - Without a watch, a session that ended is noticed when its token at hand runs out; with one,
//!   at once.
//! - Only reads and plain token calls are repeated, at most twice, and only if the server was not
//!   reached or asked to come back within two seconds. A login, a renewal, a logout never is.
//! - An [`Error`] is opaque: ask it what to do. No error, log line or `Debug` holds a secret.

mod admin;
mod backoff;
mod body;
mod builder;
mod cache;
mod client;
mod error;
mod flights;
mod service_key;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod token;
mod tokens;
mod transport;
mod user;
mod watch;

pub use builder::Builder;
pub use client::SessionClient;
pub use error::Error;
pub use service_key::{InvalidServiceKey, ServiceKey};
pub use tls::upstream_http;
pub use token::Token;
pub use watch::{Change, Watch, WatchTask};

pub use reqwest;
pub use tokenkeep_core::wire::{DeviceBody, ErrorCode, EventBody, SessionBody, StatsBody};
pub use tokenkeep_core::{AccessToken, Credential, DeviceId, Email, Password, Timestamp};
