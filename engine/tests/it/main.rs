//! The engine from outside.

mod model;
