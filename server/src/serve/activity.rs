//! What a connection is doing, and how long it may go on doing nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::Version;

use crate::settings::ConnectionLimits;

/// What a connection is doing. Counters only, so that a request costs no look at a clock.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that have begun.
    begun: AtomicU64,
    /// Requests whose handlers have returned.
    answered: AtomicU64,
    /// Requests whose answers have ended.
    ended: AtomicU64,
    /// Answers with nothing to take at the moment: their source gives nothing.
    waiting: AtomicU64,
    /// Pieces of answers that were taken for sending.
    taken: AtomicU64,
    /// Reads that brought something.
    reads: AtomicU64,
    /// `reads` when the last request began or ended: what came later belongs to the next one.
    reads_of_requests: AtomicU64,
    /// Writes that brought something away.
    writes: AtomicU64,
    /// The last read has not ended with an empty line, as a head does.
    tail_is_open: AtomicBool,
    /// HTTP/2 says things between requests, which are not the beginning of one, and writes
    /// things that belong to no answer.
    is_http2: AtomicBool,
    /// The turn when it came, or its last request began or ended.
    used: AtomicU64,
    /// How many connections have come to the server.
    turn: Arc<AtomicU64>,
}

/// A request under way; ended by its drop.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Arc<Activity>,
    /// Whether the request had no body: what was read behind its head begins the next one.
    bare: bool,
    answered: bool,
    waits: bool,
}

impl Activity {
    /// Of the connection with this `number`, by a `turn` that counts them.
    pub(super) fn new(number: u64, turn: Arc<AtomicU64>) -> Self {
        Self { used: AtomicU64::new(number), turn, ..Self::default() }
    }

    /// The turn since which no request is under way, if none is.
    pub(super) fn resting_since(&self) -> Option<u64> {
        let ended = self.ended.load(Ordering::Relaxed);
        let rests = self.begun.load(Ordering::Relaxed) == ended;
        rests.then(|| self.used.load(Ordering::Relaxed))
    }

    /// Whether no request has begun yet.
    pub(super) fn is_unused(&self) -> bool {
        self.begun.load(Ordering::Relaxed) == 0
    }

