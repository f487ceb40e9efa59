//! The session flow on the engine: what several instances answer about one device is what one
//! thread could see of a session.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokenkeep::core::testing::{ACCESS_TTL, FakeIssuer, Fault};
use tokenkeep::sessions::{LoggedIn, LoginRequest, Settings};
use tokenkeep::testing::{Disk, open_on};
use tokenkeep::{
    ClientInfo, Credential, EndReason, Engine, Error, KeyRing, ManualClock, Options, Password,
    Rotation, Session, Sessions, Timestamp,
};

use super::checker::{Object, check};
use super::dice::Dice;
use super::recorder::Recorder;
use super::rounds;

const DEVICES: usize = 3;

/// A session as one thread sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// It has at least this generation of tokens: a refresh needs no call of ours.
    Live {
        generation: u64,
    },
    Ended(EndReason),
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// A resume, or a look, found this generation.
    Found(u64),
    /// A renewal in place of a spent generation brought this one.
    Renewed { spent: u64, generation: u64 },
    /// A call was told that the session is over.
    Over(EndReason),
    /// A logout found a session to end.
    LoggedOut,
    /// A logout found none.
    NothingToEnd,
    /// It was to end with others, if it was there.
    EndedFromElsewhere,
}

struct OneSession;

impl Object for OneSession {
    type State = State;
    type Operation = Operation;

    fn after(state: &State, operation: &Operation) -> Vec<State> {
        use State::{Ended, Live};
        if let (Operation::NothingToEnd, Live { .. }) = (operation, state) {
            return vec![Ended(EndReason::Refused), Ended(EndReason::Interrupted)];
        }
        let verdict = |reason| matches!(reason, EndReason::Refused | EndReason::Interrupted);
        let after = match (*operation, *state) {
            // Never an older one than somebody has seen before.
            (Operation::Found(found), Live { generation }) if found >= generation => {
                Some(Live { generation: found })
            }
            (Operation::Renewed { spent, generation: new }, Live { generation })
                if new >= generation && new > spent =>
            {
                Some(Live { generation: new })
            }
            // Only the auth server's verdict ends a session that nobody ends.
            (Operation::Over(reason), Live { .. }) if verdict(reason) => Some(Ended(reason)),
            (Operation::Over(reason), Ended(why)) if reason == why => Some(Ended(why)),
            (Operation::LoggedOut, Live { .. }) => Some(Ended(EndReason::Logout)),
            (Operation::NothingToEnd, Ended(why)) => Some(Ended(why)),
            (Operation::EndedFromElsewhere, Live { .. }) => Some(Ended(EndReason::EndedByUser)),
            (Operation::EndedFromElsewhere, Ended(why)) => Some(Ended(why)),
            _ => None,
        };
        after.into_iter().collect()
    }
}

type Flow = Sessions<Engine, FakeIssuer>;

/// Two instances on one store, and what is seen of each device.
struct Round {
    instances: [Flow; 2],
    issuer: FakeIssuer,
    clock: Arc<ManualClock>,
    devices: Vec<(Credential, Recorder<Operation>)>,
    number: u64,
}

