//! A single-binary app with sessions of its own: no server, no Redis.
//!
//! `cargo run -p tokenkeep --example embed`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use tokenkeep::sessions::{LoginRequest, Settings};
use tokenkeep::{ClientInfo, Credential, Engine, Options, Password, Sessions, SystemClock};
use tokenkeep_core::testing::FakeIssuer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let store = Engine::open(directory.path(), Options::default())?;
    // Stands for your auth server: implement `tokenkeep::Issuer` for the real one.
    let issuer = FakeIssuer::new();
    let clock = Arc::new(SystemClock::new());
    let sessions = Sessions::new(store, issuer, clock, Settings::default());
    sessions.settle().await?;

    let request = LoginRequest {
        username: "ada@example.org".into(),
        password: Password::new("correct horse"),
        presented: None,
        client: ClientInfo::new(Some("embed example"), None),
    };
    let cookie = sessions.login(request).await?.credential.expose();

    // Every request: from the cookie to an access token that works.
    let credential: Credential = cookie.parse()?;
    let session = sessions.resume(&credential).await?;
    println!("{} goes on until {}", session.record().email, session.record().access_expires_at);

    sessions.logout(&credential).await?;
    sessions.shutdown().await;
    Ok(())
}
