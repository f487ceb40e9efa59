//! Failures of the library, and the exit codes that they have.

use tokenkeep_core::StoreError;
use tokenkeep_server::TlsError;
use tokenkeep_server::exit_code::Failing;
use tokenkeep_server::moving::CopyError;
use tokenkeep_server::moving::archive::ArchiveError;
use tokenkeep_server::store::{BackupFailure, SealedFailure, StoreFailure};

use super::Failure;

macro_rules! failing {
    ($($cause:ty),+ $(,)?) => {$(
        impl From<$cause> for Failure {
            fn from(cause: $cause) -> Self {
                Self { code: cause.exit_code(), cause: cause.into() }
            }
        }
    )+};
}

failing!(StoreFailure, BackupFailure, StoreError, CopyError, ArchiveError, SealedFailure, TlsError);
