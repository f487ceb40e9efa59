//! The fuzz targets of this crate, with what holds for any bytes.

use std::path::Path;

use tokenkeep_core::Cursor;

use super::run_model;
use crate::meta::Meta;
use crate::reading::{cursor, position};

/// A fuzz target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// The targets of this crate.
pub const TARGETS: &[Target] =
    &[("operations", operations), ("meta_row", meta_row), ("walk_cursor", walk_cursor)];

/// Operations, crashes and restarts in any order: the engine does what the model does.
pub fn operations(bytes: &[u8]) {
    run_model(bytes);
}

/// A meta row reads as it is written, with its checksum or with one put right.
///
/// # Panics
/// If it does not.
pub fn meta_row(bytes: &[u8]) {
    for row in [bytes.to_vec(), Meta::with_checksum(bytes.to_vec())] {
        if let Ok(meta) = Meta::decode(&row, Path::new("row")) {
            assert_eq!(Meta::decode(&meta.encode(), Path::new("row")).ok().as_ref(), Some(&meta));
        }
    }
}

/// A place in a walk is eight bytes, and nothing else is one.
///
/// # Panics
/// If something else is.
pub fn walk_cursor(bytes: &[u8]) {
    match position(&Cursor(bytes.into())) {
        Ok(seq) => assert_eq!(*cursor(seq).0, *bytes),
        Err(_) => assert_ne!(bytes.len(), 8),
    }
}
