//! A line of the audit log: what may stand in it, and how it looks.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderValue;
use serde::Serialize;
use tokenkeep_core::{ClientInfo, DeviceId, Timestamp};

use super::{Act, Asker};

/// A line of the audit log. Its texts are bounded and hold no character that could be taken for
/// the end of a line, turn a terminal's or a reader's head, or hide.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    time: Timestamp,
    event: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Line {
    pub(super) fn new(time: Timestamp, asker: Option<&Asker>, act: Act) -> Self {
        let user_agent = |value: &HeaderValue| shown(&String::from_utf8_lossy(value.as_bytes()));
        Self {
            time,
            event: act.what.as_str(),
            outcome: act.outcome.as_str(),
            reason: act.reason,
            device: act.device,
            email: act.email.map(|email| shown(email.as_str())),
            service: asker.and_then(|asker| asker.service.as_deref()).map(shown),
            address: asker.map(|asker| asker.address),
            request: asker.map(|asker| asker.request.to_string()),
            user_agent: asker.and_then(|asker| asker.user_agent.as_ref()).map(user_agent),
            detail: act.detail.as_deref().map(shown),
        }
    }

    /// The line as the file has it, its end included.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Hands the line to the ordinary log, which knows the time itself.
    pub(super) fn log(&self) {
        let device = self.device.map(|device| device.to_string());
        let address = self.address.map(|address| address.to_string());
        tracing::info!(
            target: "tokenkeep::audit",
            event = self.event,
            outcome = self.outcome,
            reason = self.reason.as_deref(),
            device,
            email = self.email,
            service = self.service,
            address,
            request = self.request,
            user_agent = self.user_agent,
            detail = self.detail,
        );
    }
}

/// The beginning of `text`, with what is neither a letter, a digit, ASCII punctuation nor a space
/// written as `\u{...}`; a backslash is doubled, so that nobody can write that themselves.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if at + c.len_utf8() > LONGEST {
            break;
        }
        match c {
            '\\' => shown.push_str("\\\\"),
            ' ' => shown.push(c),
            c if c.is_ascii_graphic() || c.is_alphanumeric() => shown.push(c),
            c => shown.extend(c.escape_unicode()),
        }
    }
    shown
}

/// What is kept of a text, in bytes, before it is made fit to be shown; an email is shorter.
const LONGEST: usize = ClientInfo::MAX_USER_AGENT_LEN;

#[cfg(test)]
mod tests {
    use tokenkeep_core::Email;

    use super::super::What;
    use super::*;

    #[test]
    fn what_could_forge_a_line_is_written_out() {
        for (text, expected) in [
            ("Mozilla/5.0 (X11; \"x\")", "Mozilla/5.0 (X11; \"x\")"),
            ("ad\u{e9}@ex\u{e4}mple.org", "ad\u{e9}@ex\u{e4}mple.org"),
            ("a\r\nb\tc\u{b}", "a\\u{d}\\u{a}b\\u{9}c\\u{b}"),
            ("\u{1b}[31m\u{9b}31m\u{7f}\0", "\\u{1b}[31m\\u{9b}31m\\u{7f}\\u{0}"),
            ("\u{202e}gro\u{2066}\u{200f}", "\\u{202e}gro\\u{2066}\\u{200f}"),
            ("\u{2028}\u{2029}\u{85}\u{feff}\u{ad}", "\\u{2028}\\u{2029}\\u{85}\\u{feff}\\u{ad}"),
            ("\\u{a}", "\\\\u{a}"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn a_line_is_bounded_whatever_is_in_it() {
        let longest = |c: char| String::from_iter(std::iter::repeat_n(c, 10_000));
        for c in ['\u{1}', '\u{202e}', '\u{10ffff}', '"', '\\', '\u{e9}'] {
            let act = Act::done(What::AdminSessionsEnded)
                .of("ada@example.org".parse::<Email>().unwrap())
                .because("auth_server_unavailable")
                .on(DeviceId::from_bytes([1; 16]))
                .with_detail(&longest(c));
            let mut line = Line::new(Timestamp::default(), None, act);
            line.user_agent = Some(shown(&longest(c)));
            line.service = Some(shown(&longest(c)));
            line.email = Some(shown(&longest(c)));
            let bytes = line.to_bytes();
            assert!(bytes.len() <= 8192, "{} bytes of {c:?}", bytes.len());
            assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
}
