//! The mark that a store gets when its sessions went elsewhere: who opens it by old settings
//! would serve what is stale.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tokenkeep_core::Timestamp;

use super::{Address, AnyStore, REDB_FILE};
#[cfg(feature = "redis")]
use super::{RedisAddress, StoreFailure};
use crate::moving::MarkFailure;

/// The sessions of a store were moved: it is not the one that counts any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sessions of this store were moved to {to}: set `store.kind` and its address to that one \
     (and remove {mark} only if the move must be forgotten)"
)]
pub struct Moved {
    /// Where to, without a password, and when.
    pub to: String,
    /// What says so.
    pub mark: String,
}

/// Refuses a store in files whose sessions went elsewhere; one on a network says so itself when
/// it is opened.
///
/// # Errors
/// [`Moved`]
pub fn refuse_moved(address: &Address) -> Result<(), Moved> {
    let Some(data) = data_file(address) else { return Ok(()) };
    let mark = mark_of(&data);
    match std::fs::read_to_string(&mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A mark that cannot be read is one all the same.
        said => Err(Moved {
            to: said.unwrap_or_default().trim().to_owned(),
            mark: mark.display().to_string(),
        }),
    }
}

/// Refuses a store on Redis whose sessions went elsewhere.
#[cfg(feature = "redis")]
pub(super) async fn check_redis(
    store: &tokenkeep_redis::RedisStore,
    address: &RedisAddress,
) -> Result<(), StoreFailure> {
    let asked = Box::pin(store.moved_to()).await;
    let asked =
        asked.map_err(|cause| StoreFailure::Unanswered { address: address.to_string(), cause })?;
    let mark = || format!("the key {}tokenkeep:moved in redis", address.prefix);
    asked.map_or(Ok(()), |to| Err(Moved { to, mark: mark() }.into()))
}

/// Marks `store`, which is at `from`, as moved to `to`, durably and for everybody.
pub(crate) async fn mark_moved(
    store: &AnyStore,
    from: &Address,
    to: &Address,
    at: Timestamp,
) -> Result<(), MarkFailure> {
    let said = format!("{to} at {at}");
    #[cfg(feature = "redis")]
    if let AnyStore::Redis(redis) = store {
        let marked = Box::pin(redis.mark_moved(&said)).await;
        if marked.is_err() && Box::pin(redis.forget_move()).await.is_err() {
            tracing::error!("redis may hold the mark of a move that did not come about");
        }
        return Ok(marked?);
    }
    match data_file(from) {
        Some(data) => Ok(set(&data, &said)?),
        None => Err(format!("{} has no place for a mark", store.kind()).into()),
    }
}

fn set(data: &Path, said: &str) -> io::Result<()> {
    let mark = mark_of(data);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&mark)?;
    writeln!(file, "{said}")?;
    file.sync_all()?;
    let directory = data.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// The data file of a store that lies in files.
fn data_file(address: &Address) -> Option<PathBuf> {
    match address {
        Address::Redb(directory) => Some(directory.join(REDB_FILE)),
        Address::Sqlite(file) | Address::OriginalSqlite(file) => Some(file.clone()),
        Address::Redis(_) | Address::OriginalRedis(_) => None,
    }
}

fn mark_of(data: &Path) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".MOVED");
    data.with_file_name(name)
}
