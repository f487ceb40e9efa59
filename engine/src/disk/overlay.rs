//! A file that is read while it cannot be written: what redb writes to it stays in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What is below, with the changes since. Opening a database writes a little, and repairs what a
/// failed commit left; here that happens in memory, and goes when the database is closed.
#[derive(Debug)]
pub(crate) struct Overlay<B> {
    below: B,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    length: u64,
    /// What is below is there up to here.
    below_length: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl<B: StorageBackend> Overlay<B> {
    pub(crate) fn new(below: B) -> io::Result<Self> {
        let length = below.len()?;
        let changes = Changes { length, below_length: length, blocks: BTreeMap::new() };
        Ok(Self { below, changes: Mutex::new(changes) })
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block with this number, as it is below.
    fn block(&self, number: u64, below_length: u64) -> io::Result<Box<[u8]>> {
        let mut block = vec![0; BLOCK];
        let start = number * BLOCK as u64;
        let there = usize::try_from(below_length.saturating_sub(start)).unwrap_or(BLOCK);
        if let Some(there) = block.get_mut(..there.min(BLOCK)).filter(|there| !there.is_empty()) {
            self.below.read(start, there)?;
        }
        Ok(block.into())
    }
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes();
        if offset + out.len() as u64 > changes.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, from, part) in parts(offset, out.len()) {
            let Some(part) = out.get_mut(part) else { continue };
            match changes.blocks.get(&number) {
                Some(block) => copy(block.get(from..), part),
                None => copy(self.block(number, changes.below_length)?.get(from..), part),
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut changes = self.changes();
        if length < changes.length {
            // What was cut off is zero, should it come back.
            changes.below_length = changes.below_length.min(length);
            changes.blocks.retain(|number, _| number * (BLOCK as u64) < length);
            let (last, kept) = (length / BLOCK as u64, length % BLOCK as u64);
            let kept = usize::try_from(kept).unwrap_or(BLOCK);
            if let Some(rest) = changes.blocks.get_mut(&last).and_then(|b| b.get_mut(kept..)) {
                rest.fill(0);
            }
        }
        changes.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes();
        changes.length = changes.length.max(offset + data.len() as u64);
        for (number, from, part) in parts(offset, data.len()) {
            let below_length = changes.below_length;
            let mut block = match changes.blocks.remove(&number) {
                Some(block) => block,
                None => self.block(number, below_length)?,
            };
            let part = data.get(part);
            if let (Some(target), Some(part)) = (block.get_mut(from..), part) {
                let length = part.len();
                copy(Some(part), target.get_mut(..length).unwrap_or_default());
            }
            changes.blocks.insert(number, block);
        }
        Ok(())
    }
}

/// The blocks that a range touches: number, where in it the range begins, which part of it.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let from = usize::try_from(at % BLOCK as u64).ok()?;
        let end = length.min(done + BLOCK - from);
        let part = done..end;
        done = end;
        (!part.is_empty()).then_some((at / BLOCK as u64, from, part))
    })
}

fn copy(from: Option<&[u8]>, to: &mut [u8]) {
    to.iter_mut().zip(from.into_iter().flatten()).for_each(|(to, from)| *to = *from);
}

/// As much as redb usually reads, in bytes.
const BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    use super::*;

    proptest! {
        #[test]
        fn an_overlay_reads_as_what_was_written_to_it_and_changes_nothing(
            base in proptest::collection::vec(any::<u8>(), 0..20_000),
            changes in proptest::collection::vec((0_u64..24_000, 0_usize..9_000, any::<u8>()), 0..8),
        ) {
            let below = InMemoryBackend::new();
            below.set_len(base.len() as u64).unwrap();
            below.write(0, &base).unwrap();
            let overlay = Overlay::new(below).unwrap();
            let mut expected = base.clone();
            for (offset, length, byte) in changes {
                let start = usize::try_from(offset).unwrap();
                if byte % 4 == 0 {
                    overlay.set_len(offset).unwrap();
                    expected.resize(start, 0);
                } else {
                    overlay.write(offset, &vec![byte; length]).unwrap();
                    expected.resize(expected.len().max(start + length), 0);
                    expected[start..start + length].fill(byte);
                }
                let mut seen = vec![0; expected.len()];
                prop_assert_eq!(overlay.len().unwrap(), expected.len() as u64);
                overlay.read(0, &mut seen).unwrap();
                prop_assert!(seen == expected);
            }
            let mut there = vec![0; base.len()];
            overlay.below.read(0, &mut there).unwrap();
            prop_assert!(there == base);
        }
    }
}
