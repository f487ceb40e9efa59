//! Which state the store is in after calls that may have failed.

use tokenkeep_core::{Clock as _, DeviceId, EndReason, Lookup, StoreError};

use super::call::Call;
use super::driver::Driver;
use super::known::Known;
use super::state::{Model, Went};

impl Driver {
    /// Compares answers with the model's. One commit holds all of the calls: they failed together
    /// or not at all, and after an error all of them were done or none.
    pub(super) fn settle(&mut self, calls: &[Call], went: Vec<Result<Went, StoreError>>) {
        let run = |base: &Model| {
            let mut after = base.clone();
            let expected: Vec<_> = calls.iter().map(|call| (call.on_model)(&mut after)).collect();
            (expected, after)
        };
        let (before, due) = (self.model.clone(), self.due());
        let bases = self.bases(calls);
        let outcomes: Vec<_> = bases.iter().map(run).collect();
        match went.into_iter().collect::<Result<Vec<Went>, StoreError>>() {
            Ok(went) => {
                let fits = |expected: &[Went]| {
                    went.iter().zip(expected).all(|(went, expected)| {
                        // Why a session ended is forgotten with it.
                        let forgotten =
                            *went == Went::Gone(None) && matches!(expected, Went::Gone(_));
                        let told_again =
                            *expected == Went::Gone(None) && self.may_be_told_again(&before, went);
                        went == expected || told_again || forgotten && self.something_is_due()
                    })
                };
                let fitting = outcomes.iter().filter(|(expected, _)| fits(expected));
                let fitting: Vec<_> = fitting.map(|(_, after)| after.clone()).collect();
                if fitting.is_empty() {
                    let names: Vec<_> = calls.iter().map(|call| call.name).collect();
                    let expected = outcomes.first().map(|o| &o.0);
                    panic!("{names:?}: engine {went:?}, model {expected:?}");
                }
                self.adopt(fitting);
            }
            Err(StoreError::Unavailable(_)) => {
                self.trouble_ahead = false;
                self.find_out(bases, outcomes.into_iter().map(|(_, after)| after));
            }
            Err(error) => panic!("{error:?}"),
        }
        // That one of them was forgotten explains the answers; another one may have been.
        for device in due {
            if let Some(known) = before.devices.get(&device)
                && !self.model.gone.contains_key(&device)
                && matches!(self.peek(device), Ok(Lookup::Absent))
            {
                self.model.devices.entry(device).or_insert_with(|| known.clone());
            }
        }
    }

    /// Whether `went` tells of a session that the model takes for forgotten, as it may: of one that
    /// has faded, with the clock back; or that it expired, and until when that is told is not known.
    fn may_be_told_again(&self, model: &Model, went: &Went) -> bool {
        let is_unsure =
            |known: &Known| matches!(known, Known::Ended { reason: EndReason::Expired, .. });
        match went {
            Went::Gone(Some(EndReason::Expired)) if model.devices.values().any(is_unsure) => true,
            Went::Gone(_) => self.now() < self.latest && !model.faded.is_empty(),
            _ => false,
        }
    }

    /// Goes on with the one of the states that the store is in.
    fn adopt(&mut self, candidates: Vec<Model>) {
        match <[Model; 1]>::try_from(candidates) {
            Ok([only]) => self.model = only,
            Err(candidates) if self.disk.has_crashed() => self.restart(candidates, self.counter),
            Err(candidates) => self.choose(candidates),
        }
    }

    /// Finds out whether what failed was done all the same.
    fn find_out(&mut self, bases: Vec<Model>, afters: impl Iterator<Item = Model>) {
        if self.disk.has_crashed() {
            self.adopt(bases.into_iter().chain(afters).collect());
            return;
        }
        let before = self.model.clone();
        let afters = afters.map(|mut after| {
            after.found_on_disk(&before);
            after
        });
        let candidates = bases.into_iter().chain(afters.collect::<Vec<_>>()).collect();
        self.choose(candidates);
    }

