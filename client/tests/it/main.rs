//! The client against servers made from closures: what it sends, what it makes of the answers.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and so does what serves it"
)]

mod admin;
mod errors;
mod repeats;
mod secrecy;
mod send;
mod stub;
mod tokens;
mod user;
mod watch;
