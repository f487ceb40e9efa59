//! Whether a history is linearisable: whether one thread, doing the same operations one after the
//! other, each within its interval, could have got the same answers.
//!
//! J. Wing and C. Gong, "Testing and Verifying Concurrent Objects", 1993, with the memory of
//! states that were tried of G. Lowe, "Testing for Linearizability", 2017.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// What one thread sees of an object.
pub(crate) trait Object {
    type State: Clone + Debug + Eq + Hash;
    /// An operation with its answer.
    type Operation: Debug;

    /// The states that the object may be in after `operation` has got this answer; none if it
    /// cannot get it.
    fn after(state: &Self::State, operation: &Self::Operation) -> Vec<Self::State>;
}

/// An operation in a history.
#[derive(Clone, Debug)]
pub(crate) struct Event<O> {
    pub(crate) operation: O,
    pub(crate) begun: u64,
    /// `None` if nobody knows whether it was done: then it may take effect at any time, or never.
    pub(crate) ended: Option<u64>,
}

/// Holds `history` against the object that begins in `state`.
#[track_caller]
pub(crate) fn check<O: Object>(state: &O::State, mut history: Vec<Event<O::Operation>>) {
    history.sort_by_key(|event| event.begun);
    let mut search = Search::<O> { history: &history, seen: HashSet::new(), longest: Vec::new() };
    let mut done = vec![false; history.len()];
    if !search.goes_on(state, &mut done, &mut Vec::new()) {
        let (order, stuck) = (&search.longest, &history);
        let rest: Vec<_> = stuck.iter().enumerate().filter(|(at, _)| !order.contains(at)).collect();
        let order: Vec<_> = order.iter().map(|at| &history[*at]).collect();
        panic!("no order explains it; the longest is {order:#?}, and then one of {rest:#?}");
    }
}

struct Search<'a, O: Object> {
    history: &'a [Event<O::Operation>],
    /// From here it was tried, and led nowhere.
    seen: HashSet<(Vec<bool>, O::State)>,
    longest: Vec<usize>,
}

impl<O: Object> Search<'_, O> {
    fn goes_on(&mut self, state: &O::State, done: &mut Vec<bool>, order: &mut Vec<usize>) -> bool {
        if order.len() > self.longest.len() {
            self.longest.clone_from(order);
        }
        let open = || self.history.iter().enumerate().filter(|(at, _)| !done[*at]);
        // What began after another one ended cannot come before it.
        let Some(limit) = open().filter_map(|(_, event)| event.ended).min() else { return true };
        let next: Vec<_> =
            open().take_while(|(_, event)| event.begun < limit).map(|(at, _)| at).collect();
        for at in next {
            done[at] = true;
            order.push(at);
            assert!(self.seen.len() < MOST_STATES, "the history is too long to be decided");
            for state in O::after(state, &self.history[at].operation) {
                if self.seen.insert((done.clone(), state.clone()))
                    && self.goes_on(&state, done, order)
                {
                    return true;
                }
            }
            order.pop();
            done[at] = false;
        }
        false
    }
}

/// So many take a second or so.
const MOST_STATES: usize = 300_000;

#[cfg(test)]
mod tests {
    use Op::{Read, Write};

    use super::*;

    /// A number that is written and read.
    struct Register;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Write(u8),
        Read(u8),
    }

    impl Object for Register {
        type State = u8;
        type Operation = Op;

        fn after(state: &u8, operation: &Op) -> Vec<u8> {
            match operation {
                Write(value) => vec![*value],
                Read(value) => (value == state).then_some(*state).into_iter().collect(),
            }
        }
    }

    fn verdict(history: &[(Op, u64, u64)]) -> bool {
        let event = |(operation, begun, ended): &(Op, u64, u64)| Event {
            operation: *operation,
            begun: *begun,
            ended: (*ended != NEVER).then_some(*ended),
        };
        let history = history.iter().map(event).collect();
        std::panic::catch_unwind(|| check::<Register>(&0, history)).is_ok()
    }

    const NEVER: u64 = 0;

    #[test]
    fn what_one_thread_could_see_is_linearisable() {
        assert!(verdict(&[]));
        assert!(verdict(&[(Write(1), 1, 2), (Read(1), 3, 4)]));
        // Side by side, either order will do, and both readers agree on one.
        assert!(verdict(&[(Write(1), 1, 4), (Read(0), 2, 3)]));
        assert!(verdict(&[(Write(1), 1, 4), (Read(1), 2, 3)]));
        assert!(verdict(&[(Write(1), 1, 9), (Write(2), 2, 8), (Read(2), 3, 4), (Read(1), 5, 6)]));
        // Nobody knows whether it was done.
        assert!(verdict(&[(Write(1), 1, NEVER), (Read(0), 2, 3), (Read(0), 4, 5)]));
        assert!(verdict(&[(Write(1), 1, NEVER), (Read(0), 2, 3), (Read(1), 4, 5)]));
    }

    #[test]
    fn what_no_single_thread_could_see_is_not() {
        assert!(!verdict(&[(Read(1), 1, 2)]));
        // A stale read.
        assert!(!verdict(&[(Write(1), 1, 2), (Read(0), 3, 4)]));
        // Back and forth.
        assert!(!verdict(&[(Write(1), 1, 9), (Read(1), 2, 3), (Read(0), 4, 5)]));
        let both = [(Write(1), 1, 2), (Write(2), 1, 2)];
        assert!(!verdict(&[both[0], both[1], (Read(2), 3, 4), (Read(1), 5, 6)]));
        // Before it began, it was not done.
        assert!(!verdict(&[(Read(1), 1, 2), (Write(1), 3, NEVER)]));
        assert!(!verdict(&[(Write(1), 1, NEVER), (Read(1), 2, 3), (Read(0), 4, 5)]));
    }
}
