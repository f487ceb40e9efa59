//! A well-behaved client: one connection that it keeps, and a fresh one now and then.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long the answers took.
pub(crate) struct Served {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Requests that a fresh connection did not help.
    pub(crate) failed: usize,
}

/// Asks for `time`, 500 times a second.
pub(crate) fn measure(address: SocketAddr, time: Duration) -> Served {
    let (mut took, mut failed, mut kept) = (Vec::new(), 0, None);
    let end = Instant::now() + time;
    while Instant::now() < end {
        if took.len() % FRESH == 0 {
            kept = None;
        }
        let begin = Instant::now();
        // A connection that rested may be closed by now: once more, as every client does.
        let answered = ask(&mut kept, address).or_else(|_| {
            kept = None;
            ask(&mut kept, address)
        });
        failed += usize::from(answered.is_err());
        took.push(begin.elapsed());
        std::thread::sleep(PAUSE);
    }
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
    Served { p50: at(50), p99: at(99), failed }
}

fn ask(kept: &mut Option<TcpStream>, address: SocketAddr) -> io::Result<()> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            stream
        }
    };
    stream.write_all(b"GET /v1/session HTTP/1.1\r\nhost: x\r\n\r\n")?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    // The body is one JSON object.
    while !answer.ends_with(b"}") {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    *kept = Some(stream);
    Ok(())
}

/// One request in so many goes over a fresh connection.
const FRESH: usize = 10;
const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(5);
