//! The settings: a TOML file, the environment above it, defaults below it.
//!
//! Precedence: flags (set by the caller between [`Config::read`] and [`Config::check`]), then
//! `TOKENKEEP_<SECTION>__<KEY>`, then the file, then the names of the original application, then
//! the defaults. Unknown keys and unknown `TOKENKEEP_*` names are errors.

mod audit;
mod auth_server;
mod check;
pub mod duration;
mod environment;
mod gateway;
mod kind;
mod limits;
mod listen;
mod off;
mod original;
mod place;
mod proxy;
mod server;
mod session;
pub mod size;
mod store;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use audit::AuditSettings;
pub use auth_server::{AuthServerKind, AuthServerSettings, RotationKind};
pub use gateway::GatewaySettings;
pub use kind::{PasswordText, RedisSettings, SqliteSettings, StoreKind, UnknownKind};
pub use limits::LimitSettings;
pub use listen::{Listen, SocketMode, UnknownListen};
pub use place::Place;
pub use proxy::ProxySettings;
pub use server::{CookieShape, LogFormat, LogSettings, SameSite, ServerSettings};
pub use session::{CeilingKind, SessionSettings};
pub use store::{Durability, KeyRingSource, KeyRingText, StoreSettings};
pub use tls::TlsSettings;

/// Everything that can be set, section by section.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses, origins and the cookie.
    pub server: ServerSettings,
    /// Bounds on what clients may take.
    pub limits: LimitSettings,
    /// Who grants and renews tokens.
    pub auth_server: AuthServerSettings,
    /// Where records lie.
    pub store: StoreSettings,
    /// How long sessions live, and how many a user may have.
    pub session: SessionSettings,
    /// Bounds on what goes through the gateway.
    pub gateway: GatewaySettings,
    /// Prefixes that go on to an upstream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxy: Vec<ProxySettings>,
    /// The log.
    pub log: LogSettings,
    /// The audit log.
    pub audit: AuditSettings,
    #[serde(skip)]
    notes: Vec<String>,
    #[serde(skip)]
    key_ring: store::KeyRingEnvironment,
    #[serde(skip)]
    places: BTreeMap<String, Place>,
}

impl Config {
    /// Reads the settings and checks that they fit together.
    ///
    /// # Errors
    /// [`ConfigError`] names the key or the variable, where it stands, and what is expected.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let config = Self::read(path, env)?;
        config.check()?;
        Ok(config)
    }

    /// Reads the settings without [`Config::check`], so that flags can be laid over them.
    ///
    /// # Errors
    /// [`ConfigError`] if a file cannot be read, or a key or a value is not understood.
    pub fn read(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = match path {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|cause| ConfigError::File { path: path.to_owned(), cause })?,
            None => String::new(),
        };
        Self::parse(path.unwrap_or(Path::new("the settings")), &text, env)
    }

    /// Reads settings from the `text` of the file `path`.
    pub(crate) fn parse(
        path: &Path,
        text: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        // The typed reading of the file alone is what gives errors their line.
        toml::from_str::<Self>(text).map_err(|cause| syntax(path, text, &cause))?;
        let file: toml::Table = toml::from_str(text).map_err(|cause| syntax(path, text, &cause))?;
        environment::lay_over(file, place::keys_of(path, text), env)
    }

    /// Refuses values that do not fit together, with the line to change.
    ///
    /// # Errors
    /// [`ConfigError::Setting`] for the first that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        check::check(self).map_err(|wrong| ConfigError::Setting {
            place: self.places.get(wrong.key).cloned(),
            key: wrong.key,
            problem: wrong.problem,
        })
    }

    /// What an operator should hear at the start: names of the original application that count
    /// or do not, and combinations that are allowed and worth a thought.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.notes.iter().cloned().chain(check::doubts(self)).collect()
    }

    /// The key ring's place: the environment, `store.key_ring_file`, the service manager's
    /// credentials, or the data directory.
    #[must_use]
    pub fn key_ring(&self) -> KeyRingSource {
        self.key_ring.source(&self.store)
    }

    /// The effective settings as a TOML file; secrets are named, not shown.
    #[must_use]
    pub fn effective(&self) -> String {
        let settings = toml::to_string(self).unwrap_or_default();
        let password = match self.store.redis.password {
            Some(_) => "# store.redis.password is set, and not shown.\n",
            None => "",
        };
        format!("# The key ring comes from {}.\n{password}{settings}", self.key_ring())
    }
}

/// Why the settings are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The file is not TOML, or has a key or a value that is not understood.
    #[error("{place}: {problem}")]
    Syntax {
        /// Where it stands.
        place: Place,
        /// What is wrong. The line itself is not shown: it may hold a secret.
        problem: String,
    },
    /// A variable of the environment has a name or a value that is not understood.
    #[error("environment variable {name}: {problem}")]
    Variable {
        /// Which variable.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A setting is out of bounds, or does not fit another one.
    #[error("{key}{}: {problem}", place.as_ref().map(|p| format!(" ({p})")).unwrap_or_default())]
    Setting {
        /// Which setting, e.g. `server.same_site`.
        key: &'static str,
        /// Where it was set, if it was.
        place: Option<Place>,
        /// What to change.
        problem: String,
    },
}

fn syntax(path: &Path, text: &str, cause: &toml::de::Error) -> ConfigError {
    let start = cause.span().map_or(0, |span| span.start);
    let line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
    let place = Place::File { path: path.to_owned(), line };
    ConfigError::Syntax { place, problem: cause.message().to_owned() }
}

#[cfg(test)]
mod tests;
