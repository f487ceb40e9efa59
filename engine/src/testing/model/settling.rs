//! Which state the store is in after an operation that may have failed.

use tokenkeep_core::{Clock as _, EndReason, Lookup, StoreError};

use super::driver::Driver;
use super::state::{Known, Model, Went};

impl Driver {
    /// Compares an answer with the model's. After an error, what was asked for was done or not.
    pub(super) fn settle(
        &mut self,
        went: Result<Went, StoreError>,
        operation: impl Fn(&mut Model) -> Went,
    ) {
        self.settle_among(vec![self.model.clone()], went, operation);
    }

    /// As [`Driver::settle`], if the store may be in one of several states.
    pub(super) fn settle_among(
        &mut self,
        bases: Vec<Model>,
        went: Result<Went, StoreError>,
        operation: impl Fn(&mut Model) -> Went,
    ) {
        let after = |base: &Model| {
            let mut after = base.clone();
            (operation(&mut after), after)
        };
        let outcomes: Vec<_> = bases.iter().map(after).collect();
        match went {
            Ok(went) => {
                let fits = |expected: &Went| {
                    // Why a session ended is forgotten with it.
                    let forgotten = went == Went::Gone(None) && matches!(expected, Went::Gone(_));
                    went == *expected || forgotten && self.something_is_due()
                };
                let found = outcomes.iter().find(|(expected, _)| fits(expected));
                let Some((_, after)) = found else {
                    panic!("engine {went:?}, model {:?}", outcomes.first().map(|o| &o.0));
                };
                self.model = after.clone();
            }
            Err(StoreError::Unavailable(_)) => {
                let afters = outcomes.into_iter().map(|(_, after)| after);
                let candidates = bases.into_iter().chain(afters).collect();
                if self.disk.has_crashed() {
                    self.restart(candidates, self.counter);
                } else {
                    self.choose(candidates);
                }
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(super) fn crash_if_it_comes_to_it(&mut self, seed: u64) {
        if self.disk.has_crashed() {
            self.restart(vec![self.model.clone()], seed);
        }
    }

    /// Turns the power on again, and finds out in which of the states the store is.
    pub(super) fn restart(&mut self, mut candidates: Vec<Model>, seed: u64) {
        self.engine = None;
        self.disk.restart(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.engine = Some(self.open());
        for candidate in &mut candidates {
            self.adopt_last_seen(candidate);
            candidate.reopen();
        }
        self.choose(candidates);
    }

    /// A touch may be lost, and nothing else.
    pub(super) fn adopt_last_seen(&self, model: &mut Model) {
        for (device, known) in &mut model.devices {
            let Known::Live { record, synced_last_seen_at } = known else { continue };
            let mut lost = record.clone();
            lost.last_seen_at = *synced_last_seen_at;
            match self.peek(*device) {
                Ok(Lookup::Live(found))
                    if (lost.last_seen_at..=record.last_seen_at).contains(&found.last_seen_at) =>
                {
                    record.last_seen_at = found.last_seen_at;
                    record.previous_visit_at = found.previous_visit_at;
                }
                Ok(Lookup::Ended(ended))
                    if ended.reason == EndReason::Expired
                        && !record.is_dead(self.clock.now())
                        && lost.is_dead(self.clock.now()) =>
                {
                    *record = lost;
                }
                _ => {}
            }
        }
    }

    pub(super) fn choose(&mut self, candidates: Vec<Model>) {
        let mut differences = Vec::new();
        for mut candidate in candidates {
            self.forget(&mut candidate);
            match self.difference(&candidate) {
                None => {
                    self.model = candidate;
                    return;
                }
                Some(difference) => differences.push(difference),
            }
        }
        panic!("neither before nor after: {differences:#?}");
    }
}
