//! The list of calls in flight: at most one a credential, with seats for those who wait for it.

use std::collections::HashMap;

use tokenkeep_core::{DeviceId, SpentToken, Verifier};
use tokio::sync::watch;

use crate::{Error, Token};

type Outcome = Result<Token, Error>;

/// The calls in flight, by the verifier of the credential: another secret is another call.
#[derive(Default)]
pub(crate) struct Flights {
    listed: HashMap<[u8; 32], Flight>,
    started: u64,
}

struct Flight {
    number: u64,
    device: DeviceId,
    spent: Option<SpentToken>,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// The right to bring the outcome of one flight.
pub(crate) struct Lead {
    pub(crate) device: DeviceId,
    pub(crate) verifier: Verifier,
    number: u64,
    outcome: watch::Sender<Option<Outcome>>,
}

/// A seat on a flight.
pub(crate) struct Seat(watch::Receiver<Option<Outcome>>);

impl Flights {
    /// A seat on the flight for this credential, and which token it replaces, if it renews.
    pub(crate) fn seat(&self, verifier: &Verifier) -> Option<(Seat, Option<SpentToken>)> {
        let flight = self.listed.get(verifier.as_bytes())?;
        // A runtime that shut down before the call began has left nobody to bring an outcome.
        flight.outcome.has_changed().ok()?;
        Some((Seat(flight.outcome.clone()), flight.spent))
    }

    /// Lists a flight.
    pub(crate) fn start(
        &mut self,
        device: DeviceId,
        verifier: Verifier,
        spent: Option<SpentToken>,
    ) -> (Seat, Lead) {
        self.started += 1;
        let number = self.started;
        let (outcome, seat) = watch::channel(None);
        let flight = Flight { number, device, spent, outcome: seat.clone() };
        self.listed.insert(*verifier.as_bytes(), flight);
        (Seat(seat), Lead { device, verifier, number, outcome })
    }

    /// Whether a flight is on the list, so that its outcome may be kept.
    pub(crate) fn is_listed(&self, lead: &Lead) -> bool {
        self.listed.get(lead.verifier.as_bytes()).is_some_and(|flight| flight.number == lead.number)
    }

    /// Takes a flight off the list.
    pub(crate) fn end(&mut self, lead: &Lead) {
        if self.is_listed(lead) {
            self.listed.remove(lead.verifier.as_bytes());
        }
    }

    /// Takes the flight for this credential off the list: those on it get its outcome, nobody
    /// else joins, and it is not kept.
    pub(crate) fn detach(&mut self, verifier: &Verifier) {
        self.listed.remove(verifier.as_bytes());
    }

    /// Takes the flights of `device` off the list.
    pub(crate) fn detach_device(&mut self, device: DeviceId) {
        self.listed.retain(|_, flight| flight.device != device);
    }

    /// Takes all flights off the list.
    pub(crate) fn detach_all(&mut self) {
        self.listed.clear();
    }
}

impl Lead {
    /// Tells everybody on the flight.
    pub(crate) fn land(self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl Seat {
    /// Waits for the outcome.
    pub(crate) async fn outcome(mut self) -> Outcome {
        match self.0.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            // The task is gone, with its runtime or by a panic.
            _ => Err(Error::call_lost()),
        }
    }
}
