//! Calls that come to the writer together, so that one commit decides all of them or none.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use tokenkeep_core::{Clock as _, DeviceId, StoreError};

use super::call::{Answer, Call};
use super::driver::Driver;
use super::input::Input;
use super::state::Went;
use crate::command::{Command, Reply};

impl Driver {
    /// Carries out one to six calls as one batch.
    pub(super) fn calls(&mut self, input: &mut Input<'_>) {
        let count = match input.next() % 8 {
            0..=3 => 1,
            more => usize::from(more) - 2,
        };
        self.late_by(input);
        let mut calls: Vec<Call> = (0..count).map(|_| self.call(input)).collect();
        let answers = calls.iter_mut().map(|call| &mut call.answer);
        let went = if count == 1 { answers.map(wait).collect() } else { self.together(answers) };
        self.tally_of(&calls, &went);
        self.settle(&calls, went);
    }

    /// Sends the calls while the writer is kept busy, so that it finds all of them at once.
    fn together<'a>(
        &self,
        answers: impl Iterator<Item = &'a mut Answer>,
    ) -> Vec<Result<Went, StoreError>> {
        let answers: Vec<_> = answers.collect();
        let (entered, is_busy) = crossbeam_channel::bounded::<()>(0);
        let (go_on, gate) = crossbeam_channel::bounded::<()>(1);
        let hold = move |_| {
            let _ = entered.send(());
            let _ = gate.recv();
        };
        let (engine, now) = (self.engine(), self.clock.now());
        let reply = Reply::new(hold);
        let mut busy =
            pin!(engine.ask::<()>(move |_| Command::Touch { device: NOBODY, now, reply }));
        let mut waiting = Context::from_waker(Waker::noop());
        let _ = busy.as_mut().poll(&mut waiting);
        let _ = is_busy.recv();
        let polled: Vec<_> = answers
            .into_iter()
            .map(|answer| (answer.as_mut().poll(&mut waiting), answer))
            .collect();
        drop(go_on);
        polled
            .into_iter()
            .map(|(polled, answer)| match polled {
                Poll::Ready(went) => went,
                Poll::Pending => wait(answer),
            })
            .collect()
    }

    fn tally_of(&mut self, calls: &[Call], went: &[Result<Went, StoreError>]) {
        for (call, went) in calls.iter().zip(went) {
            self.tally.operation(call.name, went.as_ref().map_or("failed", Went::word));
        }
        if calls.len() > 1 {
            let failed = went.iter().any(Result::is_err);
            self.tally.event(if failed { "batch failed" } else { "batch done" });
        }
    }
}

/// Waits for an answer on this thread.
fn wait(answer: &mut Answer) -> Result<Went, StoreError> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(went) => return went,
            Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A device that is never there.
const NOBODY: DeviceId = DeviceId::from_bytes([0xee; 16]);
