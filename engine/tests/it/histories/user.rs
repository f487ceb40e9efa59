//! All devices of one user, as one thread sees their list.

use super::checker::Object;
use super::device::{Answer, Ask, Held, Known, carry_out};

/// How many devices the user has at most.
pub(crate) const DEVICES: usize = 3;

/// What was asked of a user's devices, with the answer.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// One device, by its number.
    One(usize, Ask, Answer),
    /// A login in the place of another device, that ended if `displaced` says so.
    InsertInstead { device: usize, tokens: u64, old: usize, displaced: Option<Held> },
    /// All devices but `except` are to end; these did.
    RemoveAll { except: Option<usize>, removed: Option<[Option<Held>; DEVICES]> },
    /// The live devices.
    List([Option<Held>; DEVICES]),
}

/// A user in a store that promises what the contract says. Lists and writes happen at one instant
/// for all devices; what a single [`Ask::Get`] finds is checked device by device.
pub(crate) struct User;

impl Object for User {
    type State = [Known; DEVICES];
    type Operation = Operation;

    fn after(state: &Self::State, operation: &Operation) -> Vec<Self::State> {
        let mut after = *state;
        let fits = match operation {
            Operation::One(device, ask, answer) => {
                let (expected, known) = carry_out(state[*device], *ask);
                after[*device] = known;
                expected == *answer || *answer == Answer::Unknown
            }
            Operation::InsertInstead { device, tokens, old, displaced } => {
                let (outcome, known) = carry_out(state[*device], Ask::Insert { tokens: *tokens });
                after[*device] = known;
                after[*old] = carry_out(after[*old], Ask::RemoveAsOneOfAll).1;
                outcome == Answer::Done && held(&state[*old]) == *displaced
            }
            Operation::RemoveAll { except, removed } => {
                let mut ended = [None; DEVICES];
                for device in (0..DEVICES).filter(|device| Some(*device) != *except) {
                    ended[device] = held(&state[device]);
                    after[device] = carry_out(state[device], Ask::RemoveAsOneOfAll).1;
                }
                removed.is_none_or(|removed| removed == ended)
            }
            Operation::List(listed) => state.each_ref().map(held) == *listed,
        };
        if fits { vec![after] } else { Vec::new() }
    }
}

fn held(known: &Known) -> Option<Held> {
    match known {
        Known::Live(held) => Some(*held),
        Known::Absent | Known::Ended => None,
    }
}

/// What an operation means for `device` alone, if it concerns it.
pub(crate) fn of_device(operation: &Operation, device: usize) -> Option<(Ask, Answer)> {
    let removed = |held: Option<Held>| held.map_or(Answer::Gone, Answer::Removed);
    match operation {
        Operation::One(of, ask, answer) if *of == device => Some((*ask, *answer)),
        Operation::InsertInstead { device: of, tokens, .. } if *of == device => {
            Some((Ask::Insert { tokens: *tokens }, Answer::Done))
        }
        Operation::InsertInstead { old, displaced, .. } if *old == device => {
            Some((Ask::RemoveAsOneOfAll, removed(*displaced)))
        }
        Operation::RemoveAll { except, removed: all } if *except != Some(device) => {
            let answer = all.map_or(Answer::Unknown, |all| removed(all[device]));
            Some((Ask::RemoveAsOneOfAll, answer))
        }
        _ => None,
    }
}
