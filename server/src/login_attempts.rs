//! How often logins are tried, by address and by email, in a table of bounded size.

use std::collections::{BTreeSet, HashMap};
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
/// Emails are counted whether they have an account or not, so a limit tells nothing of that.
#[derive(Debug)]
pub(crate) struct LoginAttempts {
    limits: LoginLimits,
    /// Keys are hashed with a secret of the process: no address or email is kept, and nobody
    /// can choose two that meet.
    hasher: RandomState,
    tables: Mutex<Tables>,
}

/// One table for each limit: a flood of addresses makes no email forgotten.
#[derive(Debug, Default)]
struct Tables {
    addresses: Table,
    emails: Table,
}

#[derive(Debug, Default)]
struct Table {
    whole_at: HashMap<u64, Duration>,
    /// The same, in the order in which they are forgotten.
    order: BTreeSet<(Duration, u64)>,
}

/// What tries are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// The address that they come from.
    Address,
    /// The email that they are for.
    Email,
}

/// A limit that a try has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitMet {
    pub(crate) counted: Counted,
    pub(crate) rate: Rate,
    /// How long until a try is taken.
    pub(crate) wait: Duration,
}

/// A try that was counted; a login that succeeds gives it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    address: u64,
    email: Option<u64>,
}

impl LoginAttempts {
    pub(crate) fn new(limits: LoginLimits) -> Self {
        Self { limits, hasher: RandomState::new(), tables: Mutex::default() }
    }

    /// Counts a try, or says how long to wait. What is refused is not counted.
    pub(crate) fn begin(
        &self,
        now: Duration,
        address: IpAddr,
        email: Option<&str>,
    ) -> Result<Attempt, LimitMet> {
        let attempt = Attempt {
            address: self.hasher.hash_one(network(address)),
            email: email.map(|email| self.hasher.hash_one(email.to_ascii_lowercase())),
        };
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        for (counted, key, rate) in self.keys(&attempt) {
            if let Some(wait) = tables.of(counted).wait(key, rate, now) {
                return Err(LimitMet { counted, rate, wait });
            }
        }
        for (counted, key, rate) in self.keys(&attempt) {
            tables.of(counted).charge(key, rate, now, self.limits.remembered);
        }
        Ok(attempt)
    }

    /// Gives back what a successful login has cost.
    pub(crate) fn succeeded(&self, attempt: Attempt) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        for (counted, key, rate) in self.keys(&attempt) {
            tables.of(counted).give_back(key, rate);
        }
    }

    fn keys(&self, attempt: &Attempt) -> impl Iterator<Item = (Counted, u64, Rate)> + use<> {
        let address = Some((Counted::Address, attempt.address, self.limits.per_address));
        let email = attempt.email.map(|email| (Counted::Email, email, self.limits.per_email));
        address.into_iter().chain(email)
    }
}

impl Tables {
    fn of(&mut self, counted: Counted) -> &mut Table {
        match counted {
            Counted::Address => &mut self.addresses,
            Counted::Email => &mut self.emails,
        }
    }
}

impl Table {
    fn wait(&self, key: u64, rate: Rate, now: Duration) -> Option<Duration> {
        let owed = self.whole_at.get(&key)?.saturating_sub(now);
        let room = rate.every.saturating_mul(rate.burst.saturating_sub(1));
        owed.checked_sub(room).filter(|wait| !wait.is_zero())
    }

    /// Where the table is full, it forgets what is whole again soonest: what was tried most is
    /// remembered longest, whatever comes.
    fn charge(&mut self, key: u64, rate: Rate, now: Duration, remembered: usize) {
        let at = self.whole_at.remove(&key);
        if let Some(at) = at {
            self.order.remove(&(at, key));
        }
        while let Some((at, oldest)) = self.order.first().copied()
            && (at <= now || self.order.len() >= remembered)
        {
            self.order.remove(&(at, oldest));
            self.whole_at.remove(&oldest);
        }
        let at = at.unwrap_or_default().max(now).saturating_add(rate.every);
        self.whole_at.insert(key, at);
        self.order.insert((at, key));
    }

    fn give_back(&mut self, key: u64, rate: Rate) {
        if let Some(at) = self.whole_at.get_mut(&key) {
            self.order.remove(&(*at, key));
            *at = at.saturating_sub(rate.every);
            self.order.insert((*at, key));
        }
    }
}

impl Counted {
    /// The stable word for it, in answers and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Email => "email",
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
        assert_eq!(try_at(0).unwrap_err().wait, seconds(10));
        assert_eq!(try_at(4).unwrap_err().wait, seconds(6), "what is refused is not counted");
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
    fn a_flood_keeps_the_tables_bounded_and_what_was_tried_most() {
        let attempts = attempts(10);
        let guess = |address: u32| {
            attempts.begin(seconds(1), IpAddr::V4(address.into()), Some("ada@example.org"))
        };
        assert!(guess(0).is_ok() && guess(1).is_ok());
        for number in 2..1000_u32 {
            let email = format!("{number}@example.org");
            assert!(attempts.begin(seconds(1), IpAddr::V4(number.into()), Some(&email)).is_ok());
            assert_eq!(guess(5000 + number).unwrap_err().counted, Counted::Email);
        }
        let tables = attempts.tables.lock().unwrap();
        for table in [&tables.addresses, &tables.emails] {
            assert_eq!((table.whole_at.len(), table.order.len()), (10, 10));
        }
    }

    #[test]
    fn what_is_whole_again_is_forgotten() {
        let attempts = attempts(10);
        for second in 0..100 {
            let address = IpAddr::V4(u32::try_from(second).unwrap().into());
            attempts.begin(seconds(second * 10), address, Some("ada@example.org")).unwrap();
        }
        let tables = attempts.tables.lock().unwrap();
        assert_eq!((tables.addresses.order.len(), tables.emails.order.len()), (1, 1));
    }
}
