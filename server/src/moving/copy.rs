//! Takes every record of one store over into another, as it is.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokenkeep_core::{Clock, ImportOutcome, StoreError, TokenRecord, TokenStore};

use super::{IN_FLIGHT, PAGE};

/// What became of the records that were taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Stored.
    pub imported: u64,
    /// The destination had the same version or a higher one.
    pub kept: u64,
    /// The session ended at the destination.
    pub ended: u64,
    /// They died on the way.
    pub expired: u64,
}

impl Copied {
    /// Counts one more.
    pub(super) fn count(&mut self, outcome: ImportOutcome) {
        *match outcome {
            ImportOutcome::Imported => &mut self.imported,
            ImportOutcome::Kept => &mut self.kept,
            ImportOutcome::Ended => &mut self.ended,
            ImportOutcome::Expired => &mut self.expired,
        } += 1;
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.imported + self.kept + self.ended + self.expired
    }
}

/// Why a copy stopped. What was copied stays where it is; copying again goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Source(#[source] StoreError),
    /// The destination cannot be written.
    #[error("the destination cannot be written")]
    Destination(#[source] StoreError),
    /// Credentials could not be drawn or written down.
    #[error("credentials cannot be issued")]
    Credentials(#[from] super::CredentialsError),
}

/// Takes every record of `from` over into `to`. `prepare` sees the records of a page before they
/// are stored; `progress` hears how far it is.
///
/// # Errors
/// [`CopyError`]
pub async fn copy<A: TokenStore, B: TokenStore>(
    from: &A,
    to: &B,
    clock: &dyn Clock,
    mut prepare: impl AsyncFnMut(&mut Vec<TokenRecord>) -> Result<(), CopyError>,
    mut progress: impl FnMut(&Copied),
) -> Result<Copied, CopyError> {
    let mut copied = Copied::default();
    let mut after = None;
    loop {
        let page = from.scan(after, PAGE, clock.now()).await.map_err(CopyError::Source)?;
        let mut records = page.records.iter().map(|record| (**record).clone()).collect();
        prepare(&mut records).await?;
        import_all(to, records, clock, &mut copied).await.map_err(CopyError::Destination)?;
        progress(&copied);
        after = page.next;
        if after.is_none() {
            return Ok(copied);
        }
    }
}

/// Stores `records`, some at a time.
pub(super) async fn import_all<S: TokenStore>(
    to: &S,
    records: Vec<TokenRecord>,
    clock: &dyn Clock,
    copied: &mut Copied,
) -> Result<(), StoreError> {
    let imports = records.into_iter().map(|record| to.import(record, clock.now()));
    let mut outcomes = stream::iter(imports).buffer_unordered(IN_FLIGHT);
    while let Some(outcome) = outcomes.try_next().await? {
        copied.count(outcome);
    }
    Ok(())
}
