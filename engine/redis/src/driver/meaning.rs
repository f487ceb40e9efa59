//! What the errors of the driver mean to people.

use std::error::Error;
use std::io::ErrorKind as Io;
use std::sync::Arc;

use redis::ErrorKind::{
    AuthenticationFailed, ClusterConnectionNotFound, MasterNameNotFoundBySentinel,
    NoValidReplicasFoundBySentinel, Parse,
};
use redis::RedisError;

use crate::fault::Fault;

/// What `error` means to people.
pub(super) fn fault(error: RedisError) -> Fault {
    if error.is_timeout() {
        return Fault::TimedOut;
    }
    known(&error).unwrap_or_else(|| match error.kind() {
        ClusterConnectionNotFound => Fault::Unreachable(error.into()),
        _ if error.is_io_error() => Fault::Unreachable(error.into()),
        _ => Fault::Other(error.into()),
    })
}

/// What `error` means if it came before the first answer.
pub(super) fn fault_of_connecting(error: RedisError) -> Fault {
    // A server that expects TLS answers anybody else with bytes of it, or with nothing.
    let hung_up = io_error(&error).is_some_and(|io| {
        matches!(io.kind(), Io::UnexpectedEof | Io::ConnectionReset | Io::BrokenPipe)
    });
    if known(&error).is_none() && (hung_up || error.kind() == Parse) {
        return Fault::NotRedis(error.into());
    }
    fault(error)
}

/// The fault that `error` names by itself.
fn known(error: &RedisError) -> Option<Fault> {
    let detail = error.detail().unwrap_or_default();
    Some(match (error.code().unwrap_or_default(), error.kind()) {
        ("LOADING", _) => Fault::Loading,
        ("READONLY" | "MASTERDOWN", _) => Fault::ReadOnly,
        ("OOM", _) => Fault::OutOfMemory,
        ("MISCONF", _) => Fault::CannotSave,
        ("NOREPLICAS", _) => Fault::NoReplicas,
        ("BUSY", _) => Fault::TimedOut,
        ("NOAUTH" | "WRONGPASS", _) | (_, AuthenticationFailed) => Fault::Unauthenticated,
        ("NOPERM", _) => Fault::NotPermitted,
        ("CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK", _) => Fault::ClusterDown,
        (_, MasterNameNotFoundBySentinel | NoValidReplicasFoundBySentinel) => Fault::NoMaster,
        // Redis has no code of its own for this.
        ("ERR", _) if detail.contains("cluster support disabled") => Fault::NoCluster,
        // Redis before 7 puts the code of a command in a script into the text of the script's.
        _ if detail.contains("OOM command not allowed") => Fault::OutOfMemory,
        _ => return about_tls(error),
    })
}

fn about_tls(error: &RedisError) -> Option<Fault> {
    let inner = io_error(error).and_then(|io| io.get_ref())?;
    let source = error.clone().into();
    Some(match inner.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(_) => Fault::Certificate(source),
        _ => Fault::Tls(source),
    })
}

/// The error of the operating system in `error`; the driver keeps it behind a pointer.
fn io_error(error: &RedisError) -> Option<&std::io::Error> {
    let shared = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    shared.downcast_ref()
}
