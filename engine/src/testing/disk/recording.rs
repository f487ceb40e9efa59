//! The whole history of a disk, and every image that a power loss could have left of it.

use super::change::Change;

/// What happened to a disk, in order.
#[derive(Clone, Debug)]
pub struct Recording {
    base: Vec<u8>,
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Change(Change),
    /// Everything before it is on the disk.
    Sync,
    /// The test said so.
    Mark(u32),
}

/// What becomes of the writes since the last sync when the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of them are there. At all instants together, this is every prefix of them, too.
    Nothing,
    /// None is there.
    Everything,
    /// Each is there or not, as the seed says.
    Some(u64),
    /// As [`Loss::Some`], and they reached the disk in another order.
    Reordered(u64),
    /// Of the last one, each sector is there or not.
    TornSectors(u64),
    /// Of each of them, each sector is there or not.
    AllTornSectors(u64),
    /// Of the last one, the first bytes are there.
    TornBytes(u64),
}

/// A walk through the instants of a recording at which the power could have failed.
#[derive(Debug)]
pub struct Instants<'a> {
    recording: &'a Recording,
    /// How many events have happened.
    at: usize,
    synced: Vec<u8>,
    unsynced: Vec<&'a Change>,
    marks: Vec<u32>,
}

impl Recording {
    pub(super) fn new(base: Vec<u8>, unsynced: &[Change]) -> Self {
        Self { base, events: unsynced.iter().cloned().map(Event::Change).collect() }
    }

    /// How many writes, changes of the length and syncs it has.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.events.iter().filter(|event| !matches!(event, Event::Mark(_))).count()
    }

    /// The instants, from the one before anything happened.
    #[must_use]
    pub fn instants(&self) -> Instants<'_> {
        let synced = self.base.clone();
        Instants { recording: self, at: 0, synced, unsynced: Vec::new(), marks: Vec::new() }
    }
}

impl Instants<'_> {
    /// Goes to the next instant; false if that was the last one.
    pub fn advance(&mut self) -> bool {
        let Some(event) = self.recording.events.get(self.at) else { return false };
        self.at += 1;
        match event {
            Event::Change(change) => self.unsynced.push(change),
            Event::Sync => {
                self.unsynced.drain(..).for_each(|change| change.apply(&mut self.synced));
            }
            Event::Mark(mark) => self.marks.push(*mark),
        }
        true
    }

    /// How many events have happened.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The marks up to this instant.
    #[must_use]
    pub fn marks(&self) -> &[u32] {
        &self.marks
    }

    /// Whether a power loss could cost nothing, because nothing waits for a sync.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// What is on the disk if the power fails at this instant.
    #[must_use]
    pub fn image(&self, loss: Loss) -> Vec<u8> {
        let mut image = self.synced.clone();
        let Some((last, before)) = self.unsynced.split_last() else { return image };
        let all = || self.unsynced.iter();
        match loss {
            Loss::Nothing => all().for_each(|change| change.apply(&mut image)),
            Loss::Everything => {}
            Loss::Some(seed) => {
                let mut coin = Coin(seed);
                all().filter(|_| coin.toss()).for_each(|change| change.apply(&mut image));
            }
            Loss::Reordered(seed) => {
                let mut coin = Coin(seed);
                let mut order: Vec<_> = all().map(|change| (coin.next(), change)).collect();
                order.sort_by_key(|(place, _)| *place);
                let kept = order.iter().filter(|_| coin.toss());
                kept.for_each(|(_, change)| change.apply(&mut image));
            }
            Loss::TornSectors(seed) => {
                let mut coin = Coin(seed);
                before.iter().for_each(|change| change.apply(&mut image));
                last.apply_sectors(&mut image, || coin.toss());
            }
            Loss::AllTornSectors(seed) => {
                let mut coin = Coin(seed);
                all().for_each(|change| change.apply_sectors(&mut image, || coin.toss()));
            }
            Loss::TornBytes(seed) => {
                before.iter().for_each(|change| change.apply(&mut image));
                let kept = Coin(seed).next() % (last.len() as u64 + 1);
                last.apply_start(&mut image, usize::try_from(kept).unwrap_or(0));
            }
        }
        image
    }
}

/// Numbers that look random and repeat with their seed (SplitMix64).
pub(super) struct Coin(pub(super) u64);

impl Coin {
    pub(super) fn toss(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
