//! What a step of reclaiming leaves to be dropped.

use redb::{Error, StorageError};

use super::super::left_behind::LeftBehind;
use crate::block::Size;
use crate::disk::Snapshot;
use crate::shared::Shared;

/// What to drop.
#[derive(Debug, Default)]
pub(in crate::writer) struct Passed {
    /// Whole blocks.
    pub(in crate::writer) blocks: Vec<u64>,
    /// Those of them whose bodies can be dropped, too.
    pub(in crate::writer) bodies: Vec<u64>,
    /// Headers of blocks that stay for some of their rows.
    pub(in crate::writer) rewritten: Vec<(u64, Vec<u8>)>,
    /// How much that makes.
    pub(in crate::writer) size: Size,
}

impl Passed {
    pub(in crate::writer) fn add(&mut self, block: u64, size: Size) {
        self.blocks.push(block);
        self.size.add(size);
    }

    /// Rewrites `block`, so that it holds what is `left` of it.
    pub(in crate::writer) fn rewrite(
        &mut self,
        block: u64,
        headers: &[u8],
        left: &mut LeftBehind,
        shared: &Shared,
    ) -> Result<(), Error> {
        let mut dropped = left.size;
        let list = left.rewritten(block, headers, shared)?;
        dropped.subtract(left.size);
        self.size.add(dropped);
        self.rewritten.push((block, list));
        Ok(())
    }

    pub(in crate::writer) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.rewritten.is_empty()
    }

    /// Sees to it that nothing is dropped whose going would touch a damaged page: an error if it is
    /// one of headers, while bodies stay.
    pub(in crate::writer) fn check(&mut self, snapshot: &Snapshot<'_>) -> Result<(), Error> {
        for (block, _) in &self.rewritten {
            snapshot.headers.check_around(*block..=*block)?;
        }
        self.bodies.clear();
        for run in self.blocks.chunk_by(|block, next| block + 1 == *next) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            snapshot.headers.check_around(*first..=*last)?;
            match snapshot.check_bodies_around(*first..=*last) {
                Ok(()) => self.bodies.extend(run),
                Err(StorageError::Corrupted(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
