//! Listening to what the other servers tell.

use std::time::Duration;

use tokenkeep_core::{Heard, StoreError};
use tokio::sync::mpsc;

use super::{field, heard_in};
use crate::driver::{Driver, Reply};
use crate::fault::Fault;
use crate::store::RedisStore;

impl RedisStore {
    /// Listens to what other servers tell from here on, until the receiver is dropped. After an
    /// outage of Redis it goes on where it was.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis cannot help at the moment.
    pub async fn listen(&self) -> Result<mpsc::Receiver<Heard>, StoreError> {
        // A read that waits would keep the commands of others waiting.
        let driver =
            Driver::connect(&self.inner.settings).await.map_err(StoreError::unavailable)?;
        let key = self.inner.keys.events();
        let last = latest(&driver, &key).await?;
        let wait = (self.inner.settings.response_timeout / 2).as_millis().max(1).to_string();
        let (sender, receiver) = mpsc::channel(1024);
        let instance = self.inner.instance.clone();
        let listener = Listener { driver, key, last, wait, instance, sender };
        tokio::spawn(listener.run());
        Ok(receiver)
    }
}

/// Reads the stream from the last entry that it has seen on.
struct Listener {
    driver: Driver,
    key: String,
    last: String,
    wait: String,
    instance: String,
    sender: mpsc::Sender<Heard>,
}

impl Listener {
    async fn run(mut self) {
        while !self.sender.is_closed() {
            let sender = self.sender.clone();
            let read = tokio::select! {
                read = self.read() => read,
                () = sender.closed() => return,
            };
            match read {
                Ok(heard) => {
                    for heard in heard {
                        if self.sender.send(heard).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "what other servers do is not heard at the moment");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// What was told since the last entry, if need be after a wait.
    async fn read(&mut self) -> Result<Vec<Heard>, Fault> {
        let (key, last) = (&self.key, &self.last);
        let words = ["XREAD", "COUNT", "256", "BLOCK", &self.wait, "STREAMS", key, last];
        let reply = self.driver.command(&words.map(str::as_bytes)).await?;
        // In the newer protocol the streams are a map, which is read as a flat list.
        let entries = match reply.at(0) {
            Reply::List(stream) => stream.get(1),
            _ => reply.list().get(1),
        };
        let entries = entries.map(Reply::list).unwrap_or_default();
        let mut heard = Vec::new();
        let mut next = entries.last().and_then(|entry| entry.at(0).text()).map(str::to_owned);
        if self.is_cut().await? {
            heard.push(Heard::Gap);
            // Whoever hears of the gap reads everything again: what is there is not told, too.
            next = Some(match next {
                Some(next) => next,
                None => latest(&self.driver, &self.key).await?,
            });
        }
        let others = |fields: &&Reply| field(fields, "by") != Some(&self.instance);
        heard.extend(entries.iter().map(|entry| entry.at(1)).filter(others).filter_map(heard_in));
        if let Some(next) = next {
            self.last = next;
        }
        Ok(heard)
    }

    /// Whether entries are missing. The oldest go first: while the last one that was seen is
    /// there, nothing after it is lost.
    async fn is_cut(&self) -> Result<bool, Fault> {
        if self.last == BEFORE_ALL {
            return Ok(false);
        }
        let words = ["XRANGE", &self.key, &self.last, &self.last].map(str::as_bytes);
        Ok(self.driver.command(&words).await?.list().is_empty())
    }
}

/// The id of the latest entry under `key`.
async fn latest(driver: &Driver, key: &str) -> Result<String, Fault> {
    let words = ["XREVRANGE", key, "+", "-", "COUNT", "1"].map(str::as_bytes);
    let latest = driver.command(&words).await?;
    Ok(latest.at(0).at(0).text().unwrap_or(BEFORE_ALL).to_owned())
}

const BEFORE_ALL: &str = "0-0";
const PAUSE: Duration = Duration::from_millis(500);
