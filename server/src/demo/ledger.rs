//! Accounts, token families and counters.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokenkeep_core::{Email, Password, Timestamp};

use super::DemoSettings;

/// What the demo auth server counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemoStats {
    /// Accounts that were made.
    pub registrations: u64,
    /// Logins that worked.
    pub logins: u64,
    /// Logins that were refused.
    pub logins_refused: u64,
    /// Refresh calls that came, whatever became of them.
    pub refresh_calls: u64,
    /// Refresh calls that gave a new pair.
    pub refreshes: u64,
    /// Refresh calls with a spent token; each ended its family.
    pub reuses: u64,
    /// Tokens that were revoked.
    pub revocations: u64,
    /// Requests to the protected resource that had a good token.
    pub protected: u64,
}

/// Why the demo auth server says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DemoRefusal {
    /// The account exists.
    #[error("User already exists")]
    Exists,
    /// It has as many accounts as it keeps.
    #[error("No place for another user")]
    Full,
    /// Wrong address or password.
    #[error("Incorrect username or password")]
    WrongPassword,
    /// The refresh token is unknown, expired or spent.
    #[error("Invalid refresh token")]
    InvalidRefreshToken,
    /// The access token is unknown or expired.
    #[error("Invalid access token")]
    InvalidAccessToken,
    /// The operating system gives no random bytes.
    #[error("No random bytes")]
    NoRandom,
}

/// A pair of tokens, as an answer carries it.
pub(super) struct Pair {
    pub(super) access_token: String,
    pub(super) refresh_token: String,
}

#[derive(Default)]
pub(super) struct Ledger {
    accounts: HashMap<Email, Account>,
    access: HashMap<String, Token>,
    refresh: HashMap<String, Token>,
    families: u64,
    purge_at: usize,
    counted: DemoStats,
}

/// One round is enough for what lives in memory and dies with a demonstration.
struct Account {
    salt: [u8; 16],
    hash: [u8; 32],
}

struct Token {
    email: Email,
    /// All tokens that come from one login.
    family: u64,
    expires_at: Timestamp,
    spent: bool,
}

impl Ledger {
    pub(super) fn register(
        &mut self,
        email: Email,
        password: &Password,
    ) -> Result<(), DemoRefusal> {
        if self.accounts.contains_key(&email) {
            return Err(DemoRefusal::Exists);
        }
        if self.accounts.len() >= MAX_ACCOUNTS {
            return Err(DemoRefusal::Full);
        }
        let salt = random()?;
        self.accounts.insert(email, Account { salt, hash: hash(&salt, password) });
        self.counted.registrations += 1;
        Ok(())
    }

    pub(super) fn login(
        &mut self,
        email: &Email,
        password: &Password,
        settings: &DemoSettings,
        now: Timestamp,
    ) -> Result<Pair, DemoRefusal> {
        let good = self
            .accounts
            .get(email)
            .is_some_and(|account| hash(&account.salt, password).ct_eq(&account.hash).into());
        if !good {
            self.counted.logins_refused += 1;
            return Err(DemoRefusal::WrongPassword);
        }
        self.families += 1;
        self.counted.logins += 1;
        self.issue(email, self.families, settings, now)
    }

    pub(super) fn refresh(
        &mut self,
        token: &str,
        settings: &DemoSettings,
        now: Timestamp,
    ) -> Result<Pair, DemoRefusal> {
        self.counted.refresh_calls += 1;
        let found = self.refresh.get_mut(token).filter(|token| now < token.expires_at);
        let Some(found) = found else { return Err(DemoRefusal::InvalidRefreshToken) };
        let (email, family) = (found.email.clone(), found.family);
        if found.spent {
            self.counted.reuses += 1;
            self.end(family);
            return Err(DemoRefusal::InvalidRefreshToken);
        }
        found.spent = true;
        self.counted.refreshes += 1;
        self.issue(&email, family, settings, now)
    }

    pub(super) fn protected(&mut self, token: &str, now: Timestamp) -> Result<Email, DemoRefusal> {
        let found = self.access.get(token).filter(|token| now < token.expires_at);
        let email = found.map(|token| token.email.clone());
        self.counted.protected += u64::from(email.is_some());
        email.ok_or(DemoRefusal::InvalidAccessToken)
    }

    /// Ends the family of a token, if it is known.
    pub(super) fn revoke(&mut self, token: &str) {
        let found = self.refresh.get(token).or_else(|| self.access.get(token));
        if let Some(family) = found.map(|token| token.family) {
            self.end(family);
            self.counted.revocations += 1;
        }
    }

    pub(super) fn stats(&self) -> DemoStats {
        self.counted
    }

    pub(super) fn forget_access_tokens(&mut self) {
        self.access.clear();
    }

    pub(super) fn forget_refresh_tokens(&mut self) {
        self.refresh.clear();
    }

    fn issue(
        &mut self,
        email: &Email,
        family: u64,
        settings: &DemoSettings,
        now: Timestamp,
    ) -> Result<Pair, DemoRefusal> {
        self.purge(now);
        let pair = Pair { access_token: draw("da_")?, refresh_token: draw("dr_")? };
        let token = |lifetime| Token {
            email: email.clone(),
            family,
            expires_at: now + lifetime,
            spent: false,
        };
        self.access.insert(pair.access_token.clone(), token(settings.access_lifetime));
        self.refresh.insert(pair.refresh_token.clone(), token(settings.refresh_lifetime));
        Ok(pair)
    }

    fn end(&mut self, family: u64) {
        self.access.retain(|_, token| token.family != family);
        self.refresh.retain(|_, token| token.family != family);
    }

    /// Drops dead tokens whenever their number has doubled, so that it stays bounded by what lives.
    fn purge(&mut self, now: Timestamp) {
        if self.access.len().max(self.refresh.len()) < self.purge_at {
            return;
        }
        self.access.retain(|_, token| now < token.expires_at);
        self.refresh.retain(|_, token| now < token.expires_at);
        self.purge_at = self.access.len().max(self.refresh.len()).max(512) * 2;
    }
}

fn hash(salt: &[u8; 16], password: &Password) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(password.expose()).finalize().into()
}

fn draw(prefix: &str) -> Result<String, DemoRefusal> {
    let bytes: [u8; 32] = random()?;
    Ok(format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

fn random<const N: usize>() -> Result<[u8; N], DemoRefusal> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| DemoRefusal::NoRandom)?;
    Ok(bytes)
}

const MAX_ACCOUNTS: usize = 10_000;
