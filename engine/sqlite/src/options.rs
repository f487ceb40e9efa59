//! What can be set when a store is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokenkeep_core::codec::Sealing;
use tokenkeep_core::{Clock, StoreId, SystemClock};

/// How a [`SqliteStore`](crate::SqliteStore) works. The defaults are meant for production.
#[derive(Clone)]
pub struct Options {
    pub(crate) sealing: Sealing,
    pub(crate) store: Option<StoreId>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) page_cache_bytes: usize,
    pub(crate) readers: usize,
    pub(crate) channel_depth: usize,
    pub(crate) batch_commands: usize,
    pub(crate) answerable: Duration,
    pub(crate) size_limit_bytes: Option<u64>,
    pub(crate) verify: bool,
    pub(crate) seal_plain: bool,
}

impl Options {
    /// The defaults, with tokens sealed or not as `sealing` says.
    #[must_use]
    pub fn new(sealing: Sealing) -> Self {
        Self {
            sealing,
            store: None,
            clock: Arc::new(SystemClock::new()),
            page_cache_bytes: 8 << 20,
            readers: 4,
            channel_depth: 4096,
            batch_commands: 1024,
            answerable: Duration::from_secs(24 * 60 * 60),
            size_limit_bytes: None,
            verify: false,
            seal_plain: false,
        }
    }

    /// The name of the store, when it continues another one: verifiers are bound to it. A fresh
    /// store draws one unless it is set; a store that is there must have this one.
    #[must_use]
    pub fn store_id(mut self, store: StoreId) -> Self {
        self.store = Some(store);
        self
    }

    /// Tells the time with this clock; the operating system's unless set.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps up to this many bytes of pages in memory for each connection; 8 MiB unless set.
    #[must_use]
    pub fn page_cache_bytes(mut self, bytes: usize) -> Self {
        self.page_cache_bytes = bytes;
        self
    }

    /// Reads on so many connections at once; 4 unless set.
    #[must_use]
    pub fn readers(mut self, connections: usize) -> Self {
        self.readers = connections.max(1);
        self
    }

    /// Lets this many writes wait for the disk before callers wait for room; 4096 unless set.
    #[must_use]
    pub fn channel_depth(mut self, commands: usize) -> Self {
        self.channel_depth = commands.max(1);
        self
    }

    /// Puts at most so many writes in one commit; 1024 unless set.
    #[must_use]
    pub fn batch_limit(mut self, commands: usize) -> Self {
        self.batch_commands = commands.max(1);
        self
    }

    /// Answers for this long why a session ended; 24 hours unless set.
    #[must_use]
    pub fn answerable(mut self, time: Duration) -> Self {
        self.answerable = time;
        self
    }

    /// Lets the data file grow to this size and no further; as far as the disk goes unless set.
    #[must_use]
    pub fn size_limit_bytes(mut self, bytes: u64) -> Self {
        self.size_limit_bytes = Some(bytes);
        self
    }

    /// Reads the whole file at opening and checks it; files up to 16 MiB always are. Without it,
    /// damage in a large file is found when the damaged page is read.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Seals a store that was kept without sealing so far, at opening. Without it such a store
    /// is refused where sealing is on: what stands in it in the clear could come from anybody.
    #[must_use]
    pub fn seal_what_is_plain(mut self, seal: bool) -> Self {
        self.seal_plain = seal;
        self
    }

    /// What is taken up in this store is not taken up elsewhere.
    pub(crate) fn with_own_ring(mut self) -> Self {
        if let Sealing::On(ring) = &self.sealing {
            self.sealing = Sealing::On(ring.detached());
        }
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("sealing", &self.sealing)
            .field("readers", &self.readers)
            .finish_non_exhaustive()
    }
}
