//! Disks that fail at every operation of a run: a clear error, reads go on, nothing is lost.
//!
//! `TOKENKEEP_DISK_ERRORS=full` fails every operation; otherwise it is a sample of them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokenkeep::testing::{DiskError, Fault, Hits};
use tokenkeep::{Engine, StoreError};

use crate::script::{Memory, Run, Step, check_whole, plan};
use crate::support::wait_until_writable;

/// A disk that fails during a run, and what the store does about it.
struct Trial {
    run: Run,
    fault: Fault,
}

impl Trial {
    fn new(fault: Fault) -> Self {
        // Every other one reads each record from the file.
        let records = if fault.after.is_multiple_of(2) { 0 } else { 1 << 20 };
        let pages = if fault.hits == Hits::Reads { 0 } else { 64 << 10 };
        Self { run: Run::new(Memory { records, pages }), fault }
    }

    /// Carries the plan out, failures and all; true if there was one.
    fn carry_out(mut self) -> bool {
        self.run.disk.fail(self.fault);
        for step in plan() {
            let mut attempts = 0;
            while let Err(error) = self.run.step(&step, &|_| ()) {
                assert!(matches!(error, StoreError::Unavailable(_)), "{step:?}: {error:?}");
                self.meanwhile(&step);
                self.run.disk.heal();
                if self.recover(&step) {
                    break;
                }
                attempts += 1;
                assert!(attempts < 3, "{step:?}: {error:?}");
            }
        }
        let failed = self.run.disk.has_failed();
        self.run.disk.heal();
        self.look_at_the_end();
        failed
    }

    /// While the disk does not write, everything is read, and the store says what is wrong.
    fn meanwhile(&self, step: &Step) {
        if !self.fault.lasts || self.fault.hits == Hits::Reads || self.run.engine.is_none() {
            return;
        }
        let error = self.run.engine().blocking().check_writable().unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{step:?}: {error:?}");
        self.check(step);
    }

    /// Lets the store heal; true if the step had happened all the same.
    fn recover(&mut self, step: &Step) -> bool {
        if self.run.engine.is_none() {
            self.run.engine = Some(self.run.try_open().unwrap());
        }
        wait_until_well(self.run.engine());
        self.check(step);
        let after = self.run.expected.after(step);
        let whole = after.difference(self.run.engine(), None).is_none();
        let done = whole && self.run.expected.difference(self.run.engine(), None).is_some();
        if done {
            self.run.expected = after;
        }
        done
    }

    #[track_caller]
    fn check(&self, step: &Step) {
        let after = self.run.expected.after(step);
        let doubt = Run::doubt(&after, step);
        let difference = self.run.expected.difference(self.run.engine(), Some(doubt));
        assert_eq!(difference, None, "{:?}, {step:?}", self.fault);
    }

    fn look_at_the_end(&mut self) {
        for _ in 0..2 {
            let engine = self.run.engine();
            wait_until_well(engine);
            let difference = self.run.expected.difference(engine, None);
            assert_eq!(difference, None, "{:?}", self.fault);
            check_whole(engine, self.run.expected.now);
            self.run.step(&Step::Reopen { eager: true }, &|_| ()).unwrap();
        }
    }
}

/// The writer finds out by itself that reads fail; this only tells it to look.
#[track_caller]
fn wait_until_well(engine: &Engine) {
    let _ = engine.blocking().flush();
    wait_until_writable(engine);
}

/// Fails each operation of the run in turn, or every so many of them.
fn fail_everywhere(hits: Hits, lasts: bool, error: DiskError) {
    let full = std::env::var("TOKENKEEP_DISK_ERRORS").is_ok_and(|how| how == "full");
    let step = match hits {
        _ if full => 1,
        Hits::Changes => STRIDE,
        // There are more of them.
        Hits::Reads => 7 * STRIDE,
    };
    let next = AtomicU64::new(0);
    let failures = AtomicU64::new(0);
    let work = || {
        loop {
            let after = next.fetch_add(step, Ordering::Relaxed);
            if !Trial::new(Fault { hits, after, lasts, error }).carry_out() {
                return;
            }
            failures.fetch_add(1, Ordering::Relaxed);
        }
    };
    // Most of the time is waited.
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let failures = failures.into_inner();
    assert!(failures >= 10, "{failures}");
    println!("{hits:?}, {error:?}, lasts: {lasts}: {failures} failures");
}

#[test]
fn an_io_error_at_any_write_costs_that_write_at_most() {
    fail_everywhere(Hits::Changes, false, DiskError::Io);
}

#[test]
fn a_disk_that_stops_writing_at_any_time_is_read_and_heals() {
    fail_everywhere(Hits::Changes, true, DiskError::Io);
}

#[test]
fn a_full_disk_at_any_write_costs_that_write_at_most() {
    fail_everywhere(Hits::Changes, false, DiskError::NoSpace);
}

#[test]
fn a_disk_that_is_full_at_any_time_is_read_and_heals() {
    fail_everywhere(Hits::Changes, true, DiskError::NoSpace);
}

#[test]
fn an_io_error_at_any_read_costs_nothing_that_was_acknowledged() {
    fail_everywhere(Hits::Reads, false, DiskError::Io);
}

#[test]
fn a_disk_that_stops_reading_at_any_time_heals() {
    fail_everywhere(Hits::Reads, true, DiskError::Io);
}

const THREADS: usize = 4;
/// A prime, so that every kind of operation is hit.
const STRIDE: u64 = 23;
