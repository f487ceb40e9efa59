//! What is done to the bytes of a disk between two syncs.

/// A write, or another length.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Length(u64),
    Write { offset: u64, bytes: Vec<u8> },
}

impl Change {
    pub(super) fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(position(*length), 0),
            Self::Write { offset, bytes } => put(image, position(*offset), bytes),
        }
    }

    /// Lets only the first `kept` bytes of a write reach the disk.
    pub(super) fn apply_start(&self, image: &mut Vec<u8>, kept: usize) {
        match self {
            Self::Length(_) => self.apply(image),
            Self::Write { offset, bytes } => {
                put(image, position(*offset), bytes.get(..kept).unwrap_or(bytes));
            }
        }
    }

    /// Lets only those sectors of a write reach the disk that `reaches` says.
    pub(super) fn apply_sectors(&self, image: &mut Vec<u8>, mut reaches: impl FnMut() -> bool) {
        let Self::Write { offset, bytes } = self else { return self.apply(image) };
        let mut at = position(*offset);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let to_the_next = SECTOR - at % SECTOR;
            let (sector, others) = rest.split_at(to_the_next.min(rest.len()));
            if reaches() {
                put(image, at, sector);
            }
            at += sector.len();
            rest = others;
        }
    }

    /// How many bytes are written.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Length(_) => 0,
            Self::Write { bytes, .. } => bytes.len(),
        }
    }
}

fn put(image: &mut Vec<u8>, start: usize, bytes: &[u8]) {
    let end = start + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    if let Some(target) = image.get_mut(start..end) {
        target.copy_from_slice(bytes);
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// What a disk writes as a whole.
const SECTOR: usize = 512;
