//! Why the store cannot read or write at the moment, in a sentence each.

use std::fmt;
use std::sync::Arc;

use rusqlite::ErrorCode;
use tokenkeep_core::codec::CodecError;
use tokenkeep_core::{DeviceId, StoreError};

/// What SQLite could not do. Every caller that waited gets the same one.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    kind: Kind,
    cause: Arc<rusqlite::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Full,
    Busy,
    Refused,
    Damaged,
    Io,
}

impl Failure {
    /// Whether the connection is as good as before: nothing is half-way on the disk.
    pub(crate) fn spares_the_connection(&self) -> bool {
        matches!(self.kind, Kind::Full | Kind::Busy)
    }

    /// Whether somebody else is writing, which is over soon.
    pub(crate) fn is_busy(&self) -> bool {
        self.kind == Kind::Busy
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Kind::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Kind::Busy,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Kind::Refused
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Damaged,
            _ => Kind::Io,
        };
        Self { kind, cause: Arc::new(error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Full => {
                "the disk is full, or the data file has reached its limit; reads go on, and \
                 writes as soon as there is space"
            }
            Kind::Busy => {
                "another program keeps the data file locked; writes go on when it lets go"
            }
            Kind::Refused => {
                "the data file or its directory cannot be written: check that it exists, its \
                 owner and its mode"
            }
            Kind::Damaged => {
                "the data file is damaged: keep a copy of it, and restore a backup in its place"
            }
            Kind::Io => {
                "the data file cannot be used; writes go on as soon as it can be written again"
            }
        })
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::unavailable(failure)
    }
}

/// Why one operation could not be carried out.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The record cannot be read; other records can.
    Unreadable(DeviceId, CodecError),
    /// SQLite failed.
    Sqlite(rusqlite::Error),
}

impl Fault {
    /// Makes faults that say of `device` that its row has no form.
    pub(crate) fn malformed(device: DeviceId) -> impl Fn() -> Self {
        move || Self::Unreadable(device, CodecError::Malformed)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreadable(device, cause) => Self::Unreadable { device, cause },
            Fault::Sqlite(error) => Failure::from(error).into(),
        }
    }
}
