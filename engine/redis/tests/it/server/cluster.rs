//! Servers that are one Redis Cluster.

use std::process::{Command, Stdio};
use std::time::Duration;

use tokenkeep_redis::Settings;

use super::{INSTALL, Server, free_port};
use crate::tls::Authority;

/// Three servers that are one cluster.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_as(&[], None).await
    }

    /// A cluster whose nodes miss each other after a second.
    pub(crate) async fn start_alert() -> Self {
        Self::start_as(&["--cluster-node-timeout", "1000"], None).await
    }

    /// A cluster that speaks TLS only.
    pub(crate) async fn start_tls(authority: &Authority) -> Self {
        Self::start_as(&["--tls-cluster", "yes"], Some(authority)).await
    }

    async fn start_as(arguments: &[&str], authority: Option<&Authority>) -> Self {
        for _ in 0..5 {
            if let Some(cluster) = Self::try_start(arguments, authority).await {
                return cluster;
            }
        }
        panic!("the redis cluster does not start");
    }

    async fn try_start(arguments: &[&str], authority: Option<&Authority>) -> Option<Self> {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(node(arguments, authority).await);
        }
        let addresses: Vec<String> = nodes.iter().map(Server::address).collect();
        let mut words = vec!["--cluster", "create"];
        words.extend(addresses.iter().map(String::as_str));
        words.push("--cluster-yes");
        let made =
            Command::new("redis-cli").args(&nodes[0].login).args(&words).output().expect(INSTALL);
        let cluster = Self { nodes };
        (made.status.success() && cluster.is_whole().await).then_some(cluster)
    }

    /// Waits until every node knows that all slots are served.
    async fn is_whole(&self) -> bool {
        for _ in 0..500 {
            let ok = |node: &Server| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
            if self.nodes.iter().all(ok) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::cluster(self.nodes.iter().map(Server::url))
    }

    /// Adds a replica of the first node, which is the last of the nodes then.
    pub(crate) async fn add_replica(&mut self) {
        let replica = node(&["--cluster-node-timeout", "1000"], None).await;
        let (port, bus) = (self.nodes[0].port.to_string(), self.nodes[0].bus());
        replica.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        let id = self.nodes[0].cli(&["CLUSTER", "MYID"]);
        let mut known = false;
        for _ in 0..500 {
            known = known || replica.cli(&["CLUSTER", "REPLICATE", &id]) == "OK";
            if known && self.nodes[0].cli(&["INFO", "replication"]).contains("state=online") {
                self.nodes.push(replica);
                assert!(self.is_whole().await, "the cluster takes no replica");
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("there is no replica");
    }

    /// Moves so many slots from the first node to the second one, with what lies there.
    pub(crate) fn reshard(&self, slots: u16) -> Command {
        let id = |node: &Server| node.cli(&["CLUSTER", "MYID"]);
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "reshard", &self.nodes[0].address()]);
        command.args(["--cluster-from", &id(&self.nodes[0]), "--cluster-to", &id(&self.nodes[1])]);
        command.args(["--cluster-slots", &slots.to_string(), "--cluster-yes"]);
        command.stdout(Stdio::null());
        command
    }
}

async fn node(arguments: &[&str], authority: Option<&Authority>) -> Server {
    let bus = free_port().to_string();
    let mut all = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
    all.extend(arguments);
    match authority {
        Some(authority) => Server::start_tls(authority, &all).await,
        None => Server::start_with(&all).await,
    }
}

impl Server {
    /// The port by which the nodes of a cluster speak to each other.
    fn bus(&self) -> String {
        self.arguments[3].clone()
    }
}
