//! The session flow.

use std::sync::Arc;

use crate::TokenRecord;

/// A session that may go on.
#[derive(Clone, Debug)]
pub struct Session {
    record: Arc<TokenRecord>,
}

impl Session {
    /// The record behind the session.
    #[must_use]
    pub fn record(&self) -> &TokenRecord {
        &self.record
    }
}

/// The session flow over a store and an issuer.
#[derive(Clone, Debug)]
pub struct Sessions<S, I>(S, I);
