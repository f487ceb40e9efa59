//! The session server: the HTTP surface over the session flow of tokenkeep.
//!
//! [`serve`] answers requests on listeners that the caller has bound, for an [`App`] that the
//! caller has put together from a store, an issuer and [`settings`].

mod answer_body;
mod app;
pub mod assembly;
mod audit;
mod body;
mod caller;
pub mod central;
mod client_address;
pub mod config;
mod cookie;
pub mod demo;
pub mod exit_code;
mod failure;
mod gateway;
mod login_attempts;
pub mod moving;
#[cfg(feature = "redis")]
pub mod relay;
mod reply;
mod routes;
mod same_site;
mod serve;
mod service_access;
pub mod service_key;
pub mod settings;
#[cfg(feature = "redis")]
pub mod sharing;
mod sign_in;
pub mod store;
mod surface;
#[cfg(feature = "testing")]
pub mod testing;
pub mod upkeep;

pub use app::App;
pub use audit::Audit;
pub use gateway::GatewayError;
pub use serve::{Listener, Listeners, Stopped, Tls, TlsError, serve};
pub use service_access::{NoServiceKeys, ServiceAccess};
pub use service_key::{KeyRefusal, Scope};