    fn note_use(&self) {
        self.used.store(self.turn.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Notes that the head of a request has come in whole; `bare` if no body belongs to it.
    pub(super) fn begin(self: &Arc<Self>, version: Version, bare: bool) -> Busy {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.note_use();
        if version == Version::HTTP_2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        self.reads_of_requests.store(self.reads.load(Ordering::Relaxed), Ordering::Relaxed);
        Busy { activity: Arc::clone(self), bare, answered: false, waits: false }
    }

    /// Notes that `bytes` came.
    pub(super) fn note_read(&self, bytes: &[u8]) {
        let open = !bytes.ends_with(b"\r\n\r\n") && !bytes.ends_with(b"\n\n");
        self.tail_is_open.store(open, Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that something went.
    pub(super) fn note_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    fn seen(&self) -> Seen {
        let is_http2 = self.is_http2.load(Ordering::Relaxed);
        let (begun, ended) =
            (self.begun.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed));
        let answered = self.answered.load(Ordering::Relaxed);
        let open = begun.saturating_sub(ended);
        let to_take = open > self.waiting.load(Ordering::Relaxed);
        let unread =
            self.reads.load(Ordering::Relaxed) != self.reads_of_requests.load(Ordering::Relaxed);
        let taken = self.taken.load(Ordering::Relaxed);
        // A client can make HTTP/2 write without taking anything: it asks for signs of life.
        let writes = if is_http2 { 0 } else { self.writes.load(Ordering::Relaxed) };
        Seen {
            begun,
            busy: open > 0,
            in_head: unread && !is_http2,
            stalled: open > 0 && answered == begun && to_take,
            progress: [answered, ended, taken, writes].into_iter().fold(0, u64::wrapping_add),
        }
    }
}

impl Busy {
    /// Notes that the handler has returned.
    pub(super) fn note_answer(&mut self) {
        self.answered = true;
        self.activity.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the answer was asked for a piece, and whether it had one.
    pub(super) fn note_frame(&mut self, ready: bool) {
        if ready {
            self.activity.taken.fetch_add(1, Ordering::Relaxed);
        }
        self.wait(!ready);
    }

    fn wait(&mut self, waits: bool) {
        match (self.waits, waits) {
            (false, true) => self.activity.waiting.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.activity.waiting.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
        self.waits = waits;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.wait(false);
        if !self.answered {
            // The client took its request back.
            self.note_answer();
        }
        let activity = &self.activity;
        let next_has_begun = self.bare && activity.tail_is_open.load(Ordering::Relaxed);
        let reads = activity.reads.load(Ordering::Relaxed);
        let own = reads.wrapping_sub(u64::from(next_has_begun));
        activity.reads_of_requests.store(own, Ordering::Relaxed);
        activity.note_use();
        activity.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    begun: u64,
    busy: bool,
    /// The head of a request has begun to come.
    in_head: bool,
    /// Everything that was asked is answered, and something is there for the client to take.
    stalled: bool,
    /// Changes when the client takes something, and when there is something else to take.
    progress: u64,
}

/// How a connection that does nothing ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Gently: nothing is lost.
    Idle,
    /// At once: the client is too slow.
    Slow,
}

/// Waits until the connection has done nothing for too long.
pub(super) async fn outstay(activity: Arc<Activity>, limits: ConnectionLimits) -> End {
    let shortest = limits.first_request.min(limits.header_read).min(limits.idle).min(limits.stall);
    let tick = shortest / 4;
    let tick = tick.max(Duration::from_millis(1));
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(tick).await;
        if let Some(end) = watch.tick(activity.seen(), tick, &limits) {
            return end;
        }
    }
}

/// Measures in ticks how long a connection has been doing nothing.
#[derive(Debug, Default)]
struct Watch {
    last: Seen,
    lasted: Duration,
}

impl Watch {
    fn tick(&mut self, seen: Seen, tick: Duration, limits: &ConnectionLimits) -> Option<End> {
        let changed = seen != self.last;
        self.last = seen;
        if (seen.busy && !seen.stalled) || (changed && seen.begun > 0) {
            self.lasted = Duration::ZERO;
            return None;
        }
        self.lasted += tick;
        let (limit, end) = if seen.begun == 0 {
            (limits.first_request, End::Slow)
        } else if seen.stalled {
            (limits.stall, End::Slow)
        } else if seen.in_head {
            (limits.header_read, End::Slow)
        } else {
            (limits.idle, End::Idle)
        };
        (self.lasted >= limit).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// After how many seconds of `seen`, one after another, the connection ends.
    #[track_caller]
    fn check(phases: &[(u64, Seen)], expected: Option<(u64, End)>) {
        let limits = ConnectionLimits::default();
        let mut watch = Watch::default();
        let seconds = phases.iter().flat_map(|(count, seen)| (0..*count).map(move |_| *seen));
        let ended = seconds
            .zip(1..)
            .find_map(|(seen, at)| watch.tick(seen, SECOND, &limits).map(|end| (at, end)));
        assert_eq!(ended, expected);
    }

    #[test]
    fn a_connection_ends_when_it_does_nothing_for_too_long() {
        let silent = Seen::default();
        let dribbling = Seen { in_head: true, ..silent };
        let busy = Seen { begun: 1, busy: true, ..silent };
        let idle = Seen { busy: false, ..busy };
        let next_head = Seen { in_head: true, ..idle };
        check(&[(100, silent)], Some((10, End::Slow)));
        check(&[(5, silent), (100, dribbling)], Some((10, End::Slow)));
        check(&[(1000, busy)], None);
        check(&[(1, busy), (200, idle)], Some((77, End::Idle)));
        check(&[(1, busy), (60, idle), (60, next_head)], Some((72, End::Slow)));
        let stalled = Seen { stalled: true, ..busy };
        check(&[(1, busy), (100, stalled)], Some((32, End::Slow)));
        let some_taken = Seen { progress: 1, ..stalled };
        check(&[(1, busy), (29, stalled), (100, some_taken)], Some((61, End::Slow)));
        let again = Seen { begun: 2, ..idle };
        check(&[(1, busy), (60, idle), (70, again)], None);
    }
}
