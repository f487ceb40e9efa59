//! What happened to sessions, for whoever listens; never blocks the flow.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// Where it happened.
    pub origin: Origin,
}

/// Where something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the flow that tells of it.
    Here,
    /// In another process with the same store, which tells its own listeners and ours.
    Elsewhere,
}

/// What a listener hears.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Something happened to a session.
    Event(Event),
    /// Events are lost: what is kept of sessions elsewhere has to be read again.
    Gap,
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

/// Sees what is done through one handle of the flow, where and when it is done; a listener hears of
/// everything, later, and may lose some of it.
pub trait Witness: Send + Sync + 'static {
    /// Something happened to the session of `device`, which is one of `email`. The flow waits
    /// until this returns.
    fn saw(&self, device: DeviceId, email: &Email, kind: &EventKind);
}

/// Numbers events, keeps the latest, and hands them to listeners.
#[derive(Debug)]
pub struct Events {
    log: Mutex<Log>,
    sender: broadcast::Sender<Heard>,
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
    pub receiver: broadcast::Receiver<Heard>,
}

impl Events {
    /// No events yet, in a process that started at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        let last = u64::try_from(start.as_unix_micros()).unwrap_or(0);
        let log = Mutex::new(Log { last, kept: VecDeque::new() });
        Self { log, sender: broadcast::Sender::new(KEPT_EVENTS) }
    }

    /// Tells everybody who listens of what happened here.
    pub fn send(&self, at: Timestamp, email: &Email, device_id: DeviceId, kind: EventKind) {
        let (email, origin) = (email.clone(), Origin::Here);
        self.log().tell(&self.sender, Event { number: 0, at, email, device_id, kind, origin });
    }

    /// Tells everybody who listens of what another process told. An event gets a number of ours.
    pub fn pass_on(&self, heard: Heard) {
        let mut log = self.log();
        match heard {
            Heard::Event(event) => {
                log.tell(&self.sender, Event { origin: Origin::Elsewhere, ..event });
            }
            Heard::Gap => {
                // Nobody may resume over the gap: it takes a number, and nothing before it is kept.
                log.last += 1;
                log.kept.clear();
                let _ = self.sender.send(Heard::Gap);
            }
        }
    }

    /// Listens from here on, or from after event number `after`.
    pub fn subscribe(&self, after: Option<u64>) -> Subscription {
        let log = self.log();
        let after = after.unwrap_or(log.last);
        let backlog: Vec<Event> = log.kept.iter().filter(|e| e.number > after).cloned().collect();
        let first = backlog.first().map_or(log.last + 1, |event| event.number);
        let gap = after > log.last || first > after + 1;
        Subscription { backlog, gap, last: log.last, receiver: self.sender.subscribe() }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Numbers `event` and hands it over, under the lock: listeners see the numbers in order.
    fn tell(&mut self, sender: &broadcast::Sender<Heard>, event: Event) {
        self.last += 1;
        let event = Event { number: self.last, ..event };
        if self.kept.len() == KEPT_EVENTS {
            self.kept.pop_front();
        }
        self.kept.push_back(event.clone());
        // No listener is no error.
        let _ = sender.send(Heard::Event(event));
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

    #[test]
    fn what_another_process_told_is_numbered_here_and_nobody_resumes_over_its_gap() {
        let events = Events::new(at(1000));
        let mut listener = events.subscribe(None).receiver;
        send(&events, 1);
        let Ok(Heard::Event(own)) = listener.try_recv() else { panic!("an event") };
        events.pass_on(Heard::Event(Event { number: 7, ..own.clone() }));
        let Ok(Heard::Event(foreign)) = listener.try_recv() else { panic!("an event") };
        assert_eq!((own.number, own.origin), (1001, Origin::Here));
        assert_eq!((foreign.number, foreign.origin), (1002, Origin::Elsewhere));
        assert_eq!(after(&events, 1001), (vec![1002], false));
        events.pass_on(Heard::Gap);
        assert!(matches!(listener.try_recv(), Ok(Heard::Gap)));
        assert_eq!(after(&events, 1002), (vec![], true));
        send(&events, 1);
        assert_eq!(after(&events, 1002), (vec![1004], true));
        assert_eq!(after(&events, 1003), (vec![1004], false));
    }
}
