//! The keys that seal tokens at rest.

/// The keys that seal tokens at rest: one active, any number retired.
#[derive(Clone, Debug)]
pub struct KeyRing {}
