//! A disk that fails and forgets, and a model of the store to hold the engine against.
//!
//! For tests and fuzzing only: everything here panics when it finds fault.

mod disk;
mod model;
pub mod parsers;

use std::sync::Arc;

pub use disk::{Disk, DiskError, Fault, Hits, Instants, Loss, Recording};
pub use model::{Tally, run_model};

#[cfg(test)]
use tokenkeep_core::{
    AccessToken, ClientInfo, DeviceId, RefreshToken, Timestamp, TokenRecord, TokenType, Verifier,
    Version,
};

use tokenkeep_core::codec::Header;

use crate::block::{Entries, Size};
use crate::disk::{BODIES, HEADERS, Medium, corrupted, find};
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

/// `options`, with an index that takes all emails for one.
#[must_use]
pub fn with_colliding_emails(options: Options) -> Options {
    Options { hash_mask: 0, ..options }
}

/// A record that lives for an hour.
#[cfg(test)]
pub(crate) fn record(device: DeviceId, now: Timestamp) -> TokenRecord {
    let hour = std::time::Duration::from_secs(3600);
    TokenRecord {
        device_id: device,
        version: Version::FIRST,
        verifier: Verifier::from_bytes([0; 32]),
        email: "ada@example.org".parse().unwrap(),
        token_type: TokenType::default(),
        access_token: AccessToken::new("access").unwrap(),
        access_issued_at: now,
        access_expires_at: now + hour,
        refresh_token: RefreshToken::new("refresh").unwrap(),
        refresh_expires_at: now + hour,
        created_at: now,
        last_seen_at: now,
        previous_visit_at: None,
        absolute_expires_at: None,
        idle_limit: None,
        client: ClientInfo::default(),
        label: None,
        refresh_intent: None,
    }
}

/// Holds what the engine counts against what is there.
///
/// # Panics
/// If it differs.
pub fn check_counts(engine: &Engine) {
    let count = || {
        let rows = engine.shared.disk.with(count_rows);
        let (counts, recounted) = engine.shared.index.recount();
        assert_eq!(counts, recounted, "counts and slots differ");
        match rows {
            Ok(rows) => (counts.size, rows),
            Err(error) => {
                assert!(engine.shared.failure().is_some(), "{error}");
                (Size::default(), Size::default())
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

/// Counts the rows, each record with its body.
fn count_rows(database: &redb::Database) -> Result<Size, redb::Error> {
    use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};
    let transaction = database.begin_read()?;
    let (headers, bodies) = (transaction.open_table(HEADERS)?, transaction.open_table(BODIES)?);
    let (mut size, mut blocks) = (Size::default(), 0);
    for block in headers.iter()? {
        let (number, list) = block?;
        let before = size;
        for entry in Entries::of_headers(number.value(), list.value()) {
            let (seq, header) = entry.map_err(corrupted)?;
            let has_body = matches!(Header::decode(header), Ok(Header::Record(_)));
            let body =
                find(&bodies, seq, |number, list| Entries::of(number, list))?.unwrap_or_default();
            assert_eq!(has_body, !body.is_empty(), "a record has a body, and nothing else has");
            size.add_row(has_body);
        }
        blocks += u64::from(size.bodies > before.bodies);
    }
    assert_eq!(bodies.len()?, blocks, "blocks with bodies");
    Ok(size)
}
