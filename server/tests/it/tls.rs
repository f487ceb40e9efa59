//! TLS in the server itself: what it speaks, how its certificate is renewed, what it refuses.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::commands::complaint;
use crate::process::{Installation, Server};
use crate::world::read_to_end;

/// An installation that speaks TLS, and the directory of its certificate.
struct Site {
    place: Installation,
    files: tempfile::TempDir,
}

impl Site {
    fn new(more: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = files.path().display();
        let tls = format!(
            "{more}\n[server.tls]\ncertificate = \"{path}/cert.pem\"\nkey = \"{path}/key.pem\"\n"
        );
        let place = Installation::new("http://127.0.0.1:9", &tls);
        let site = Self { place, files };
        site.renew();
        site
    }

    fn certificate(&self) -> PathBuf {
        self.files.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.files.path().join("key.pem")
    }

    /// Writes a fresh certificate and its key; returns the certificate.
    fn renew(&self) -> CertificateDer<'static> {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.certificate(), certified.cert.pem()).unwrap();
        std::fs::write(self.key(), certified.signing_key.serialize_pem()).unwrap();
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.key(), owner_only).unwrap();
        certified.cert.der().clone()
    }
}

/// Connects as a client that trusts `certificate` and nothing else.
async fn connect(
    server: &Server,
    certificate: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Asks for `/livez`, and reads to the end of the answer.
async fn ask(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"{\"status\":\"live\"}") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_spoken_over_tls() {
    let site = Site::new("");
    let certificate = site.renew();
    let server = site.place.serve().await;
    let mut plain = connect(&server, &certificate, &["http/1.1"]).await.unwrap();
    assert_eq!(plain.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    ask(&mut plain).await;
    let mut silent = connect(&server, &certificate, &[]).await.unwrap();
    ask(&mut silent).await;
    let stream = connect(&server, &certificate, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("https://localhost/v1/logout");
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (204, http::Version::HTTP_2));
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-device_id=;") && cookie.contains("; Secure"), "{cookie}");
    assert!(connect(&server, &certificate, &["gopher"]).await.is_err());
    let mut unencrypted = TcpStream::connect(server.address).await.unwrap();
    unencrypted.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(!read_to_end(&mut unencrypted).await.contains("HTTP"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_costs_no_connection() {
    let site = Site::new("");
    let old = site.renew();
    let server = site.place.serve().await;
    let mut open = connect(&server, &old, &[]).await.unwrap();
    ask(&mut open).await;
    let new = site.renew();
    server.signal("-HUP");
    server.until_said("the certificate was read again").await;
    ask(&mut open).await;
    ask(&mut connect(&server, &new, &[]).await.unwrap()).await;
    assert!(connect(&server, &old, &[]).await.is_err());
    // What cannot be used changes nothing.
    std::fs::write(site.certificate(), "rubbish").unwrap();
    server.signal("-HUP");
    server.until_said("the certificate stays as it was").await;
    ask(&mut connect(&server, &new, &[]).await.unwrap()).await;
    ask(&mut open).await;
    let said = String::from_utf8(server.stop().await).unwrap();
    let errors: Vec<&str> = said.lines().filter(|line| line.contains("\"ERROR\"")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert!(errors[0].contains("cert.pem holds no certificate"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_come_is_cut_off() {
    let site = Site::new("");
    let certificate = site.renew();
    let mut command = site.place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("TOKENKEEP_LIMITS__FIRST_REQUEST", "100ms");
    let server = Installation::start(command).await;
    // A record header that promises more, and a beginning of a ClientHello.
    for beginning in [b"".as_slice(), &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        read_to_end(&mut stream).await;
    }
    // Nor does one that is whole, and nothing behind it.
    let mut silent = connect(&server, &certificate, &[]).await.unwrap();
    let _ = silent.read_to_end(&mut Vec::new()).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_fit_are_refused_at_the_start() {
    let site = Site::new("");
    let (certificate, key) = (site.certificate(), site.key());
    let other = std::fs::read(&key).unwrap();
    let fresh = || site.renew();
    let refused = async |words: &str| {
        for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["check-config"]] {
            let said = complaint(site.place.command(arguments), 78).await;
            assert!(said.contains(words), "{said}");
        }
    };
    fresh();
    std::fs::write(&key, &other).unwrap();
    refused("cannot be used together").await;
    std::fs::write(&key, "rubbish").unwrap();
    refused("key.pem holds no private key").await;
    std::fs::remove_file(&key).unwrap();
    refused("key.pem cannot be read").await;
    fresh();
    std::fs::write(&certificate, std::fs::read(&key).unwrap()).unwrap();
    refused("cert.pem holds no certificate").await;
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&certificate, broken).unwrap();
    refused("cannot be used together").await;
    std::fs::remove_file(&certificate).unwrap();
    refused("cert.pem cannot be read").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_can_read_is_warned_about() {
    let site = Site::new("");
    let warned = async || {
        let said = site.place.serve().await.stop().await;
        String::from_utf8(said).unwrap().contains("others can read the private key")
    };
    assert!(!warned().await);
    std::fs::set_permissions(site.key(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(warned().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn administration_on_loopback_stays_plain() {
    let site = Site::new("");
    let mut command = site.place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("TOKENKEEP_SERVER__ADMIN_LISTEN", "127.0.0.1:0");
    let server = Installation::start(command).await;
    server.until_said("serving administration").await;
    let said = server.text();
    let line = said.lines().find(|line| line.contains("serving administration")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let mut admin = TcpStream::connect(line["address"].as_str().unwrap()).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    admin.write_all(request.as_bytes()).await.unwrap();
    assert!(read_to_end(&mut admin).await.starts_with("HTTP/1.1 200 "));
    server.stop().await;
}
