//! The whole in one process, by one clock: a store of any kind, auth server, session server,
//! client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tokenkeep_client::{ServiceKey, SessionClient};
use tokenkeep_core::{Clock, Credential, ManualClock, Password, Sessions, Timestamp};
use tokenkeep_server::central::CentralIssuer;
use tokenkeep_server::config::{Config, ProxySettings, StoreKind};
use tokenkeep_server::demo::{Demo, DemoSettings};
use tokenkeep_server::moving::Switchable;
use tokenkeep_server::relay::Relay;
use tokenkeep_server::service_key::ServiceKeys;
use tokenkeep_server::store::AnyStore;
use tokenkeep_server::{App, Scope, assembly, serve};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::auth_server::AuthServer;
use crate::stores::{self, Ground};
use crate::world::PATIENCE;

pub struct Whole {
    pub address: SocketAddr,
    pub clock: Arc<ManualClock>,
    pub demo: Demo,
    pub auth_server: AuthServer,
    /// The protected resource; it stays when the auth server goes.
    pub resource: AuthServer,
    pub store: AnyStore,
    pub sessions: Sessions<Switchable<AnyStore>, CentralIssuer>,
    pub key: ServiceKey,
    pub key_text: String,
    pub client: SessionClient,
    pub http: reqwest::Client,
    pub data: TempDir,
    _ground: Ground,
    _relay: Option<Relay>,
    _stop: DropGuard,
}

impl Whole {
    pub async fn new(kind: StoreKind) -> Self {
        Self::with(kind, |_| {}).await
    }

    /// With other settings.
    pub async fn with(kind: StoreKind, change: impl FnOnce(&mut Config)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000)));
        let lives = DemoSettings {
            access_lifetime: ACCESS,
            refresh_lifetime: REFRESH,
            says_lifetimes: false,
        };
        let demo = Demo::new(lives, clock.clone());
        let (auth_server, resource) =
            (AuthServer::start(demo.clone()), AuthServer::start(demo.clone()));
        let data = tempfile::tempdir().unwrap();
        let ground = Ground::of(kind).await;
        let mut config = config(&data, &ground, &auth_server, &resource);
        change(&mut config);
        config.check().unwrap();
        let store = stores::open(&config, &clock).await;
        let issuer = CentralIssuer::new(config.auth_server.clone()).unwrap();
        let flow = assembly::flow_settings(&config);
        let served = Switchable::new(store.clone());
        let sessions = Sessions::new(served, issuer, clock.clone(), flow);
        let relay = match &store {
            AnyStore::Redis(redis) => Some(Relay::start(&sessions, redis)),
            _ => None,
        };
        let keys = ServiceKeys::open(config.store.service_keys_file()).unwrap();
        let scopes = [Scope::Token, Scope::AdminRead, Scope::AdminWrite];
        let key = keys.add("tests", &scopes, clock.now()).unwrap();
        let key_text = key.text.expose().to_owned();
        let key = ServiceKey::new(key_text.as_str()).unwrap();
        let settings = assembly::server_settings(&config);
        let app = App::new(sessions.clone(), clock.clone(), Arc::new(keys), settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        tokio::spawn(async move { serve(listener, Arc::new(app), until).await.unwrap() });
        let http = assembly::http_client().unwrap();
        let client = client(address, &key, &clock);
        let (_ground, _relay, _stop) = (ground, relay, stop.drop_guard());
        Self {
            address,
            clock,
            demo,
            auth_server,
            resource,
            store,
            sessions,
            key,
            key_text,
            client,
            http,
            data,
            _ground,
            _relay,
            _stop,
        }
    }

    /// Another service with the same key, and nothing at hand.
    pub fn other_client(&self) -> SessionClient {
        client(self.address, &self.key, &self.clock)
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    /// A request of the device that holds `credential`.
    pub async fn send(&self, method: Method, path: &str, credential: &Credential) -> Response {
        self.ask(method, path).header("cookie", cookie(credential)).send().await.unwrap()
    }

    pub async fn get(&self, path: &str, credential: &Credential) -> Response {
        self.send(Method::GET, path, credential).await
    }

    /// Makes an account and logs in.
    pub async fn join(&self, email: &str) -> Credential {
        let body = json!({"email": email, "password": PASSWORD});
        let answer = self.ask(Method::POST, "/v1/register").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        self.login(email).await
    }

    pub async fn login(&self, email: &str) -> Credential {
        self.client.login(email, &Password::new(PASSWORD)).await.unwrap().0
    }

    /// Lets every access token die that is there.
    pub fn outlive_access(&self) {
        self.clock.advance(ACCESS + Duration::from_secs(1));
    }

    /// Checks that the protected resource is to be had.
    #[track_caller]
    pub fn reaches_the_resource(&self, credential: &Credential) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let answer = self.get("/api/protected", credential).await;
            let (status, body) = (answer.status(), answer.text().await.unwrap());
            assert_eq!(status, StatusCode::OK, "at {at}: {body}");
            assert!(body.contains("This is a protected resource"), "at {at}: {body}");
        }
    }
}

pub fn cookie(credential: &Credential) -> String {
    format!("device_id={}", credential.expose().as_str())
}

fn client(address: SocketAddr, key: &ServiceKey, clock: &Arc<ManualClock>) -> SessionClient {
    let builder = SessionClient::builder(format!("http://{address}"));
    builder.service_key(key.clone()).clock(clock.clone()).build().unwrap()
}

fn config(
    data: &TempDir,
    ground: &Ground,
    auth_server: &AuthServer,
    resource: &AuthServer,
) -> Config {
    let mut config = Config::default();
    ground.set(&mut config);
    config.store.data_dir = data.path().join("data");
    config.auth_server.base_url = Some(auth_server.url());
    config.auth_server.revoke_path = Some("/revoke".into());
    config.auth_server.access_lifetime = ACCESS;
    config.auth_server.refresh_lifetime = REFRESH;
    // No call is given up because the machine is busy.
    config.auth_server.deadline = PATIENCE * 2;
    config.limits.logins_per_address = 10_000;
    config.limits.drain_delay = Duration::ZERO;
    config.proxy =
        vec![ProxySettings { prefix: "/api".into(), upstream: resource.url(), strip_prefix: true }];
    config
}

pub const ACCESS: Duration = Duration::from_secs(120);
pub const REFRESH: Duration = Duration::from_secs(3600);
pub const PASSWORD: &str = "correct horse";
