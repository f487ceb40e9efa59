//! The HTTP surface against a real server on port 0, over a store and an issuer in memory.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    reason = "a test that is wrong should stop"
)]

mod admin;
mod authz;
mod canary;
mod cookie;
mod csrf;
mod devices;
mod events;
mod frames;
mod gateway;
mod limits;
mod login;
mod logout;
mod session;
mod shutdown;
mod token;
mod world;
