//! Heads of HTTP/1 requests that can be read in two ways, made unreadable.
//!
//! hyper takes a bare LF for the end of a line, and overlooks a length beside
//! `Transfer-Encoding`. A proxy in front that reads such a head otherwise sees other requests than
//! we do (RFC 9112, 11.2). So the bytes are looked at before hyper has them, and the LF at which a
//! head becomes ambiguous is replaced by a NUL, and what follows by the end of a head: hyper answers
//! 400 and closes the connection.

use memchr::memchr;

/// Follows the requests of a connection.
#[derive(Debug)]
pub(super) struct Heads {
    state: State,
    /// The beginning of the line that is coming in.
    line: Vec<u8>,
    /// Whether the line is longer than what is kept of it.
    is_cut: bool,
    /// Whether the line ends with a CR so far.
    ends_with_cr: bool,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As many bytes of what every HTTP/2 connection begins with.
    Preface(usize),
    /// Before a request line.
    Before,
    /// In a head, behind the request line.
    Head,
    /// In a body, with as many bytes to come.
    Body(u64),
    /// Before the size of a chunk.
    Size,
    /// In a chunk, with as many bytes to come.
    Chunk(u64),
    /// Behind a chunk.
    ChunkEnd,
    /// Behind the last chunk.
    Trailers,
    /// HTTP/2: its requests have one reading.
    Http2,
    /// Behind what was spoiled; false once the end of the head was handed out.
    Refused(bool),
}

/// What a head has said so far about the body's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Framing {
    #[default]
    Unsaid,
    Length(u64),
    Chunked,
}

/// What a line does to a request that can be read in one way only.
struct Ambiguous;

impl Default for Heads {
    fn default() -> Self {
        Self {
            state: State::Preface(0),
            line: Vec::new(),
            is_cut: false,
            ends_with_cr: false,
            framing: Framing::Unsaid,
        }
    }
}

impl Heads {
    /// Looks at the `bytes` that came next.
    pub(super) fn look_at(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !matches!(self.state, State::Http2 | State::Refused(_)) {
            let read = match self.state {
                State::Preface(matched) => self.preface(matched, rest),
                State::Body(left) => {
                    let (read, left) = skipped(left, rest);
                    self.state = if left == 0 { State::Before } else { State::Body(left) };
                    read
                }
                State::Chunk(left) => {
                    let (read, left) = skipped(left, rest);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    read
                }
                _ => self.piece_of_line(rest),
            };
            rest = rest.get_mut(read..).unwrap_or_default();
        }
    }

    /// What is read instead of what still comes, once something was refused: the end of a head, so
    /// that hyper does not wait for it, and then nothing more.
    pub(super) fn instead(&mut self) -> Option<&'static [u8]> {
        let State::Refused(first) = &mut self.state else { return None };
        Some(if std::mem::take(first) { b"\r\n\r\n" } else { b"" })
    }

    /// Takes what belongs to the preface of HTTP/2, and the rest for HTTP/1.
    fn preface(&mut self, matched: usize, bytes: &[u8]) -> usize {
        let expected = PREFACE.get(matched..).unwrap_or_default();
        let same = expected.iter().zip(bytes).take_while(|(one, other)| one == other).count();
        let matched = matched + same;
        self.state = match PREFACE.get(..matched) {
            _ if matched == PREFACE.len() => State::Http2,
            _ if same == bytes.len() => State::Preface(matched),
            // `PRI` alone is a request that hyper refuses.
            Some(begun) if !begun.contains(&b'\n') => {
                self.push(begun);
                State::Before
            }
            _ => State::Refused(true),
        };
        same
    }

    /// Takes a piece of a line, at most to its end; spoils the end if it must be refused.
    fn piece_of_line(&mut self, bytes: &mut [u8]) -> usize {
        let Some(end) = memchr(b'\n', bytes) else {
            self.push(bytes);
            return bytes.len();
        };
        self.push(bytes.get(..end).unwrap_or_default());
        let ended = if self.ends_with_cr { self.line_ended() } else { Err(Ambiguous) };
        if ended.is_err() {
            self.state = State::Refused(true);
            bytes.iter_mut().skip(end).take(1).for_each(|lf| *lf = 0);
        }
        self.line.clear();
        (self.is_cut, self.ends_with_cr) = (false, false);
        end + 1
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.ends_with_cr = *last == b'\r';
        }
        let room = KEPT - self.line.len();
        self.is_cut |= bytes.len() > room;
        self.line.extend(bytes.iter().take(room));
    }

    fn line_ended(&mut self) -> Result<(), Ambiguous> {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        self.state = match self.state {
            // Empty lines before a request are overlooked (RFC 9112, 2.2).
            State::Before if line.is_empty() => State::Before,
            State::Before => State::Head,
            State::Head if line.is_empty() => match std::mem::take(&mut self.framing) {
                Framing::Unsaid | Framing::Length(0) => State::Before,
                Framing::Length(length) => State::Body(length),
                Framing::Chunked => State::Size,
            },
            State::Head => {
                self.framing = framing(self.framing, line, self.is_cut)?;
                State::Head
            }
            State::Size => match chunk_size(line).ok_or(Ambiguous)? {
                0 => State::Trailers,
                size => State::Chunk(size),
            },
            State::ChunkEnd if line.is_empty() => State::Size,
            State::Trailers if line.is_empty() => State::Before,
            State::Trailers => State::Trailers,
            _ => return Err(Ambiguous),
        };
        Ok(())
    }
}

