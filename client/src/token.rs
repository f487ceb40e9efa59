//! A usable access token, as a service gets it.

use std::fmt;
use std::sync::Arc;

use reqwest::RequestBuilder;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokenkeep_core::wire::TokenBody;
use tokenkeep_core::{AccessToken, DeviceId, Email, SpentToken, Timestamp, TokenType};
use zeroize::Zeroizing;

use crate::Error;

/// A usable access token and whose it is. Cloning is cheap; it does not print the token.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    access_token: AccessToken,
    token_type: TokenType,
    header: HeaderValue,
    expires_at: Timestamp,
    device_id: DeviceId,
    email: Email,
}

impl Token {
    /// The token itself.
    #[must_use]
    pub fn access_token(&self) -> &AccessToken {
        &self.0.access_token
    }

    /// How the token is presented, e.g. `Bearer`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.token_type.scheme()
    }

    /// When the token stops working, by the session server's clock.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.0.expires_at
    }

    /// The device that is logged in.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.0.device_id
    }

    /// Who is logged in.
    #[must_use]
    pub fn email(&self) -> &Email {
        &self.0.email
    }

    /// The value of an `Authorization` header, marked as sensitive.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.header.clone()
    }

    /// Puts the token into the `Authorization` header of `request`, in place of what is there.
    pub fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        // `headers` replaces, `header` would add a second one.
        request.headers(HeaderMap::from_iter([(AUTHORIZATION, self.header())]))
    }

    /// The hash that names this token without showing it.
    pub(crate) fn spent(&self) -> SpentToken {
        self.0.access_token.spent()
    }

    /// Reads the answer to a question about `asked`.
    pub(crate) fn read(body: TokenBody, asked: DeviceId) -> Result<Self, Error> {
        if body.device_id != asked {
            return Err(Error::unexpected(OtherDevice));
        }
        let access_token = AccessToken::new(body.access_token).map_err(Error::unexpected)?;
        let token_type = TokenType::new(body.token_type).map_err(Error::unexpected)?;
        let text = Zeroizing::new(format!("{} {}", token_type.scheme(), access_token.expose()));
        let mut header = HeaderValue::from_str(&text).map_err(Error::unexpected)?;
        header.set_sensitive(true);
        let (expires_at, email) = (body.access_expires_at, body.email);
        let inner = Inner { access_token, token_type, header, expires_at, device_id: asked, email };
        Ok(Self(Arc::new(inner)))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("device_id", &self.0.device_id)
            .field("expires_at", &self.0.expires_at)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the answer is about another device")]
struct OtherDevice;
