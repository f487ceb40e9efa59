//! Every call of the Redis driver: connections, scripts, commands, and what their failures mean.

mod clients;
mod link;
mod meaning;
mod reading;

pub(crate) use reading::Reply;

use std::sync::Arc;
use std::time::Duration;

use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Cmd, RedisError};

use self::link::Link;
use self::meaning::fault;
use crate::fault::{Fault, OpenError};
use crate::settings::Settings;

/// Runs scripts and commands. Cloning is cheap.
///
/// A call is repeated a few times if it was certainly or possibly not done: every script of this
/// crate may run twice, the second time finds what the first one did.
#[derive(Clone)]
pub(crate) struct Driver {
    link: Arc<Link>,
}

/// A script, known by its hash.
pub(crate) struct Script {
    code: String,
    hash: String,
}

impl Script {
    pub(crate) fn new(code: &str) -> Self {
        Self { hash: redis::Script::new(code).get_hash().to_owned(), code: code.to_owned() }
    }
}

/// A server of which every key has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Master {
    /// Its first slot, by which it is called in a cluster.
    pub(crate) slot: u16,
    /// Where it is: after a failover this is another one.
    pub(crate) address: String,
}

impl Driver {
    /// Connects as `settings` say.
    pub(crate) async fn connect(settings: &Settings) -> Result<Self, OpenError> {
        Ok(Self { link: Arc::new(Link::open(settings).await?) })
    }

    /// Runs `script`, which is sent once and known by its hash from then on.
    pub(crate) async fn run(
        &self,
        script: &Script,
        keys: &[String],
        args: &[Vec<u8>],
    ) -> Result<Reply, Fault> {
        let call = |name: &str, what: &str| {
            let mut cmd = redis::cmd(name);
            cmd.arg(what).arg(keys.len()).arg(keys).arg(args);
            cmd
        };
        let by_hash = self.query(&call("EVALSHA", &script.hash), None).await;
        match by_hash {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                let whole = call("EVAL", &script.code);
                self.query(&whole, None).await.map_err(fault)
            }
            result => result.map_err(fault),
        }
    }

    /// Runs a command that has a key.
    pub(crate) async fn command(&self, words: &[&[u8]]) -> Result<Reply, Fault> {
        self.query(&command(words), None).await.map_err(fault)
    }

    /// Runs a command on one master, whatever its keys.
    pub(crate) async fn command_on(&self, on: &Master, words: &[&[u8]]) -> Result<Reply, Fault> {
        self.query(&command(words), Some(on.slot)).await.map_err(fault)
    }

    /// The masters, in the order of their slots.
    pub(crate) async fn masters(&self) -> Result<Vec<Master>, Fault> {
        if !self.link.is_cluster() {
            return Ok(vec![Master { slot: 0, address: String::new() }]);
        }
        let slots = self.query(&command(&[b"CLUSTER", b"SLOTS"]), None).await.map_err(fault)?;
        let mut masters: Vec<Master> = slots.list().iter().filter_map(Reply::master).collect();
        masters.sort_by_key(|master| master.slot);
        // One master may have several ranges of slots; it is walked once.
        let mut known = std::collections::HashSet::new();
        masters.retain(|master| known.insert(master.address.clone()));
        Ok(masters)
    }

    /// One tag for each master: a key with it in braces lies there.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, Fault> {
        if !self.link.is_cluster() {
            return Ok(vec!["0".to_owned()]);
        }
        let tag_of = |master: &Master| {
            let there = Route::new(master.slot, SlotAddr::Master);
            let tags = (0_u32..).map(|number| number.to_string());
            tags.into_iter().find(|tag| Route::with_key(tag, SlotAddr::Master) == there)
        };
        Ok(self.masters().await?.iter().filter_map(tag_of).collect())
    }

    async fn query(&self, cmd: &Cmd, slot: Option<u16>) -> Result<Reply, RedisError> {
        let mut attempt = 0;
        loop {
            // The driver's futures are large, and nested deeply.
            let result = Box::pin(self.link.send(cmd, slot.map(to_master))).await;
            match result {
                Ok(value) => return Ok(value.into()),
                Err(error) if attempt < ATTEMPTS && may_pass(&error) => {
                    tracing::debug!(%error, attempt, "a call of redis is repeated");
                    tokio::time::sleep(PAUSE * 4_u32.pow(attempt)).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Driver")
    }
}

fn command(words: &[&[u8]]) -> Cmd {
    let mut cmd = Cmd::new();
    for word in words {
        cmd.arg(*word);
    }
    cmd
}

fn to_master(slot: u16) -> RoutingInfo {
    RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master)))
}

/// Whether the next attempt may be luckier. Who waited for an answer in vain does not wait again.
fn may_pass(error: &RedisError) -> bool {
    let code = matches!(error.code(), Some("READONLY" | "TRYAGAIN" | "LOADING" | "MASTERDOWN"));
    !error.is_timeout() && (code || (error.is_io_error() && error.is_connection_dropped()))
}

const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(20);