/// What is known of the body's end after one more `line` of a head.
fn framing(before: Framing, line: &[u8], is_cut: bool) -> Result<Framing, Ambiguous> {
    let Some(colon) = memchr(b':', line) else { return Ok(before) };
    let (name, value) = line.split_at(colon);
    let is_length = name.eq_ignore_ascii_case(b"content-length");
    if !is_length && !name.eq_ignore_ascii_case(b"transfer-encoding") {
        return Ok(before);
    }
    if is_cut || before != Framing::Unsaid {
        return Err(Ambiguous);
    }
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    if is_length {
        return number(value, 10).map(Framing::Length).ok_or(Ambiguous);
    }
    if value.eq_ignore_ascii_case(b"chunked") { Ok(Framing::Chunked) } else { Err(Ambiguous) }
}

/// The size in the line before a chunk, whose extensions nobody reads.
fn chunk_size(line: &[u8]) -> Option<u64> {
    number(line.split(|byte| *byte == b';').next()?.trim_ascii_end(), 16)
}

/// Digits and nothing else: no sign, no spaces.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    let digits = text.iter().all(|byte| char::from(*byte).is_digit(radix));
    if !digits || text.is_empty() {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok()
}

/// How many of `bytes` belong to what has `left` to come, and how many are left then.
fn skipped(left: u64, bytes: &[u8]) -> (usize, u64) {
    let read = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (read, left - read as u64)
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// As much of a line is kept: enough for the two headers that count.
const KEPT: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the first byte is spoiled, whatever the pieces are in which `text` comes.
    #[track_caller]
    fn spoiled(text: &str) -> Option<usize> {
        let whole = at_once(text.as_bytes(), text.len());
        for piece in 1..text.len().min(40) {
            assert_eq!(at_once(text.as_bytes(), piece), whole, "in pieces of {piece}: {text:?}");
        }
        whole
    }

    fn at_once(text: &[u8], piece: usize) -> Option<usize> {
        let (mut heads, mut bytes) = (Heads::default(), text.to_vec());
        bytes.chunks_mut(piece.max(1)).for_each(|piece| heads.look_at(piece));
        bytes.iter().zip(text).position(|(now, before)| now != before)
    }

    #[test]
    fn what_is_clear_passes_untouched() {
        let get = "GET / HTTP/1.1\r\nHost: x\r\nX-Long: ";
        let get = format!("{get}{}\r\n\r\n", "y".repeat(1000));
        let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na\nb\nc\n\r\n\n";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3;x=y\r\na\nb\r\nA\r\n0123\n56789\r\n0\r\nX: y\r\n\r\n";
        for text in [
            get.clone(),
            format!("{get}{get}"),
            format!("{post}{get}{post}{post}"),
            format!("{chunked}\r\n{get}{chunked}{post}"),
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n\n\n\n".to_owned(),
            "PRO / HTTP/1.1\r\n\r\n".to_owned(),
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned() + &get,
        ] {
            assert_eq!(spoiled(&text), None, "{text:?}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_spoiled_where_it_begins() {
        let before = "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\na";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n0\r\n\r\n";
        let long = format!("POST / HTTP/1.1\r\nContent-Length: {}5\r\n|\r\n", "0".repeat(200));
        for text in [
            "GET / HTTP/1.1|\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x|\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n|\n",
            "|\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r|\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 2\r|\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r|\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r|\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r|\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r|\n",
            "POST / HTTP/1.1\r\nContent-Length: +1\r|\n",
            "POST / HTTP/1.1\r\nContent-Length: 1, 1\r|\n",
            "POST / HTTP/1.1\r\nContent-Length:\r|\n",
            &long.replace("\r\n|\r\n", "\r|\n"),
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2|\nab\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r|\nab\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r|\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n|\n",
            &format!("{before}GET / HTTP/1.1|\n\r\n"),
            &format!("{chunked}GET / HTTP/1.1|\n\r\n"),
            "PRI * HTTP/1.1|\n",
        ] {
            let expected = text.find('|').unwrap();
            assert_eq!(spoiled(&text.replacen('|', "", 1)), Some(expected), "{text:?}");
        }
    }
}
