//! What a program ends with that fails: the exit codes of sysexits.h, as the README lists them.

use std::io::{self, ErrorKind};

use tokenkeep::key_file::KeyFileError;
use tokenkeep::{BackupError, OpenError};
use tokenkeep_core::StoreError;
use tokenkeep_core::keyring::RingError;

use crate::TlsError;
use crate::moving::archive::ArchiveError;
use crate::moving::{CopyError, CredentialsError, LiveError};
use crate::store::{self, BackupFailure, SealedFailure, StoreFailure};

/// Something that went wrong, and the exit code that says what.
pub trait Failing: std::error::Error {
    /// The exit code.
    fn exit_code(&self) -> u8;
}

impl Failing for StoreFailure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Open { cause, .. } => of_opening(cause),
            #[cfg(feature = "redis")]
            Self::Redis { cause, .. } => of_opening_redis(cause),
            #[cfg(feature = "redis")]
            Self::Unanswered { .. } => UNAVAILABLE,
            #[cfg(feature = "sqlite")]
            Self::Sqlite { cause, .. } => of_opening_sqlite(cause),
            Self::NothingThere(_) => NO_INPUT,
            Self::Unreadable { .. } => IO,
            Self::KeyFile(KeyFileError::Inaccessible { cause, .. }) if is_of_a_disk(cause) => IO,
            _ => SETTINGS,
        }
    }
}

impl Failing for BackupFailure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Redb(BackupError::Store(error)) => of_backed_up(error),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tokenkeep_sqlite::BackupError::Store(error)) => of_backed_up(error),
            #[cfg(feature = "redis")]
            Self::Redis => ARGUMENTS,
            Self::Redb(BackupError::Unwritable { cause, .. })
                if cause.downcast_ref().is_some_and(is_of_a_disk) =>
            {
                IO
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tokenkeep_sqlite::BackupError::Inaccessible(cause))
                if is_of_a_disk(cause) =>
            {
                IO
            }
            _ => CANNOT_CREATE,
        }
    }
}

impl Failing for StoreError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Unreadable { .. } => BAD_DATA,
            error if store::is_of_a_disk(error) => IO,
            _ => UNAVAILABLE,
        }
    }
}

impl Failing for CopyError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Source(error) | Self::Destination(error) => error.exit_code(),
            Self::Credentials(CredentialsError::File { cause, .. }) if is_of_a_disk(cause) => IO,
            Self::Credentials(CredentialsError::File { .. }) => CANNOT_CREATE,
            Self::Credentials(CredentialsError::Store(error)) => error.exit_code(),
            Self::Credentials(_) => UNAVAILABLE,
        }
    }
}

impl Failing for LiveError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Source(error) | Self::Destination(error) => error.exit_code(),
            Self::OtherStore | Self::NotEmpty => SETTINGS,
            Self::Mark(_) => IO,
            _ => UNAVAILABLE,
        }
    }
}

impl Failing for ArchiveError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Create(cause) if is_of_a_disk(cause) => IO,
            Self::Create(_) => CANNOT_CREATE,
            Self::Open(_) => NO_INPUT,
            Self::Read(_) | Self::Write(_) => IO,
            Self::WrongRing | Self::OtherStore { .. } | Self::OtherSealing => SETTINGS,
            Self::Store(error) => error.exit_code(),
            _ => BAD_DATA,
        }
    }
}

fn of_opening(error: &OpenError) -> u8 {
    match error {
        OpenError::Damaged { .. }
        | OpenError::Foreign { .. }
        | OpenError::NewerFormat { .. }
        | OpenError::OlderFormat { .. } => BAD_DATA,
        OpenError::OtherStore { .. }
        | OpenError::KeyRingMissing { .. }
        | OpenError::WrongKeyRing { .. }
        | OpenError::KeyMissing { .. }
        | OpenError::KeyFile(_) => SETTINGS,
        OpenError::Inaccessible { .. } => IO,
        _ => UNAVAILABLE,
    }
}

#[cfg(feature = "redis")]
fn of_opening_redis(error: &tokenkeep_redis::OpenError) -> u8 {
    use tokenkeep_redis::{Fault, OpenError};
    match error {
        OpenError::Redis(Fault::Unauthenticated | Fault::NotPermitted) => SETTINGS,
        OpenError::Redis(_) => UNAVAILABLE,
        OpenError::NewerFormat { .. } | OpenError::Damaged => BAD_DATA,
        _ => SETTINGS,
    }
}

#[cfg(feature = "sqlite")]
fn of_opening_sqlite(error: &tokenkeep_sqlite::OpenError) -> u8 {
    use tokenkeep_sqlite::OpenError;
    match error {
        OpenError::Damaged(_)
        | OpenError::Foreign
        | OpenError::MissingColumn { .. }
        | OpenError::NewerFormat { .. } => BAD_DATA,
        OpenError::Inaccessible { .. } => IO,
        OpenError::InUse => UNAVAILABLE,
        _ => SETTINGS,
    }
}

impl Failing for SealedFailure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Open(cause) => cause.exit_code(),
            Self::Ring(RingError::Store(error)) => error.exit_code(),
            Self::Ring(RingError::Unreadable(_)) => BAD_DATA,
            Self::Ring(RingError::Missing(_) | RingError::Different(_) | RingError::NotSealed) => {
                SETTINGS
            }
            _ => UNAVAILABLE,
        }
    }
}

impl Failing for TlsError {
    fn exit_code(&self) -> u8 {
        SETTINGS
    }
}

/// What could not be read for a backup, or written to it.
fn of_backed_up(error: &StoreError) -> u8 {
    match error {
        StoreError::Unavailable(_) => IO,
        error => error.exit_code(),
    }
}

/// Whether the disk is full or fails, rather than that somebody may not write there.
fn is_of_a_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// What was asked for makes no sense.
pub const ARGUMENTS: u8 = 2;
/// What was given to read is damaged, or something else.
pub const BAD_DATA: u8 = 65;
/// What was given to read is not there.
pub const NO_INPUT: u8 = 66;
/// Something that is needed is not there: the store is in use, a port is taken.
pub const UNAVAILABLE: u8 = 69;
/// A file cannot be made.
pub const CANNOT_CREATE: u8 = 73;
/// The operating system could not read or write.
pub const IO: u8 = 74;
/// The settings, or the keys, do not fit.
pub const SETTINGS: u8 = 78;
