//! Which exit code a failure has: those of sysexits.h, as the README lists them.

use tokenkeep::{BackupError, OpenError};
use tokenkeep_core::StoreError;
use tokenkeep_core::keyring::RingError;
use tokenkeep_server::TlsError;
use tokenkeep_server::moving::archive::ArchiveError;
use tokenkeep_server::moving::{CopyError, CredentialsError};
use tokenkeep_server::store::{BackupFailure, SealedFailure, StoreFailure};

use super::Failure;

impl From<StoreFailure> for Failure {
    fn from(cause: StoreFailure) -> Self {
        let code = match &cause {
            StoreFailure::Open { cause, .. } => of_opening(cause),
            #[cfg(feature = "redis")]
            StoreFailure::Redis { cause, .. } => of_opening_redis(cause),
            #[cfg(feature = "sqlite")]
            StoreFailure::Sqlite { cause, .. } => of_opening_sqlite(cause),
            StoreFailure::NothingThere(_) => NO_INPUT,
            StoreFailure::Unreadable { .. } => IO,
            _ => SETTINGS,
        };
        Self { code, cause: cause.into() }
    }
}

impl From<SealedFailure> for Failure {
    fn from(cause: SealedFailure) -> Self {
        let code = match cause {
            SealedFailure::Open(cause) => return cause.into(),
            SealedFailure::Kind(_) => ARGUMENTS,
            SealedFailure::Ring(RingError::Store(ref error)) => of_store(error),
            SealedFailure::Ring(RingError::Unreadable(_)) => BAD_DATA,
            SealedFailure::Ring(
                RingError::Missing(_) | RingError::Different(_) | RingError::NotSealed,
            ) => SETTINGS,
            _ => UNAVAILABLE,
        };
        Self { code, cause: cause.into() }
    }
}

impl From<BackupFailure> for Failure {
    fn from(cause: BackupFailure) -> Self {
        let code = match &cause {
            BackupFailure::Redb(BackupError::Store(error)) => of_store(error),
            #[cfg(feature = "sqlite")]
            BackupFailure::Sqlite(tokenkeep_sqlite::BackupError::Store(error)) => of_store(error),
            #[cfg(feature = "redis")]
            BackupFailure::Redis => ARGUMENTS,
            _ => CANNOT_CREATE,
        };
        Self { code, cause: cause.into() }
    }
}

impl From<TlsError> for Failure {
    fn from(cause: TlsError) -> Self {
        Self { code: SETTINGS, cause: cause.into() }
    }
}

impl From<StoreError> for Failure {
    fn from(cause: StoreError) -> Self {
        Self { code: of_store(&cause), cause: cause.into() }
    }
}

impl From<CopyError> for Failure {
    fn from(cause: CopyError) -> Self {
        let code = match &cause {
            CopyError::Source(error) | CopyError::Destination(error) => of_store(error),
            CopyError::Credentials(CredentialsError::File { .. }) => CANNOT_CREATE,
            _ => UNAVAILABLE,
        };
        Self { code, cause: cause.into() }
    }
}

impl From<ArchiveError> for Failure {
    fn from(cause: ArchiveError) -> Self {
        let code = match &cause {
            ArchiveError::Create(_) => CANNOT_CREATE,
            ArchiveError::Open(_) => NO_INPUT,
            ArchiveError::Read(_) | ArchiveError::Write(_) => IO,
            ArchiveError::WrongRing
            | ArchiveError::OtherStore { .. }
            | ArchiveError::OtherSealing => SETTINGS,
            ArchiveError::Store(error) => of_store(error),
            _ => BAD_DATA,
        };
        Self { code, cause: cause.into() }
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

fn of_store(error: &StoreError) -> u8 {
    if matches!(error, StoreError::Unreadable { .. }) { BAD_DATA } else { UNAVAILABLE }
}

/// What was asked for makes no sense.
pub(super) const ARGUMENTS: u8 = 2;
/// What was given to read is damaged, or something else.
pub(super) const BAD_DATA: u8 = 65;
/// What was given to read is not there.
pub(super) const NO_INPUT: u8 = 66;
/// Something that is needed is not there: the store is in use, a port is taken.
pub(super) const UNAVAILABLE: u8 = 69;
/// A file cannot be made.
pub(super) const CANNOT_CREATE: u8 = 73;
/// The operating system could not read or write.
pub(super) const IO: u8 = 74;
/// The settings, or the keys, do not fit.
pub(super) const SETTINGS: u8 = 78;