impl Round {
    async fn new(number: u64) -> Self {
        // An auth server that takes a spent token again lets two refreshes of one token succeed,
        // if one of them loses its lease; a strict one ends the session.
        let rotation = if number.is_multiple_of(3) { Rotation::Strict } else { Rotation::None };
        let issuer = FakeIssuer::new().with_rotation(rotation);
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_800_000_000)));
        let ring = KeyRing::generate().unwrap();
        let options = Options::new().clock(clock.clone()).key_ring(ring).cache_bytes(1500);
        let engine = open_on(&Disk::new(), options).unwrap();
        let settings = Settings {
            cool_down: Duration::ZERO,
            concurrent_refreshes: NonZeroUsize::new(4).unwrap(),
            ..Settings::default()
        };
        let instance =
            || Sessions::new(engine.clone(), issuer.clone(), clock.clone(), settings.clone());
        let instances = [instance(), instance()];
        let mut devices = Vec::new();
        for _ in 0..DEVICES {
            let request = LoginRequest {
                username: "ada@example.org".into(),
                password: Password::new("secret"),
                presented: None,
                client: ClientInfo::default(),
            };
            let LoggedIn { credential, .. } = instances[0].login(request).await.unwrap();
            devices.push((credential, Recorder::new()));
        }
        Self { instances, issuer, clock, devices, number }
    }

    /// What one task does.
    async fn work(&self, task: u64) {
        let mut dice = Dice::new(self.number.wrapping_mul(7919) + task);
        let mut seen = [1; DEVICES];
        for _ in 0..12 {
            let flow = &self.instances[usize::try_from(dice.roll(2)).unwrap()];
            let at = usize::try_from(dice.roll(DEVICES as u64)).unwrap();
            let device = &self.devices[at].0;
            let recorder = &self.devices[at].1;
            let begun = recorder.tick();
            match dice.roll(24) {
                0 => match flow.logout(device).await.unwrap() {
                    true => recorder.answered(begun, Operation::LoggedOut),
                    false => recorder.answered(begun, Operation::NothingToEnd),
                },
                1 if dice.roll(2) == 0 => self.end_others(flow, at).await,
                2..=8 => {
                    let spent = seen[at];
                    let renewed = flow.renew(device, token(spent, at).spent()).await;
                    let renewed = renewed.map(|session| generation(&session));
                    let told = |generation| Operation::Renewed { spent, generation };
                    seen[at] = note(recorder, begun, renewed, told).unwrap_or(seen[at]);
                }
                _ => {
                    let found = flow.resume(device).await.map(|session| generation(&session));
                    seen[at] = note(recorder, begun, found, Operation::Found).unwrap_or(seen[at]);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Ends all devices but one, as its user.
    async fn end_others(&self, flow: &Flow, at: usize) {
        let others = || self.devices.iter().enumerate().filter(|(other, _)| *other != at);
        let begun: Vec<u64> = others().map(|(_, (_, recorder))| recorder.tick()).collect();
        if flow.end_devices(&self.devices[at].0, true).await.is_ok() {
            for ((_, (_, recorder)), begun) in others().zip(begun) {
                recorder.answered(begun, Operation::EndedFromElsewhere);
            }
        }
    }

    /// Lets access tokens die and leases run out while refreshes are under way, and some of those
    /// go wrong.
    async fn disturb(&self) {
        for step in 0..4_u32 {
            self.issuer.close_gate();
            pause().await;
            if step < 2 {
                self.clock.advance(ACCESS_TTL / 2 + Duration::from_secs(1));
            }
            pause().await;
            self.issuer.open_gate();
            if step == 3 && self.number.is_multiple_of(2) {
                self.issuer.fail_next([Fault::NotSent, Fault::LostAfter]);
            }
            pause().await;
        }
        self.issuer.open_gate();
    }
}

/// Lets others run.
async fn pause() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// The access token that [`FakeIssuer`] gave a device.
fn token(generation: u64, at: usize) -> tokenkeep::AccessToken {
    tokenkeep::AccessToken::new(format!("access-{}-{generation}", at + 1)).unwrap()
}

fn generation(session: &Session) -> u64 {
    let token = session.record().access_token.expose();
    token.rsplit('-').next().unwrap().parse().unwrap()
}

/// Notes what a call was told; the generation if it was told one.
fn note(
    recorder: &Recorder<Operation>,
    begun: u64,
    outcome: Result<u64, Error>,
    told: impl FnOnce(u64) -> Operation,
) -> Option<u64> {
    match outcome {
        Ok(generation) => {
            recorder.answered(begun, told(generation));
            Some(generation)
        }
        Err(Error::Ended(reason)) => {
            recorder.answered(begun, Operation::Over(reason));
            None
        }
        // It says nothing of the session.
        Err(Error::Unavailable { .. }) => None,
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn histories_through_the_flow_are_linearisable() {
    for number in 0..rounds() {
        let round = Arc::new(Round::new(number).await);
        let mut tasks: Vec<_> = (0..6)
            .map(|task| {
                let round = Arc::clone(&round);
                tokio::spawn(async move { round.work(task).await })
            })
            .collect();
        let disturbed = Arc::clone(&round);
        tasks.push(tokio::spawn(async move { disturbed.disturb().await }));
        for task in tasks {
            task.await.unwrap();
        }
        let round = Arc::into_inner(round).unwrap();
        for (_, recorder) in round.devices {
            check::<OneSession>(&State::Live { generation: 1 }, recorder.into_events());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refresh_that_lost_its_lease_does_not_overwrite_the_one_that_won() {
    for number in 0..rounds() {
        // The auth server takes a spent token again: both refreshes bring a pair.
        let round = Arc::new(Round::new(3 * number + 1).await);
        round.issuer.close_gate();
        let mut tasks = Vec::new();
        for instance in 0..2 {
            let this = Arc::clone(&round);
            tasks.push(tokio::spawn(async move {
                let (device, recorder) = &this.devices[0];
                let begun = recorder.tick();
                let flow = &this.instances[instance];
                let renewed = flow.renew(device, token(1, 0).spent()).await;
                let renewed = renewed.map(|session| generation(&session));
                let told = |generation| Operation::Renewed { spent: 1, generation };
                assert!(note(recorder, begun, renewed, told).is_some());
            }));
            round.issuer.until_running(instance + 1).await;
            round.clock.advance(Settings::default().lease_ttl());
        }
        round.issuer.open_gate();
        for task in tasks {
            task.await.unwrap();
        }
        let (device, recorder) = &round.devices[0];
        let begun = recorder.tick();
        let found = round.instances[0].look(device).await.map(|session| generation(&session));
        note(recorder, begun, found, Operation::Found);
        let round = Arc::into_inner(round).unwrap();
        let history = round.devices.into_iter().next().unwrap().1.into_events();
        check::<OneSession>(&State::Live { generation: 1 }, history);
    }
}
