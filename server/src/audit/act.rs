//! What somebody did, or was refused, and the stable words for it.

use std::borrow::Cow;

use tokenkeep_core::{DeviceId, Email, EndReason, EventKind};

use crate::failure::Failure;
use crate::reply;

/// What somebody did, or was refused.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(super) what: What,
    pub(super) outcome: Outcome,
    pub(super) device: Option<DeviceId>,
    pub(super) email: Option<Email>,
    pub(super) reason: Option<Cow<'static, str>>,
    pub(super) detail: Option<String>,
}

/// The kinds of acts. Their words are stable, and the README lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Login,
    LoginFailed,
    LoginLimited,
    Registration,
    RegistrationFailed,
    RegistrationLimited,
    Refresh,
    RefreshFailed,
    Logout,
    SessionEnded,
    DeviceLabelled,
    CredentialRefused,
    ServiceKeyRefused,
    CrossSiteRefused,
    AdminDevicesListed,
    AdminSessionsEnded,
    TaskBegun,
    TaskCalledOff,
    TaskDone,
    TaskFailed,
}

/// How an act went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is done.
    Done,
    /// Somebody said no.
    Refused,
    /// Something did not work.
    Failed,
}

impl Act {
    /// An act that is done.
    pub(crate) fn done(what: What) -> Self {
        let (outcome, device, email) = (Outcome::Done, None, None);
        Self { what, outcome, device, email, reason: None, detail: None }
    }

    /// An act that came to nothing, for the reason that the client hears as `code`.
    pub(crate) fn not_done(what: What, failure: &Failure) -> Self {
        let act = if reply::is_fault(failure) { Self::failed(what) } else { Self::refused(what) };
        act.because(reply::code_word(failure))
    }

    /// What the flow did.
    pub(super) fn seen(device: DeviceId, email: &Email, kind: &EventKind) -> Option<Self> {
        let act = match kind {
            EventKind::LoggedIn(_) => Self::done(What::Login),
            EventKind::Refreshed => Self::done(What::Refresh),
            EventKind::RefreshFailed => Self::failed(What::RefreshFailed),
            EventKind::LoggedOut(EndReason::Logout) => Self::done(What::Logout),
            EventKind::LoggedOut(reason) => Self::done(What::SessionEnded).because(reason.as_str()),
            EventKind::Relabelled => Self::done(What::DeviceLabelled),
            _ => return None,
        };
        Some(act.on(device).of(email.clone()))
    }

    /// An act that did not work.
    pub(crate) fn failed(what: What) -> Self {
        Self { outcome: Outcome::Failed, ..Self::done(what) }
    }

    /// An act that was refused.
    pub(crate) fn refused(what: What) -> Self {
        Self { outcome: Outcome::Refused, ..Self::done(what) }
    }

    pub(crate) fn because(self, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    pub(crate) fn on(self, device: impl Into<Option<DeviceId>>) -> Self {
        Self { device: device.into(), ..self }
    }

    pub(crate) fn of(self, email: impl Into<Option<Email>>) -> Self {
        Self { email: email.into(), ..self }
    }

    /// One more word on it; of ours, or made fit to be shown.
    pub(crate) fn with_detail(self, detail: &impl ToString) -> Self {
        Self { detail: Some(detail.to_string()), ..self }
    }
}

impl What {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::LoginLimited => "login_limited",
            Self::Registration => "registration",
            Self::RegistrationFailed => "registration_failed",
            Self::RegistrationLimited => "registration_limited",
            Self::Refresh => "refresh",
            Self::RefreshFailed => "refresh_failed",
            Self::Logout => "logout",
            Self::SessionEnded => "session_ended",
            Self::DeviceLabelled => "device_labelled",
            Self::CredentialRefused => "credential_refused",
            Self::ServiceKeyRefused => "service_key_refused",
            Self::CrossSiteRefused => "cross_site_refused",
            Self::AdminDevicesListed => "admin_devices_listed",
            Self::AdminSessionsEnded => "admin_sessions_ended",
            Self::TaskBegun => "task_begun",
            Self::TaskCalledOff => "task_called_off",
            Self::TaskDone => "task_done",
            Self::TaskFailed => "task_failed",
        }
    }
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = include_str!("../../../README.md");

    #[test]
    fn the_readme_knows_every_event() {
        let all = [
            What::Login,
            What::LoginFailed,
            What::LoginLimited,
            What::Registration,
            What::RegistrationFailed,
            What::RegistrationLimited,
            What::Refresh,
            What::RefreshFailed,
            What::Logout,
            What::SessionEnded,
            What::DeviceLabelled,
            What::CredentialRefused,
            What::ServiceKeyRefused,
            What::CrossSiteRefused,
            What::AdminDevicesListed,
            What::AdminSessionsEnded,
            What::TaskBegun,
            What::TaskCalledOff,
            What::TaskDone,
            What::TaskFailed,
        ];
        for what in all.map(What::as_str) {
            assert!(README.contains(&format!("`{what}`")), "{what}");
        }
        // A logout is an event of its own; what expires is told when it is presented.
        for reason in EndReason::ALL.map(EndReason::as_str) {
            assert!(README.contains(&format!("`{reason}`")), "{reason}");
        }
    }
}
