//! What happened to sessions, told to the other servers that share the store.

use std::time::Duration;

use tokenkeep_core::{
    ClientInfo, DeviceId, Email, EndReason, Event, EventKind, Heard, Origin, StoreError, Timestamp,
};
use tokio::sync::mpsc;

use crate::driver::{Driver, Reply};
use crate::fault::Fault;
use crate::row::micros;
use crate::store::RedisStore;

impl RedisStore {
    /// Tells the other servers of `event`. The latest 65 536 or so are kept for those that are
    /// away for a moment. There is no secret in it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis cannot help; the others then hear nothing of it.
    pub async fn publish(&self, event: &Event) -> Result<(), StoreError> {
        let Some((kind, reason)) = words_of(&event.kind) else { return Ok(()) };
        let (number, device) = (event.number.to_string(), event.device_id.to_string());
        let fields = [
            ("number", number.as_str()),
            ("at", &micros(event.at)),
            ("email", event.email.as_str()),
            ("device", &device),
            ("kind", kind),
            ("reason", reason),
        ];
        self.append(&fields).await
    }

    /// Tells the other servers that they were not told of everything that happened here.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis cannot help; the others then hear nothing of it.
    pub async fn publish_gap(&self) -> Result<(), StoreError> {
        self.append(&[("kind", GAP)]).await
    }

    async fn append(&self, fields: &[(&str, &str)]) -> Result<(), StoreError> {
        let key = self.inner.keys.events();
        let mut words = vec!["XADD", &key, "MAXLEN", "~", KEPT, "*", "by", &self.inner.instance];
        words.extend(fields.iter().flat_map(|(name, value)| [*name, *value]));
        let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
        self.inner.driver.command(&words).await?;
        Ok(())
    }

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
        let words = ["XREVRANGE", &key, "+", "-", "COUNT", "1"].map(str::as_bytes);
        let latest = driver.command(&words).await?;
        let last = latest.at(0).at(0).text().unwrap_or(BEFORE_ALL).to_owned();
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
        let mut heard = Vec::new();
        // The oldest go first: while the last one is there, nothing after it is lost.
        if self.last != BEFORE_ALL {
            let words = ["XRANGE", key, last, last].map(str::as_bytes);
            if self.driver.command(&words).await?.list().is_empty() {
                heard.push(Heard::Gap);
                BEFORE_ALL.clone_into(&mut self.last);
            }
        }
        // In the newer protocol the streams are a map, which is read as a flat list.
        let entries = match reply.at(0) {
            Reply::List(stream) => stream.get(1),
            _ => reply.list().get(1),
        };
        for entry in entries.map(Reply::list).unwrap_or_default() {
            if let Some(id) = entry.at(0).text() {
                id.clone_into(&mut self.last);
            }
            let fields = entry.at(1);
            if field(fields, "by") != Some(&self.instance) {
                heard.extend(heard_in(fields));
            }
        }
        Ok(heard)
    }
}

fn field<'a>(fields: &'a Reply, name: &str) -> Option<&'a str> {
    let pair =
        fields.list().chunks(2).find(|pair| pair.first().and_then(Reply::text) == Some(name));
    pair?.get(1)?.text()
}

fn heard_in(fields: &Reply) -> Option<Heard> {
    match field(fields, "kind") {
        Some(GAP) => Some(Heard::Gap),
        _ => event_in(fields).map(Heard::Event),
    }
}

fn event_in(fields: &Reply) -> Option<Event> {
    let email: Email = field(fields, "email")?.parse().ok()?;
    let device_id: DeviceId = field(fields, "device")?.parse().ok()?;
    let reason = field(fields, "reason")?;
    let kind = match field(fields, "kind")? {
        "logged_in" => EventKind::LoggedIn(ClientInfo::default()),
        "refreshed" => EventKind::Refreshed,
        "logged_out" => {
            let known = EndReason::ALL.into_iter().find(|known| known.as_str() == reason);
            EventKind::LoggedOut(known?)
        }
        "refresh_failed" => EventKind::RefreshFailed,
        "relabelled" => EventKind::Relabelled,
        _ => return None,
    };
    Some(Event {
        number: field(fields, "number")?.parse().ok()?,
        at: Timestamp::from_unix_micros(field(fields, "at")?.parse().ok()?),
        email,
        device_id,
        kind,
        origin: Origin::Elsewhere,
    })
}

/// The word for `kind`, and the reason if a session ended. A kind that other servers could not
/// know has none.
fn words_of(kind: &EventKind) -> Option<(&'static str, &'static str)> {
    let words = match kind {
        EventKind::LoggedIn(_) => ("logged_in", ""),
        EventKind::Refreshed => ("refreshed", ""),
        EventKind::LoggedOut(reason) => ("logged_out", reason.as_str()),
        EventKind::RefreshFailed => ("refresh_failed", ""),
        EventKind::Relabelled => ("relabelled", ""),
        _ => return None,
    };
    Some(words)
}

/// The kind of an entry that says that others are missing.
const GAP: &str = "gap";
const KEPT: &str = "65536";
const BEFORE_ALL: &str = "0-0";
const PAUSE: Duration = Duration::from_millis(500);
