//! The session server.

pub mod central;
pub mod config;
pub mod demo;
pub mod service_key;
