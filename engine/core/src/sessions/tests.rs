//! The flow, claim by claim.
