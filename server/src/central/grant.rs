//! Tokens in an answer.

use serde_json::{Map, Value};
use tokenkeep_core::{
    AccessToken, Grant, InvalidToken, RefreshToken, Renewal, Timestamp, TokenType,
};

use super::failure::Failure;
use super::lifetime::{Bounds, stated};
use crate::config::AuthServerSettings;

/// The grant in a login's answer.
pub(super) fn of_login(
    settings: &AuthServerSettings,
    json: Map<String, Value>,
    now: Timestamp,
) -> Result<Grant, Failure> {
    let mut answer = Fields { settings, json };
    let token_type = answer.token_type()?.unwrap_or_default();
    let (access_token, access_expires_at) = answer.access(now)?;
    let field = &settings.refresh_token_field;
    let Some((refresh_token, life)) = answer.refresh(now)? else {
        return Err(Failure::Field(field.clone()));
    };
    let refresh_expires_at = now + refresh_bounds(settings).of(life);
    Ok(Grant { token_type, access_token, access_expires_at, refresh_token, refresh_expires_at })
}

/// The tokens in the answer to a refresh with `sent`.
pub(super) fn of_refresh(
    settings: &AuthServerSettings,
    json: Map<String, Value>,
    sent: &RefreshToken,
    now: Timestamp,
) -> Result<Renewal, Failure> {
    let mut answer = Fields { settings, json };
    let token_type = answer.token_type()?;
    let (access_token, access_expires_at) = answer.access(now)?;
    let says_life = answer.refresh_seconds().is_some();
    let refresh = answer.refresh(now)?;
    // The same token again is as old as it was: without a word on its life, its expiry stays.
    let refresh = refresh
        .filter(|(token, _)| says_life || token != sent)
        .map(|(token, life)| (token, now + refresh_bounds(settings).of(life)));
    Ok(Renewal { token_type, access_token, access_expires_at, refresh })
}

fn refresh_bounds(settings: &AuthServerSettings) -> Bounds {
    Bounds { default: settings.refresh_lifetime, longest: settings.max_refresh_lifetime }
}

/// An answer's fields under the names of the settings.
struct Fields<'s> {
    settings: &'s AuthServerSettings,
    json: Map<String, Value>,
}

impl Fields<'_> {
    fn token_type(&mut self) -> Result<Option<TokenType>, Failure> {
        let field = &self.settings.token_type_field;
        let text = text(&mut self.json, field)?;
        text.map(|text| usable(field, TokenType::new(text))).transpose()
    }

    fn access(&mut self, now: Timestamp) -> Result<(AccessToken, Timestamp), Failure> {
        let settings = self.settings;
        let field = &settings.access_token_field;
        let text = text(&mut self.json, field)?.ok_or_else(|| Failure::Field(field.clone()))?;
        let token = usable(field, AccessToken::new(text))?;
        let seconds = self.json.get(&settings.expires_in_field);
        let bounds =
            Bounds { default: settings.access_lifetime, longest: settings.max_access_lifetime };
        let life = bounds.of(stated(seconds, token.expose(), now));
        Ok((token, now + life))
    }

    /// The refresh token and the seconds it is said to live, if there is one.
    fn refresh(&mut self, now: Timestamp) -> Result<Option<(RefreshToken, Option<f64>)>, Failure> {
        let field = &self.settings.refresh_token_field;
        let Some(text) = text(&mut self.json, field)? else { return Ok(None) };
        let token = usable(field, RefreshToken::new(text))?;
        let life = stated(self.refresh_seconds(), token.expose(), now);
        Ok(Some((token, life)))
    }

    fn refresh_seconds(&self) -> Option<&Value> {
        self.json.get(&self.settings.refresh_expires_in_field)
    }
}

/// Takes a text out of the answer; absent and null are the same.
fn text(json: &mut Map<String, Value>, field: &str) -> Result<Option<String>, Failure> {
    match json.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Failure::Field(field.to_owned())),
    }
}

fn usable<T>(field: &str, token: Result<T, InvalidToken>) -> Result<T, Failure> {
    token.map_err(|cause| Failure::Token { field: field.to_owned(), cause })
}
