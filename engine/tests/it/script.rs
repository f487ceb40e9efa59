//! A scripted run of a store, and what must be there after each of its steps.

mod expected;
mod plan;
mod run;

use std::time::Duration;

use tokenkeep::EndReason;

pub(crate) use expected::{Expected, USERS, check_whole};
pub(crate) use plan::plan;
pub(crate) use run::{Manner, Memory, Run, open};

/// One step of a script. Sessions are numbered; the number is the device, too.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Login(Login),
    Lease {
        n: u8,
    },
    /// Gives the lease back.
    Release {
        n: u8,
        sent: bool,
    },
    /// Stores another pair of tokens that lives this long.
    Renew {
        n: u8,
        life: Duration,
    },
    /// Comes too late with a pair for the version before.
    RenewStale {
        n: u8,
    },
    Label {
        n: u8,
        label: &'static str,
    },
    /// A use that is put on the disk at once.
    Touch {
        n: u8,
    },
    Logout {
        n: u8,
    },
    EndAll {
        user: &'static str,
        except: Option<u8>,
        ends: &'static [u8],
    },
    /// These at the same time, each of another session.
    Together(Vec<Step>),
    /// Time passes.
    Pass(Duration),
    Purge {
        limit: usize,
    },
    Compact,
    /// Another key seals from here on.
    Rotate,
    /// Everything comes under the active key, and the others are retired.
    Reseal,
    Reopen {
        eager: bool,
    },
}

/// A login, and what it ends.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) n: u8,
    pub(crate) user: &'static str,
    pub(crate) life: Duration,
    pub(crate) replaces: Option<u8>,
    pub(crate) ceiling: Option<usize>,
    pub(crate) ends: &'static [(u8, EndReason)],
}

/// A login of `user` that ends nothing.
pub(crate) fn login(n: u8, user: &'static str, life: Duration) -> Step {
    Step::Login(Login { n, user, life, replaces: None, ceiling: None, ends: &[] })
}

/// For how long the reason of an end can be asked for.
pub(crate) const ANSWERABLE: Duration = crate::support::HOUR;
