//! Takes a stream of server-sent events apart (WHATWG HTML, 9.2.6).

use std::collections::VecDeque;

/// One event of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Item {
    /// What kind it is; empty if the stream does not say.
    pub(super) name: String,
    /// Its data, lines joined.
    pub(super) data: String,
    /// The id to resume after it, if it has one.
    pub(super) id: Option<String>,
}

/// What has come of a stream so far.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    line: Vec<u8>,
    ended_by_cr: bool,
    begun: Option<Item>,
    ready: VecDeque<Item>,
}

/// A line or an event is larger than any event of ours.
#[derive(Debug, thiserror::Error)]
#[error("an event of the stream is too large")]
pub(super) struct TooLarge;

impl EventStream {
    /// Takes in the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.ended_by_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => self.end_line()?,
                _ if self.line.len() == MAX_EVENT_BYTES => return Err(TooLarge),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    /// The next event that is complete.
    pub(super) fn pop(&mut self) -> Option<Item> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) -> Result<(), TooLarge> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.ready.extend(self.begun.take());
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        if !["event", "data", "id"].contains(&field) {
            return Ok(());
        }
        let item = self.begun.get_or_insert_with(Item::default);
        match field {
            "event" => item.name = value.to_owned(),
            "id" => item.id = Some(value.to_owned()),
            _ if item.data.len() + value.len() > MAX_EVENT_BYTES => return Err(TooLarge),
            _ if item.data.is_empty() => item.data = value.to_owned(),
            _ => {
                item.data.push('\n');
                item.data.push_str(value);
            }
        }
        Ok(())
    }
}

/// The largest line and the largest data of an event.
const MAX_EVENT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` whole and byte by byte, and expects (name, data, id) both times.
    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, Option<&str>)]) {
        for size in [text.len(), 1] {
            let mut stream = EventStream::default();
            text.as_bytes().chunks(size).for_each(|chunk| stream.feed(chunk).unwrap());
            let items: Vec<Item> = std::iter::from_fn(|| stream.pop()).collect();
            let items: Vec<_> = items
                .iter()
                .map(|item| (item.name.as_str(), item.data.as_str(), item.id.as_deref()))
                .collect();
            assert_eq!(items, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn events_are_taken_apart_whatever_the_line_ends_and_pieces() {
        check("event: a\ndata: 1\nid: x-1\n\n", &[("a", "1", Some("x-1"))]);
        check("event:a\r\ndata:1\r\n\r\ndata: 2\r\r", &[("a", "1", None), ("", "2", None)]);
        check("data: 1\ndata:  2\n\n", &[("", "1\n 2", None)]);
        check("id: x-9\n\n", &[("", "", Some("x-9"))]);
    }

    #[test]
    fn comments_and_what_is_not_complete_are_no_events() {
        check(": keep-alive\n\n\n", &[]);
        check("retry: 10\n\n", &[]);
        check("data: 1\n\ndata: 2\n", &[("", "1", None)]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut stream = EventStream::default();
        assert!(stream.feed(&vec![b'x'; MAX_EVENT_BYTES + 1]).is_err());
        let mut stream = EventStream::default();
        let line = format!("data: {}\n", "x".repeat(MAX_EVENT_BYTES / 2 + 1));
        stream.feed(line.as_bytes()).unwrap();
        assert!(stream.feed(line.as_bytes()).is_err());
    }
}
