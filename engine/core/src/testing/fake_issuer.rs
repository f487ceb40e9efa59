//! An auth server in memory: rotating one-time refresh tokens, reuse detection, and faults.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::{
    AccessToken, Grant, Issuer, IssuerError, Password, RefreshToken, Refusal, Renewal, Rotation,
    Timestamp, TokenType,
};

/// What goes wrong with one refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A verdict, whatever was presented.
    Refused,
    /// A new pair whose access token is dead on arrival.
    Stillborn,
    /// Connection refused.
    NotSent,
    /// 429 with `Retry-After`.
    Busy(Duration),
    /// The answer is lost before the auth server acted.
    LostBefore,
    /// The answer is lost after the auth server acted: the refresh token is spent.
    LostAfter,
    /// `invalid_client`.
    Misconfigured,
    /// A new access token, and no new refresh token.
    AccessOnly,
    /// The answer never comes, and the auth server has not acted.
    Hang,
}

/// An issuer whose refresh tokens work once: a second use ends the whole family, as strict
/// identity providers do. Cloning gives another handle.
///
/// The password `wrong` is refused, the login of `broken...` meets an internal error, and the
/// registration of `taken...` an account.
#[derive(Clone, Debug)]
pub struct FakeIssuer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    running: AtomicUsize,
    busiest: AtomicUsize,
    gate: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    next_family: u64,
    /// The number of the one good refresh token of each living family, and since when.
    families: HashMap<u64, (u64, Timestamp)>,
    faults: VecDeque<Fault>,
    rotation: Rotation,
    calls: usize,
    revoked: Vec<String>,
    is_deaf: bool,
}

/// How long access tokens of [`FakeIssuer`] work.
pub const ACCESS_TTL: Duration = Duration::from_secs(120);
/// How long refresh tokens of [`FakeIssuer`] work.
pub const REFRESH_TTL: Duration = Duration::from_secs(240);

impl Default for FakeIssuer {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeIssuer {
    /// An issuer with strict rotation and no faults.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            next_family: 1,
            families: HashMap::new(),
            faults: VecDeque::new(),
            rotation: Rotation::Strict,
            calls: 0,
            revoked: Vec::new(),
            is_deaf: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            running: AtomicUsize::new(0),
            busiest: AtomicUsize::new(0),
            gate: watch::Sender::new(true),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Says another rotation; with [`Rotation::None`] and [`Rotation::Grace`] the spent token
    /// works again.
    #[must_use]
    pub fn with_rotation(self, rotation: Rotation) -> Self {
        self.state(|state| state.rotation = rotation);
        self
    }

    /// Lets the next refreshes go wrong, one by one.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state(|state| state.faults.extend(faults));
    }

    /// Keeps refreshes waiting until [`FakeIssuer::open_gate`].
    pub fn close_gate(&self) {
        self.shared.gate.send_replace(false);
    }

    /// Lets waiting refreshes go on.
    pub fn open_gate(&self) {
        self.shared.gate.send_replace(true);
    }

    /// Waits until `count` refreshes are under way.
    pub async fn until_running(&self, count: usize) {
        while self.shared.running.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }

    /// How many refreshes came in.
    #[must_use]
    pub fn refresh_calls(&self) -> usize {
        self.state(|state| state.calls)
    }

    /// The most refreshes that were under way at one time.
    #[must_use]
    pub fn busiest(&self) -> usize {
        self.shared.busiest.load(Ordering::SeqCst)
    }

    /// Makes every revocation fail, or work again.
    pub fn set_deaf(&self, is_deaf: bool) {
        self.state(|state| state.is_deaf = is_deaf);
    }

