//! Who asks, as the audit log names them.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};
use tokenkeep_core::{DeviceId, Email, EndReason, Error, EventKind, Witness};

use super::{Act, Audit, What};
use crate::reply::RequestId;

/// Who asks, as the audit log names them; the witness of what the flow does for them.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    audit: Audit,
    pub(super) request: RequestId,
    pub(crate) address: IpAddr,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) service: Option<String>,
}

impl Asker {
    /// Whoever sent `request` with these `headers` from `address`.
    pub(crate) fn new(
        audit: &Audit,
        request: RequestId,
        address: IpAddr,
        headers: &HeaderMap,
    ) -> Arc<Self> {
        let user_agent = headers.get(USER_AGENT).cloned();
        Arc::new(Self { audit: audit.clone(), request, address, user_agent, service: None })
    }

    /// The same, known by the name of their service key.
    pub(crate) fn named(&self, service: String) -> Arc<Self> {
        Arc::new(Self { service: Some(service), ..self.clone() })
    }

    /// Tells of an act that they asked for.
    pub(crate) fn note(&self, act: Act) {
        self.audit.note(Some(self), act);
    }

    /// Tells that a credential was refused: that of `device`, or what is none at all.
    pub(crate) fn note_refused(&self, device: Option<DeviceId>, error: &Error) {
        let reason = match error {
            Error::NotLoggedIn => "not_logged_in",
            // Everybody who waited for the refresh hears this; the end itself was told.
            Error::Ended(EndReason::Refused | EndReason::Interrupted) => return,
            Error::Ended(reason) => reason.as_str(),
            _ => return,
        };
        self.note(Act::refused(What::CredentialRefused).because(reason).on(device));
    }
}

impl Witness for Asker {
    fn saw(&self, device: DeviceId, email: &Email, kind: &EventKind) {
        if let Some(act) = Act::seen(device, email, kind) {
            self.note(act);
        }
    }
}
