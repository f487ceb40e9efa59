//! Sessions on their way from one store to another: copies, checks, and files between them.

pub mod archive;
mod check;
mod copy;
mod credentials;
mod live;
mod switch;

pub use check::{Checked, check};
pub use copy::{Copied, CopyError, copy};
pub use credentials::{Credentials, CredentialsError};
pub use live::{LiveError, MarkFailure, Moved, Phase, Watch, move_live};
pub use switch::Switchable;

use std::num::NonZeroUsize;

/// Records that are read at a time.
const PAGE: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Records that are stored at a time.
const IN_FLIGHT: usize = 64;
