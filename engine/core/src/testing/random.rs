//! A generator that fails.

use std::cell::Cell;

thread_local! {
    static FAILS: Cell<bool> = const { Cell::new(false) };
}

/// The operating system's generator fails on this thread as long as this is held.
#[derive(Debug)]
#[must_use]
pub struct WithoutRandom(());

/// Has the operating system's generator fail on this thread.
pub fn without_random() -> WithoutRandom {
    FAILS.set(true);
    WithoutRandom(())
}

impl Drop for WithoutRandom {
    fn drop(&mut self) {
        FAILS.set(false);
    }
}

pub(crate) fn is_without_random() -> bool {
    FAILS.get()
}
