//! The tokens that are at hand: at most one a device, bounded, oldest death first to go.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokenkeep_core::{DeviceId, Email, Verifier};

use crate::Token;

/// The tokens that are at hand. All instants are of the monotonic clock.
///
/// An entry belongs to the whole credential: the device finds it, and the verifier of device and
/// secret decides whether it may be had.
pub(crate) struct Cache {
    bound: usize,
    held: HashMap<DeviceId, Held>,
    by_death: BTreeSet<(Duration, DeviceId)>,
}

/// A token and how long it serves.
pub(crate) struct Held {
    pub(crate) verifier: Verifier,
    pub(crate) token: Token,
    /// Until here it is handed out without asking the server.
    pub(crate) fresh_until: Duration,
    /// Until here it still works.
    pub(crate) dies_at: Duration,
}

impl Cache {
    /// An empty cache for at most `bound` tokens.
    pub(crate) fn new(bound: usize) -> Self {
        Self { bound, held: HashMap::new(), by_death: BTreeSet::new() }
    }

    /// The entry of `device`, if `verifier` opens it and the token still works.
    pub(crate) fn alive(
        &self,
        device: DeviceId,
        verifier: &Verifier,
        now: Duration,
    ) -> Option<&Held> {
        let held = self.held.get(&device)?;
        (held.verifier.matches(verifier) && now < held.dies_at).then_some(held)
    }

    /// Takes an entry in, and makes room for it.
    pub(crate) fn insert(&mut self, held: Held, now: Duration) {
        let device = held.token.device_id();
        self.remove(device);
        if self.bound == 0 || now >= held.dies_at {
            return;
        }
        while let Some((dies_at, oldest)) = self.by_death.first().copied() {
            if now < dies_at && self.held.len() < self.bound {
                break;
            }
            self.remove(oldest);
        }
        self.by_death.insert((held.dies_at, device));
        self.held.insert(device, held);
    }

    /// Drops the entry of `device`, if `verifier` opens it.
    pub(crate) fn remove_verified(&mut self, device: DeviceId, verifier: &Verifier) {
        if self.held.get(&device).is_some_and(|held| held.verifier.matches(verifier)) {
            self.remove(device);
        }
    }

    /// Drops the entry of `device`.
    pub(crate) fn remove(&mut self, device: DeviceId) {
        if let Some(held) = self.held.remove(&device) {
            self.by_death.remove(&(held.dies_at, device));
        }
    }

    /// Drops the entries of a user.
    pub(crate) fn remove_email(&mut self, email: &Email) {
        let by_death = &mut self.by_death;
        self.held.retain(|device, held| {
            let stays = held.token.email() != email;
            if !stays {
                by_death.remove(&(held.dies_at, *device));
            }
            stays
        });
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.held.clear();
        self.by_death.clear();
    }
}

#[cfg(test)]
mod tests {
    use tokenkeep_core::Timestamp;
    use tokenkeep_core::wire::TokenBody;

    use super::*;

    fn device(n: u8) -> DeviceId {
        DeviceId::from_bytes([n; 16])
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn held(n: u8, email: &str, dies_at: u64) -> Held {
        let body = TokenBody {
            token_type: "bearer".into(),
            access_token: format!("token-{n}"),
            access_expires_at: Timestamp::default(),
            access_seconds_left: dies_at,
            device_id: device(n),
            email: email.parse().unwrap(),
        };
        Held {
            verifier: Verifier::from_bytes([n; 32]),
            token: Token::read(body, device(n)).unwrap(),
            fresh_until: seconds(dies_at),
            dies_at: seconds(dies_at),
        }
    }

    fn has(cache: &Cache, n: u8, now: u64) -> bool {
        let verifier = Verifier::from_bytes([n; 32]);
        assert_eq!(cache.held.len(), cache.by_death.len(), "index and entries are one");
        cache.alive(device(n), &verifier, seconds(now)).is_some()
    }

    #[test]
    fn a_token_is_gone_at_the_instant_of_its_death() {
        let mut cache = Cache::new(4);
        cache.insert(held(1, "a@b", 10), seconds(0));
        assert!(has(&cache, 1, 9));
        assert!(!has(&cache, 1, 10));
    }

    #[test]
    fn another_secret_neither_opens_nor_drops_an_entry() {
        let mut cache = Cache::new(4);
        cache.insert(held(1, "a@b", 10), seconds(0));
        let wrong = Verifier::from_bytes([9; 32]);
        assert!(cache.alive(device(1), &wrong, seconds(0)).is_none());
        cache.remove_verified(device(1), &wrong);
        assert!(has(&cache, 1, 0));
    }

    #[test]
    fn a_full_cache_drops_the_dead_and_then_who_dies_first() {
        let mut cache = Cache::new(2);
        cache.insert(held(1, "a@b", 30), seconds(0));
        cache.insert(held(2, "a@b", 10), seconds(0));
        cache.insert(held(3, "a@b", 20), seconds(0));
        assert!(has(&cache, 1, 0) && !has(&cache, 2, 0) && has(&cache, 3, 0));
        cache.insert(held(4, "a@b", 90), seconds(40));
        assert_eq!(cache.held.len(), 1);
        let mut off = Cache::new(0);
        off.insert(held(1, "a@b", 30), seconds(0));
        assert!(!has(&off, 1, 0));
    }

    #[test]
    fn a_user_goes_with_all_devices() {
        let mut cache = Cache::new(9);
        for (n, email) in [(1, "a@b"), (2, "c@d"), (3, "a@b")] {
            cache.insert(held(n, email, 10), seconds(0));
        }
        cache.remove_email(&"a@b".parse().unwrap());
        assert!(!has(&cache, 1, 0) && has(&cache, 2, 0) && !has(&cache, 3, 0));
    }
}
