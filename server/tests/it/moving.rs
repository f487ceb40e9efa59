//! Sessions that move: exports, imports, migrations, backups, and all that can interrupt them.

mod backup;
mod export;
mod faults;
mod live;
mod migrate;
mod original;
mod places;
pub mod redis;
mod sessions;
