//! Reads an export: as a whole first, and only then into a store.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};

use sha2::{Digest as _, Sha256};
use tokenkeep_core::codec::{CodecError, Sealing};
use tokenkeep_core::{Clock, DeviceId, EndReason, KeyRing, StoreError, StoreId, TokenStore};

use super::line::{FORMAT, Head, Line, Tail};
use super::writer::hex;
use crate::moving::copy::{Copied, import_all};

/// Why an export cannot be written, read or taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The file cannot be made.
    #[error("the export cannot be made")]
    Create(#[source] io::Error),
    /// The file cannot be opened.
    #[error("the export cannot be opened")]
    Open(#[source] io::Error),
    /// The file cannot be read.
    #[error("the export cannot be read")]
    Read(#[source] io::Error),
    /// The file cannot be written.
    #[error("the export cannot be written; go on with --resume")]
    Write(#[source] io::Error),
    /// It is something else.
    #[error("the file is not an export of tokenkeep")]
    Foreign,
    /// A newer version wrote it.
    #[error("the export has format {0}: take it over with the newer version that wrote it")]
    NewerFormat(u32),
    /// It has no last line.
    #[error("the export is truncated: go on with it (export --resume), or make it again")]
    Truncated,
    /// A line makes no sense, or does not belong there.
    #[error("line {0} of the export is damaged")]
    Damaged(u64),
    /// The record in a line does not open.
    #[error("the record in line {line} of the export does not open")]
    Record {
        /// The line.
        line: u64,
        /// Why not.
        #[source]
        cause: CodecError,
    },
    /// Something was changed, or left out.
    #[error("the export was changed: its counts or its digest do not fit")]
    Changed,
    /// The key ring does not have the key that sealed it.
    #[error("the key ring does not fit the export: put the ring of the exported store in place")]
    WrongRing,
    /// It is an export of another store.
    #[error("the export is of store {found}, and this is store {expected}")]
    OtherStore {
        /// The store of the export.
        found: String,
        /// The store here.
        expected: StoreId,
    },
    /// An interrupted export was sealed in another way.
    #[error("the interrupted export was sealed in another way: make it again")]
    OtherSealing,
    /// A record cannot be sealed.
    #[error("a record cannot be written")]
    Seal(#[source] CodecError),
    /// The store does not work.
    #[error("the store does not work")]
    Store(#[source] StoreError),
}

/// An export that is being read.
#[derive(Debug)]
pub struct Reader {
    lines: BufReader<File>,
    head: Head,
    digest: Sha256,
    position: u64,
    line: u64,
}

impl Reader {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`ArchiveError`] if it is not one of an export.
    pub fn new(file: File) -> Result<Self, ArchiveError> {
        let head = Head {
            format: 0,
            store: String::new(),
            sealed: false,
            key: None,
            key_check: None,
            begun_at: tokenkeep_core::Timestamp::default(),
        };
        let mut reader = Self {
            lines: BufReader::with_capacity(1 << 18, file),
            head,
            digest: Sha256::new(),
            position: 0,
            line: 0,
        };
        let first = reader.next_bytes()?;
        reader.head = match serde_json::from_slice(&first) {
            Ok(Line::Export(head)) => head,
            _ => return Err(newer_or_foreign(&first)),
        };
        if reader.head.format != FORMAT {
            return Err(ArchiveError::NewerFormat(reader.head.format));
        }
        match reader.head.store_id() {
            Some(_) => Ok(reader),
            None => Err(ArchiveError::Damaged(1)),
        }
    }

    /// What the export is of.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// How the records are opened with `ring`.
    ///
    /// # Errors
    /// [`ArchiveError::WrongRing`] if the ring does not have the key.
    pub fn sealing(&self, ring: Option<&KeyRing>) -> Result<Sealing, ArchiveError> {
        match ring {
            _ if !self.head.sealed => Ok(Sealing::Off),
            Some(ring) if self.head.fits(ring) => Ok(Sealing::On(ring.clone())),
            _ => Err(ArchiveError::WrongRing),
        }
    }

    pub(super) fn expect(&self, store: &StoreId, sealing: &Sealing) -> Result<(), ArchiveError> {
        if self.head.store_id() != Some(*store) {
            let found = self.head.store.clone();
            return Err(ArchiveError::OtherStore { found, expected: *store });
        }
        match sealing {
            Sealing::On(ring) if self.head.sealed && self.head.fits(ring) => Ok(()),
            Sealing::Off if !self.head.sealed => Ok(()),
            _ => Err(ArchiveError::OtherSealing),
        }
    }

    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// The digest of what was read so far.
    pub(super) fn digest(&self) -> Sha256 {
        self.digest.clone()
    }

    /// The next line; `None` at the end of the file.
    pub(super) fn next_line(&mut self) -> Result<Option<Line>, ArchiveError> {
        let bytes = self.next_bytes()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.last() != Some(&b'\n') {
            return Err(ArchiveError::Truncated);
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|_| ArchiveError::Damaged(self.line))
    }

    fn next_bytes(&mut self) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        let mut limited = self.lines.by_ref().take(LONGEST_LINE);
        let length = limited.read_until(b'\n', &mut bytes).map_err(ArchiveError::Read)?;
        self.line += u64::from(length > 0);
        self.position += u64::try_from(length).unwrap_or(0);
        self.digest.update(&bytes);
        Ok(bytes)
    }

    /// Reads to the end and checks everything: form, counts, digest, and that each record opens.
    /// Returns the sessions that ended, and how many records there are. Reading begins anew then.
    ///
    /// # Errors
    /// [`ArchiveError`] for the first thing that is wrong.
    pub fn verify(
        &mut self,
        sealing: &Sealing,
        clock: &dyn Clock,
        mut progress: impl FnMut(u64),
    ) -> Result<Verified, ArchiveError> {
        let store = self.head.store_id().ok_or(ArchiveError::Damaged(1))?;
        let mut tail = Tail { records: 0, ended: 0, sha256: String::new() };
        let mut ended = HashMap::new();
        loop {
            let before = self.digest();
            match self.next_line()?.ok_or(ArchiveError::Truncated)? {
                Line::Record(record) => {
                    let line = self.line;
                    ended.remove(&record.device_id);
                    record
                        .open(sealing, &store, clock.now())
                        .map_err(|cause| ArchiveError::Record { line, cause })?;
                    tail.records += 1;
                    progress(tail.records);
                }
                Line::Ended(line) => {
                    let reason = line.reason().ok_or(ArchiveError::Damaged(self.line))?;
                    ended.insert(line.device_id, reason);
                    tail.ended += 1;
                }
                Line::End(found) => {
                    tail.sha256 = hex(&before.finalize());
                    if found != tail || !self.next_bytes()?.is_empty() {
                        return Err(ArchiveError::Changed);
                    }
                    break;
                }
                Line::Export(_) => return Err(ArchiveError::Damaged(self.line)),
            }
        }
        self.rewind()?;
        Ok(Verified { ended, records: tail.records })
    }

    fn rewind(&mut self) -> Result<(), ArchiveError> {
        self.lines.seek(SeekFrom::Start(0)).map_err(ArchiveError::Read)?;
        (self.position, self.line, self.digest) = (0, 0, Sha256::new());
        self.next_bytes().map(drop)
    }
}

/// What an export holds that was found to be in order.
#[derive(Debug)]
pub struct Verified {
    /// Sessions that ended while it was written.
    ended: HashMap<DeviceId, EndReason>,
    /// Lines with a record.
    pub records: u64,
}

/// Takes the records of an export over into `store`. Doing it again changes nothing.
///
/// # Errors
/// [`ArchiveError`]; the records so far are stored.
pub async fn import<S: TokenStore>(
    mut reader: Reader,
    verified: &Verified,
    sealing: &Sealing,
    store: &S,
    clock: &dyn Clock,
    mut progress: impl FnMut(&Copied),
) -> Result<Copied, ArchiveError> {
    let id = store.id();
    if reader.head.store_id() != Some(id) {
        let found = reader.head.store.clone();
        return Err(ArchiveError::OtherStore { found, expected: id });
    }
    let mut copied = Copied::default();
    let mut records = Vec::with_capacity(AT_A_TIME);
    loop {
        let line = reader.next_line()?.ok_or(ArchiveError::Truncated)?;
        if let Line::Record(record) = line {
            if !verified.ended.contains_key(&record.device_id) {
                let line = reader.line;
                let record = record.open(sealing, &id, clock.now());
                records.push(record.map_err(|cause| ArchiveError::Record { line, cause })?);
            }
            if records.len() < AT_A_TIME {
                continue;
            }
        } else if matches!(line, Line::Ended(_)) {
            continue;
        } else {
            break;
        }
        let some = std::mem::replace(&mut records, Vec::with_capacity(AT_A_TIME));
        import_all(store, some, clock, &mut copied).await.map_err(ArchiveError::Store)?;
        progress(&copied);
    }
    import_all(store, records, clock, &mut copied).await.map_err(ArchiveError::Store)?;
    for (device, reason) in &verified.ended {
        let removed = store.remove(*device, None, *reason, clock.now()).await;
        removed.map_err(ArchiveError::Store)?;
    }
    progress(&copied);
    Ok(copied)
}

fn newer_or_foreign(first: &[u8]) -> ArchiveError {
    let format = serde_json::from_slice::<serde_json::Value>(first)
        .ok()
        .and_then(|line| line.get("export")?.get("format")?.as_u64())
        .and_then(|format| u32::try_from(format).ok());
    match format {
        Some(format) if format != FORMAT => ArchiveError::NewerFormat(format),
        _ => ArchiveError::Foreign,
    }
}

/// No line is longer, in bytes: tokens are bounded.
const LONGEST_LINE: u64 = 1 << 20;
/// Records that are read before they are stored.
const AT_A_TIME: usize = 1024;
