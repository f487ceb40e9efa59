//! The session server.

pub mod central;
pub mod config;