    /// The refresh tokens that were revoked.
    #[must_use]
    pub fn revoked(&self) -> Vec<String> {
        self.state(|state| state.revoked.clone())
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.shared.state.lock().unwrap())
    }

    async fn pass_gate(&self) {
        let running = self.shared.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.shared.busiest.fetch_max(running, Ordering::SeqCst);
        let mut gate = self.shared.gate.subscribe();
        gate.wait_for(|open| *open).await.unwrap();
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl State {
    fn use_token(&mut self, token: &str, now: Timestamp) -> Result<Renewal, IssuerError> {
        let refused = || IssuerError::Refused(Refusal::default());
        let (family, number): (u64, u64) = token
            .strip_prefix("refresh-")
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(family, number)| family.parse().ok().zip(number.parse().ok()))
            .ok_or_else(refused)?;
        let (good, since) = *self.families.get(&family).ok_or_else(refused)?;
        let forgiving = match self.rotation {
            Rotation::None => true,
            Rotation::Grace(grace) => now.duration_since(since) < grace,
            Rotation::Strict => false,
        };
        let replay = number + 1 == good && forgiving;
        if number != good && !replay {
            self.families.remove(&family);
            return Err(refused());
        }
        let next = good + 1;
        self.families.insert(family, (next, now));
        Ok(renewal(family, next, now))
    }
}

fn renewal(family: u64, number: u64, now: Timestamp) -> Renewal {
    Renewal {
        token_type: None,
        access_token: AccessToken::new(format!("access-{family}-{number}")).unwrap(),
        access_expires_at: now + ACCESS_TTL,
        refresh: Some((
            RefreshToken::new(format!("refresh-{family}-{number}")).unwrap(),
            now + REFRESH_TTL,
        )),
    }
}

impl Issuer for FakeIssuer {
    async fn login(
        &self,
        username: &str,
        password: &Password,
        now: Timestamp,
    ) -> Result<Grant, IssuerError> {
        if username.starts_with("broken") {
            return Err(IssuerError::Unknown("500".into()));
        }
        if password.expose() == "wrong" {
            let detail = Some("Invalid credentials".to_owned());
            return Err(IssuerError::Refused(Refusal { detail, conflict: false }));
        }
        let family = self.state(|state| {
            let family = state.next_family;
            state.next_family += 1;
            state.families.insert(family, (1, now));
            family
        });
        let first = renewal(family, 1, now);
        let (refresh_token, refresh_expires_at) = first.refresh.unwrap();
        Ok(Grant {
            token_type: TokenType::default(),
            access_token: first.access_token,
            access_expires_at: first.access_expires_at,
            refresh_token,
            refresh_expires_at,
        })
    }

    async fn refresh(&self, token: &RefreshToken, now: Timestamp) -> Result<Renewal, IssuerError> {
        let fault = self.state(|state| {
            state.calls += 1;
            state.faults.pop_front()
        });
        self.pass_gate().await;
        match fault {
            None => self.state(|state| state.use_token(token.expose(), now)),
            Some(Fault::Refused) => Err(IssuerError::Refused(Refusal::default())),
            Some(Fault::NotSent) => {
                Err(IssuerError::NotSent { retry_after: None, cause: "connection refused".into() })
            }
            Some(Fault::Busy(pause)) => {
                Err(IssuerError::NotSent { retry_after: Some(pause), cause: "429".into() })
            }
            Some(Fault::LostBefore) => Err(IssuerError::Unknown("connection reset".into())),
            Some(Fault::LostAfter) => {
                let _ = self.state(|state| state.use_token(token.expose(), now));
                Err(IssuerError::Unknown("connection reset".into()))
            }
            Some(Fault::Stillborn) => {
                let renewal = self.state(|state| state.use_token(token.expose(), now))?;
                Ok(Renewal { access_expires_at: now, ..renewal })
            }
            Some(Fault::Misconfigured) => Err(IssuerError::Misconfigured("invalid_client".into())),
            Some(Fault::AccessOnly) => {
                Ok(Renewal { refresh: None, ..renewal(0, self.refresh_calls() as u64, now) })
            }
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    async fn register(
        &self,
        username: &str,
        _password: &Password,
    ) -> Result<Option<String>, IssuerError> {
        if username.starts_with("taken") {
            let detail = Some("User already exists".to_owned());
            return Err(IssuerError::Refused(Refusal { detail, conflict: false }));
        }
        Ok(Some("User created".into()))
    }

    fn revokes(&self) -> bool {
        true
    }

    async fn revoke(&self, token: &RefreshToken) -> Result<(), IssuerError> {
        self.state(|state| {
            if state.is_deaf {
                let cause = "told to hear of no revocation".into();
                return Err(IssuerError::NotSent { retry_after: None, cause });
            }
            state.revoked.push(token.expose().to_owned());
            Ok(())
        })
    }

    fn rotation(&self) -> Rotation {
        self.state(|state| state.rotation)
    }
}
