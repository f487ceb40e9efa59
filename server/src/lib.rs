//! The session server: the HTTP surface over the session flow of tokenkeep.
//!
//! [`serve`] answers requests on listeners that the caller has bound, for an [`App`] that the
//! caller has put together from a store, an issuer and [`settings`].

mod app;
mod body;
mod caller;
mod client_address;
mod cookie;
mod failure;
mod gateway;
mod login_attempts;
mod reply;
mod routes;
mod same_site;
mod serve;
mod service_access;
pub mod settings;
mod sign_in;
mod surface;

pub use app::App;
pub use gateway::GatewayError;
pub use serve::{Listeners, Stopped, serve};
pub use service_access::{KeyRefusal, NoServiceKeys, Scope, ServiceKeys};
