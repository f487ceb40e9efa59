//! `tokenkeep serve`: from the settings to a server that stops cleanly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokenkeep_core::{Clock, Sessions, SystemClock};
use tokenkeep_server::central::CentralIssuer;
use tokenkeep_server::config::{Config, StoreKind};
use tokenkeep_server::moving::Switchable;
use tokenkeep_server::service_key::ServiceKeys;
#[cfg(feature = "redis")]
use tokenkeep_server::sharing::Sharing;
use tokenkeep_server::store::AnyStore;
use tokenkeep_server::upkeep::{Reread, StoreUpkeep};
use tokenkeep_server::{App, Listeners, assembly, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, Source, runtime};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to listen; wins over the settings.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// What keeps the records: redb, redis or sqlite; wins over the settings.
    #[arg(long, value_name = "KIND")]
    store: Option<StoreKind>,
}

pub(crate) fn run(
    source: Source,
    mut config: Config,
    arguments: &Arguments,
) -> Result<(), Failure> {
    if let Some(listen) = arguments.listen {
        config.server.listen = listen;
    }
    if let Some(kind) = arguments.store {
        config.store.kind = kind;
    }
    config.check()?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    runtime()?.block_on(async {
        let listener = bind(config.server.listen).await?;
        let admin = match config.server.admin_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let reread: Reread = Arc::new(move || source.read().ok());
        let server = Server::open(&config, reread).await?;
        server.run(listener, admin, stop_signal()?).await
    })
}

/// A server whose store is open.
pub(crate) struct Server {
    store: Switchable<AnyStore>,
    sessions: Sessions<Switchable<AnyStore>, CentralIssuer>,
    app: Arc<App<Switchable<AnyStore>, CentralIssuer>>,
    shutdown_limit: Duration,
    /// With the other servers on the same Redis.
    #[cfg(feature = "redis")]
    sharing: Sharing,
}

impl Server {
    pub(crate) async fn open(config: &Config, reread: Reread) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = Switchable::new(assembly::open_store(config).await?);
        let issuer = CentralIssuer::new(config.auth_server.clone()).map_err(anyhow::Error::from)?;
        let flow = assembly::flow_settings(config);
        let sessions = Sessions::new(store.clone(), issuer, Arc::clone(&clock), flow);
        #[cfg(feature = "redis")]
        let sharing = Sharing::start(&sessions, &store);
        let keys = ServiceKeys::open(config.store.service_keys_file())
            .context("the service keys cannot be read")?;
        let settings = assembly::server_settings(config);
        let upkeep = StoreUpkeep::new(store.clone(), config.clone(), reread, Arc::clone(&clock));
        let app = App::new(sessions.clone(), clock, Arc::new(keys), settings)
            .map_err(anyhow::Error::from)?
            .with_upkeep(Arc::new(upkeep));
        let shutdown_limit = config.limits.shutdown_limit;
        Ok(Self {
            store,
            sessions,
            app: Arc::new(app),
            shutdown_limit,
            #[cfg(feature = "redis")]
            sharing,
        })
    }

    /// Serves until `stop` is done, finishes what is under way, and closes the store.
    pub(crate) async fn run(
        self,
        listener: TcpListener,
        admin: Option<TcpListener>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Failure> {
        let mut stop = Box::pin(stop);
        tokio::select! {
            settled = self.sessions.settle() => settled
                .map_err(|error| anyhow!(error).context("interrupted refreshes were not settled"))?,
            () = &mut stop => {
                let _ = tokio::time::timeout(self.shutdown_limit, self.sessions.shutdown()).await;
                return self.close().await;
            }
        }
        let listeners = Listeners { public: listener, admin };
        let stopped = serve(listeners, Arc::clone(&self.app), stop).await;
        let _ = stopped.context("a listener has no address")?;
        self.close().await
    }

    /// What was acknowledged is on the disk already; closing makes the next start quick.
    async fn close(self) -> Result<(), Failure> {
        #[cfg(feature = "redis")]
        self.sharing.stop().await;
        self.store.current().close().await.map_err(Failure::unavailable)
    }
}

pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}")).map_err(Failure::unavailable)
}

/// Done when the process is asked to stop; asked once more, the process stops at once.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::unavailable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::unavailable)?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(async move {
        next().await;
        tracing::info!("stopping: finishing what is under way; a second signal stops at once");
        tokio::spawn(async move {
            next().await;
            std::process::exit(130);
        });
    })
}
