//! The audit log: one line for everything that somebody did to a session, or was refused.
//!
//! A line is told where the act happens: by the flow, through the [`Witness`] of the handle that a
//! handler uses, or by the handler itself. So it knows the request, and acts of other servers on
//! the same store are theirs to tell.

mod act;
mod asker;
mod file;
mod line;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokenkeep_core::{Clock, DeviceId, Email, EventKind, Witness};

pub(crate) use act::{Act, What};
pub(crate) use asker::Asker;
use file::AuditFile;
use line::Line;

/// Where the lines of the audit log go: into a file of their own, or into the ordinary log under
/// the target `tokenkeep::audit`. A clone is the same log.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    file: Option<AuditFile>,
}

impl Audit {
    /// Lines go to the ordinary log.
    #[must_use]
    pub fn to_log(clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { clock, file: None }) }
    }

    /// Lines of JSON are appended to the file at `path`, which is made, for its owner only, if it
    /// is not there. A line that the file does not take goes to the ordinary log.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let file = Some(AuditFile::open(path)?);
        Ok(Self { inner: Arc::new(Inner { clock, file }) })
    }

    /// Opens the file anew, after somebody has moved it away; what was told before is in the old
    /// one. It blocks the thread, for some seconds at most.
    ///
    /// # Errors
    /// What the operating system says; lines go where they went before.
    pub fn reopen(&self) -> io::Result<()> {
        self.inner.file.as_ref().map_or(Ok(()), AuditFile::reopen)
    }

    /// Returns when all lines are written; those that come later go to the ordinary log. It blocks
    /// the thread, for some seconds at most.
    ///
    /// # Errors
    /// The disk hangs: some lines may be lost.
    pub fn close(&self) -> io::Result<()> {
        self.inner.file.as_ref().map_or(Ok(()), AuditFile::close)
    }

    /// Whether lines go into a file.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.inner.file.is_some()
    }

    /// Tells of an act, and of who asked for it if anybody did.
    pub(crate) fn note(&self, asker: Option<&Asker>, act: Act) {
        let line = Line::new(self.inner.clock.now(), asker, act);
        match &self.inner.file {
            Some(file) => file.take(line),
            None => line.log(),
        }
    }
}

/// Of what the server does unasked: what is left to do after a crash.
impl Witness for Audit {
    fn saw(&self, device: DeviceId, email: &Email, kind: &EventKind) {
        if let Some(act) = Act::seen(device, email, kind) {
            self.note(None, act);
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("file", &self.inner.file).finish_non_exhaustive()
    }
}
