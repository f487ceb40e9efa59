//! What went wrong in a call, without anything that the answer said.

use std::time::Duration;

use tokenkeep_core::{InvalidToken, IssuerError};

/// What went wrong in a call. No variant carries a piece of a body or an address.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no whole answer within {0:?}")]
    Late(Duration),
    #[error("the connection failed")]
    Transport(#[source] reqwest::Error),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer has status {status} and the error code {code}")]
    Code { status: u16, code: &'static str },
    #[error("the answer is no JSON object")]
    NotJson,
    #[error("the answer's {0} is missing or of another type")]
    Field(String),
    #[error("the answer's {field} cannot be used")]
    Token {
        field: String,
        #[source]
        cause: InvalidToken,
    },
}

/// The auth server may have acted.
pub(super) fn unknown(failure: Failure) -> IssuerError {
    IssuerError::Unknown(Box::new(failure))
}
