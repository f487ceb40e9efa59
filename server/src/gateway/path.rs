//! Paths by segments, decoded once; what two readers could read differently is refused.

use std::borrow::Cow;

use crate::failure::Failure;

/// A path whose segments mean the same to everybody.
#[derive(Debug)]
pub(crate) struct Path<'a> {
    segments: Vec<Cow<'a, [u8]>>,
}

impl<'a> Path<'a> {
    /// Decodes a path once. Empty and dotted segments, encoded separators, backslashes, control
    /// characters and what is encoded twice are refused: they are how one server is made to
    /// see another path than the next one.
    pub(crate) fn parse(raw: &'a str) -> Result<Self, Failure> {
        let refused = Failure::BadRequest("the path is ambiguous: send it in its plain form");
        let Some(rest) = raw.strip_prefix('/') else { return Err(refused) };
        let mut segments = Vec::new();
        let mut pieces = rest.split('/').peekable();
        while let Some(piece) = pieces.next() {
            // A slash at the end is no empty segment.
            if piece.is_empty() && pieces.peek().is_none() {
                break;
            }
            match decode(piece).filter(|segment| is_plain(segment)) {
                Some(segment) => segments.push(segment),
                None => return Err(refused),
            }
        }
        Ok(Self { segments })
    }

    /// Whether the path is `prefix` or lies under it.
    pub(crate) fn is_under(&self, prefix: &[Box<[u8]>]) -> bool {
        prefix.len() <= self.segments.len()
            && prefix.iter().zip(&self.segments).all(|(a, b)| a[..] == b[..])
    }

    /// The first segment, if there is one.
    pub(crate) fn first(&self) -> Option<&[u8]> {
        self.segments.first().map(AsRef::as_ref)
    }

    /// The segments, to keep.
    pub(crate) fn into_segments(self) -> Vec<Box<[u8]>> {
        self.segments.into_iter().map(|segment| segment.into_owned().into()).collect()
    }
}

fn decode(piece: &str) -> Option<Cow<'_, [u8]>> {
    if !piece.contains('%') {
        return Some(Cow::Borrowed(piece.as_bytes()));
    }
    let mut decoded = Vec::with_capacity(piece.len());
    let mut bytes = piece.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(Cow::Owned(decoded))
}

fn is_plain(segment: &[u8]) -> bool {
    let legal = |byte: &u8| !byte.is_ascii_control() && !matches!(byte, b'/' | b'\\');
    // Some servers cut parameters off before they look for dots: `..;x` is `..` to them.
    let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
    let dots = matches!(name, b"" | b"." | b"..");
    // Some decoders take overlong forms of dots and slashes, which are not UTF-8.
    let text = std::str::from_utf8(segment).is_ok();
    !dots && text && segment.iter().all(legal) && !is_encoded_again(segment)
}

/// Whether a second decoding would bring forth a dot, a separator, a control character or
/// another per cent sign.
fn is_encoded_again(segment: &[u8]) -> bool {
    segment.windows(3).any(|window| {
        let [b'%', high, low] = window else { return false };
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return false };
        let byte = high * 16 + low;
        byte < 0x20 || [0x25, 0x2e, 0x2f, 0x5c, 0x7f].contains(&byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_whole_segments() {
        let api = Path::parse("/api").unwrap().into_segments();
        for under in ["/api", "/api/", "/api/x", "/api/x/", "/%61pi/x", "/api/a%20b", "/api/%c3%a9"]
        {
            assert!(Path::parse(under).unwrap().is_under(&api), "{under}");
        }
        for beside in ["/", "/ap", "/apix", "/API", "/x/api", "/api;v=1"] {
            assert!(!Path::parse(beside).unwrap().is_under(&api), "{beside}");
        }
        assert!(Path::parse("/anything").unwrap().is_under(&[]));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for bad in [
            "",
            "*",
            "api",
            "//api",
            "/api//x",
            "/public/../api",
            "/public/./api",
            "/public/%2e%2e/api",
            "/public/.%2E/api",
            "/public%2f..%2fapi",
            "/public%2Fapi",
            "/public\\..\\api",
            "/public%5c..%5capi",
            "/public/..;/api",
            "/public/;x/api",
            "/public/%252e%252e/api",
            "/public%252fapi",
            "/api%00",
            "/api%0d%0aX:y",
            "/api%",
            "/api%2",
            "/api%zz",
            "/public%25252e",
            "/public/%c0%ae%c0%ae/api",
            "/public/%e0%80%ae%e0%80%ae/api",
            "/public%c0%afapi",
            "/api/%ff",
        ] {
            assert!(Path::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
