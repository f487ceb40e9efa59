//! One refresh in flight per device: later callers await the same outcome.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Outcome;
use crate::DeviceId;

/// The refreshes under way in this process.
#[derive(Debug, Default)]
pub(super) struct Flights {
    running: Arc<Mutex<HashMap<DeviceId, watch::Receiver<Option<Outcome>>>>>,
}

/// The right to lead the one flight of a device; dropping it ends the flight.
#[derive(Debug)]
pub(super) struct Lead {
    device: DeviceId,
    running: Arc<Mutex<HashMap<DeviceId, watch::Receiver<Option<Outcome>>>>>,
    outcome: watch::Sender<Option<Outcome>>,
}

/// A seat on a flight.
#[derive(Debug)]
pub(super) struct Seat(watch::Receiver<Option<Outcome>>);

impl Flights {
    /// A seat on the flight of `device`, and the lead of it for the first one to come.
    pub(super) fn join(&self, device: DeviceId) -> (Seat, Option<Lead>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.entry(device) {
            Entry::Occupied(flight) => (Seat(flight.get().clone()), None),
            Entry::Vacant(vacant) => {
                let (outcome, seat) = watch::channel(None);
                vacant.insert(seat.clone());
                let lead = Lead { device, running: Arc::clone(&self.running), outcome };
                (Seat(seat), Some(lead))
            }
        }
    }

    /// How many flights are under way.
    pub(super) fn len(&self) -> usize {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Lead {
    /// Ends the flight: everybody on it gets `outcome`, and who comes later starts a new one.
    pub(super) fn land(self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.device);
    }
}

impl Seat {
    /// Waits for the outcome; absent if the flight was lost, e.g. by a panic.
    pub(super) async fn outcome(mut self) -> Option<Outcome> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}
