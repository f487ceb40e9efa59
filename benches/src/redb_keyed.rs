//! The peer of the engine: plain redb keyed by device id, with an expiry table and group commit.
//!
//! It is what one would write first: the record under its id, the expiry in a second table, the
//! devices of an email in a third, one writer thread that commits what has queued up.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use redb::{Database, ReadableDatabase as _, TableDefinition, WriteTransaction};
use tokio::sync::oneshot;

const RECORDS: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("records");
const EXPIRIES: TableDefinition<'_, (u64, [u8; 16]), ()> = TableDefinition::new("expiries");
const EMAILS: TableDefinition<'_, (&str, [u8; 16]), ()> = TableDefinition::new("emails");

/// What a record is to this store: bytes with an expiry in front.
#[derive(Clone, Debug)]
pub struct Row {
    /// The device.
    pub device: [u8; 16],
    /// Who logged in.
    pub email: String,
    /// When it dies.
    pub expires_at: u64,
    /// The rest.
    pub bytes: Vec<u8>,
}

/// A handle of the store; the writer ends with the last one.
#[derive(Clone, Debug)]
pub struct RedbKeyed {
    database: Arc<Database>,
    commands: Sender<Command>,
    _writer: Arc<JoinHandle<()>>,
}

#[derive(Debug)]
struct Command {
    row: Row,
    done: oneshot::Sender<()>,
}

impl RedbKeyed {
    /// A fresh store at `path`.
    ///
    /// # Errors
    /// What redb says.
    pub fn create(path: &Path) -> Result<Self, redb::Error> {
        let database = Arc::new(Database::create(path)?);
        let begun = database.begin_write()?;
        begun.open_table(RECORDS)?;
        begun.open_table(EXPIRIES)?;
        begun.open_table(EMAILS)?;
        begun.commit()?;
        let (commands, queue) = crossbeam_channel::bounded(4096);
        let writing = Arc::clone(&database);
        let writer = std::thread::spawn(move || write(&writing, &queue));
        Ok(Self { database, commands, _writer: Arc::new(writer) })
    }

    /// Stores `row`, in place of the one that was there; durable when this returns.
    pub async fn put(&self, row: Row) {
        let (done, stored) = oneshot::channel();
        let _ = self.commands.send(Command { row, done });
        let _ = stored.await;
    }

    /// Stores many rows in one transaction.
    ///
    /// # Errors
    /// What redb says.
    pub fn load(&self, rows: impl Iterator<Item = Row>) -> Result<(), redb::Error> {
        let begun = self.database.begin_write()?;
        for row in rows {
            put(&begun, &row)?;
        }
        begun.commit()?;
        Ok(())
    }

    /// The bytes of `device`.
    ///
    /// # Errors
    /// What redb says.
    pub fn get(&self, device: [u8; 16]) -> Result<Option<Vec<u8>>, redb::Error> {
        let begun = self.database.begin_read()?;
        let records = begun.open_table(RECORDS)?;
        Ok(records.get(device)?.map(|found| found.value().to_vec()))
    }
}

/// Commits what has queued up, again and again.
fn write(database: &Database, queue: &Receiver<Command>) {
    while let Ok(first) = queue.recv() {
        let batch: Vec<Command> =
            std::iter::once(first).chain(queue.try_iter().take(255)).collect();
        let committed = commit(database, &batch);
        for command in batch {
            if committed.is_ok() {
                let _ = command.done.send(());
            }
        }
    }
}

fn commit(database: &Database, batch: &[Command]) -> Result<(), redb::Error> {
    let begun = database.begin_write()?;
    for command in batch {
        put(&begun, &command.row)?;
    }
    Ok(begun.commit()?)
}

fn put(begun: &WriteTransaction, row: &Row) -> Result<(), redb::Error> {
    let mut stored = row.expires_at.to_le_bytes().to_vec();
    stored.extend_from_slice(&row.bytes);
    let mut records = begun.open_table(RECORDS)?;
    let before = records.insert(row.device, stored.as_slice())?.map(|before| {
        before.value().first_chunk::<8>().map_or(0, |expiry| u64::from_le_bytes(*expiry))
    });
    let mut expiries = begun.open_table(EXPIRIES)?;
    match before {
        Some(before) => {
            expiries.remove((before, row.device))?;
        }
        None => {
            begun.open_table(EMAILS)?.insert((row.email.as_str(), row.device), ())?;
        }
    }
    expiries.insert((row.expires_at, row.device), ())?;
    Ok(())
}
