//! The scripts. Each works on keys of one slot, and may run twice with the same arguments.

use std::sync::LazyLock;

use crate::driver::Script;

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)+) => {$(
        $(#[$doc])*
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(include_str!("lua/common.lua"), include_str!($file)))
        });
    )+};
}

macro_rules! index_scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)+) => {$(
        $(#[$doc])*
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("lua/common.lua"),
                include_str!("lua/index.lua"),
                include_str!($file)
            ))
        });
    )+};
}

scripts! {
    /// Stores a login.
    CREATE = "lua/create.lua";
    /// Ends a record.
    FINISH = "lua/finish.lua";
    /// Keeps a login that was given up from being stored.
    FENCE = "lua/fence.lua";
    /// Replaces a record.
    REPLACE = "lua/replace.lua";
    /// Notes a use.
    TOUCH = "lua/touch.lua";
    /// Takes a lease.
    LEASE = "lua/lease.lua";
    /// Moves the end of a lease.
    EXTEND = "lua/extend.lua";
    /// Gives a lease back.
    RELEASE = "lua/release.lua";
    /// Takes a record of another store over.
    IMPORT = "lua/import.lua";
    /// Takes a row of the original application over.
    ADOPT = "lua/adopt.lua";
    /// Seals a record with another key.
    RESEAL = "lua/reseal.lua";
    /// Reads the clock of Redis.
    CLOCK = "lua/clock.lua";
    /// Says that this server seals with a key.
    RING_SEAL = "lua/ring_seal.lua";
    /// Says that it seals with another one from here on.
    RING_TAKE = "lua/ring_take.lua";
    /// Says that it seals nothing any more.
    RING_LEAVE = "lua/ring_leave.lua";
    /// Forgets a key.
    RING_RETIRE = "lua/ring_retire.lua";
}

index_scripts! {
    /// Reads an index.
    INDEX_READ = "lua/index_read.lua";
    /// Begins a login.
    INDEX_BEGIN = "lua/index_begin.lua";
    /// Says what became of a login.
    INDEX_SETTLE = "lua/index_settle.lua";
    /// Notes that devices end.
    INDEX_ENDING = "lua/index_ending.lua";
    /// Notes that they ended.
    INDEX_ENDED = "lua/index_ended.lua";
    /// Takes a device out.
    INDEX_DROP = "lua/index_drop.lua";
    /// Learns of a device or of its longer life.
    INDEX_LEARN = "lua/index_learn.lua";
    /// Corrects how long a device lives.
    INDEX_CORRECT = "lua/index_correct.lua";
}

/// The arguments of a script: everything is text or bytes.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { Vec::from([$($arg.to_string().into_bytes()),*]) };
}
pub(crate) use args;
