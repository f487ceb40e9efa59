//! Writes an export, from its beginning or from where another one was interrupted.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tokenkeep_core::codec::Sealing;
use tokenkeep_core::{Clock, DeviceId, EndReason, Lookup, StoreId, Timestamp, TokenStore, Version};

use super::line::{EndedLine, Head, Line, RecordLine, Tail};
use super::reader::{ArchiveError, Reader};
use crate::moving::PAGE;

/// An export that is being written.
pub struct Writer {
    out: Box<dyn Write + Send>,
    digest: Sha256,
    tail: Tail,
    sealing: Sealing,
    store: StoreId,
    /// What an interrupted export holds, as far as it was not met again.
    before: HashMap<DeviceId, (Version, Timestamp)>,
}

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Records that were written by this run.
    pub written: u64,
    /// Records that an interrupted run had written already.
    pub kept: u64,
    /// Sessions that an interrupted run had written, and that ended since.
    pub ended: u64,
}

impl Writer {
    /// Begins an export of `store` into `out`.
    ///
    /// # Errors
    /// [`ArchiveError`] if it cannot be written.
    pub fn begin(
        out: Box<dyn Write + Send>,
        store: StoreId,
        sealing: Sealing,
        begun_at: Timestamp,
    ) -> Result<Self, ArchiveError> {
        let head = Line::Export(Head::new(&store, &sealing, begun_at));
        let mut writer = Self::at(out, store, sealing);
        writer.write(&head)?;
        Ok(writer)
    }

    /// Begins an export of `store` in the file `path`, which must not be there.
    ///
    /// # Errors
    /// [`ArchiveError`] if it cannot be made or written.
    pub fn create(
        path: &Path,
        store: StoreId,
        sealing: Sealing,
        begun_at: Timestamp,
    ) -> Result<Self, ArchiveError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(ArchiveError::Create)?;
        Self::begin(Box::new(SyncedFile::new(file)), store, sealing, begun_at)
    }

    /// Goes on with the export in the file `path`, from its last whole line; `None` if it is
    /// complete. Its records are read again, and those that changed since are written again.
    ///
    /// # Errors
    /// [`ArchiveError`] if the file holds something else, or an export of another store, or one
    /// that is sealed in another way.
    pub fn resume(
        path: &Path,
        store: StoreId,
        sealing: Sealing,
    ) -> Result<Option<Self>, ArchiveError> {
        let mut file = OpenOptions::new().read(true).write(true).open(path);
        let file =
            file.as_mut().map_err(|error| ArchiveError::Open(io::Error::from(error.kind())))?;
        let mut reader = Reader::new(file.try_clone().map_err(ArchiveError::Read)?)?;
        reader.expect(&store, &sealing)?;
        let mut before = HashMap::new();
        let mut tail = Tail { records: 0, ended: 0, sha256: String::new() };
        // What comes after the last line that makes sense was being written.
        let (mut whole, mut digest) = (reader.position(), reader.digest());
        while let Ok(Some(line)) = reader.next_line() {
            match line {
                Line::Record(record) => {
                    before.insert(record.device_id, (record.version(), record.last_seen_at));
                    tail.records += 1;
                }
                Line::Ended(ended) => {
                    before.remove(&ended.device_id);
                    tail.ended += 1;
                }
                Line::End(_) => return Ok(None),
                Line::Export(_) => break,
            }
            (whole, digest) = (reader.position(), reader.digest());
        }
        file.set_len(whole).map_err(ArchiveError::Write)?;
        file.seek(SeekFrom::Start(whole)).map_err(ArchiveError::Write)?;
        let file = file.try_clone().map_err(ArchiveError::Write)?;
        let writer = Self::at(Box::new(SyncedFile::new(file)), store, sealing);
        Ok(Some(Self { digest, tail, before, ..writer }))
    }

    fn at(out: Box<dyn Write + Send>, store: StoreId, sealing: Sealing) -> Self {
        let tail = Tail { records: 0, ended: 0, sha256: String::new() };
        Self { out, digest: Sha256::new(), tail, sealing, store, before: HashMap::new() }
    }

    fn write(&mut self, line: &Line) -> Result<(), ArchiveError> {
        let mut bytes =
            serde_json::to_vec(line).map_err(|error| ArchiveError::Write(error.into()))?;
        bytes.push(b'\n');
        self.digest.update(&bytes);
        self.out.write_all(&bytes).map_err(ArchiveError::Write)
    }

    fn ended(&mut self, device: DeviceId, reason: EndReason) -> Result<(), ArchiveError> {
        self.tail.ended += 1;
        self.write(&Line::Ended(EndedLine::new(device, reason)))
    }

    fn finish(mut self) -> Result<(), ArchiveError> {
        let digest = self.digest.clone().finalize();
        let mut tail = self.tail.clone();
        tail.sha256 = hex(&digest);
        self.write(&Line::End(tail))?;
        self.out.flush().map_err(ArchiveError::Write)
    }
}

/// Writes every live record of `store`, and the end of the file.
///
/// # Errors
/// [`ArchiveError`]; what was written so far can be gone on with by [`Writer::resume`].
pub async fn export<S: TokenStore>(
    store: &S,
    mut writer: Writer,
    clock: &dyn Clock,
    mut progress: impl FnMut(&Exported),
) -> Result<Exported, ArchiveError> {
    let mut exported = Exported::default();
    let mut after = None;
    loop {
        let page = store.scan(after, PAGE, clock.now()).await.map_err(ArchiveError::Store)?;
        for record in page.records {
            let before = writer.before.remove(&record.device_id);
            if before == Some((record.version, record.last_seen_at)) {
                exported.kept += 1;
                continue;
            }
            let line = RecordLine::new(&record, &writer.sealing, &writer.store)
                .map_err(ArchiveError::Seal)?;
            writer.write(&Line::Record(Box::new(line)))?;
            writer.tail.records += 1;
            exported.written += 1;
        }
        progress(&exported);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    for (device, _) in std::mem::take(&mut writer.before) {
        match store.get(device, clock.now()).await.map_err(ArchiveError::Store)? {
            // It was written twice.
            Lookup::Live(_) => {}
            Lookup::Ended(ended) => {
                writer.ended(device, ended.reason)?;
                exported.ended += 1;
            }
            Lookup::Absent => {
                writer.ended(device, EndReason::Expired)?;
                exported.ended += 1;
            }
        }
    }
    writer.finish()?;
    Ok(exported)
}

/// A file that is on the disk when it was flushed.
struct SyncedFile(io::BufWriter<File>);

impl SyncedFile {
    fn new(file: File) -> Self {
        Self(io::BufWriter::with_capacity(1 << 18, file))
    }
}

impl Write for SyncedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        match self.0.get_ref().sync_all() {
            // A device or a pipe has nothing to put on a disk.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("store", &self.store).finish_non_exhaustive()
    }
}
