//! The SQLite store on real files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "functions that tests share fail tests, and say what was done"
)]

mod backup;
mod child;
mod clock;
mod conformance;
mod crash;
mod failures;
mod hostile;
mod opening;
mod original;
mod races;
mod rotation;
mod sharing;
mod support;
mod take_over;
