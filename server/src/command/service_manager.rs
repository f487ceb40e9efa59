//! What systemd hears of the server: ready, reloading, stopping, and that it is alive.

use std::time::Duration;

use sd_notify::NotifyState;

/// The server serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The settings are read again; [`ready`] follows.
pub(crate) fn reloading() {
    // systemd wants to know when it began.
    let now = NotifyState::monotonic_usec_now();
    let states = [NotifyState::Reloading, NotifyState::Status("reading files again")];
    tell(&states.into_iter().chain(now).collect::<Vec<_>>());
}

/// The server finishes what is under way.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is under way")]);
}

/// Says what the server does meanwhile.
pub(crate) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// Gives a sign of life twice in the time in which one is expected, if one is.
pub(crate) async fn stay_alive() {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    let mut pulse = tokio::time::interval((within / 2).max(Duration::from_millis(1)));
    loop {
        pulse.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

/// Without a service manager that listens this does nothing.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
