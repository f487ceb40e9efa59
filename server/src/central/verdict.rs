//! What a status means: a verdict on what was presented, a misconfiguration, or nothing known.

use tokenkeep_core::{IssuerError, Refusal};

use super::call::Answer;
use super::detail;
use super::failure::{Failure, unknown};

/// Which call was answered.
#[derive(Clone, Copy)]
pub(super) enum Call<'s> {
    Login,
    Refresh {
        /// Statuses that are a verdict on the refresh token.
        refused: &'s [u16],
    },
    Register,
    Revoke,
}

/// Passes a success; everything else is an error. `secret` is kept out of the refusal's words.
pub(super) fn check(call: Call<'_>, answer: &Answer, secret: &str) -> Result<(), IssuerError> {
    let status = answer.status.as_u16();
    match (status, call) {
        (200 | 201, _) | (202..=204, Call::Revoke) => return Ok(()),
        // Informational and other successes promise nothing, 408 and 425 may come from a proxy
        // that had passed the request on already.
        (..300 | 408 | 425 | 500.., _) => return Err(unknown(Failure::Status(status))),
        _ => {}
    }
    let json = answer.json().unwrap_or_default();
    let code = detail::error_code(&json);
    // A code on the client is about tokenkeep, whatever the status: nobody may lose a session.
    if let Some(code) = code.filter(|code| CLIENT_CODES.contains(code)) {
        return Err(misconfigured(Failure::Code { status, code }));
    }
    let is_verdict = match call {
        Call::Login => matches!(status, 400 | 401 | 403 | 422 | 423),
        Call::Register => matches!(status, 400 | 403 | 409 | 422),
        // On a token, "invalid_request" says that the request is not what the server expects.
        Call::Refresh { .. } if code == Some("invalid_request") => false,
        Call::Refresh { refused } => {
            let invalid_grant = status == 400 && code == Some("invalid_grant");
            invalid_grant || (refused.contains(&status) && !answer.wants_basic)
        }
        Call::Revoke => false,
    };
    if !is_verdict {
        return Err(misconfigured(Failure::Status(status)));
    }
    let detail = detail::detail(&json, secret);
    Err(IssuerError::Refused(Refusal { detail, conflict: status == 409 }))
}

fn misconfigured(failure: Failure) -> IssuerError {
    IssuerError::Misconfigured(Box::new(failure))
}

/// Error codes that are about the client, not about what it presented (RFC 6749, 5.2).
const CLIENT_CODES: [&str; 4] =
    ["invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"];
