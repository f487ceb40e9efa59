//! Exports: a store as JSON lines.
//!
//! # Format 1
//!
//! One object in a line, with one key that says what it is:
//!
//! - `export`, the first line: format, store id, whether tokens are sealed, the key that sealed
//!   and how it is recognised, when it began.
//! - `record`: a record as the columns of [`tokenkeep_core::codec`], which are the original
//!   application's names and `rest`; `intent` beside them if a refresh is under way or uncertain.
//!   Sealed tokens are bound to store, device, version and field, and all columns are under a
//!   tag. A device may come several times; the highest version counts.
//! - `ended`: a device whose session ended after its record was written here.
//! - `end`, the last line: how many of each there are, and the SHA-256 of all bytes before it.

mod line;
mod reader;
mod writer;

pub use line::{Head, Tail};
pub use reader::{ArchiveError, Reader, Verified, import};
pub use writer::{Exported, Writer, export};
