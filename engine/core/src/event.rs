//! What happened to sessions, for whoever listens; never blocks the flow.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::{ClientInfo, DeviceId, Email, EndReason, Timestamp};

/// Something happened to a session.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counts events. The first number of a process is its start in microseconds since the epoch,
    /// so that numbers grow over restarts, too.
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

#[derive(Debug)]
struct Log {
    last: u64,
    kept: VecDeque<Event>,
}

/// How many events a listener may lag behind, and how many can be replayed.
pub const KEPT_EVENTS: usize = 4096;

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
    /// No events yet, in a process that started at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        let last = u64::try_from(start.as_unix_micros()).unwrap_or(0);
        let log = Mutex::new(Log { last, kept: VecDeque::new() });
        Self { log, sender: broadcast::Sender::new(KEPT_EVENTS) }
    }

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

    fn after(events: &Events, number: u64) -> (Vec<u64>, bool) {
        let subscription = events.subscribe(Some(number));
        (subscription.backlog.iter().map(|event| event.number).collect(), subscription.gap)
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(micros)
    }

    #[test]
    fn a_listener_resumes_where_it_was() {
        let events = Events::new(at(1000));
        send(&events, 5);
        assert_eq!(after(&events, 1003), (vec![1004, 1005], false));
        assert_eq!(after(&events, 1005), (vec![], false));
        assert!(events.subscribe(None).backlog.is_empty());
    }

    #[test]
    fn a_listener_hears_of_a_gap() {
        let events = Events::new(at(0));
        send(&events, KEPT_EVENTS + 2);
        assert!(after(&events, 1).1);
        assert!(!after(&events, 2).1);
    }

    #[test]
    fn numbers_of_an_earlier_process_are_a_gap() {
        let earlier = Events::new(at(1000));
        send(&earlier, 3);
        let later = Events::new(at(2000));
        assert!(after(&later, 1003).1, "something may have happened in between");
        send(&later, 6);
        assert_eq!(after(&later, 1003), (vec![2001, 2002, 2003, 2004, 2005, 2006], true));
    }
}
