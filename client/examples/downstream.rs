//! A downstream service in small: calls an upstream for the user whose credential it received.
//!
//! ```text
//! TOKENKEEP_URL=http://127.0.0.1:8080 TOKENKEEP_SERVICE_KEY=... \
//!     cargo run -p tokenkeep-client --example downstream -- http://127.0.0.1:9000/protected
//! ```
//!
//! The device credential comes from `TOKENKEEP_CREDENTIAL`, or else from standard input.

use std::error::Error;
use std::io::{Write as _, stdin, stdout};

use tokenkeep_client::{Credential, ServiceKey, SessionClient, upstream_http};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let upstream = std::env::args().nth(1).ok_or("say which upstream to call")?;
    let credential: Credential = match std::env::var("TOKENKEEP_CREDENTIAL") {
        Ok(text) => text.parse()?,
        Err(_) => stdin().lines().next().ok_or("no credential")??.trim().parse()?,
    };
    let sessions = SessionClient::builder(std::env::var("TOKENKEEP_URL")?)
        .service_key(ServiceKey::new(std::env::var("TOKENKEEP_SERVICE_KEY")?)?)
        .build()?;
    // Drops tokens of sessions that end; a service keeps it for as long as it runs.
    let _watch = sessions.watch_in_background()?;

    let http = upstream_http()?.build()?;
    let mut out = stdout();
    match sessions.send(&credential, http.get(upstream)).await {
        Ok(response) => {
            writeln!(out, "{}", response.status())?;
            writeln!(out, "{}", response.text().await?)?;
        }
        Err(error) if error.is_logged_out() => writeln!(out, "log in again: {error}")?,
        Err(error) if error.is_unavailable() => {
            writeln!(out, "try later: {error}, {:?}", error.retry_after())?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
