//! Files that were damaged while nobody had them open, and pages while somebody has.

mod flips;
mod going_on;
mod pages;
