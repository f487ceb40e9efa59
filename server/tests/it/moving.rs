//! Sessions that move: exports, imports, migrations, backups, and all that can interrupt them.

mod export;
mod migrate;
mod sessions;
