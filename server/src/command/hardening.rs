//! What the process asks of the system for itself: no image of its memory, and enough open files.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Keeps the memory of this process, which holds tokens, out of core images, and away from the
/// debuggers of other processes of the same user.
pub(crate) fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A core image that goes to a program takes no heed of the limit.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Raises the limit of open files as far as this process may, and says so if it is too low for
/// this many connections.
pub(crate) fn allow_open_files(connections: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit = raised,
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
    let needed = (connections as u64).saturating_add(OTHER_FILES);
    if let Some(files) = limit.current.filter(|files| *files < needed) {
        tracing::warn!(
            files,
            needed,
            "the limit of open files is too low for limits.connections; raise it (LimitNOFILE, ulimit -Hn)"
        );
    }
}

/// What is open besides the connections of clients: the store, connections to upstreams and to
/// the auth server.
const OTHER_FILES: u64 = 512;
