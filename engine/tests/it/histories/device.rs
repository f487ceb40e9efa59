//! One device, as one thread sees it.

use tokenkeep::Version;

use super::checker::Object;

/// What is known of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Known {
    #[default]
    Absent,
    Live(Held),
    Ended,
}

/// What a live record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) version: Version,
    /// The number in its tokens.
    pub(crate) tokens: u64,
    /// Who holds its lease.
    pub(crate) holder: Option<u8>,
}

/// What was asked of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Get,
    Insert {
        tokens: u64,
    },
    Replace {
        expected: Version,
        tokens: u64,
        renewed: bool,
    },
    Remove {
        expected: Option<Version>,
    },
    Lease {
        expected: Version,
        holder: u8,
    },
    Release {
        holder: u8,
    },
    /// It was among all the devices of its user that were to end.
    RemoveAsOneOfAll,
}

/// What the store answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Found(Known),
    Done,
    /// This was there, and ended.
    Removed(Held),
    /// This other version is there.
    Conflict(Held),
    Gone,
    Taken,
    /// The lease is somebody else's.
    LeaseHeld,
    /// An error: it was done, or it was not.
    Unknown,
}

/// A device in a store that promises what the contract says.
pub(crate) struct Device;

impl Object for Device {
    type State = Known;
    type Operation = (Ask, Answer);

    fn after(state: &Known, (ask, answer): &(Ask, Answer)) -> Vec<Known> {
        let (expected, after) = carry_out(*state, *ask);
        let fits = expected == *answer || *answer == Answer::Unknown;
        fits.then_some(after).into_iter().collect()
    }
}

/// What must be answered, and what is there afterwards.
pub(crate) fn carry_out(state: Known, ask: Ask) -> (Answer, Known) {
    match (ask, state) {
        (Ask::Get, known) => (Answer::Found(known), known),
        (Ask::Insert { tokens }, Known::Absent) => {
            (Answer::Done, Known::Live(Held { version: Version::FIRST, tokens, holder: None }))
        }
        (Ask::Insert { .. }, known) => (Answer::Taken, known),
        // It is not among those that were returned.
        (Ask::RemoveAsOneOfAll, Known::Absent | Known::Ended) => (Answer::Gone, state),
        (Ask::RemoveAsOneOfAll, Known::Live(held)) => (Answer::Removed(held), Known::Ended),
        // It has no answer.
        (Ask::Release { .. }, Known::Absent | Known::Ended) => (Answer::Done, state),
        (_, Known::Absent | Known::Ended) => (Answer::Gone, state),
        (ask, Known::Live(held)) => of_a_live_one(held, ask),
    }
}

fn of_a_live_one(held: Held, ask: Ask) -> (Answer, Known) {
    let conflict = (Answer::Conflict(held), Known::Live(held));
    match ask {
        Ask::Replace { expected, tokens, renewed } if expected == held.version => {
            let holder = held.holder.filter(|_| !renewed);
            (Answer::Done, Known::Live(Held { version: expected.next(), tokens, holder }))
        }
        Ask::Remove { expected } if expected.is_none_or(|version| version == held.version) => {
            (Answer::Removed(held), Known::Ended)
        }
        Ask::Lease { expected, holder } if expected == held.version => match held.holder {
            Some(other) if other != holder => (Answer::LeaseHeld, Known::Live(held)),
            _ => (Answer::Done, Known::Live(Held { holder: Some(holder), ..held })),
        },
        Ask::Release { holder } => {
            let left = held.holder.filter(|other| *other != holder);
            (Answer::Done, Known::Live(Held { holder: left, ..held }))
        }
        _ => conflict,
    }
}
