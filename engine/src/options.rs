//! What can be set when an engine is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokenkeep_core::{Clock, KeyRing, StoreId, SystemClock};

/// How an [`Engine`](crate::Engine) works. The defaults are meant for production.
#[derive(Clone)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) keys: KeySource,
    pub(crate) store: Option<StoreId>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cache_bytes: usize,
    pub(crate) page_cache_bytes: usize,
    pub(crate) channel_depth: usize,
    pub(crate) batch_commands: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) garbage_percent: u64,
    pub(crate) garbage_rows: u64,
    pub(crate) answerable: Duration,
    pub(crate) verify: bool,
    /// What the index keeps of the hash of an email.
    pub(crate) hash_mask: u64,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk.
    Immediate,
    /// Before it is on the disk: it goes there within this time. A crash loses what was
    /// acknowledged since, as a whole: the store goes back to an earlier state, never to a mix.
    Interval(Duration),
}

/// Where the keys come from.
#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    /// `keys` in the data directory.
    Beside,
    /// A file elsewhere.
    File(PathBuf),
    /// The program brings them.
    Ring(KeyRing),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Immediate,
            keys: KeySource::Beside,
            store: None,
            clock: Arc::new(SystemClock::new()),
            cache_bytes: 256 << 20,
            page_cache_bytes: 64 << 20,
            channel_depth: 4096,
            batch_commands: 1024,
            batch_bytes: 4 << 20,
            garbage_percent: 30,
            garbage_rows: 1024,
            answerable: Duration::from_secs(24 * 60 * 60),
            verify: false,
            hash_mask: u64::MAX,
        }
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// When a write is acknowledged; [`Durability::Immediate`] unless set.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Seals with this ring. Unless a ring or a file is set, it is the file `keys` in the data
    /// directory, made on the first start.
    #[must_use]
    pub fn key_ring(mut self, ring: KeyRing) -> Self {
        self.keys = KeySource::Ring(ring);
        self
    }

    /// Seals with the ring in this file, made on the first start.
    #[must_use]
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.keys = KeySource::File(path.into());
        self
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

    /// Keeps records of up to this many bytes in memory, opened; 256 MiB unless set.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Keeps up to this many bytes of the file's pages in memory; 64 MiB unless set.
    #[must_use]
    pub fn page_cache_bytes(mut self, bytes: usize) -> Self {
        self.page_cache_bytes = bytes;
        self
    }

    /// Lets this many writes wait for the disk before callers wait for room; 4096 unless set.
    #[must_use]
    pub fn channel_depth(mut self, commands: usize) -> Self {
        self.channel_depth = commands.max(1);
        self
    }

    /// Puts at most so many writes, and about so many bytes, in one commit; 1024 and 4 MiB
    /// unless set.
    #[must_use]
    pub fn batch_limits(mut self, commands: usize, bytes: usize) -> Self {
        self.batch_commands = commands.max(1);
        self.batch_bytes = bytes;
        self
    }

    /// Reclaims space when this share of the rows, in percent, and at least this many rows are
    /// garbage; 30 and 1024 unless set.
    #[must_use]
    pub fn garbage(mut self, percent: u8, rows: u64) -> Self {
        self.garbage_percent = u64::from(percent.min(100));
        self.garbage_rows = rows;
        self
    }

    /// Answers for this long why a session ended; 24 hours unless set.
    #[must_use]
    pub fn answerable(mut self, time: Duration) -> Self {
        self.answerable = time;
        self
    }

    /// Reads the whole file at opening and checks it; files up to 64 MiB always are. Without it,
    /// damage in a large file is found when the damaged record is read.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("durability", &self.durability)
            .field("keys", &self.keys)
            .field("cache_bytes", &self.cache_bytes)
            .finish_non_exhaustive()
    }
}
