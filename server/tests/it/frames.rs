//! HTTP/2 frames, written by hand: for what no decent client would send.

/// The beginning of a connection whose client lets each answer send `window` bytes at first.
pub fn begin(window: u32) -> Vec<u8> {
    let initial_window_size = [&[0, 4], window.to_be_bytes().as_slice()].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &initial_window_size)].concat()
}

/// A GET.
pub fn get(stream: u32, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let own = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "x")];
    let all: Vec<_> = own.iter().chain(headers).copied().collect();
    let (headers, end_stream_and_headers) = (1, 0x5);
    frame(headers, end_stream_and_headers, stream, &block(&all))
}

/// The beginning of a request whose headers go on.
pub fn headers_begun(stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
    frame(1, 0, stream, &block(headers))
}

/// More headers, and not the last.
pub fn continuation(stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
    frame(9, 0, stream, &block(headers))
}

/// Takes a request back.
pub fn reset(stream: u32) -> Vec<u8> {
    let cancelled = [0, 0, 0, 8];
    frame(3, 0, stream, &cancelled)
}

fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        // A literal that is not indexed, with a name of its own (RFC 7541, 6.2.2).
        block.push(0);
        for text in [name, value] {
            let length = u8::try_from(text.len()).unwrap();
            assert!(length < 127, "longer texts would need another form");
            block.push(length);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
