//! Certificates are verified: only a server that a trusted one vouches for is talked to.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use rustls::pki_types::PrivateKeyDer;

use super::*;

/// A TLS server on 127.0.0.1 with a fresh certificate for `name`; its address and certificate.
fn start(name: &str) -> (SocketAddr, String) {
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![certified.cert.der().clone()], key)
    .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut connection = rustls::ServerConnection::new(config).unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        let mut request = [0; 4096];
        if matches!(stream.read(&mut request), Ok(count) if count > 0) {
            let length = PAIR.len();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            write!(stream, "{head}content-length: {length}\r\n\r\n{PAIR}").unwrap();
        }
    });
    (address, certified.cert.pem())
}

async fn refresh(address: SocketAddr, trusted: Option<&str>) -> Result<Renewal, IssuerError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), trusted.unwrap_or_default()).unwrap();
    let issuer = CentralIssuer::new(AuthServerSettings {
        base_url: Some(format!("https://{address}")),
        ca_file: trusted.map(|_| file.path().to_owned()),
        ..AuthServerSettings::default()
    });
    issuer.unwrap().refresh(&token(), NOW).await
}

#[tokio::test]
async fn a_certificate_of_the_ca_file_is_trusted() {
    let (address, pem) = start("127.0.0.1");
    let outcome = refresh(address, Some(&pem)).await;
    assert_eq!(kind(&outcome), "ok", "{outcome:?}");
}

#[tokio::test]
async fn a_foreign_certificate_or_name_hears_no_token() {
    let (foreign, _) = start("127.0.0.1");
    let (_, other) = start("127.0.0.1");
    assert_eq!(kind(&refresh(foreign, Some(&other)).await), "not sent", "another certificate");
    let (unknown, _) = start("127.0.0.1");
    assert_eq!(kind(&refresh(unknown, None).await), "not sent", "not in the system's store");
    let (misnamed, pem) = start("auth.example");
    assert_eq!(kind(&refresh(misnamed, Some(&pem)).await), "not sent", "another name");
}
