//! What happened to sessions, told to the other servers that share the store.

mod listening;

use std::net::IpAddr;

use tokenkeep_core::{
    ClientInfo, DeviceId, Email, EndReason, Event, EventKind, Heard, Origin, StoreError, Timestamp,
};

use crate::driver::Reply;
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
        let (at, address) = (micros(event.at), address_of(&event.kind));
        let mut fields = vec![
            ("number", number.as_str()),
            ("at", &at),
            ("email", event.email.as_str()),
            ("device", &device),
            ("kind", kind),
            ("reason", reason),
        ];
        if let EventKind::LoggedIn(client) = &event.kind {
            fields.extend(client.user_agent().map(|agent| ("agent", agent)));
            fields.extend(address.as_deref().map(|address| ("address", address)));
        }
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
        "logged_in" => EventKind::LoggedIn(client_in(fields)),
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

/// What a device that logged in says of itself. An older server does not tell it.
fn client_in(fields: &Reply) -> ClientInfo {
    let address: Option<IpAddr> = field(fields, "address").and_then(|text| text.parse().ok());
    ClientInfo::new(field(fields, "agent"), address)
}

fn address_of(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::LoggedIn(client) => client.address().map(|address| address.to_string()),
        _ => None,
    }
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
