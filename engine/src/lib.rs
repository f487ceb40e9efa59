//! The embedded token store engine.

mod blocking;
mod clock_guard;
mod command;
mod disk;
mod engine;
mod index;
pub mod key_file;
mod meta;
mod open;
mod options;
mod port;
mod reading;
mod shared;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod writer;

pub use tokenkeep_core as core;
pub use tokenkeep_core::*;

pub use blocking::Blocking;
pub use engine::{Engine, Figures};
pub use open::OpenError;
pub use options::{Durability, Options};
