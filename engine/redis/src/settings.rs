//! Where the store is, and how it is used.

use std::fmt;
use std::time::Duration;

use tokenkeep_core::{Password, StoreId};

/// Where the store is, and how it is used.
///
/// Addresses are `redis://host:port/database` or `rediss://host:port/database` for TLS. A user
/// and a password in an address work, too; neither is ever printed.
#[derive(Clone)]
pub struct Settings {
    pub(crate) nodes: Vec<String>,
    pub(crate) topology: Topology,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Password>,
    pub(crate) sentinel_login: Option<(Option<String>, Password)>,
    pub(crate) authorities: Option<Vec<u8>>,
    pub(crate) prefix: String,
    pub(crate) sealing: bool,
    pub(crate) answerable: Duration,
    pub(crate) store_id: Option<StoreId>,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
}

/// What stands behind the addresses.
#[derive(Clone, Debug)]
pub(crate) enum Topology {
    Single,
    Cluster,
    Sentinel { master: String },
}

impl Settings {
    /// One server at `url`.
    #[must_use]
    pub fn single(url: impl Into<String>) -> Self {
        Self::new(vec![url.into()], Topology::Single)
    }

    /// A Redis Cluster; some of its nodes are at `urls`, the others are asked for.
    #[must_use]
    pub fn cluster(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(urls.into_iter().map(Into::into).collect(), Topology::Cluster)
    }

    /// The server that the sentinels at `urls` call `master`. User, password and database of the
    /// first address are those of the master; it is spoken to with TLS if the first sentinel is.
    #[must_use]
    pub fn sentinel(
        urls: impl IntoIterator<Item = impl Into<String>>,
        master: impl Into<String>,
    ) -> Self {
        let nodes = urls.into_iter().map(Into::into).collect();
        Self::new(nodes, Topology::Sentinel { master: master.into() })
    }

    fn new(nodes: Vec<String>, topology: Topology) -> Self {
        Self {
            nodes,
            topology,
            user: None,
            password: None,
            sentinel_login: None,
            authorities: None,
            prefix: String::new(),
            sealing: true,
            answerable: Duration::from_secs(24 * 3600),
            store_id: None,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(5),
        }
    }

    /// Logs in as this ACL user; the default user unless set.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Logs in with this password.
    #[must_use]
    pub fn password(mut self, password: Password) -> Self {
        self.password = Some(password);
        self
    }

    /// Logs in to the sentinels with this; without a login unless set.
    #[must_use]
    pub fn sentinel_login(mut self, user: Option<String>, password: Password) -> Self {
        self.sentinel_login = Some((user, password));
        self
    }

    /// Trusts the certificate authorities in `pem` and no others; those of the system unless set.
    /// It concerns TLS only, and the name or address in a certificate has to fit all the same.
    #[must_use]
    pub fn authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(pem.into());
        self
    }

    /// Puts this in front of every key; nothing unless set, as in the original schema. Braces are
    /// refused: they decide where a key lies in a cluster.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Seals what is kept, which is so unless set. Without it tokens lie in the clear, for those
    /// who share the records with the original application.
    #[must_use]
    pub fn sealing(mut self, sealing: bool) -> Self {
        self.sealing = sealing;
        self
    }

    /// Answers for this long why a session ended; 24 hours unless set.
    #[must_use]
    pub fn answerable(mut self, time: Duration) -> Self {
        self.answerable = time;
        self
    }

    /// Gives a fresh store this id, which is that of the store it goes on from. A store that
    /// exists keeps its own.
    #[must_use]
    pub fn store_id(mut self, id: StoreId) -> Self {
        self.store_id = Some(id);
        self
    }

    /// Waits this long for a connection and for an answer; 2 and 5 seconds unless set. An answer
    /// must come well within the time of a refresh lease.
    #[must_use]
    pub fn timeouts(mut self, connect: Duration, response: Duration) -> Self {
        (self.connect_timeout, self.response_timeout) = (connect, response);
        self
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("topology", &self.topology)
            .field("user", &self.user)
            .field("prefix", &self.prefix)
            .field("sealing", &self.sealing)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_print_no_password() {
        let settings = Settings::single("redis://:canary-in-url@localhost")
            .password(Password::new("canary-password"));
        assert!(!format!("{settings:?}").contains("canary"));
    }
}
