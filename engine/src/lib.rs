//! The embedded token store engine.
