//! The rows at one instant, read so that a damaged page is an error and never a panic.

use std::borrow::Borrow;
use std::iter::FusedIterator;
use std::ops::RangeBounds;
use std::sync::RwLockReadGuard;

use redb::{AccessGuard, Database, Range, ReadOnlyTable, ReadableTableMetadata as _, StorageError};

use super::guarded;

/// The rows at one instant.
pub(crate) struct Snapshot<'a> {
    pub(crate) headers: Headers,
    pub(super) bodies: ReadOnlyTable<u64, &'static [u8]>,
    /// Dropped last: while it is held, the database is not closed.
    pub(super) _database: RwLockReadGuard<'a, Option<Database>>,
}

impl Snapshot<'_> {
    /// The header in row `seq`.
    pub(crate) fn header(&self, seq: u64) -> Result<Option<Vec<u8>>, redb::Error> {
        read(&self.headers.0, seq)
    }

    /// The body in row `seq`.
    pub(crate) fn body(&self, seq: u64) -> Result<Option<Vec<u8>>, redb::Error> {
        read(&self.bodies, seq)
    }
}

fn read(
    table: &ReadOnlyTable<u64, &'static [u8]>,
    seq: u64,
) -> Result<Option<Vec<u8>>, redb::Error> {
    guarded(|| Ok(table.get(seq)?.map(|row| row.value().to_vec())))
}

/// The headers at one instant.
pub(crate) struct Headers(pub(super) ReadOnlyTable<u64, &'static [u8]>);

impl Headers {
    /// The headers in the rows of `range`, in their order.
    pub(crate) fn range<K: Borrow<u64>>(
        &self,
        range: impl RangeBounds<K>,
    ) -> Result<Rows, StorageError> {
        guarded(|| self.0.range(range)).map(|rows| Rows(Some(rows)))
    }

    /// How many rows the database says there are.
    pub(crate) fn count(&self) -> Result<u64, StorageError> {
        guarded(|| self.0.len())
    }

    /// The table itself.
    #[cfg(test)]
    pub(crate) fn table(&self) -> &ReadOnlyTable<u64, &'static [u8]> {
        &self.0
    }
}

type Row = (AccessGuard<'static, u64>, AccessGuard<'static, &'static [u8]>);

/// Rows one after the other; an error is the last thing that comes.
pub(crate) struct Rows(Option<Range<'static, u64, &'static [u8]>>);

impl Iterator for Rows {
    type Item = Result<Row, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.0.as_mut()?;
        let row = guarded(|| {
            let row = rows.next().transpose()?;
            // Where the value lies is on the page, too: look at it while a panic is caught.
            let _ = row.as_ref().map(|(seq, bytes)| (seq.value(), bytes.value().len()));
            Ok::<_, StorageError>(row)
        });
        if !matches!(row, Ok(Some(_))) {
            self.0 = None;
        }
        row.transpose()
    }
}

impl FusedIterator for Rows {}
