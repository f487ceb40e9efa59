//! `tokenkeep demo`: an auth server, the session server before it, and the lines to type.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokenkeep_core::SystemClock;
use tokenkeep_server::Audit;
use tokenkeep_server::config::{Config, LogSettings, ProxySettings};
use tokenkeep_server::demo::{Demo, DemoSettings};

use super::listen::bind;
use super::serve::{Server, stop_signal};
use super::{Failure, log, runtime};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the session server listens; a loopback address.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    /// Where the auth server listens; a loopback address.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8481")]
    auth_listen: SocketAddr,
    /// How long an access token works, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    access_lifetime: u64,
}

pub(crate) fn run(arguments: &Arguments, data_dir: Option<PathBuf>) -> Result<(), Failure> {
    let level = "warn".to_owned();
    log::start(&LogSettings { level, ..LogSettings::default() })?;
    for address in [arguments.listen, arguments.auth_listen] {
        if !address.ip().is_loopback() {
            let refusal = anyhow::anyhow!("the demo is for loopback addresses only, not {address}");
            return Err(refusal.into());
        }
    }
    runtime()?.block_on(serve(arguments, data_dir))
}

async fn serve(arguments: &Arguments, data_dir: Option<PathBuf>) -> Result<(), Failure> {
    let listener = bind(arguments.listen).await?;
    let auth_listener = bind(arguments.auth_listen).await?;
    let auth_server = auth_listener.local_addr().context("the listener has no address")?;
    let address = listener.local_addr().context("the listener has no address")?;
    let lives = DemoSettings {
        access_lifetime: Duration::from_secs(arguments.access_lifetime.max(1)),
        ..DemoSettings::default()
    };
    // Without a place of its own, what the demo stores goes when it stops.
    let (data_dir, _scratch) = match data_dir {
        Some(data_dir) => (data_dir, None),
        None => {
            let scratch = tempfile::Builder::new().prefix("tokenkeep-demo-").tempdir();
            let scratch = scratch.context("no directory for the demo's data")?;
            (scratch.path().join("data"), Some(scratch))
        }
    };
    let config = config(&lives, auth_server, address, data_dir.clone());
    let (again, audit) = (config.clone(), Audit::to_log(Arc::new(SystemClock::new())));
    let server = Server::open(&config, Arc::new(move || Some(again.clone())), audit).await?;
    let stop = stop_signal()?;
    let demo = Demo::new(lives.clone(), Arc::new(SystemClock::new()));
    let granting =
        tokio::spawn(async move { demo.serve(auth_listener, std::future::pending()).await });
    println!("{}", script(address, auth_server, &data_dir, &lives));
    let served = server.run(listener.into(), stop).await;
    granting.abort();
    served
}

fn config(
    lives: &DemoSettings,
    auth_server: SocketAddr,
    listen: SocketAddr,
    data_dir: PathBuf,
) -> Config {
    let mut config = Config::default();
    config.server.listen = listen.into();
    config.store.data_dir = data_dir;
    config.auth_server.base_url = Some(format!("http://{auth_server}"));
    config.auth_server.revoke_path = Some("/revoke".into());
    config.auth_server.access_lifetime = lives.access_lifetime;
    config.auth_server.refresh_lifetime = lives.refresh_lifetime;
    config.proxy = vec![ProxySettings {
        prefix: "/api".into(),
        upstream: format!("http://{auth_server}"),
        strip_prefix: true,
    }];
    config.limits.drain_delay = Duration::ZERO;
    config
}

/// What the demo prints: lines that work as they are.
fn script(
    address: SocketAddr,
    auth_server: SocketAddr,
    data_dir: &std::path::Path,
    lives: &DemoSettings,
) -> String {
    let life = lives.access_lifetime.as_secs();
    let base = format!("http://{address}");
    let data_dir = data_dir.display();
    format!(
        "\
tokenkeep demo: session server on {base}, auth server on http://{auth_server}
For this machine only, not for production. Data lies in {data_dir}. Ctrl-C stops it.

Access tokens live for {life} seconds here. In another terminal:

# Register and log in. The cookie jar gets a device cookie, no token.
curl -s -w '\\n' -H 'content-type: application/json' -d '{{\"email\":\"ada@example.org\",\"password\":\"correct horse\"}}' {base}/v1/register
curl -s -w '\\n' -c laptop -H 'content-type: application/json' -d '{{\"email\":\"ada@example.org\",\"password\":\"correct horse\"}}' {base}/v1/login

# Use the protected API through the gateway.
curl -s -w '\\n' -b laptop {base}/api/protected

# Outlive the access token and use it again: refreshed unnoticed, one refresh call at the auth server.
sleep {wait}; curl -s -w '\\n' -b laptop {base}/api/protected
curl -s -w '\\n' http://{auth_server}/stats

# Log in on a second device, and list the devices.
curl -s -w '\\n' -c phone -H 'content-type: application/json' -d '{{\"email\":\"ada@example.org\",\"password\":\"correct horse\"}}' {base}/v1/login
curl -s -w '\\n' -b phone {base}/v1/devices

# End the first device from the second; it gets 401 and the reason.
curl -s -w '\\n' -b phone -X DELETE '{base}/v1/devices?except=current'
curl -s -w '\\n' -i -b laptop {base}/v1/session

# Log out.
curl -s -w '\\n' -i -b phone -X POST {base}/v1/logout
",
        wait = life + 1,
    )
}
