//! One operation, ready for the engine and for the model.

use std::future::Future;
use std::pin::Pin;

use tokenkeep_core::{DeviceId, StoreError};

use super::state::{Model, Went};

/// An operation that is carried out on the engine once it is polled.
pub(super) struct Call {
    pub(super) name: &'static str,
    /// The device that it makes, which may have been there before.
    pub(super) makes: Option<DeviceId>,
    pub(super) answer: Answer,
    pub(super) on_model: Box<dyn Fn(&mut Model) -> Went>,
}

/// What the engine says.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Went, StoreError>> + Send>>;

impl Call {
    pub(super) fn new(
        name: &'static str,
        answer: impl Future<Output = Result<Went, StoreError>> + Send + 'static,
        on_model: impl Fn(&mut Model) -> Went + 'static,
    ) -> Self {
        Self { name, makes: None, answer: Box::pin(answer), on_model: Box::new(on_model) }
    }
}
