//! The rows at one instant, read so that a damaged page is an error and never a panic.

use std::borrow::Borrow;
use std::iter::FusedIterator;
use std::ops::{RangeBounds, RangeInclusive};
use std::sync::RwLockReadGuard;

use redb::{
    AccessGuard, Database, Range, ReadOnlyTable, ReadableTable, ReadableTableMetadata as _,
    StorageError,
};

use super::guarded;
use crate::block::{Entries, Malformed, block_of};

/// The rows at one instant.
pub(crate) struct Snapshot<'a> {
    pub(crate) headers: Headers,
    pub(super) bodies: ReadOnlyTable<u64, &'static [u8]>,
    /// Dropped last: while it is held, the database is not closed.
    pub(super) _database: RwLockReadGuard<'a, Option<Database>>,
}

/// A row, as it is stored.
pub(crate) struct Row {
    pub(crate) header: Vec<u8>,
    pub(crate) body: Option<Vec<u8>>,
}

impl Snapshot<'_> {
    /// The row `seq`, if it is there.
    pub(crate) fn row(&self, seq: u64) -> Result<Option<Row>, redb::Error> {
        let Some(header) = self.header(seq)? else { return Ok(None) };
        let body = find(&self.bodies, seq, |number, list| Entries::of(number, list))?
            .filter(|body| !body.is_empty());
        Ok(Some(Row { header, body }))
    }

    /// The header of the row `seq`, if it is there.
    pub(crate) fn header(&self, seq: u64) -> Result<Option<Vec<u8>>, redb::Error> {
        Ok(find(&self.headers.0, seq, |number, list| Entries::of_headers(number, list))?)
    }

    /// The bodies of the block `number`, if it has any.
    pub(crate) fn bodies(&self, number: u64) -> Result<Option<Vec<u8>>, StorageError> {
        read_list(&self.bodies, number)
    }

    /// Whether the pages can be read that dropping the bodies of these blocks touches.
    pub(crate) fn check_bodies_around(
        &self,
        blocks: RangeInclusive<u64>,
    ) -> Result<(), StorageError> {
        check_around(&self.bodies, blocks)
    }
}

/// The entry of the row `seq` in one of its block's lists, if it is there.
pub(crate) fn find(
    table: &impl ReadableTable<u64, &'static [u8]>,
    seq: u64,
    entries: impl for<'a> FnOnce(u64, &'a [u8]) -> Entries<'a>,
) -> Result<Option<Vec<u8>>, StorageError> {
    guarded(|| {
        let number = block_of(seq);
        let Some(list) = table.get(number)? else { return Ok(None) };
        let entry = entries(number, list.value()).find(seq).map_err(corrupted)?;
        Ok(entry.map(<[u8]>::to_vec))
    })
}

/// One of the lists of the block `number`, if it is there.
fn read_list(
    table: &impl ReadableTable<u64, &'static [u8]>,
    number: u64,
) -> Result<Option<Vec<u8>>, StorageError> {
    guarded(|| Ok(table.get(number)?.map(|list| list.value().to_vec())))
}

/// Whether the pages of these blocks and those beside them can be read: what is left of a page may
/// be merged with the page beside it.
fn check_around(
    table: &ReadOnlyTable<u64, &'static [u8]>,
    blocks: RangeInclusive<u64>,
) -> Result<(), StorageError> {
    guarded(|| {
        look_over_a_page(table.range(..*blocks.start())?.rev())?;
        for block in table.range(blocks.clone())? {
            look_at(&block?);
        }
        look_over_a_page(table.range(blocks.end() + 1..)?)
    })
}

/// Looks at as many blocks as reach beyond the page of the first.
fn look_over_a_page(
    blocks: impl Iterator<Item = Result<Found, StorageError>>,
) -> Result<(), StorageError> {
    let mut bytes = 0;
    for block in blocks {
        bytes += look_at(&block?);
        if bytes > PAGE {
            break;
        }
    }
    Ok(())
}

/// The length of a block's list. Where it lies is on the page, too: to be called while a panic is
/// caught.
fn look_at((number, list): &Found) -> usize {
    let (_, list) = (number.value(), list.value());
    list.len()
}

/// What redb puts several values on, in bytes.
const PAGE: usize = 4096;

/// What a block that makes no sense is to whoever reads it.
pub(crate) fn corrupted(malformed: Malformed) -> StorageError {
    StorageError::Corrupted(malformed.to_string())
}

/// The headers at one instant.
pub(crate) struct Headers(pub(super) ReadOnlyTable<u64, &'static [u8]>);

impl Headers {
    /// The headers of the blocks in `range`, in their order.
    pub(crate) fn range<K: Borrow<u64>>(
        &self,
        range: impl RangeBounds<K>,
    ) -> Result<Blocks, StorageError> {
        guarded(|| self.0.range(range)).map(|blocks| Blocks(Some(blocks)))
    }

    /// The headers of the block `number`, if it is there.
    pub(crate) fn list(&self, number: u64) -> Result<Option<Vec<u8>>, StorageError> {
        read_list(&self.0, number)
    }

    /// Whether the pages can be read that a change of these blocks touches.
    pub(crate) fn check_around(&self, blocks: RangeInclusive<u64>) -> Result<(), StorageError> {
        check_around(&self.0, blocks)
    }

    /// The first and the last block, if there are any.
    pub(crate) fn ends(&self) -> Result<Option<(u64, u64)>, StorageError> {
        guarded(|| {
            let ends = self.0.first()?.zip(self.0.last()?);
            Ok(ends.map(|((first, _), (last, _))| (first.value(), last.value())))
        })
    }

    /// How many blocks the database says there are.
    pub(crate) fn count(&self) -> Result<u64, StorageError> {
        guarded(|| self.0.len())
    }
}

type Found = (AccessGuard<'static, u64>, AccessGuard<'static, &'static [u8]>);

/// Blocks one after the other; an error is the last thing that comes.
pub(crate) struct Blocks(Option<Range<'static, u64, &'static [u8]>>);

impl Iterator for Blocks {
    type Item = Result<Found, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let blocks = self.0.as_mut()?;
        let block = guarded(|| {
            let block = blocks.next().transpose()?;
            block.as_ref().map(look_at);
            Ok::<_, StorageError>(block)
        });
        if !matches!(block, Ok(Some(_))) {
            self.0 = None;
        }
        block.transpose()
    }
}

impl FusedIterator for Blocks {}
