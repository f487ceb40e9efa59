//! The session server.

pub mod config;
