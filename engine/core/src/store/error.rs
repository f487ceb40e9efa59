//! Why a store could not do what it was asked to.

use crate::DeviceId;

/// Why a store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot work at the moment; the same call may work later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The record is there and cannot be read: damaged, tampered with, or sealed with a key
    /// that is not in the ring. It was left as it is.
    #[error("the record of device {device} cannot be read")]
    Unreadable {
        /// The device whose record it is.
        device: DeviceId,
        /// What is wrong with it.
        #[source]
        cause: crate::codec::CodecError,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// The store cannot work because of `cause`.
    pub fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(cause.into())
    }
}
