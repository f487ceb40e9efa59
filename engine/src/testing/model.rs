//! The operations model: bytes drive an engine and a simple store side by side, through crashes.

#![expect(clippy::panic, reason = "a model that finds fault says so")]

mod batch;
mod call;
mod comparing;
mod driver;
mod input;
mod known;
mod operations;
mod settling;
mod state;
mod tally;

pub use driver::run_model;
pub use tally::Tally;
