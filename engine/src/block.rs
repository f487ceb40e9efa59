//! Blocks: the rows of one commit, packed so that a page is full and costs one insertion, not one
//! for each row.
//!
//! The number of a row is the number of its block and its place in it, so that both only grow and
//! a row is found without a search. The **headers** of a block are one value, its **bodies**
//! another: opening reads headers only. Each is a list with an entry for every row, in their order:
//! the length as `u32`, little-endian, and the bytes. A row without a body has an empty entry
//! there; a block without any body has no such value. In front of the headers stands a tag over
//! them, which only who has the key ring can make; see [`tokenkeep_core::codec::tag_block`]. The
//! bodies of a block are sealed with the key that vouches for its headers.

use tokenkeep_core::codec::{BLOCK_TAG_LEN, CodecError, tag_block};
use tokenkeep_core::keyring::KeyId;
use tokenkeep_core::{KeyRing, StoreId};

/// Rows that are stored as one.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) number: u64,
    /// With room for the tag in front.
    pub(crate) headers: Vec<u8>,
    bodies: Vec<u8>,
    pub(crate) size: Size,
}

/// How many rows there are, and how many of them have a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u64,
    pub(crate) bodies: u64,
}

impl Size {
    /// A row more.
    pub(crate) fn add_row(&mut self, has_body: bool) {
        self.add(Self { rows: 1, bodies: u64::from(has_body) });
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bodies += other.bodies;
    }

    pub(crate) fn subtract(&mut self, other: Self) {
        self.rows -= other.rows;
        self.bodies -= other.bodies;
    }
}

impl Block {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, headers: vec![0; BLOCK_TAG_LEN], bodies: Vec::new(), size: Size::default() }
    }

    /// Whether a row of this size belongs into the next block.
    pub(crate) fn is_full_for(&self, header: &[u8], body: &[u8]) -> bool {
        let fits = self.headers.len() + LENGTH + header.len() <= HEADERS_BYTES
            && self.bodies.len() + LENGTH + body.len() <= BODIES_BYTES
            && self.size.rows < PLACES;
        !fits && self.size.rows > 0
    }

    /// Appends a row, and returns its number. An empty body is none.
    pub(crate) fn append(&mut self, header: &[u8], body: &[u8]) -> u64 {
        let seq = self.number * PLACES + self.size.rows;
        append(&mut self.headers, header);
        append(&mut self.bodies, body);
        self.size.add_row(!body.is_empty());
        seq
    }

    /// Has `key` vouch for the headers.
    pub(crate) fn tag(
        &mut self,
        key: KeyId,
        ring: &KeyRing,
        store: &StoreId,
    ) -> Result<(), CodecError> {
        tag_block(&mut self.headers, self.number, key, ring, store)
    }

    /// The list of bodies, if there are any.
    pub(crate) fn bodies(&self) -> Option<&[u8]> {
        Some(self.bodies.as_slice()).filter(|_| self.size.bodies > 0)
    }
}

fn append(list: &mut Vec<u8>, entry: &[u8]) {
    // No entry comes near four gigabytes: tokens are bounded.
    let len = u32::try_from(entry.len()).unwrap_or(u32::MAX);
    list.extend_from_slice(&len.to_le_bytes());
    list.extend_from_slice(entry);
}

/// The block of the row `seq`.
pub(crate) const fn block_of(seq: u64) -> u64 {
    seq / PLACES
}

/// The entries of a list with the numbers of their rows. An error is the last thing that comes.
#[derive(Clone, Debug)]
pub(crate) struct Entries<'a> {
    next: u64,
    rest: &'a [u8],
}

/// A list whose lengths do not fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block of rows is malformed")]
pub(crate) struct Malformed;

impl<'a> Entries<'a> {
    /// The headers in the tagged list of the block `number`.
    pub(crate) fn of_headers(number: u64, list: &'a [u8]) -> Self {
        // What is too short for a tag reads as a list that makes no sense.
        Self::of(number, list.get(BLOCK_TAG_LEN..).unwrap_or(TOO_SHORT))
    }

    /// The entries of a list of the block `number`.
    pub(crate) fn of(number: u64, list: &'a [u8]) -> Self {
        Self { next: number.saturating_mul(PLACES), rest: list }
    }

    /// The entry of the row `seq`.
    pub(crate) fn find(self, seq: u64) -> Result<Option<&'a [u8]>, Malformed> {
        for entry in self {
            let (at, entry) = entry?;
            if at == seq {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(u64, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some((entry, rest)) = split(rest) else { return Some(Err(Malformed)) };
        let seq = self.next;
        (self.next, self.rest) = (seq.saturating_add(1), rest);
        Some(Ok((seq, entry)))
    }
}

/// The first entry of a list, and what follows.
fn split(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = list.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

/// No list begins like this.
const TOO_SHORT: &[u8] = &[0];
/// Rows that a block has place for.
const PLACES: u64 = 256;
/// Bytes of a length.
const LENGTH: usize = 4;
/// A list of bodies is to fill two pages of 4 KiB, less what redb puts on them.
const BODIES_BYTES: usize = 8192 - REDBS_OWN;
/// A list of headers is to fit a page.
const HEADERS_BYTES: usize = 4096 - REDBS_OWN;
const REDBS_OWN: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn has_place(rows: usize, header: usize, body: usize) -> bool {
        let mut block = Block::new(1);
        for _ in 0..rows {
            block.append(&vec![1; header], &vec![2; body]);
        }
        !block.is_full_for(&vec![1; header], &vec![2; body])
    }

    #[test]
    fn a_block_takes_what_fits_its_pages() {
        assert!(has_place(6, 100, 1100) && !has_place(7, 100, 1100), "bodies");
        assert!(has_place(30, 100, 0) && !has_place(40, 100, 0), "headers");
        assert!(has_place(255, 1, 0) && !has_place(256, 1, 0), "places");
        assert!(has_place(0, 100, 50_000), "a row that is longer than a page has its own");
    }

    #[test]
    fn a_block_without_bodies_has_headers_only() {
        let mut block = Block::new(1);
        block.append(&[1], &[]);
        assert_eq!(block.bodies(), None);
        block.append(&[1], &[2]);
        assert_eq!(block.size, Size { rows: 2, bodies: 1 });
        assert!(block.bodies().is_some());
    }

    proptest! {
        #[test]
        fn what_was_appended_is_found(
            number in 1u64..1 << 50,
            rows in prop::collection::vec(any::<(Vec<u8>, Vec<u8>)>(), 1..50),
        ) {
            let mut block = Block::new(number);
            let seqs: Vec<_> = rows.iter().map(|(header, body)| block.append(header, body)).collect();
            for ((header, body), seq) in rows.iter().zip(seqs) {
                prop_assert_eq!(block_of(seq), number);
                let found = Entries::of_headers(number, &block.headers).find(seq).unwrap();
                prop_assert_eq!(found, Some(header.as_slice()));
                let bodies = Entries::of(number, block.bodies().unwrap_or_default());
                prop_assert_eq!(bodies.find(seq).unwrap().unwrap_or_default(), body.as_slice());
            }
        }

        #[test]
        fn no_list_makes_it_panic(list: Vec<u8>, number: u64, seq: u64) {
            prop_assert!(Entries::of(number, &list).count() <= list.len());
            let _ = Entries::of(number, &list).find(seq);
            let _ = Entries::of_headers(number, &list).find(seq);
        }
    }
}
