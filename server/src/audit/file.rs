//! The file of the audit log: appended to by one thread, so that no request waits for the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use super::line::Line;

/// The file of the audit log, and the thread that writes it.
#[derive(Debug)]
pub(super) struct AuditFile {
    orders: SyncSender<Order>,
}

#[derive(Debug)]
enum Order {
    Write(Box<Line>),
    Reopen(SyncSender<io::Result<()>>),
    Close(SyncSender<()>),
}

impl AuditFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (orders, received) = sync_channel(QUEUE);
        let (file, torn) = open(path)?;
        let writer = Writer { path: path.to_owned(), file, torn, missed: 0 };
        thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&received))?;
        Ok(Self { orders })
    }

    /// Has the line written. One that finds no room, because the disk hangs, goes to the ordinary
    /// log: nobody waits.
    pub(super) fn take(&self, line: Line) {
        let ordered = self.orders.try_send(Order::Write(Box::new(line)));
        if let Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) = ordered
            && let Order::Write(line) = order
        {
            line.log();
        }
    }

    pub(super) fn reopen(&self) -> io::Result<()> {
        self.have_done(Order::Reopen)?
    }

    pub(super) fn close(&self) -> io::Result<()> {
        self.have_done(Order::Close)
    }

    /// Has something done after all that was ordered before, and waits for it, within bounds.
    fn have_done<T>(&self, order: impl FnOnce(SyncSender<T>) -> Order) -> io::Result<T> {
        let (done, outcome) = sync_channel(1);
        self.orders.try_send(order(done)).map_err(|_| io::ErrorKind::TimedOut)?;
        outcome.recv_timeout(PATIENCE).map_err(|_| io::ErrorKind::TimedOut.into())
    }
}

/// What the thread has.
struct Writer {
    path: PathBuf,
    file: File,
    /// The file ends with a part of a line.
    torn: bool,
    /// How many lines the file has not taken since it last took one.
    missed: u64,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Write(line) => self.write(&line),
                Order::Reopen(done) => {
                    let _ = done.send(self.reopen());
                }
                Order::Close(done) => {
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    fn write(&mut self, line: &Line) {
        match self.append(line.to_bytes()) {
            Ok(()) if self.missed > 0 => {
                let missed = std::mem::take(&mut self.missed);
                tracing::warn!(
                    missed,
                    "the audit log takes lines again; what it missed is in this log"
                );
            }
            Ok(()) => {}
            Err(error) => {
                if self.missed == 0 {
                    let path = self.path.display();
                    tracing::error!(%path, %error, "the audit log takes no lines; they go to this log until it does");
                }
                self.missed += 1;
                line.log();
            }
        }
    }

    /// Appends a line by one write, after the end of one that did not get through.
    fn append(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        if self.torn {
            bytes.insert(0, b'\n');
        }
        let written = self.file.write(&bytes)?;
        self.torn = written < bytes.len();
        if self.torn { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.torn) = open(&self.path)?;
        Ok(())
    }
}

/// The file, and whether it ends with a part of a line.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & 0o077 != 0 {
        let path = path.display();
        tracing::warn!(%path, "the audit log has mode {mode:o}, 600 is expected");
    }
    let torn = is_torn(&file, metadata.len());
    Ok((file, torn))
}

/// Whether a file of this length ends with a part of a line, as a power loss may leave it.
fn is_torn(file: &File, length: u64) -> bool {
    let mut last = [b'\n'];
    // What cannot be read is no file, and has no end.
    let read = length.checked_sub(1).map(|at| file.read_exact_at(&mut last, at));
    matches!(read, Some(Ok(()))) && last != *b"\n"
}

/// How many lines may wait for the disk.
const QUEUE: usize = 1024;
/// How long the disk may take for what waits.
const PATIENCE: Duration = Duration::from_secs(3);
