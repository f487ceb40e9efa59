//! `tokenkeep serve`: from the settings to a server that stops cleanly.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use tokenkeep_core::keyring::RingError;
use tokenkeep_core::{Chain, Clock, Sessions, SystemClock};
use tokenkeep_server::central::CentralIssuer;
use tokenkeep_server::config::{Config, Listen, ServerSettings, StoreKind};
use tokenkeep_server::moving::Switchable;
use tokenkeep_server::service_key::ServiceKeys;
#[cfg(feature = "redis")]
use tokenkeep_server::sharing::Sharing;
use tokenkeep_server::store::{AnyStore, SealedFailure, open_outbox};
use tokenkeep_server::upkeep::{Reread, StoreUpkeep};
use tokenkeep_server::{App, Audit, Tls, TlsError, assembly, serve};
use tokio::signal::unix::{SignalKind, signal};

use super::listen::{Passed, Sockets};
use super::{Failure, Source, hardening, runtime, service_manager};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to listen: ADDRESS:PORT, unix:PATH or systemd; wins over the settings.
    #[arg(long, value_name = "PLACE")]
    listen: Option<Listen>,
    /// What keeps the records: redb, redis or sqlite; wins over the settings.
    #[arg(long, value_name = "KIND")]
    store: Option<StoreKind>,
}

pub(crate) fn run(
    source: Source,
    mut config: Config,
    arguments: &Arguments,
) -> Result<(), Failure> {
    if let Some(listen) = &arguments.listen {
        config.server.listen = listen.clone();
    }
    if let Some(kind) = arguments.store {
        config.store.kind = kind;
    }
    config.check()?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    hardening::allow_open_files(config.limits.connections);
    let tls = open_tls(&config.server)?;
    tls.iter().for_each(warn_of_loose_key);
    let audit = open_audit(&config)?;
    let passed = Passed::take();
    runtime()?.block_on(async {
        let sockets = Sockets::open(&config.server, passed, tls.as_ref()).await?;
        let stop = stop_signal()?;
        let keys = KeysOf::default();
        read_again_on_hangup(tls, audit.clone(), Arc::clone(&keys))?;
        tokio::spawn(service_manager::stay_alive());
        let reread: Reread = Arc::new(move || source.read().ok());
        service_manager::status("opening the store");
        let server = Server::open(&config, reread, audit).await?;
        let _ = keys.set(server.upkeep.clone());
        server.run(sockets, stop).await
    })
}

/// Reads the certificate of the settings, if there is one.
pub(crate) fn open_tls(settings: &ServerSettings) -> Result<Option<Tls>, TlsError> {
    let Some((certificate, key)) = settings.tls.files() else { return Ok(None) };
    Tls::open(certificate, key).map(Some)
}

fn warn_of_loose_key(tls: &Tls) {
    if let Some(path) = tls.loose_key_file() {
        tracing::warn!(path = %path.display(), "others can read the private key; chmod 600");
    }
}

/// Opens the audit log of the settings, which may lie in the data directory.
fn open_audit(config: &Config) -> Result<Audit, Failure> {
    let clock = Arc::new(SystemClock::new());
    let Some(path) = &config.audit.file else { return Ok(Audit::to_log(clock)) };
    assembly::make_data_dir(&config.store).map_err(Failure::cannot_create)?;
    Audit::open(path, clock)
        .with_context(|| format!("{} cannot be written", path.display()))
        .map_err(Failure::cannot_create)
}

/// The store whose keys are read again, once it is open.
type KeysOf = Arc<OnceLock<StoreUpkeep>>;

/// Reads the certificate and the key ring again and opens the audit log anew at every SIGHUP; what
/// fails stays what it was.
fn read_again_on_hangup(tls: Option<Tls>, audit: Audit, keys: KeysOf) -> Result<(), Failure> {
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::unavailable)?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            service_manager::reloading();
            tls.iter().for_each(read_certificate_again);
            if audit.has_file() {
                open_anew(audit.clone()).await;
            }
            if let Some(upkeep) = keys.get() {
                read_keys_again(upkeep).await;
            }
            service_manager::ready();
        }
    });
    Ok(())
}

fn read_certificate_again(tls: &Tls) {
    match tls.reload() {
        Ok(()) => {
            warn_of_loose_key(tls);
            tracing::info!("the certificate was read again");
        }
        Err(error) => {
            let error = Chain(&error).to_string();
            tracing::error!(error, "the certificate stays as it was");
        }
    }
}

