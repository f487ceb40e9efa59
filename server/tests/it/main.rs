//! The HTTP surface against a real server on port 0: over a store and an issuer in memory, over
//! the real parts in one process, and as the binary in a process of its own.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    clippy::print_stdout,
    reason = "a test that is wrong should stop"
)]

mod admin;
mod api;
mod at_rest;
mod audit;
mod auth_faults;
mod auth_server;
mod authz;
mod canary;
mod commands;
mod cookie;
mod crash;
mod csrf;
mod devices;
mod end_to_end;
mod events;
mod expiry;
mod frames;
mod gateway;
mod hostile;
mod ledger;
mod limits;
mod listening;
mod login;
mod logout;
mod moving;
mod multiplexed;
mod oauth2;
mod openapi;
mod outage;
mod process;
mod proxies;
mod races;
mod revoking;
mod rotation;
mod seeds;
mod sentinel;
mod service_manager;
mod session;
mod shared_redis;
mod shutdown;
mod smuggling;
mod stores;
mod storm;
mod tls;
mod token;
mod unix_socket;
mod whole;
mod wiretap;
mod world;
