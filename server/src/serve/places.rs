//! The places for connections, and who leaves when there is none left.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use crate::client_address::network;
use crate::settings::ConnectionLimits;

/// The places for connections.
#[derive(Debug)]
pub(super) struct Places {
    seats: Arc<Semaphore>,
    limit: usize,
    per_address: usize,
    /// Counts the connections that came: the clock by which a connection has rested longer than
    /// another.
    turn: Arc<AtomicU64>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    guests: HashMap<u64, Guest>,
    /// How many are there from an address, without those that were asked to leave.
    by_address: HashMap<u128, usize>,
}

/// A connection that has a place.
#[derive(Debug)]
struct Guest {
    address: Option<u128>,
    activity: Arc<Activity>,
    /// Cancelled when it is asked to leave.
    leave: CancellationToken,
}

/// A place that is taken; given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) activity: Arc<Activity>,
    /// Cancelled when the connection must make room for another.
    pub(super) leave: CancellationToken,
    number: u64,
    places: Arc<Places>,
    _seat: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(limits: &ConnectionLimits) -> Arc<Self> {
        let limit = limits.connections.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            seats: Arc::new(Semaphore::new(limit)),
            limit,
            per_address: limits.per_address,
            turn: Arc::default(),
            taken: Mutex::default(),
        })
    }

    /// Waits for a place for one more connection; nothing if too many are at work for its
    /// `address`. The peers without one are not counted.
    pub(super) async fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let address = address.map(network);
        if let Some(address) = address
            && !self.has_room_for(address)
        {
            return None;
        }
        let seat = loop {
            if let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() {
                break seat;
            }
            self.taken().ask_to_leave(self.limit / SHARE + 1, |_| true);
            // Some come to rest meanwhile.
            let seat = Arc::clone(&self.seats).acquire_owned();
            if let Ok(seat) = tokio::time::timeout(PAUSE, seat).await {
                break seat.ok()?;
            }
        };
        Some(self.seat(address, seat))
    }

    /// Whether one more may come from `address`: at the limit, those of it that rest must leave.
    fn has_room_for(&self, address: u128) -> bool {
        let mut taken = self.taken();
        let count = taken.by_address.get(&address).copied().unwrap_or_default();
        count < self.per_address
            || taken
                .ask_to_leave(self.per_address / SHARE + 1, |guest| guest.address == Some(address))
                > 0
    }

    fn seat(self: &Arc<Self>, address: Option<u128>, seat: OwnedSemaphorePermit) -> Place {
        let number = self.turn.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::new(number, Arc::clone(&self.turn)));
        let leave = CancellationToken::new();
        let mut taken = self.taken();
        if let Some(address) = address {
            *taken.by_address.entry(address).or_default() += 1;
        }
        let guest = Guest { address, activity: Arc::clone(&activity), leave: leave.clone() };
        taken.guests.insert(number, guest);
        drop(taken);
        Place { activity, leave, number, places: Arc::clone(self), _seat: seat }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Asks up to `count` of the guests that `may_leave` to do so, of those that rest the ones that
    /// have rested longest; returns how many were asked. Many at a time, because it looks at all.
    fn ask_to_leave(&mut self, count: usize, may_leave: impl Fn(&Guest) -> bool) -> usize {
        let guests = self.guests.iter().filter(|(_, guest)| !guest.leave.is_cancelled());
        let mut resting: Vec<(u64, u64)> = guests
            .filter(|(_, guest)| may_leave(guest))
            .filter_map(|(number, guest)| Some((guest.activity.resting_since()?, *number)))
            .collect();
        if resting.len() > count {
            resting.select_nth_unstable(count);
            resting.truncate(count);
        }
        for (_, number) in &resting {
            if let Some(guest) = self.guests.get(number) {
                guest.leave.cancel();
                let address = guest.address;
                self.forget(address);
            }
        }
        resting.len()
    }

    /// Counts one less from an address.
    fn forget(&mut self, address: Option<u128>) {
        let Some(address) = address else { return };
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(guest) = taken.guests.remove(&self.number)
            && !guest.leave.is_cancelled()
        {
            taken.forget(guest.address);
        }
    }
}

/// One in so many leaves at a time.
const SHARE: usize = 64;
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, per_address: usize) -> Arc<Places> {
        let limits = ConnectionLimits { connections, per_address, ..ConnectionLimits::default() };
        Places::new(&limits)
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    fn at_work(place: &Place) -> impl Drop {
        place.activity.begin(http::Version::HTTP_11, true)
    }

    #[tokio::test]
    async fn who_has_rested_longest_makes_room() {
        let places = places(3, 10);
        let oldest = places.take(None).await.unwrap();
        let busy = places.take(None).await.unwrap();
        let used = places.take(None).await.unwrap();
        let _request = at_work(&busy);
        drop(at_work(&oldest));
        let waiting = tokio::spawn(async move { places.take(None).await });
        used.leave.cancelled().await;
        assert!(!oldest.leave.is_cancelled() && !busy.leave.is_cancelled());
        drop(used);
        assert!(waiting.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn who_is_at_work_stays() {
        let places = places(1, 10);
        let only = places.take(None).await.unwrap();
        let request = at_work(&only);
        let other = tokio::spawn(async move { places.take(None).await });
        tokio::time::sleep(PAUSE * 2).await;
        assert!(!only.leave.is_cancelled());
        drop(request);
        only.leave.cancelled().await;
        drop(only);
        assert!(other.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn an_address_has_its_share_and_no_more() {
        let places = places(100, 2);
        let (first, second) = (places.take(address(1)).await, places.take(address(1)).await);
        let (first, second) = (first.unwrap(), second.unwrap());
        let working = (at_work(&first), at_work(&second));
        assert!(places.take(address(1)).await.is_none(), "all of them are at work");
        assert!(places.take(address(2)).await.is_some());
        assert!(places.take(None).await.is_some());
        drop(working);
        let third = places.take(address(1)).await.unwrap();
        assert!(first.leave.is_cancelled() && !second.leave.is_cancelled());
        assert!(!third.leave.is_cancelled());
        drop((first, second, third));
        assert!(places.taken().by_address.is_empty() && places.taken().guests.is_empty());
    }
}
