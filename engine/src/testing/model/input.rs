//! Bytes that decide what the model does.

use tokenkeep_core::{DeviceId, Email, EndReason, HolderId};

/// Bytes that decide; zeros when they are used up.
pub(super) struct Input<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Input<'_> {
    pub(super) fn next(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    pub(super) fn device(&mut self) -> DeviceId {
        DeviceId::from_bytes([self.next() % DEVICES; 16])
    }

    pub(super) fn holder(&mut self) -> HolderId {
        HolderId::from_bytes([self.next() / 16 % 2; 16])
    }

    pub(super) fn email(&mut self) -> Email {
        // Half of all devices are Ada's: ceilings need a user with many.
        let at = usize::from(self.next() % 6).saturating_sub(3);
        let text = EMAILS.get(at).unwrap_or(&"x@y");
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) fn reason(&mut self) -> EndReason {
        EndReason::from_code(self.next() % 7).unwrap_or(EndReason::Logout)
    }
}

/// How many devices there are.
pub(super) const DEVICES: u8 = 8;
/// Who uses them.
pub(super) const EMAILS: [&str; 3] = ["ada@example.org", "bob@example.org", "eve@example.org"];
