//! What happened to sessions, for whoever listens; never blocks the flow.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::{ClientInfo, DeviceId, Email, EndReason, Timestamp};

/// Something happened to a session.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counts the events of this process, from 1.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Whose session it was.
    pub email: Email,
    /// Which device it was.
    pub device_id: DeviceId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A device logged in.
    LoggedIn(ClientInfo),
    /// A new pair of tokens is stored.
    Refreshed,
    /// The session is over.
    LoggedOut(EndReason),
    /// A refresh did not work; the session goes on.
    RefreshFailed,
    /// The device has another label.
    Relabelled,
}

/// Numbers events, keeps the latest, and hands them to listeners.
#[derive(Debug)]
pub struct Events {
    log: Mutex<Log>,
    sender: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
struct Log {
    last: u64,
    kept: VecDeque<Event>,
}

/// How many events a listener may lag behind, and how many can be replayed.
pub const KEPT_EVENTS: usize = 4096;

impl Default for Events {
    fn default() -> Self {
        Self { log: Mutex::default(), sender: broadcast::Sender::new(KEPT_EVENTS) }
    }
}

/// A listener's place in the stream of events.
#[derive(Debug)]
pub struct Subscription {
    /// What happened after the number it asked for, as far as it is kept.
    pub backlog: Vec<Event>,
    /// Whether events between that number and the backlog are lost.
    pub gap: bool,
    /// The number of the latest event when listening began; zero before the first.
    pub last: u64,
    /// What happens from here on.
    pub receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// Tells everybody who listens.
    pub fn send(&self, at: Timestamp, email: &Email, device_id: DeviceId, kind: EventKind) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.last += 1;
        let event = Event { number: log.last, at, email: email.clone(), device_id, kind };
        if log.kept.len() == KEPT_EVENTS {
            log.kept.pop_front();
        }
        log.kept.push_back(event.clone());
        // Under the lock, so that listeners see the numbers in order. No listener is no error.
        let _ = self.sender.send(event);
    }

    /// Listens from here on, or from after event number `after`.
    pub fn subscribe(&self, after: Option<u64>) -> Subscription {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let after = after.unwrap_or(log.last);
        let backlog: Vec<Event> = log.kept.iter().filter(|e| e.number > after).cloned().collect();
        let first = backlog.first().map_or(log.last + 1, |event| event.number);
        let gap = after > log.last || first > after + 1;
        Subscription { backlog, gap, last: log.last, receiver: self.sender.subscribe() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(events: &Events, count: usize) {
        let device = DeviceId::from_bytes([1; 16]);
        for _ in 0..count {
            events.send(
                Timestamp::default(),
                &"a@b".parse().unwrap(),
                device,
                EventKind::Refreshed,
            );
        }
    }

    #[test]
    fn a_listener_resumes_where_it_was() {
        let events = Events::default();
        send(&events, 5);
        let resumed = events.subscribe(Some(3));
        let numbers: Vec<u64> = resumed.backlog.iter().map(|event| event.number).collect();
        assert_eq!((numbers, resumed.gap), (vec![4, 5], false));
        assert!(events.subscribe(None).backlog.is_empty());
        assert!(!events.subscribe(Some(5)).gap);
    }

    #[test]
    fn a_listener_hears_of_a_gap() {
        let events = Events::default();
        send(&events, KEPT_EVENTS + 2);
        assert!(events.subscribe(Some(1)).gap);
        assert!(events.subscribe(Some(99_999)).gap, "a number of another process is a gap");
    }
}
