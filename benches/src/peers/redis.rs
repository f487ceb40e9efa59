//! Redis over loopback: a hash with an expiry of its own for each device, a set for each email.
//!
//! Redis has a group commit of its own, so every thread has a connection and nothing in between.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use redis::{Connection, Pipeline, cmd, pipe};

use super::redis_server::{self, RedisServer};
use super::row::Row;
use super::{Client, Expired, Peer, Versioned};
use crate::{Entry, email, instant};

/// A server and how to replace a record in it.
#[derive(Debug)]
pub struct Redis {
    server: RedisServer,
    /// The name under which the server knows [`REPLACE`].
    replace: String,
}

/// One connection.
pub struct RedisClient {
    connection: Connection,
    replace: String,
}

/// What a read hands out.
#[derive(Clone, Debug)]
pub struct Fetched {
    version: u64,
    /// The whole row.
    pub row: Vec<u8>,
}

impl Redis {
    /// The version of the server that is installed, if one is.
    #[must_use]
    pub fn version() -> Option<String> {
        redis_server::version()
    }

    fn connect(&self) -> Result<Connection> {
        let address = format!("redis://127.0.0.1:{}/", self.server.port);
        Ok(redis::Client::open(address)?.get_connection()?)
    }
}

impl Peer for Redis {
    type Client = RedisClient;

    fn create(directory: &Path) -> Result<Self> {
        let mut redis = Self { server: RedisServer::start(directory)?, replace: String::new() };
        redis.replace = cmd("SCRIPT").arg("LOAD").arg(REPLACE).query(&mut redis.connect()?)?;
        Ok(redis)
    }

    fn client(&self) -> Result<RedisClient> {
        Ok(RedisClient { connection: self.connect()?, replace: self.replace.clone() })
    }

    fn load(&self, entries: &[Entry]) -> Result<()> {
        let mut logins = pipe();
        for entry in entries {
            add_login(&mut logins, *entry)?;
        }
        Ok(logins.exec(&mut self.connect()?)?)
    }

    /// Redis keeps its own time, so the dead get the next moment as their expiry. What is measured
    /// is how long Redis takes to find them by itself. The sets of the emails keep their ids.
    fn expire(&self, _now: u64, dead: &[Entry]) -> Result<Expired> {
        let mut connection = self.connect()?;
        let before: u64 = cmd("DBSIZE").query(&mut connection)?;
        let mut deaths = pipe();
        for entry in dead {
            deaths.cmd("PEXPIRE").arg(session_key(*entry)).arg(NOTICE.as_millis() as u64).ignore();
        }
        deaths.exec(&mut connection)?;
        let (begun, mut freed) = (instant(), 0);
        while freed < dead.len() as u64 && begun.elapsed() < NOTICE + PATIENCE {
            let _ = crossbeam_channel::after(POLL).recv();
            freed = before.saturating_sub(cmd("DBSIZE").query(&mut connection)?);
        }
        Ok(Expired { freed, took: begun.elapsed().saturating_sub(NOTICE) })
    }
}

impl Client for RedisClient {
    type Record = Fetched;

    fn insert(&mut self, entry: Entry) -> Result<()> {
        let mut login = pipe();
        login.atomic();
        add_login(&mut login, entry)?;
        Ok(login.exec(&mut self.connection)?)
    }

    fn refresh(&mut self, entry: Entry) -> Result<()> {
        loop {
            let current = self.get(entry.number)?.context("the record is missing")?;
            let row = Row::new(entry, current.version + 1);
            let replaced: bool = cmd("EVALSHA")
                .arg(&self.replace)
                .arg(1)
                .arg(session_key(entry))
                .arg(current.version)
                .arg(row.version)
                .arg(row.encode())
                .arg(expiry(entry)?)
                .query(&mut self.connection)?;
            if replaced {
                return Ok(());
            }
        }
    }

    fn get(&mut self, number: u64) -> Result<Option<Fetched>> {
        let key = key_of(crate::device(number).as_bytes());
        let found: (Option<u64>, Option<Vec<u8>>) =
            cmd("HMGET").arg(key).arg("version").arg("row").query(&mut self.connection)?;
        Ok(fetched(found))
    }

    fn list(&mut self, number: u64) -> Result<Vec<Fetched>> {
        let set = email_key(email(number).as_str());
        let devices: Vec<Vec<u8>> = cmd("SMEMBERS").arg(set).query(&mut self.connection)?;
        let mut rows = pipe();
        for device in devices {
            rows.cmd("HMGET").arg(key_of(&device)).arg("version").arg("row");
        }
        let found: Vec<(Option<u64>, Option<Vec<u8>>)> = rows.query(&mut self.connection)?;
        Ok(found.into_iter().filter_map(fetched).collect())
    }
}

impl Versioned for Fetched {
    fn version(&self) -> u64 {
        self.version
    }
}

impl std::fmt::Debug for RedisClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisClient").finish_non_exhaustive()
    }
}

fn fetched((version, row): (Option<u64>, Option<Vec<u8>>)) -> Option<Fetched> {
    Some(Fetched { version: version?, row: row? })
}

fn add_login(commands: &mut Pipeline, entry: Entry) -> Result<()> {
    let (key, row) = (session_key(entry), Row::new(entry, 1));
    commands.cmd("HSET").arg(&key).arg("version").arg(1).arg("row").arg(row.encode()).ignore();
    commands.cmd("PEXPIREAT").arg(&key).arg(expiry(entry)?).ignore();
    commands.cmd("SADD").arg(email_key(&row.email)).arg(&row.device).ignore();
    Ok(())
}

/// When `entry` dies by the clock of Redis, in milliseconds. What is dying dies when it is told.
fn expiry(entry: Entry) -> Result<u64> {
    #[expect(clippy::disallowed_methods, reason = "Redis takes instants of the real clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    ensure!(entry.dies_after > 3600, "a death so early would come while the bench runs");
    Ok((now.as_secs() + entry.dies_after) * 1000)
}

fn session_key(entry: Entry) -> Vec<u8> {
    key_of(&entry.device())
}

fn key_of(device: &[u8]) -> Vec<u8> {
    [b"s:", device].concat()
}

fn email_key(email: &str) -> String {
    format!("e:{email}")
}

const REPLACE: &str = "
    if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
    redis.call('HSET', KEYS[1], 'version', ARGV[2], 'row', ARGV[3])
    redis.call('PEXPIREAT', KEYS[1], ARGV[4])
    return 1
";
/// How long before they die Redis hears of it.
const NOTICE: Duration = Duration::from_secs(2);
/// How long Redis gets to find the dead.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