async fn read_keys_again(upkeep: &StoreUpkeep) {
    match upkeep.take_ring().await {
        Ok(active) => tracing::info!(%active, "the key ring was read again"),
        // There is none to take up.
        Err(SealedFailure::Ring(RingError::NotSealed)) => {}
        Err(error) => {
            let error = Chain(&error).to_string();
            tracing::error!(error, "the key ring stays as it was");
        }
    }
}

async fn open_anew(audit: Audit) {
    let opened = tokio::task::spawn_blocking(move || audit.reopen()).await;
    match opened.unwrap_or_else(|error| Err(error.into())) {
        Ok(()) => tracing::info!("the audit log was opened anew"),
        Err(error) => tracing::error!(%error, "the audit log goes on in the old file"),
    }
}

/// A server whose store is open.
pub(crate) struct Server {
    store: Switchable<AnyStore>,
    sessions: Sessions<Switchable<AnyStore>, CentralIssuer>,
    app: Arc<App<Switchable<AnyStore>, CentralIssuer>>,
    upkeep: StoreUpkeep,
    audit: Audit,
    shutdown_limit: Duration,
    /// Sessions that the auth server has not heard the end of.
    outbox: Option<AnyStore>,
    /// With the other servers on the same Redis.
    #[cfg(feature = "redis")]
    sharing: Sharing,
}

impl Server {
    pub(crate) async fn open(
        config: &Config,
        reread: Reread,
        audit: Audit,
    ) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = Switchable::new(assembly::open_store(config).await?);
        let issuer = CentralIssuer::new(config.auth_server.clone()).map_err(anyhow::Error::from)?;
        let flow = assembly::flow_settings(config);
        let mut sessions = Sessions::new(store.clone(), issuer, Arc::clone(&clock), flow)
            .seen_by(Arc::new(audit.clone()));
        let outbox = open_outbox(config, Arc::clone(&clock))?;
        if let Some(outbox) = &outbox {
            sessions = sessions.with_outbox(Switchable::new(outbox.clone()));
        }
        #[cfg(feature = "redis")]
        let sharing = Sharing::start(&sessions, &store);
        let keys = ServiceKeys::open(config.store.service_keys_file())
            .context("the service keys cannot be read")?;
        let settings = assembly::server_settings(config);
        let upkeep = StoreUpkeep::new(store.clone(), config.clone(), reread, Arc::clone(&clock))
            .with_outbox(outbox.clone())
            .with_audit(audit.clone());
        let app = App::new(sessions.clone(), clock, Arc::new(keys), settings)
            .map_err(anyhow::Error::from)?
            .with_upkeep(Arc::new(upkeep.clone()))
            .with_audit(audit.clone());
        let shutdown_limit = config.limits.shutdown_limit;
        Ok(Self {
            store,
            sessions,
            app: Arc::new(app),
            upkeep,
            audit,
            shutdown_limit,
            outbox,
            #[cfg(feature = "redis")]
            sharing,
        })
    }

    /// Serves until `stop` is done, finishes what is under way, and closes the store.
    pub(crate) async fn run(
        self,
        sockets: Sockets,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Failure> {
        let mut stop = Box::pin(stop);
        tokio::select! {
            settled = self.sessions.settle() => settled
                .map_err(|error| anyhow::anyhow!(error).context("interrupted refreshes were not settled"))?,
            () = &mut stop => {
                let _ = tokio::time::timeout(self.shutdown_limit, self.sessions.shutdown()).await;
                return self.close().await;
            }
        }
        service_manager::ready();
        let stopped = serve(sockets.listeners, Arc::clone(&self.app), stop).await;
        let _ = stopped.context("a listener has no address")?;
        self.close().await
    }

    /// What was acknowledged is on the disk already; closing makes the next start quick.
    async fn close(self) -> Result<(), Failure> {
        if let Err(error) = self.audit.close() {
            tracing::error!(%error, "the last lines of the audit log may be lost");
        }
        #[cfg(feature = "redis")]
        self.sharing.stop().await;
        if let Some(outbox) = self.outbox {
            outbox.close().await.map_err(Failure::unavailable)?;
        }
        self.store.current().close().await.map_err(Failure::unavailable)
    }
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
        service_manager::stopping();
        tracing::info!("stopping: finishing what is under way; a second signal stops at once");
        tokio::spawn(async move {
            next().await;
            std::process::exit(130);
        });
    })
}
