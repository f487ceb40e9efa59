//! Attacks in small numbers: while they last, a well-behaved client is served, and they end.
//! `benches/hostile.rs` does the same in large numbers, and measures.

mod crowds;
mod streams;
