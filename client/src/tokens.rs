//! Tokens at hand, and one call in flight per credential for those that are not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokenkeep_core::{Clock, Credential, DeviceId, Email, SpentToken, StoreId};
use tokio::runtime::Handle;

use crate::cache::{Cache, Held};
use crate::flights::{Flights, Lead, Seat};
use crate::transport::Transport;
use crate::{Error, Token};

/// Hands out tokens.
pub(crate) struct Tokens {
    transport: Arc<Transport>,
    clock: Arc<dyn Clock>,
    leeway: Duration,
    /// Makes verifiers worthless outside this process.
    salt: StoreId,
    state: Mutex<State>,
}

struct State {
    cache: Cache,
    flights: Flights,
}

/// Where a question for a token leads.
enum Way {
    /// The answer is at hand.
    Held(Token),
    /// A call is in flight. With `answers`, its outcome is the answer; otherwise it must be over
    /// before the question can be put.
    Wait { seat: Seat, answers: bool },
}

impl Tokens {
    /// No tokens yet.
    pub(crate) fn new(
        transport: Arc<Transport>,
        clock: Arc<dyn Clock>,
        leeway: Duration,
        bound: usize,
        salt: StoreId,
    ) -> Self {
        let state = State { cache: Cache::new(bound), flights: Flights::default() };
        Self { transport, clock, leeway, salt, state: Mutex::new(state) }
    }

    /// A usable token; with `spent`, another one than that.
    pub(crate) async fn obtain(
        self: &Arc<Self>,
        credential: &Credential,
        spent: Option<SpentToken>,
    ) -> Result<Token, Error> {
        loop {
            let (seat, answers) = match self.way(credential, spent)? {
                Way::Held(token) => return Ok(token),
                Way::Wait { seat, answers } => (seat, answers),
            };
            let token = seat.outcome().await?;
            if answers || is_another(&token, spent) {
                return Ok(token);
            }
        }
    }

    /// Forgets what is at hand for `credential`; a call in flight is not kept either.
    pub(crate) fn forget(&self, credential: &Credential) {
        let verifier = credential.verifier(&self.salt);
        let mut state = self.state();
        state.cache.remove_verified(credential.device_id(), &verifier);
        state.flights.detach(&verifier);
    }

    /// Forgets what is at hand for `device`.
    pub(crate) fn forget_device(&self, device: DeviceId) {
        let mut state = self.state();
        state.cache.remove(device);
        state.flights.detach_device(device);
    }

    /// Forgets what is at hand for a user.
    pub(crate) fn forget_email(&self, email: &Email) {
        let mut state = self.state();
        state.cache.remove_email(email);
        // Whose they are is not known before they land.
        state.flights.detach_all();
    }

    /// Forgets everything.
    pub(crate) fn forget_all(&self) {
        let mut state = self.state();
        state.cache.clear();
        state.flights.detach_all();
    }

    /// Looks for the answer, joins the call that brings it, or starts that call.
    fn way(
        self: &Arc<Self>,
        credential: &Credential,
        spent: Option<SpentToken>,
    ) -> Result<Way, Error> {
        let (device, verifier) = (credential.device_id(), credential.verifier(&self.salt));
        let now = self.clock.monotonic();
        let mut state = self.state();
        if let Some(held) = state.cache.alive(device, &verifier, now) {
            if !is_another(&held.token, spent) {
                state.cache.remove(device);
            } else if now < held.fresh_until {
                return Ok(Way::Held(held.token.clone()));
            }
        }
        if let Some((seat, in_flight)) = state.flights.seat(&verifier) {
            // A renewal answers a plain question, too, but not the other way round.
            return Ok(Way::Wait { seat, answers: spent.is_none() || spent == in_flight });
        }
        let runtime = Handle::try_current().map_err(Error::misconfigured)?;
        let (seat, lead) = state.flights.start(device, verifier, spent);
        // Detached: a caller that goes away takes the call from nobody who waits with it.
        runtime.spawn(Arc::clone(self).fly(lead, credential.clone(), spent));
        Ok(Way::Wait { seat, answers: true })
    }

    /// Makes the call and tells everybody who waits.
    async fn fly(self: Arc<Self>, lead: Lead, credential: Credential, spent: Option<SpentToken>) {
        let asked_at = self.clock.monotonic();
        let landing = Landing { tokens: &self, lead: &lead };
        let body = self.transport.token(&credential, spent).await;
        let outcome = body.and_then(|body| {
            let life = Duration::from_secs(body.access_seconds_left);
            Ok((Token::read(body, credential.device_id())?, life))
        });
        let outcome = match outcome {
            Ok((token, life)) => {
                landing.keep(&token, asked_at, life);
                Ok(token)
            }
            Err(error) => landing.fallback(error, spent),
        };
        // Off the list first: who comes after the outcome must not wait for it.
        drop(landing);
        lead.land(outcome);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a call; dropping it, even by a panic, takes the call off the list.
struct Landing<'a> {
    tokens: &'a Tokens,
    lead: &'a Lead,
}

impl Landing<'_> {
    /// Keeps the token at hand, unless it was to be forgotten while it was under way.
    ///
    /// Its life counts from the question: the server cannot have meant an earlier instant.
    fn keep(&self, token: &Token, asked_at: Duration, life: Duration) {
        let leeway = self.tokens.leeway.min(life / 10);
        let dies_at = asked_at.saturating_add(life);
        let held = Held {
            verifier: self.lead.verifier,
            token: token.clone(),
            fresh_until: dies_at.saturating_sub(leeway),
            dies_at,
        };
        let mut state = self.tokens.state();
        if state.flights.is_listed(self.lead) {
            state.cache.insert(held, self.tokens.clock.monotonic());
        }
    }

    /// What to do without a new token: a verdict ends the session, anything else does not, and
    /// then a token that still works is better than none.
    fn fallback(&self, error: Error, spent: Option<SpentToken>) -> Result<Token, Error> {
        let Lead { device, verifier, .. } = *self.lead;
        let mut state = self.tokens.state();
        if error.is_logged_out() {
            state.cache.remove_verified(device, &verifier);
        }
        let now = self.tokens.clock.monotonic();
        match state.cache.alive(device, &verifier, now) {
            Some(held) if error.is_unavailable() && is_another(&held.token, spent) => {
                Ok(held.token.clone())
            }
            _ => Err(error),
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.tokens.state().flights.end(self.lead);
    }
}

fn is_another(token: &Token, spent: Option<SpentToken>) -> bool {
    spent.is_none_or(|spent| token.spent() != spent)
}
