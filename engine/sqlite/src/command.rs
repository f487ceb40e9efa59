//! What callers ask of the writer, and the way back for the answer.

use std::fmt;

use tokenkeep_core::StoreError;
use tokio::sync::oneshot;

use crate::failure::{Failure, Fault};
use crate::rows::Rows;

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Decides upon one write.
    Write(Write),
    /// Closes the file and ends the writer.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

impl Command {
    /// Says that the command was not carried out.
    pub(crate) fn refuse(self, error: StoreError) {
        match self {
            Self::Write(write) => drop((write.0)(Turn::Refused(error))),
            // Whoever gave up waiting does not hear the answer.
            Self::Close(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// One write, with whom to tell what became of it.
pub(crate) struct Write(Box<dyn FnOnce(Turn<'_>) -> Decided + Send>);

/// What happens to a write when its turn comes.
enum Turn<'a> {
    Taken(&'a Rows<'a>),
    Refused(StoreError),
}

/// What was decided. The answer waits for the commit.
pub(crate) struct Decided {
    pub(crate) verdict: Verdict,
    answer: Answer,
}

/// Tells a caller, when it is known whether the commit succeeded.
type Answer = Box<dyn FnOnce(Result<(), &Failure>) + Send>;

/// What is to become of the changes that deciding made.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// They are part of the commit.
    Keep,
    /// They are taken back; the others of the batch stay.
    Undo,
    /// SQLite failed: the whole batch is taken back.
    Broken(rusqlite::Error),
}

impl Write {
    /// A write that `decide` decides, and where its answer goes.
    pub(crate) fn new<T: Send + 'static>(
        decide: impl FnOnce(&Rows<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (sender, receiver) = oneshot::channel();
        // Whoever gave up waiting does not hear the answer.
        let send = move |answer| drop(sender.send(answer));
        let write = Self(Box::new(move |turn| match turn {
            Turn::Refused(error) => {
                send(Err(error));
                Decided::settled()
            }
            Turn::Taken(rows) => {
                let (verdict, answer) = match decide(rows) {
                    Ok(answer) => (Verdict::Keep, Some(Ok(answer))),
                    Err(Fault::Sqlite(error)) => (Verdict::Broken(error), None),
                    Err(fault) => (Verdict::Undo, Some(Err(fault.into()))),
                };
                let answer: Answer = Box::new(move |outcome| match (outcome, answer) {
                    (Err(failure), _) => send(Err(failure.clone().into())),
                    (Ok(()), Some(answer)) => send(answer),
                    // A broken write is in no commit.
                    (Ok(()), None) => {}
                });
                Decided { verdict, answer }
            }
        }));
        (write, receiver)
    }

    /// Decides, within the transaction that `rows` sees.
    pub(crate) fn decide(self, rows: &Rows<'_>) -> Decided {
        (self.0)(Turn::Taken(rows))
    }
}

impl Decided {
    fn settled() -> Self {
        Self { verdict: Verdict::Keep, answer: Box::new(|_| ()) }
    }

    /// Answers the caller.
    pub(crate) fn answer(self, outcome: Result<(), &Failure>) {
        (self.answer)(outcome);
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Write")
    }
}
