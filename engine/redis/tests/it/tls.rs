//! Redis with TLS: who is trusted, and what is said of the others.

use std::path::Path;

use tokenkeep_core::{KeyRing, Password, TokenStore as _};
use tokenkeep_redis::{Fault, OpenError, RedisStore, Settings};

use crate::server::{Cluster, Server};
use crate::support::{ADA, fault, log_in, now, open};

/// A certificate authority of its own.
pub(crate) struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = rcgen::CertificateParams::new([]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        // With the name of what it signs, it would be taken for that.
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        let key = rcgen::KeyPair::generate().unwrap();
        Self { issuer: rcgen::CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The arguments of a `redis-server` on `port` that speaks TLS only, whose files lie in
    /// `directory`.
    pub(crate) fn arguments(&self, directory: &Path, port: u16) -> Vec<String> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let mut arguments = ["--port", "0", "--tls-auth-clients", "no", "--tls-replication", "yes"]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(["--tls-port".to_owned(), port.to_string()]);
        for (name, text) in
            [("cert", certificate.pem()), ("key", key.serialize_pem()), ("ca-cert", self.pem())]
        {
            let file = directory.join(format!("{name}.pem"));
            std::fs::write(&file, text).unwrap();
            arguments.extend([format!("--tls-{name}-file"), file.display().to_string()]);
        }
        arguments
    }
}

async fn refused(settings: Settings) -> OpenError {
    RedisStore::open(settings, KeyRing::generate().unwrap()).await.expect_err("it is refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_a_cluster_of_a_known_authority_are_used() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority, &[]).await;
    let cluster = Cluster::start_tls(&authority).await;
    for settings in [server.settings(), cluster.settings()] {
        let store = open(settings.authorities(authority.pem())).await;
        let record = log_in(&store, ADA).await;
        assert!(store.get(record.device_id, now()).await.unwrap().live().is_some());
        store.check_writable().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_and_a_wrong_name_are_refused() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority, &[]).await;
    let cluster = Cluster::start_tls(&authority).await;
    let other = Authority::new().pem();
    let by_name = Settings::single(server.url().replace("127.0.0.1", "localhost"));
    for settings in [
        server.settings(),
        server.settings().authorities(other.clone()),
        cluster.settings().authorities(other),
        by_name.authorities(authority.pem()),
    ] {
        let error = refused(settings).await;
        assert!(matches!(error, OpenError::Redis(Fault::Certificate(_))), "{error:?}");
    }
    for none in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"]
    {
        let error = refused(server.settings().authorities(none)).await;
        assert!(matches!(error, OpenError::Authorities), "{none}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_forgets_tls_or_expects_it_in_vain_is_told() {
    let authority = Authority::new();
    let (tls, plain) = (Server::start_tls(&authority, &[]).await, Server::start().await);
    let bare = Settings::single(tls.url().replace("rediss:", "redis:"));
    for settings in [bare, Settings::cluster([tls.url().replace("rediss:", "redis:")])] {
        let error = refused(settings).await;
        assert!(matches!(error, OpenError::Redis(Fault::NotRedis(_))), "{error:?}");
    }
    let secure = Settings::single(plain.url().replace("redis:", "rediss:"));
    let error = refused(secure.authorities(authority.pem())).await;
    // Redis waits for the end of what it takes for a command.
    assert!(matches!(error, OpenError::Redis(Fault::TimedOut)), "{error:?}");
    let error = refused(Settings::cluster([plain.url()])).await;
    assert!(matches!(error, OpenError::Redis(Fault::NoCluster)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_logs_in_over_tls() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority, &[]).await;
    server.cli(&["ACL", "SETUSER", "tk", "on", ">canary-pw", "~tk:*", "+@all"]);
    let settings = server.settings().authorities(authority.pem()).user("tk").prefix("tk:");
    let error = refused(settings.clone().password(Password::new("canary-wrong"))).await;
    assert!(matches!(error, OpenError::Redis(Fault::Unauthenticated)), "{error:?}");
    assert!(!format!("{error:?}").contains("canary"));
    let store = open(settings.password(Password::new("canary-pw"))).await;
    log_in(&store, ADA).await;
    server.cli(&["ACL", "SETUSER", "tk", "resetkeys", "~other:*"]);
    let error = store.check_writable().await.unwrap_err();
    assert!(matches!(fault(&error), Fault::NotPermitted), "{error:?}");
}
