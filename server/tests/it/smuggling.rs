//! Requests that two servers would read in two ways, on the raw socket: refused, and nothing that
//! comes behind them is answered.

use crate::world::World;

/// Sends a head and something behind it that must not be taken for a request of its own.
async fn check_refused(world: &World, head: &str, body: &str) {
    let behind = "GET /livez HTTP/1.1\r\nhost: smuggled\r\n\r\n";
    let answer = world.raw(format!("{head}\r\n{body}{behind}")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
    assert!(!answer.contains("\"live\""), "{head:?}: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answer}");
}

#[tokio::test]
async fn a_head_with_two_meanings_is_refused() {
    let world = World::new().await;
    let post = "POST /v1/logout HTTP/1.1\r\nhost: x\r\n";
    for (name, headers, body) in [
        ("two lengths", "content-length: 1\r\ncontent-length: 2\r\n", "ab"),
        ("a length twice", "content-length: 1\r\ncontent-length: 1\r\n", "a"),
        ("a list of lengths", "content-length: 1, 1\r\n", "a"),
        ("a signed length", "content-length: +1\r\n", "a"),
        ("a length that is none", "content-length: 0x1\r\n", "a"),
        ("length, then chunks", "content-length: 1\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        ("chunks, then length", "transfer-encoding: chunked\r\ncontent-length: 1\r\n", "0\r\n\r\n"),
        ("another coding", "transfer-encoding: gzip\r\n", ""),
        ("a coding before chunks", "transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("chunks twice", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", ""),
        ("a disguised coding", "transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
        ("a coding with a tab", "transfer-encoding\t: chunked\r\n", "0\r\n\r\n"),
        ("a folded header", "x: a\r\n b\r\n", ""),
        ("a folded coding", "transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n"),
        ("a space before the colon", "content-length : 1\r\n", "a"),
        ("a bare LF", "x: a\ny: b\r\n", ""),
        ("a bare CR", "x: a\rcontent-length: 1\r\n", "a"),
        ("a NUL", "x: a\0b\r\n", ""),
        ("a second host", "host: y\r\n", ""),
        ("a header without a name", ": x\r\n", ""),
    ] {
        println!("{name}");
        check_refused(&world, &format!("{post}{headers}connection: close\r\n"), body).await;
        let live = format!("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n{post}{headers}");
        let answer = world.raw(format!("{live}connection: close\r\n\r\n{body}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{name}: the one before: {answer}");
        assert!(answer.contains("HTTP/1.1 400 "), "{name}: the second: {answer}");
    }
    for line in ["GET /livez HTTP/1.1\n", "GET  /livez HTTP/1.1\r\n", "GET /livez HTTP/1.1 \r\n"] {
        check_refused(&world, &format!("{line}host: x\r\nconnection: close\r\n"), "").await;
    }
    let bare_end = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\n";
    let answer = world.raw(bare_end).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn an_address_and_a_host_that_disagree_are_refused() {
    let world = World::new().await;
    for (host, status) in [("x", 200), ("X", 200), ("y", 400), ("x:80", 400), ("x.", 400)] {
        let head = format!("GET http://x/livez HTTP/1.1\r\nhost: {host}\r\nconnection: close");
        let answer = world.raw(format!("{head}\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
}

#[tokio::test]
async fn chunks_that_can_be_read_in_two_ways_are_refused() {
    let world = World::new().await;
    let head = "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n";
    for chunks in [
        "2\nab\r\n0\r\n\r\n",
        "2;x\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        "-1\r\nab\r\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "10000000000000002\r\nab\r\n0\r\n\r\n",
        "\r\n2\r\nab\r\n0\r\n\r\n",
    ] {
        check_refused(&world, head, chunks).await;
    }
}
