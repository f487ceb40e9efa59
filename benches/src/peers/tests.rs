//! Every peer does what it is measured doing.

use anyhow::Result;

use super::append::Append;
use super::fjall::Fjall;
use super::group_commit::GroupCommit;
use super::lmdb::Lmdb;
use super::map::Map;
use super::redb::Redb;
use super::redis::Redis;
#[cfg(feature = "rocksdb")]
use super::rocksdb::Rocksdb;
use super::sled::Sled;
use super::sqlite::Sqlite;
use super::tokenkeep::{Tokenkeep, Uncached};
use super::{Client as _, Peer, Versioned as _};
use crate::Entry;

/// Insert, refresh, list and expiry, seen through reads.
fn keeps_tokens<P: Peer>() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let peer = P::create(directory.path())?;
    let live: Vec<Entry> = (0..30).map(|number| Entry::lasting(number, 0)).collect();
    let dead: Vec<Entry> = (30..36).map(|number| Entry::dying(number, 86_400)).collect();
    peer.load(&live)?;
    peer.load(&dead)?;
    let mut client = peer.client()?;
    let version = |found: Option<_>| {
        found.map(|record: <P::Client as super::Client>::Record| record.version())
    };

    assert_eq!(version(client.get(7)?), Some(1), "what was loaded is found");
    assert_eq!(version(client.get(100)?), None, "what was not is not");

    client.insert(Entry::lasting(100, 0))?;
    assert_eq!(version(client.get(100)?), Some(1), "a login is found");

    client.refresh(Entry::lasting(7, 1))?;
    client.refresh(Entry::lasting(7, 2))?;
    assert_eq!(version(client.get(7)?), Some(3), "each refresh is a version");
    assert_eq!(version(client.get(8)?), Some(1), "of its device alone");
    assert!(client.refresh(Entry::lasting(500, 1)).is_err(), "a stranger is not refreshed");

    let mut versions: Vec<u64> = client.list(7)?.iter().map(|record| record.version()).collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 1, 3], "a user's three devices are listed, a refreshed one once");
    assert_eq!(client.list(30)?.len(), 3, "the dying live until they are dead");

    let expired = peer.expire(86_400, &dead)?;
    assert_eq!(expired.freed, 6, "exactly the dead are freed");
    let mut client = peer.client()?;
    assert_eq!(version(client.get(30)?), None, "the dead are gone");
    assert_eq!(client.list(30)?.len(), 0, "from the email index too");
    assert_eq!(version(client.get(7)?), Some(3), "the living are not");
    Ok(())
}

/// Writers that meet at one record lose no refresh, whatever the batches are.
fn loses_no_refresh<P: Peer>() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let peer = P::create(directory.path())?;
    peer.load(&[Entry::lasting(0, 0)])?;
    std::thread::scope(|scope| -> Result<()> {
        let refresh = || -> Result<()> {
            let mut client = peer.client()?;
            (1..=5).try_for_each(|generation| client.refresh(Entry::lasting(0, generation)))
        };
        let writers: Vec<_> = (0..4).map(|_| scope.spawn(refresh)).collect();
        writers.into_iter().try_for_each(|writer| writer.join().unwrap())
    })?;
    let found = peer.client()?.get(0)?;
    assert_eq!(found.map(|record| record.version()), Some(21));
    Ok(())
}

/// A second login under the same device id is refused and changes nothing.
fn refuses_a_taken_device<P: Peer>() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let peer = P::create(directory.path())?;
    let mut client = peer.client()?;
    client.insert(Entry::lasting(0, 0))?;
    client.refresh(Entry::lasting(0, 1))?;
    assert!(client.insert(Entry::lasting(0, 0)).is_err());
    assert_eq!(client.get(0)?.map(|record| record.version()), Some(2));
    Ok(())
}

/// A refresh moves the expiry: the old one must not take the record away.
fn keeps_what_was_refreshed<P: Peer>() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let peer = P::create(directory.path())?;
    let dying = [Entry::dying(0, 86_400), Entry::dying(1, 86_400)];
    peer.load(&dying)?;
    peer.client()?.refresh(Entry::lasting(0, 1))?;
    let expired = peer.expire(86_400, &dying)?;
    assert_eq!(expired.freed, 1);
    let mut client = peer.client()?;
    assert_eq!(client.get(0)?.map(|record| record.version()), Some(2));
    assert_eq!(client.list(0)?.len(), 1);
    Ok(())
}

macro_rules! peers {
    ($($name:ident: $peer:ty,)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn keeps_tokens() {
                super::keeps_tokens::<$peer>().unwrap();
            }

            #[test]
            fn loses_no_refresh() {
                super::loses_no_refresh::<$peer>().unwrap();
            }

            #[test]
            fn refuses_a_taken_device() {
                super::refuses_a_taken_device::<$peer>().unwrap();
            }

            #[test]
            fn keeps_what_was_refreshed() {
                super::keeps_what_was_refreshed::<$peer>().unwrap();
            }
        }
    )*};
}

peers! {
    engine: Tokenkeep,
    engine_without_a_cache: Uncached,
    redb_keyed: GroupCommit<Redb>,
    sled_trees: GroupCommit<Sled>,
    fjall_keyspaces: GroupCommit<Fjall>,
    sqlite_table: GroupCommit<Sqlite>,
    lmdb_databases: GroupCommit<Lmdb>,
}

#[cfg(feature = "rocksdb")]
peers! {
    rocksdb_families: GroupCommit<Rocksdb>,
}

#[test]
fn redis_keeps_tokens() {
    if Redis::version().is_none() {
        println!("skipped: redis-server is not installed (apt-get install redis-server)");
        return;
    }
    keeps_tokens::<Redis>().unwrap();
    loses_no_refresh::<Redis>().unwrap();
}

#[test]
fn the_bare_file_holds_every_row_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let peer = GroupCommit::<Append>::create(directory.path()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let mut client = peer.client().unwrap();
            scope.spawn(move || {
                (0..5).for_each(|n| client.insert(Entry::lasting(writer * 5 + n, 0)).unwrap());
            });
        }
    });
    peer.client().unwrap().refresh(Entry::lasting(0, 1)).unwrap();
    let len = directory.path().join("rows").metadata().unwrap().len();
    assert_eq!(len, 21 * (16 + super::row::ROW_BYTES as u64));
}

#[test]
fn the_map_holds_records() {
    let peer = Map::create("".as_ref()).unwrap();
    peer.load(&[Entry::lasting(3, 0)]).unwrap();
    let mut client = peer.client().unwrap();
    client.refresh(Entry::lasting(3, 1)).unwrap();
    assert_eq!(client.get(3).unwrap().map(|record| record.version()), Some(2));
    assert!(client.get(4).unwrap().is_none());
}
