//! The index of an email, as it was read: what lives, what is under way.

use std::collections::HashMap;

use tokenkeep_core::{DeviceId, EndReason};

use crate::driver::Reply;

/// What the index of an email says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// The clock of Redis, in microseconds.
    pub(crate) clock: i64,
    /// Changes with every change of the list.
    pub(crate) generation: String,
    /// The devices that may live.
    pub(crate) entries: HashMap<DeviceId, Entry>,
    /// What somebody ends, by its nonce.
    pub(crate) endings: HashMap<String, Ending>,
}

/// A device in the index.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The whole of it, to compare by.
    pub(crate) value: String,
    /// The login that is under way.
    pub(crate) login: Option<Login>,
}

/// A login that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) nonce: String,
    /// When it was begun by the clock of Redis, in microseconds.
    pub(crate) begun: i64,
    /// Whom it ends.
    pub(crate) victims: Vec<Victim>,
}

/// A device that ends, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Victim {
    pub(crate) device: DeviceId,
    pub(crate) reason: EndReason,
}

/// Devices that somebody ends.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) victims: Vec<Victim>,
}

impl Index {
    /// The index in the answer of the script that reads one.
    pub(crate) fn read(reply: &Reply) -> Self {
        let clock = reply.at(0).number().unwrap_or_default();
        let mut index = Self { clock, ..Self::default() };
        for pair in reply.at(1).list().chunks(2) {
            if let [name, value] = pair
                && let (Some(name), Some(value)) = (name.text(), value.text())
            {
                index.learn(name, value);
            }
        }
        index
    }

    fn learn(&mut self, name: &str, value: &str) {
        if name == GENERATION {
            value.clone_into(&mut self.generation);
        } else if let Some(device) = name.strip_prefix("d:")
            && let (Ok(device), Some(entry)) = (device.parse(), Entry::read(value))
        {
            self.entries.insert(device, entry);
        } else if let Some(nonce) = name.strip_prefix("e:")
            && let Some(ending) = Ending::read(value)
        {
            self.endings.insert(nonce.to_owned(), ending);
        }
    }
}

impl Entry {
    pub(crate) fn read(value: &str) -> Option<Self> {
        let words: Vec<&str> = value.split(' ').collect();
        let [state, _hard, _idle, _seen, _created, nonce, begun, victims] = words[..] else {
            return None;
        };
        let login = match state {
            "p" => Some(Login {
                nonce: nonce.to_owned(),
                begun: begun.parse().ok()?,
                victims: Victim::read_list(victims),
            }),
            _ => None,
        };
        Some(Self { value: value.to_owned(), login })
    }
}

impl Victim {
    /// The victims of a login: `device:reason`, apart by commas.
    pub(crate) fn read_list(list: &str) -> Vec<Self> {
        let victim = |text: &str| {
            let (device, reason) = text.split_once(':')?;
            let reason = EndReason::from_code(reason.parse().ok()?)?;
            Some(Self { device: device.parse().ok()?, reason })
        };
        list.split(',').filter_map(victim).collect()
    }

    /// The devices in `list`, which end for `reason`.
    pub(crate) fn read_devices(list: &str, reason: EndReason) -> Vec<Self> {
        let devices = list.split(',').filter_map(|device| device.parse().ok());
        devices.map(|device| Self { device, reason }).collect()
    }
}

impl Ending {
    fn read(value: &str) -> Option<Self> {
        let mut words = value.split(' ');
        let reason = EndReason::from_code(words.next()?.parse().ok()?)?;
        let _begun = words.next()?;
        Some(Self { victims: Victim::read_devices(words.next()?, reason) })
    }
}

/// The field that counts changes.
pub(crate) const GENERATION: &str = "generation";
