//! The connection: one server, the master that sentinels name, or a cluster.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::RoutingInfo;
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, RedisError, Value};
use tokio::sync::Mutex;

use super::clients;
use super::meaning::{fault, fault_of_connecting};
use crate::fault::OpenError;
use crate::settings::{Settings, Topology};

/// A connection that is made anew when it broke.
pub(super) enum Link {
    Direct(Direct),
    Cluster(ClusterClient, Mutex<Option<ClusterConnection>>),
}

/// A connection to one server at a time.
pub(super) struct Direct {
    source: Mutex<Source>,
    current: Mutex<Option<Numbered>>,
    made: AtomicU64,
    config: AsyncConnectionConfig,
    connect_timeout: Duration,
}

/// Who says where the server is.
enum Source {
    Client(Box<Client>),
    Sentinel(Box<SentinelClient>),
}

/// A connection, and the how-manieth it is: a broken one is dropped once.
#[derive(Clone)]
struct Numbered {
    number: u64,
    connection: MultiplexedConnection,
}

impl Link {
    pub(super) async fn open(settings: &Settings) -> Result<Self, OpenError> {
        // Whoever installed another provider keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nodes = clients::nodes(settings)?;
        let refused = |_| OpenError::Address;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.response_timeout));
        let source = match &settings.topology {
            Topology::Single => {
                let first = nodes.into_iter().next().ok_or(OpenError::Address)?;
                Source::Client(Box::new(Client::open(first).map_err(refused)?))
            }
            Topology::Sentinel { master } => {
                let client = clients::sentinel(&nodes, settings, master).map_err(refused)?;
                Source::Sentinel(Box::new(client))
            }
            Topology::Cluster => {
                let client = clients::cluster(nodes.clone(), settings).map_err(refused)?;
                return match client.get_async_connection().await {
                    Ok(connection) => Ok(Self::Cluster(client, Mutex::new(Some(connection)))),
                    Err(error) => {
                        let why = first_refusal(nodes, &config).await;
                        Err(why.map_or_else(|| fault(error), fault_of_connecting).into())
                    }
                };
            }
        };
        let connect_timeout = settings.connect_timeout;
        let (source, current) = (Mutex::new(source), Mutex::new(None));
        let made = AtomicU64::new(0);
        let direct = Direct { source, current, made, config, connect_timeout };
        direct.connection().await.map_err(fault_of_connecting)?;
        Ok(Self::Direct(direct))
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(..))
    }

    /// Sends `cmd` to where its keys are, or to `route` in a cluster.
    pub(super) async fn send(
        &self,
        cmd: &Cmd,
        route: Option<RoutingInfo>,
    ) -> Result<Value, RedisError> {
        match self {
            Self::Direct(direct) => direct.send(cmd).await,
            Self::Cluster(client, current) => {
                let mut connection = cluster_connection(client, current).await?;
                let answer = match route {
                    Some(route) => connection.route_command(cmd.clone(), route).await,
                    None => connection.req_packed_command(cmd).await,
                };
                answer.and_then(Value::extract_error)
            }
        }
    }
}

impl Direct {
    async fn send(&self, cmd: &Cmd) -> Result<Value, RedisError> {
        let Numbered { number, mut connection } = self.connection().await?;
        let result = connection.req_packed_command(cmd).await.and_then(Value::extract_error);
        if let Err(error) = &result
            && is_spent(error)
        {
            let mut current = self.current.lock().await;
            if current.as_ref().is_some_and(|current| current.number == number) {
                *current = None;
            }
        }
        result
    }

    /// The connection; whoever finds none makes one, the others wait for it.
    async fn connection(&self) -> Result<Numbered, RedisError> {
        let mut current = self.current.lock().await;
        if let Some(current) = &*current {
            return Ok(current.clone());
        }
        let connection = self.connect(&self.config).await?;
        let fresh = Numbered { number: self.made.fetch_add(1, Ordering::Relaxed), connection };
        *current = Some(fresh.clone());
        Ok(fresh)
    }

    async fn connect(
        &self,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        let attempt = async {
            let client = match &mut *self.source.lock().await {
                Source::Client(client) => Client::clone(client),
                Source::Sentinel(sentinel) => sentinel.async_get_client().await?,
            };
            client.get_multiplexed_async_connection_with_config(config).await
        };
        // The driver bounds the connection, but not the whole of asking several sentinels.
        let timed_out = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        tokio::time::timeout(self.connect_timeout * 4, attempt).await.map_err(timed_out)?
    }
}

/// Whether the connection that gave `error` is good for nothing any more: it broke, or the
/// server behind it is not the master any more.
fn is_spent(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error() || error.code() == Some("READONLY")
}

/// Why the first of `nodes` that says so refuses a connection: of a cluster the driver only says
/// that it found no connection.
async fn first_refusal(
    nodes: Vec<ConnectionInfo>,
    config: &AsyncConnectionConfig,
) -> Option<RedisError> {
    for node in nodes {
        let client = Client::open(node).ok()?;
        if let Err(error) = client.get_multiplexed_async_connection_with_config(config).await {
            return Some(error);
        }
    }
    None
}

async fn cluster_connection(
    client: &ClusterClient,
    current: &Mutex<Option<ClusterConnection>>,
) -> Result<ClusterConnection, RedisError> {
    let mut current = current.lock().await;
    if let Some(connection) = &*current {
        return Ok(connection.clone());
    }
    let connection = client.get_async_connection().await?;
    *current = Some(connection.clone());
    Ok(connection)
}
