//! Where a store is, in one line: `redb:DIRECTORY`, `redis://HOST:PORT`, `sqlite:FILE`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

/// Where a store is. Printed without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `redb:DIRECTORY`: the embedded engine.
    Redb(PathBuf),
    /// `redis://` or, with TLS, `rediss://`.
    Redis(RedisAddress),
    /// `sqlite:FILE`.
    Sqlite(PathBuf),
    /// `original+redis://`: the original application's hashes.
    OriginalRedis(RedisAddress),
    /// `original+sqlite:FILE`: the original application's table.
    OriginalSqlite(PathBuf),
}

impl Address {
    /// Whether it is data of the original application.
    #[must_use]
    pub const fn is_original(&self) -> bool {
        matches!(self, Self::OriginalRedis(_) | Self::OriginalSqlite(_))
    }

    /// Whether a password stands in it.
    #[must_use]
    pub fn has_password(&self) -> bool {
        match self {
            Self::Redis(redis) | Self::OriginalRedis(redis) => redis.url.password().is_some(),
            Self::Redb(_) | Self::Sqlite(_) | Self::OriginalSqlite(_) => false,
        }
    }
}

/// The text was not the address of a store. It does not show the text: a password may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the address of a store: redb:DIRECTORY, redis://HOST:PORT, rediss://HOST:PORT or \
     sqlite:FILE is expected, original+ in front of the last three"
)]
pub struct InvalidAddress;

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (scheme, rest) = text.split_once(':').ok_or(InvalidAddress)?;
        let path = || if rest.is_empty() { Err(InvalidAddress) } else { Ok(PathBuf::from(rest)) };
        match scheme {
            "redb" => path().map(Self::Redb),
            "sqlite" => path().map(Self::Sqlite),
            "original+sqlite" => path().map(Self::OriginalSqlite),
            "redis" | "rediss" => RedisAddress::parse(text).map(Self::Redis),
            "original+redis" | "original+rediss" => {
                let plain = text.strip_prefix(ORIGINAL).unwrap_or(text);
                RedisAddress::parse(plain).map(Self::OriginalRedis)
            }
            _ => Err(InvalidAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redb(path) => write!(f, "redb:{}", path.display()),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::OriginalSqlite(path) => write!(f, "{ORIGINAL}sqlite:{}", path.display()),
            Self::Redis(redis) => redis.fmt(f),
            Self::OriginalRedis(redis) => write!(f, "{ORIGINAL}{redis}"),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Where a Redis is: `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE][?OPTIONS]`.
///
/// The options are ours: `prefix=TEXT`, `cluster=true`, `sentinel_master=NAME`, `sealing=off`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// The address without the options, with the password.
    url: Url,
    /// What every key begins with.
    pub prefix: String,
    /// Whether it is a Redis Cluster.
    pub cluster: bool,
    /// The master that the Sentinel at the address watches.
    pub sentinel_master: Option<String>,
    /// Whether tokens are sealed.
    pub sealing: bool,
    /// Other nodes of the Cluster, other Sentinels.
    pub nodes: Vec<String>,
    /// The login at the Sentinels: a user, if it is not the default one, and a password.
    pub sentinel_login: Option<(Option<String>, Zeroizing<String>)>,
    /// Certificates (PEM) to trust instead of the system's.
    pub authorities: Option<Vec<u8>>,
}

impl RedisAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// [`InvalidAddress`].
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let mut url = Url::parse(text).map_err(|_| InvalidAddress)?;
        let fits = matches!(url.scheme(), "redis" | "rediss")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.fragment().is_none();
        if !fits {
            return Err(InvalidAddress);
        }
        let options: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        url.set_query(None);
        let mut address = Self {
            url,
            prefix: String::new(),
            cluster: false,
            sentinel_master: None,
            sealing: true,
            nodes: Vec::new(),
            sentinel_login: None,
            authorities: None,
        };
        for (name, value) in options {
            match (name.as_str(), value.as_str()) {
                ("prefix", _) => address.prefix = value,
                ("cluster", "true") => address.cluster = true,
                ("sentinel_master", _) => address.sentinel_master = Some(value),
                ("sealing", "off") => address.sealing = false,
                _ => return Err(InvalidAddress),
            }
        }
        Ok(address)
    }

    /// The address as a driver takes it, password included.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.url.as_str()
    }

    /// Whether both are the same server, whoever logs in there.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        let place = |url: &Url| {
            let port = url.port().unwrap_or(6379);
            (url.scheme().to_owned(), url.host_str().map(str::to_owned), port)
        };
        place(&self.url) == place(&other.url)
    }

    /// This address with a user and a password, unless it has one.
    #[must_use]
    pub fn with_login(mut self, username: Option<&str>, password: &str) -> Self {
        if self.url.password().is_none() {
            // An address with a host takes both.
            let _ = self.url.set_username(username.unwrap_or_default());
            let _ = self.url.set_password(Some(password));
        }
        self
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        let _ = shown.set_password(None);
        let mut options = Vec::new();
        if !self.prefix.is_empty() {
            options.push(("prefix", self.prefix.as_str()));
        }
        if self.cluster {
            options.push(("cluster", "true"));
        }
        options.extend(self.sentinel_master.as_deref().map(|name| ("sentinel_master", name)));
        if !self.sealing {
            options.push(("sealing", "off"));
        }
        if !options.is_empty() {
            shown.query_pairs_mut().extend_pairs(options);
        }
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisAddress({self})")
    }
}

const ORIGINAL: &str = "original+";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in [
            "redb:/var/lib/tokenkeep",
            "redb:data",
            "sqlite:data/tokens.sqlite",
            "redis://127.0.0.1:6379",
            "rediss://keeper@redis.example:6380/2?prefix=tk%3A&cluster=true",
            "redis://sentinel.example:26379?sentinel_master=main&sealing=off",
            "original+redis://127.0.0.1:6379",
            "original+sqlite:/srv/app/tokens.db",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "redb",
            "redb:",
            "sqlite:",
            "mysql://host",
            "original+redb:data",
            "redis:",
            "redis://",
            "redis://host?colour=red",
            "redis://host?sealing=on",
            "redis://host:99999",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn no_password_is_shown() {
        for text in ["redis://u:canary@host", "original+rediss://:canary@host:1/?prefix=a"] {
            let address: Address = text.parse().unwrap();
            assert!(address.has_password());
            let shown = format!("{address} {address:?} {:?}", toml::Value::try_from(&address));
            assert!(!shown.contains("canary"), "{shown}");
        }
        let error = "redis://:canary@host?x=y".parse::<Address>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
        let Ok(Address::Redis(address)) = "redis://host".parse() else { panic!("an address") };
        let address = address.with_login(Some("ada"), "can/ary@");
        assert_eq!(address.expose(), "redis://ada:can%2Fary%40@host");
        assert!(!address.to_string().contains("ary"));
    }
}
