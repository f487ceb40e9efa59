//! Holds two stores against each other, record by record.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokenkeep_core::{Clock, Lookup, TokenRecord, TokenStore};

use super::copy::CopyError;
use super::credentials::is_nobodys;
use super::{IN_FLIGHT, PAGE};

/// How the destination compares with the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// There, with the same version, tokens and remaining life.
    pub same: u64,
    /// There in a higher version.
    pub newer: u64,
    /// Ended at the destination.
    pub ended: u64,
    /// Died meanwhile.
    pub expired: u64,
    /// Not there, though they should be.
    pub missing: u64,
    /// There, and not as they were.
    pub different: u64,
}

impl Checked {
    /// Whether every record of the source is accounted for.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.missing == 0 && self.different == 0
    }

    /// How many records of the source were looked at.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.same + self.newer + self.ended + self.expired + self.missing + self.different
    }
}

/// Looks for every record of `from` in `to`.
///
/// # Errors
/// [`CopyError`] if one of them cannot be read.
pub async fn check<A: TokenStore, B: TokenStore>(
    from: &A,
    to: &B,
    clock: &dyn Clock,
    mut progress: impl FnMut(&Checked),
) -> Result<Checked, CopyError> {
    let mut checked = Checked::default();
    let mut after = None;
    loop {
        let page = from.scan(after, PAGE, clock.now()).await.map_err(CopyError::Source)?;
        let lookups = page.records.into_iter().map(async |record| {
            let found = to.get(record.device_id, clock.now()).await;
            found.map(|found| (record, found))
        });
        let mut lookups = stream::iter(lookups).buffer_unordered(IN_FLIGHT);
        while let Some((record, found)) =
            lookups.try_next().await.map_err(CopyError::Destination)?
        {
            checked.compare(&record, found, clock);
        }
        progress(&checked);
        after = page.next;
        if after.is_none() {
            return Ok(checked);
        }
    }
}

impl Checked {
    fn compare(&mut self, record: &Arc<TokenRecord>, found: Lookup, clock: &dyn Clock) {
        *match found {
            Lookup::Live(found) if found.version > record.version => &mut self.newer,
            Lookup::Live(found) if is_same(record, &found) => &mut self.same,
            Lookup::Live(_) => &mut self.different,
            _ if record.is_dead(clock.now()) => &mut self.expired,
            Lookup::Ended(_) => &mut self.ended,
            Lookup::Absent => &mut self.missing,
        } += 1;
    }
}

/// Whether `found` is `record`. It may have been used since, and been given to somebody.
pub(super) fn is_same(record: &TokenRecord, found: &TokenRecord) -> bool {
    let same_content = found.version == record.version
        && found.email == record.email
        && found.token_type.as_str() == record.token_type.as_str()
        && found.access_token.expose() == record.access_token.expose()
        && found.refresh_token.expose() == record.refresh_token.expose()
        && found.access_expires_at == record.access_expires_at
        && found.refresh_expires_at == record.refresh_expires_at
        && found.absolute_expires_at == record.absolute_expires_at
        && found.idle_limit == record.idle_limit
        && found.client == record.client
        && found.label == record.label;
    // How old the original application's sessions are is known anew whenever they are read.
    let same_past = is_nobodys(record)
        || (found.verifier.matches(&record.verifier)
            && found.access_issued_at == record.access_issued_at
            && found.created_at == record.created_at
            && found.last_seen_at >= record.last_seen_at);
    same_content && same_past
}
