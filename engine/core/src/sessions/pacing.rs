//! How often a single device may be refreshed: the breaker paces the issuer, this paces a device
//! whose refresh goes wrong, or whose tokens an upstream never accepts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::DeviceId;

/// The devices that must wait. Instants are the monotonic time of the clock.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    devices: Mutex<HashMap<DeviceId, Pace>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    consecutive_failures: u32,
    /// Nothing is sent for the device before this instant.
    retry_at: Duration,
    /// No token of the device is taken for spent before this instant.
    renew_at: Duration,
}

impl Pacing {
    /// How long nothing may be sent for `device`.
    pub(super) fn pause(&self, device: DeviceId, now: Duration) -> Option<Duration> {
        let retry_at = self.lock().get(&device)?.retry_at;
        retry_at.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// Whether a token of `device` may be taken for spent.
    pub(super) fn may_renew(&self, device: DeviceId, now: Duration) -> bool {
        self.lock().get(&device).is_none_or(|pace| now >= pace.renew_at)
    }

    /// A refresh went wrong, and nobody knows how: waits longer each time.
    pub(super) fn failed(&self, device: DeviceId, now: Duration) -> Duration {
        let mut devices = self.room(now);
        let pace = devices.entry(device).or_default();
        let pause = FIRST_PAUSE.saturating_mul(1 << pace.consecutive_failures.min(5));
        pace.consecutive_failures += 1;
        pace.retry_at = now.saturating_add(pause);
        pause
    }

    /// A refresh gave a new pair.
    pub(super) fn succeeded(&self, device: DeviceId) {
        let mut devices = self.lock();
        if let Some(pace) = devices.get_mut(&device) {
            *pace = Pace { renew_at: pace.renew_at, ..Pace::default() };
        }
    }

    /// A token was taken for spent and renewed: the next one gets a while to prove itself.
    pub(super) fn renewed(&self, device: DeviceId, now: Duration, cool_down: Duration) {
        self.room(now).entry(device).or_default().renew_at = now.saturating_add(cool_down);
    }

    /// The devices, after those that need not wait any more have made room for another one.
    fn room(&self, now: Duration) -> MutexGuard<'_, HashMap<DeviceId, Pace>> {
        let mut devices = self.lock();
        if devices.len() >= MOST_DEVICES {
            devices.retain(|_, pace| now < pace.retry_at.max(pace.renew_at));
        }
        if devices.len() >= MOST_DEVICES {
            devices.clear();
        }
        devices
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Pace>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// So many devices are paced at one time; beyond, the breaker alone does it.
const MOST_DEVICES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);

    #[test]
    fn failures_of_a_device_space_its_refreshes_out() {
        let pacing = Pacing::default();
        let pauses: Vec<u64> =
            (0..7).map(|_| pacing.failed(DEVICE, Duration::ZERO).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32]);
        assert!(pacing.pause(DEVICE, Duration::from_secs(31)).is_some());
        assert!(pacing.pause(DEVICE, Duration::from_secs(32)).is_none());
        pacing.succeeded(DEVICE);
        assert!(pacing.pause(DEVICE, Duration::ZERO).is_none());
        assert!(pacing.pause(DeviceId::from_bytes([2; 16]), Duration::ZERO).is_none());
    }

    #[test]
    fn a_renewed_token_gets_a_while() {
        let pacing = Pacing::default();
        assert!(pacing.may_renew(DEVICE, Duration::ZERO));
        pacing.renewed(DEVICE, Duration::ZERO, Duration::from_secs(5));
        pacing.succeeded(DEVICE);
        assert!(!pacing.may_renew(DEVICE, Duration::from_secs(4)));
        assert!(pacing.may_renew(DEVICE, Duration::from_secs(5)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let pacing = Pacing::default();
        for number in 0..(MOST_DEVICES as u128 + 10) {
            pacing.failed(DeviceId::from_bytes(number.to_be_bytes()), Duration::ZERO);
        }
        assert!(pacing.lock().len() <= MOST_DEVICES);
    }
}
