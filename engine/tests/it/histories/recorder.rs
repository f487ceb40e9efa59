//! Notes when operations begin and end, by one counter for all threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::checker::Event;

#[derive(Debug)]
pub(crate) struct Recorder<O> {
    ticks: AtomicU64,
    events: Mutex<Vec<Event<O>>>,
}

impl<O> Recorder<O> {
    pub(crate) fn new() -> Self {
        Self { ticks: AtomicU64::new(0), events: Mutex::new(Vec::new()) }
    }

    /// An operation begins.
    pub(crate) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// The operation that began at `begun` has got its answer.
    pub(crate) fn answered(&self, begun: u64, operation: O) {
        let ended = Some(self.tick());
        self.events.lock().unwrap().push(Event { operation, begun, ended });
    }

    /// The operation that began at `begun` failed, and nobody knows whether it was done.
    pub(crate) fn unknown(&self, begun: u64, operation: O) {
        self.events.lock().unwrap().push(Event { operation, begun, ended: None });
    }

    pub(crate) fn into_events(self) -> Vec<Event<O>> {
        self.events.into_inner().unwrap()
    }
}
