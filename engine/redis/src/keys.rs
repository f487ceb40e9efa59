//! The names of keys.

use sha2::{Digest as _, Sha256};
use tokenkeep_core::{DeviceId, Email};

/// Names keys under one prefix. What belongs to a device lies in one slot of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The record of `device`: the name that the original application gives it, too.
    pub(crate) fn record(&self, device: DeviceId) -> String {
        format!("{}{device}", self.prefix)
    }

    /// The note why the session of `device` ended, in the slot of the record.
    pub(crate) fn ended(&self, device: DeviceId) -> String {
        format!("{0}tokenkeep:ended:{{{0}{device}}}", self.prefix)
    }

    /// Record and note of `device`.
    pub(crate) fn of(&self, device: DeviceId) -> [String; 2] {
        [self.record(device), self.ended(device)]
    }

    /// The index of `email`. The address itself does not show in the key.
    pub(crate) fn user(&self, email: &Email) -> String {
        let digest = Sha256::digest(email.as_str().as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}tokenkeep:user:{{{hex}}}", self.prefix)
    }

    /// The leases that may be open.
    pub(crate) fn intents(&self) -> String {
        format!("{}tokenkeep:intents", self.prefix)
    }

    /// What the store says of itself.
    pub(crate) fn meta(&self) -> String {
        format!("{}tokenkeep:meta", self.prefix)
    }

    /// What tells servers what the others did.
    pub(crate) fn events(&self) -> String {
        format!("{}tokenkeep:events", self.prefix)
    }

    /// What is written to see whether writes are taken where `tag` lies.
    pub(crate) fn probe(&self, tag: &str) -> String {
        format!("{}tokenkeep:probe:{{{tag}}}", self.prefix)
    }

    /// The pattern of all record keys.
    pub(crate) fn records_pattern(&self) -> String {
        format!("{}{}", self.escaped(), "[0-9a-f]".repeat(32))
    }

    /// The pattern of all indexes.
    pub(crate) fn users_pattern(&self) -> String {
        format!("{}tokenkeep:user:{{*", self.escaped())
    }

    /// The device whose record lies under `key`.
    pub(crate) fn device_in(&self, key: &[u8]) -> Option<DeviceId> {
        let text = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        let device: DeviceId = text.parse().ok()?;
        (device.to_string() == text).then_some(device)
    }

    /// The prefix as a pattern that matches itself only.
    fn escaped(&self) -> String {
        self.prefix.chars().fold(String::new(), |mut escaped, c| {
            if "*?[]^\\-".contains(c) {
                escaped.push('\\');
            }
            escaped.push(c);
            escaped
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_documented() {
        let device = DeviceId::from_bytes([0xab; 16]);
        let name = "ab".repeat(16);
        let keys = Keys::new("x:");
        assert_eq!(keys.record(device), format!("x:{name}"));
        assert_eq!(Keys::new("").record(device), name, "the original schema");
        assert_eq!(keys.ended(device), format!("x:tokenkeep:ended:{{x:{name}}}"));
        assert_eq!(keys.device_in(keys.record(device).as_bytes()), Some(device));
        assert_eq!(keys.device_in(name.as_bytes()), None);
        assert_eq!(keys.device_in(keys.meta().as_bytes()), None);
        assert_eq!(Keys::new("a*").records_pattern(), format!("a\\*{}", "[0-9a-f]".repeat(32)));
    }
}
