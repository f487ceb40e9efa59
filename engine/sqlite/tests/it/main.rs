//! The SQLite store on real files.

mod conformance;
mod original;
mod sharing;
mod support;
mod take_over;
