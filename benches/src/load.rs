//! A load generator for one small HTTP request: keep-alive connections, each with one request
//! under way. It does as little as can be done, so that the server is what is measured.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::instant;

/// What a run showed.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Answers per second.
    pub rate: f64,
    /// Half of the answers came within this.
    pub p50: Duration,
    /// 99 of 100 answers came within this.
    pub p99: Duration,
}

/// Sends `request` over `connections` connections for `duration`; every answer must have `status`.
///
/// # Errors
/// A connection that fails, or an answer with another status.
pub async fn hammer(
    address: SocketAddr,
    request: &str,
    status: u16,
    connections: usize,
    duration: Duration,
) -> io::Result<Report> {
    let request: Arc<[u8]> = request.as_bytes().into();
    let begun = instant();
    let line: Arc<[u8]> = format!("HTTP/1.1 {status} ").into_bytes().into();
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let (request, line) = (Arc::clone(&request), Arc::clone(&line));
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await?;
                let mut latencies = Vec::new();
                while begun.elapsed() < duration {
                    let asked = instant();
                    connection.ask(&request, &line).await?;
                    latencies.push(asked.elapsed());
                }
                io::Result::Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.map_err(io::Error::other)??);
    }
    let elapsed = begun.elapsed();
    latencies.sort_unstable();
    let at = |percent: usize| {
        latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default()
    };
    #[expect(clippy::cast_precision_loss, reason = "a rate of millions is precise enough")]
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    Ok(Report { rate, p50: at(50), p99: at(99) })
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The length of the last answer: equal requests get equally long ones, which spares the
    /// reading of their heads.
    usual_len: usize,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096), usual_len: 0 })
    }

    /// Sends `request`, whose answer must begin with `line`.
    async fn ask(&mut self, request: &[u8], line: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.buffer.len() == self.usual_len {
                break;
            }
            match answer_len(&self.buffer) {
                Some(len) if self.buffer.len() == len => {
                    self.usual_len = len;
                    break;
                }
                Some(len) if self.buffer.len() > len => {
                    return Err(io::Error::other("more than one answer"));
                }
                _ => {}
            }
        }
        if self.buffer.starts_with(line) {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&self.buffer).into_owned()))
    }
}

/// The length of an answer, once its head is there.
fn answer_len(answer: &[u8]) -> Option<usize> {
    let head_len = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(answer.get(..head_len)?).ok()?;
    let body_len = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    Some(head_len + body_len)
}
