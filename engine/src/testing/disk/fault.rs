//! Operations of a disk that fail, by their number.

use std::io;

/// What fails from some operation on, and how.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Which operations count, and fail.
    pub hits: Hits,
    /// How many of them still work.
    pub after: u64,
    /// Until it is lifted; otherwise one fails.
    pub lasts: bool,
    /// What the operating system says.
    pub error: DiskError,
}

/// Operations of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hits {
    /// Writes, changes of the length, and syncs.
    Changes,
    /// Reads.
    Reads,
}

/// What the operating system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// `EIO`.
    Io,
    /// `ENOSPC`.
    NoSpace,
}

impl Fault {
    /// Whether an operation works that it hits; counts it.
    pub(super) fn meet(fault: &mut Option<Self>) -> io::Result<()> {
        let Some(armed) = fault else { return Ok(()) };
        if let Some(left) = armed.after.checked_sub(1) {
            armed.after = left;
            return Ok(());
        }
        let error = armed.error;
        if !armed.lasts {
            *fault = None;
        }
        Err(io::Error::from_raw_os_error(match error {
            DiskError::Io => 5,
            DiskError::NoSpace => 28,
        }))
    }
}
