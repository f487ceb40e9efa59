//! A disk that fails and forgets, and a model of the store to hold the engine against.
//!
//! For tests and fuzzing only: everything here panics when it finds fault.

mod disk;
mod model;

use std::sync::Arc;

pub use disk::Disk;
pub use model::run_model;

use crate::disk::{HEADERS, Medium};
use crate::engine::Engine;
use crate::open::{self, OpenError};
use crate::options::Options;

/// Opens the store on `disk`, or makes one if it is empty.
///
/// # Errors
/// [`OpenError`] as [`Engine::open`] has it.
pub fn open_on(disk: &Disk, options: Options) -> Result<Engine, OpenError> {
    let opened = open::medium(Medium::Custom(Arc::new(disk.clone())), &options)?;
    Engine::start(opened, options)
}

/// Holds what the engine counts against what is there.
///
/// # Panics
/// If it differs.
pub fn check_counts(engine: &Engine) {
    use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
    let count = || {
        let rows = engine.shared.disk.with(|db| Ok(db.begin_read()?.open_table(HEADERS)?.len()?));
        let (counts, recounted) = engine.shared.index.recount();
        assert_eq!(counts, recounted, "counts and slots differ");
        match rows {
            Ok(rows) => (counts.rows, rows),
            Err(error) => {
                assert!(engine.shared.failure().is_some(), "{error}");
                (0, 0)
            }
        }
    };
    // The writer may be between its commit and the publication of it.
    let agree = (0..10_000).any(|_| {
        let (counted, there) = count();
        std::thread::yield_now();
        counted == there
    });
    assert!(agree, "rows that are counted, rows that are there: {:?}", count());
}
