//! The store on real servers: one `redis-server`, and a cluster of three.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "functions that tests share fail tests, and say what was tried"
)]

mod conformance;
mod crashes;
mod events;
mod failover;
mod failures;
mod opening;
mod original;
mod rotation;
mod server;
mod support;
mod tls;
