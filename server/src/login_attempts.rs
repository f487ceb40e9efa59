//! How often logins are tried, by address and by email, in a table of bounded size.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::client_address::network;
use crate::settings::{LoginLimits, Rate};

/// Counts tries to log in by the generic cell rate algorithm: for each key it remembers only
/// the instant at which its share is whole again.
///
/// Existing sessions never pass here: nobody can be locked out of one by somebody's guessing.
#[derive(Debug)]
pub(crate) struct LoginAttempts {
    limits: LoginLimits,
    /// Keys are hashed with a secret of the process: no address or email is kept, and nobody
    /// can choose two that meet.
    hasher: RandomState,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    whole_at: HashMap<u64, Duration>,
    purged_at: Duration,
}

/// A try that was counted; a login that succeeds gives it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    address: u64,
    email: Option<u64>,
}

impl LoginAttempts {
    pub(crate) fn new(limits: LoginLimits) -> Self {
        Self { limits, hasher: RandomState::new(), table: Mutex::default() }
    }

    /// Counts a try, or says how long to wait. What is refused is not counted.
    pub(crate) fn begin(
        &self,
        now: Duration,
        address: IpAddr,
        email: Option<&str>,
    ) -> Result<Attempt, Duration> {
        let attempt = Attempt {
            address: self.hasher.hash_one(("address", network(address))),
            email: email.map(|email| self.hasher.hash_one(("email", email.to_ascii_lowercase()))),
        };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, rate) in self.keys(&attempt) {
            table.wait(key, rate, now).map_or(Ok(()), Err)?;
        }
        for (key, rate) in self.keys(&attempt) {
            table.charge(key, rate, now, self.limits.remembered);
        }
        Ok(attempt)
    }

    /// Gives back what a successful login has cost.
    pub(crate) fn succeeded(&self, attempt: Attempt) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, rate) in self.keys(&attempt) {
            if let Some(at) = table.whole_at.get_mut(&key) {
                *at = at.saturating_sub(rate.every);
            }
        }
    }

    fn keys(&self, attempt: &Attempt) -> impl Iterator<Item = (u64, Rate)> + use<> {
        let address = Some((attempt.address, self.limits.per_address));
        let email = attempt.email.map(|email| (email, self.limits.per_email));
        address.into_iter().chain(email)
    }
}

impl Table {
    fn wait(&self, key: u64, rate: Rate, now: Duration) -> Option<Duration> {
        let owed = self.whole_at.get(&key)?.saturating_sub(now);
        let room = rate.every.saturating_mul(rate.burst.saturating_sub(1));
        owed.checked_sub(room).filter(|wait| !wait.is_zero())
    }

    fn charge(&mut self, key: u64, rate: Rate, now: Duration, remembered: usize) {
        if self.whole_at.len() >= remembered && !self.whole_at.contains_key(&key) {
            self.make_room(now);
        }
        let at = self.whole_at.entry(key).or_default();
        *at = (*at).max(now).saturating_add(rate.every);
    }

    /// Forgets what is whole again, at most once a second; if nothing is, forgets anything: the
    /// table stays bounded, whatever comes.
    fn make_room(&mut self, now: Duration) {
        if now.saturating_sub(self.purged_at) >= Duration::from_secs(1) || self.purged_at.is_zero()
        {
            self.purged_at = now.max(Duration::from_nanos(1));
            let before = self.whole_at.len();
            self.whole_at.retain(|_, at| *at > now);
            if self.whole_at.len() < before {
                return;
            }
        }
        if let Some(key) = self.whole_at.keys().next().copied() {
            self.whole_at.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn attempts(remembered: usize) -> LoginAttempts {
        LoginAttempts::new(LoginLimits {
            per_address: Rate { burst: 5, every: seconds(1) },
            per_email: Rate { burst: 2, every: seconds(10) },
            remembered,
        })
    }

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn an_email_has_its_burst_and_then_its_rate() {
        let attempts = attempts(100);
        let try_at = |now| attempts.begin(seconds(now), HOME, Some("ada@example.org"));
        assert!(try_at(0).is_ok() && try_at(0).is_ok());
        assert_eq!(try_at(0).unwrap_err(), seconds(10));
        assert_eq!(try_at(4).unwrap_err(), seconds(6), "what is refused is not counted");
        assert!(attempts.begin(seconds(4), HOME, Some("bob@example.org")).is_ok());
        assert!(attempts.begin(seconds(4), HOME, Some("ADA@example.org")).is_err());
        assert!(try_at(10).is_ok());
        assert!(try_at(10).is_err());
    }

    #[test]
    fn an_address_is_limited_whatever_the_email() {
        let attempts = attempts(100);
        for number in 0..5 {
            assert!(attempts.begin(seconds(0), HOME, Some(&format!("{number}@x"))).is_ok());
        }
        assert!(attempts.begin(seconds(0), HOME, Some("6@x")).is_err());
        let elsewhere = "192.0.2.2".parse().unwrap();
        assert!(attempts.begin(seconds(0), elsewhere, Some("6@x")).is_ok());
    }

    #[test]
    fn neighbours_in_a_v6_network_are_one() {
        let attempts = attempts(100);
        for number in 0..5 {
            let address = format!("2001:db8::{number}").parse().unwrap();
            assert!(attempts.begin(seconds(0), address, None).is_ok());
        }
        assert!(attempts.begin(seconds(0), "2001:db8::99".parse().unwrap(), None).is_err());
        assert!(attempts.begin(seconds(0), "2001:db8:0:1::1".parse().unwrap(), None).is_ok());
    }

    #[test]
    fn a_login_that_succeeds_costs_nothing() {
        let attempts = attempts(100);
        for _ in 0..50 {
            let attempt = attempts.begin(seconds(0), HOME, Some("ada@example.org")).unwrap();
            attempts.succeeded(attempt);
        }
    }

    #[test]
    fn the_table_stays_bounded() {
        let attempts = attempts(10);
        for number in 0..1000_u32 {
            let _ = attempts.begin(seconds(1), IpAddr::V4(number.into()), None);
        }
        assert!(attempts.table.lock().unwrap().whole_at.len() <= 10);
    }
}
