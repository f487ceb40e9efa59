//! The connection: one server, the master that sentinels name, or a cluster.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::RoutingInfo;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    RedisError, TlsMode, Value,
};
use tokio::sync::Mutex;

use super::fault;
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
        let nodes: Vec<ConnectionInfo> =
            settings.nodes.iter().map(|url| node(url, settings)).collect::<Result<_, _>>()?;
        let first = nodes.first().cloned().ok_or(OpenError::Address)?;
        let refused = |_| OpenError::Address;
        let source = match &settings.topology {
            Topology::Single => Source::Client(Box::new(Client::open(first).map_err(refused)?)),
            Topology::Sentinel { master } => {
                Source::Sentinel(Box::new(sentinel(&nodes, &first, master).map_err(refused)?))
            }
            Topology::Cluster => {
                let client = cluster(nodes, settings).map_err(refused)?;
                let connection = client.get_async_connection().await.map_err(fault)?;
                return Ok(Self::Cluster(client, Mutex::new(Some(connection))));
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.response_timeout));
        let connect_timeout = settings.connect_timeout;
        let (source, current) = (Mutex::new(source), Mutex::new(None));
        let made = AtomicU64::new(0);
        let direct = Direct { source, current, made, config, connect_timeout };
        direct.connection().await.map_err(fault)?;
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

/// The node at `url`, with the user and password of `settings`.
fn node(url: &str, settings: &Settings) -> Result<ConnectionInfo, OpenError> {
    let info = url.into_connection_info().map_err(|_| OpenError::Address)?;
    let mut redis = info.redis_settings().clone();
    if let Some(user) = &settings.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &settings.password {
        redis = redis.set_password(password.expose());
    }
    Ok(info.set_redis_settings(redis))
}

fn cluster(nodes: Vec<ConnectionInfo>, settings: &Settings) -> Result<ClusterClient, RedisError> {
    ClusterClient::builder(nodes)
        .connection_timeout(settings.connect_timeout)
        .response_timeout(settings.response_timeout)
        .overall_response_timeout(Some(settings.response_timeout))
        .retries(6)
        .build()
}

fn sentinel(
    nodes: &[ConnectionInfo],
    first: &ConnectionInfo,
    master: &str,
) -> Result<SentinelClient, RedisError> {
    let addresses = nodes.iter().map(|node| node.addr().clone());
    let redis = first.redis_settings();
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
        .set_client_to_redis_db(redis.db());
    if let Some(user) = redis.username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = redis.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if matches!(first.addr(), ConnectionAddr::TcpTls { .. }) {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    builder.build()
}
