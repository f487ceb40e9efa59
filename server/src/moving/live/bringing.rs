//! Brings single devices over: what the source says of them, the destination says, too.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokenkeep_core::{
    DeviceId, Email, EndReason, ImportOutcome, Lookup, Page, StoreError, TokenRecord, TokenStore,
};

use super::{LiveError, Moving, Phase};
use crate::moving::check::is_same;
use crate::moving::switch::Dirty;
use crate::moving::{IN_FLIGHT, PAGE};

/// What became of bringing a device up to date.
enum Brought {
    Done { has_intent: bool },
    Unreadable,
}

/// The devices that a walk has come by. One that it meets again was written meanwhile, and is noted
/// for that: a walk that took it up anew would run after those who write.
#[derive(Default)]
struct Seen(HashSet<DeviceId>);

impl Seen {
    fn news_in(&mut self, mut page: Page) -> Page {
        page.records.retain(|record| self.0.insert(record.device_id));
        page
    }
}

impl<S: TokenStore> Moving<'_, S> {
    /// Copies everything, without intents.
    pub(super) async fn copy(&mut self) -> Result<(), LiveError> {
        let (mut after, mut seen) = (None, Seen::default());
        loop {
            self.watch.is_at(Phase::Copying, self.figures.copied);
            let page = self.from.scan(after, PAGE, self.clock.now()).await;
            let page = seen.news_in(page.map_err(LiveError::Source)?);
            let with_intent = page.records.iter().filter(|record| record.refresh_intent.is_some());
            self.intents.extend(with_intent.map(|record| record.device_id));
            let count = u64::try_from(page.records.len()).unwrap_or(0);
            let imports = page.records.into_iter().map(|record| self.import(record, false));
            stream::iter(imports).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
            self.figures.copied += count;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Holds the stores against each other, both ways; what differs is brought over once more.
    pub(super) async fn compare(&self) -> Result<(), LiveError> {
        let (mut compared, mut after, mut seen) = (0, None, Seen::default());
        loop {
            let page = self.from.scan(after, PAGE, self.clock.now()).await;
            let page = seen.news_in(page.map_err(LiveError::Source)?);
            compared += page.records.len();
            let looks = page.records.into_iter().map(|record| self.look_there(record));
            stream::iter(looks).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
            self.watch.is_at(Phase::Checking, u64::try_from(compared).unwrap_or(u64::MAX));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut seen = Seen::default();
        loop {
            let page = self.to.scan(after, PAGE, self.clock.now()).await;
            let page = seen.news_in(page.map_err(LiveError::Destination)?);
            let looks = page.records.into_iter().map(|record| self.look_here(record.device_id));
            stream::iter(looks).buffer_unordered(IN_FLIGHT).collect::<()>().await;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Notes a device that is not at the destination as it is here.
    async fn look_there(&self, record: Arc<TokenRecord>) -> Result<(), LiveError> {
        let there = self.to.get(record.device_id, self.clock.now()).await;
        let there = there.map_err(LiveError::Destination)?.live();
        if !there.is_some_and(|there| is_same(&record, &there)) {
            self.store.mark(record.device_id);
        }
        Ok(())
    }

    /// Notes a device of the destination that does not live here.
    async fn look_here(&self, device: DeviceId) {
        if !matches!(self.from.get(device, self.clock.now()).await, Ok(Lookup::Live(_))) {
            self.store.mark(device);
        }
    }

    /// Brings everything that was touched up to date.
    pub(super) async fn bring_all(
        &mut self,
        dirty: Dirty,
        with_intents: bool,
    ) -> Result<u64, LiveError> {
        let Dirty { mut devices, emails } = dirty;
        let listing = emails.into_iter().map(async |email| self.devices_of(&email).await);
        let listed: Vec<_> =
            stream::iter(listing).buffer_unordered(IN_FLIGHT).try_collect().await?;
        devices.extend(listed.into_iter().flatten());
        let count = u64::try_from(devices.len()).unwrap_or(u64::MAX);
        let bringing = devices.into_iter().map(async |device| {
            let brought = self.bring(device, with_intents).await?;
            Ok::<_, LiveError>((device, brought))
        });
        let brought: Vec<_> =
            stream::iter(bringing).buffer_unordered(IN_FLIGHT).try_collect().await?;
        for (device, brought) in brought {
            match brought {
                Brought::Done { has_intent: true } => drop(self.intents.insert(device)),
                Brought::Done { has_intent: false } => {}
                Brought::Unreadable => self.figures.left += 1,
            }
        }
        Ok(count)
    }

    /// The devices of `email`, wherever they are.
    async fn devices_of(&self, email: &Email) -> Result<Vec<DeviceId>, LiveError> {
        let now = self.clock.now();
        let here = self.from.devices_of(email, now).await.map_err(LiveError::Source)?;
        let there = self.to.devices_of(email, now).await.map_err(LiveError::Destination)?;
        Ok(here.iter().chain(&there).map(|record| record.device_id).collect())
    }

    /// Makes the destination say of `device` what the source says.
    async fn bring(&self, device: DeviceId, with_intent: bool) -> Result<Brought, LiveError> {
        let reason = match self.from.get(device, self.clock.now()).await {
            Ok(Lookup::Live(record)) => {
                let has_intent = record.refresh_intent.is_some();
                self.import(record, with_intent).await?;
                return Ok(Brought::Done { has_intent });
            }
            Ok(Lookup::Ended(ended)) => ended.reason,
            Ok(Lookup::Absent) => EndReason::Expired,
            Err(StoreError::Unreadable { .. }) => return Ok(Brought::Unreadable),
            Err(error) => return Err(LiveError::Source(error)),
        };
        let removed = self.to.remove(device, None, reason, self.clock.now()).await;
        removed.map_err(LiveError::Destination)?;
        Ok(Brought::Done { has_intent: false })
    }

    async fn import(&self, record: Arc<TokenRecord>, with_intent: bool) -> Result<(), LiveError> {
        let mut record = Arc::unwrap_or_clone(record);
        record.refresh_intent = record.refresh_intent.filter(|_| with_intent);
        match self.to.import(record, self.clock.now()).await.map_err(LiveError::Destination)? {
            ImportOutcome::Ended => Err(LiveError::Disturbed),
            ImportOutcome::Imported | ImportOutcome::Kept | ImportOutcome::Expired => Ok(()),
        }
    }
}
