//! Session checks over HTTP: by a server in this process, and by several processes on one Redis.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use tokenkeep::sessions::{LoginRequest, Settings};
use tokenkeep::{ClientInfo, KeyRing, Password, Sessions, SystemClock, TokenStore};
use tokenkeep_core::testing::FakeIssuer;
use tokenkeep_server::settings::{CookiePolicy, ServerSettings};
use tokenkeep_server::{App, NoServiceKeys, serve};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use super::fixture::{Fixture, Redis, connect};
use super::writes::micros;
use super::{Plan, Row, Work};
use crate::load::{Report, hammer};
use crate::runtime;

/// Checks of one session, by a server in this process.
pub(super) fn in_process<F: Fixture>(fixture: &F, plan: &Plan) -> Result<Row> {
    let (cookie, address) = fixture.runtime().block_on(async {
        let cookie = log_in(fixture.store()).await?;
        anyhow::Ok((cookie, start(fixture.store().clone()).await?))
    })?;
    row::<F>(&[address], &cookie, 0, plan)
}

/// Checks of one session, spread over `servers` processes that share the store.
pub(super) fn with_processes(redis: &Redis, servers: usize, plan: &Plan) -> Result<Row> {
    let cookie = redis.runtime().block_on(log_in(redis.store()))?;
    let servers = (0..servers).map(|_| Server::start(redis)).collect::<Result<Vec<_>>>()?;
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    row::<Redis>(&addresses, &cookie, servers.len(), plan)
}

fn row<F: Fixture>(
    addresses: &[SocketAddr],
    cookie: &str,
    servers: usize,
    plan: &Plan,
) -> Result<Row> {
    // The load comes from one thread of its own.
    let load = Builder::new_current_thread().enable_all().build()?;
    let each = CONNECTIONS / addresses.len();
    let reports: Vec<Report> = load.block_on(async {
        let hammering: Vec<_> = addresses
            .iter()
            .map(|address| {
                let host = address.to_string();
                let request = format!(
                    "GET /authz/nginx HTTP/1.1\r\nhost: {host}\r\ncookie: {cookie}\r\n\r\n"
                );
                let (address, time) = (*address, plan.time);
                tokio::spawn(async move { hammer(address, &request, 200, each, time).await })
            })
            .collect();
        let mut reports = Vec::new();
        for task in hammering {
            reports.push(task.await??);
        }
        anyhow::Ok(reports)
    })?;
    let worst = |share: fn(&Report) -> f64| reports.iter().map(share).fold(0.0, f64::max);
    Ok(Row {
        store: F::NAME,
        what: Work::Check,
        at_once: each * addresses.len(),
        servers,
        rate: reports.iter().map(|report| report.rate).sum(),
        p50_micros: worst(|report| micros(report.p50)),
        p99_micros: worst(|report| micros(report.p99)),
    })
}

/// Logs a device in, and returns its cookie.
async fn log_in<S: TokenStore>(store: &S) -> Result<String> {
    let request = LoginRequest {
        username: "ada@example.org".into(),
        password: Password::new("secret"),
        presented: None,
        client: ClientInfo::default(),
    };
    let credential = sessions(store.clone()).login(request).await?.credential;
    Ok(format!("device_id={}", credential.expose().as_str()))
}

fn sessions<S: TokenStore>(store: S) -> Sessions<S, FakeIssuer> {
    Sessions::new(store, FakeIssuer::new(), Arc::new(SystemClock::new()), Settings::default())
}

/// Serves `store` in this process.
async fn start<S: TokenStore>(store: S) -> Result<SocketAddr> {
    let settings = ServerSettings { cookie: CookiePolicy::Loopback, ..ServerSettings::default() };
    let clock = Arc::new(SystemClock::new());
    let app = App::new(sessions(store), clock, Arc::new(NoServiceKeys), settings)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { serve(listener, Arc::new(app), std::future::pending()).await });
    Ok(address)
}

/// A process that serves; killed when it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(redis: &Redis) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", &redis.url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ring = child.stdin.as_mut().context("the server has no input")?;
        // In one line: a ring has several.
        writeln!(ring, "{}", redis.ring.to_text().replace('\n', "\t"))?;
        let mut line = String::new();
        let output = child.stdout.as_mut().context("the server has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().context("the server did not start")?;
        Ok(Self { child, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child does: it serves the store at `url`, whose key ring comes on its input, says where
/// on its output, and ends with its input.
///
/// # Errors
/// Whatever went wrong; whoever started it finds no address.
pub fn serve_child(url: &str) -> Result<()> {
    let mut input = std::io::stdin().lock();
    let mut ring = String::new();
    input.read_line(&mut ring)?;
    let ring = KeyRing::parse(&ring.trim().replace('\t', "\n"))?;
    let runtime = runtime();
    let address = runtime.block_on(async {
        let store = connect(url, ring).await?;
        start(store).await
    })?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{address}")?;
    output.flush()?;
    let mut end = String::new();
    ensure!(input.read_line(&mut end)? == 0, "nothing more was to come");
    Ok(())
}

const CONNECTIONS: usize = 64;
