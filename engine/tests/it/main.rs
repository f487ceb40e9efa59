//! The engine from outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "functions that tests share fail tests, and say what was tried"
)]

mod at_rest;
mod backup;
mod carrying;
mod clock;
mod conformance;
mod damage;
mod disk_errors;
mod failures;
mod handle;
mod histories;
mod model;
mod opening;
mod power_loss;
mod reclaiming;
mod reopening;
mod rotation;
mod rows;
mod script;
mod seeds;
mod support;
mod tampering;
