//! The operations model: bytes drive an engine and a simple store side by side, through crashes.

mod driver;
mod state;

pub use driver::run_model;