    /// The states that the store may be in: what is due may be forgotten at any moment.
    fn bases(&self, calls: &[Call]) -> Vec<Model> {
        let mut bases = vec![self.model.clone()];
        // A call that is not late finds what is due dead in any case, unless it wants its id, or
        // makes it final that a record expired.
        let matters = |device: &DeviceId| {
            self.now() < self.clock.now()
                || calls.iter().any(|call| call.makes == Some(*device))
                || matches!(self.model.devices.get(device), Some(Known::Live { .. }))
        };
        for device in self.due().into_iter().filter(matters) {
            let without = bases.iter().map(|base| {
                let mut without = base.clone();
                without.fade(device);
                without
            });
            let without: Vec<_> = without.collect();
            bases.extend(without);
        }
        for device in calls.iter().filter_map(|call| call.makes) {
            let faded: Vec<_> =
                bases.iter().filter(|base| base.faded.contains_key(&device)).collect();
            let taken = faded.into_iter().map(|base| {
                let mut taken = base.clone();
                taken.devices.entry(device).or_insert_with(Known::faded);
                taken
            });
            let taken: Vec<_> = taken.collect();
            bases.extend(taken);
        }
        bases
    }

    pub(super) fn crash_if_it_comes_to_it(&mut self, seed: u64) {
        if self.disk.has_crashed() {
            self.restart(vec![self.model.clone()], seed);
        }
    }

    /// Turns the power on again, and finds out in which of the states the store is.
    pub(super) fn restart(&mut self, mut candidates: Vec<Model>, seed: u64) {
        self.tally.event("crash");
        self.trouble_ahead = false;
        self.engine = None;
        self.disk.restart(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.engine = Some(self.open());
        for candidate in &mut candidates {
            self.adopt_last_seen(candidate, |_| true);
            candidate.reopen();
        }
        self.choose(candidates);
    }

    /// A touch may be lost, and nothing else: of the devices for which `may_be` says so.
    pub(super) fn adopt_last_seen(&self, model: &mut Model, may_be: impl Fn(&Known) -> bool) {
        for (device, known) in model.devices.iter_mut().filter(|(_, known)| may_be(known)) {
            // At that time it shows its last use.
            let Some(alive_at) = known.alive_at() else { continue };
            let Known::Live { record, synced_last_seen_at } = known else { continue };
            let found = self.engine().blocking().get(*device, alive_at.min(self.clock.now()));
            if let Ok(Lookup::Live(found)) = found
                && (*synced_last_seen_at..=record.last_seen_at).contains(&found.last_seen_at)
            {
                record.last_seen_at = found.last_seen_at;
                record.previous_visit_at = found.previous_visit_at;
            }
        }
    }

    pub(super) fn choose(&mut self, candidates: Vec<Model>) {
        let mut differences = Vec::new();
        let mut attempts = candidates.clone();
        attempts.iter_mut().for_each(|candidate| self.forget(candidate));
        // Rather one that explains everything than one with devices that may be anything.
        let strictly = attempts
            .iter()
            .map(|candidate| Model { devices: candidate.devices.clone(), ..Model::default() });
        let mut fits = |attempt: Model| match self.difference(&attempt) {
            None => true,
            Some(difference) => {
                differences.push(difference);
                false
            }
        };
        let mut fitting: Vec<_> = strictly.map(&mut fits).collect();
        if !fitting.contains(&true) {
            fitting = attempts.iter().cloned().map(&mut fits).collect();
        }
        let mut fitting =
            attempts.into_iter().zip(fitting).filter(|(_, fits)| *fits).map(|(model, _)| model);
        if let Some(mut model) = fitting.next() {
            fitting.for_each(|other| model.doubt(&other));
            self.model = model;
            return;
        }
        // The writer may have met the power loss while this thread was looking.
        if self.disk.has_crashed() {
            return self.restart(candidates, self.counter);
        }
        panic!("neither before nor after: {differences:#?}");
    }
}

/// With more due devices than this, no call is late: each may be forgotten or not.
pub(super) const MOST_DUE: usize = 3;
