//! The stream of events: what it drops, where it resumes, when it gives up.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokenkeep_client::{Change, Credential, DeviceId, SessionClient};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::stub::{self, Ask, Stub, credential};

/// A server with one stream of events after the other, and tokens for everybody in `known`.
async fn server(known: Vec<Credential>, streams: Vec<UnboundedReceiver<String>>) -> Stub {
    let streams = Arc::new(Mutex::new(streams.into_iter().collect::<Vec<_>>()));
    Stub::start(move |ask| {
        let answer = match ask.line.as_str() {
            "GET /v1/admin/events" => stub::events(streams.lock().unwrap().remove(0)),
            _ => {
                let text = ask.header("x-device-credential");
                let who = known.iter().find(|known| known.expose().as_str() == text).unwrap();
                stub::token(who, "token", 600)
            }
        };
        async { answer }
    })
    .await
}

fn event(id: &str, kind: &str, device: DeviceId) -> String {
    let data = json!({
        "kind": kind, "at": "2026-01-01T00:00:00Z", "device_id": device, "email": stub::EMAIL,
        "reason": "logout",
    });
    format!("event: {kind}\ndata: {data}\nid: {id}\n\n")
}

fn streams<const N: usize>() -> ([UnboundedSender<String>; N], Vec<UnboundedReceiver<String>>) {
    let mut receivers = Vec::new();
    let senders = std::array::from_fn(|_| {
        let (sender, receiver) = unbounded_channel();
        receivers.push(receiver);
        sender
    });
    (senders, receivers)
}

fn streams_asked(server: &Stub) -> Vec<Ask> {
    let mut asked = server.asked();
    asked.retain(|ask| ask.line == "GET /v1/admin/events");
    asked
}

/// How many calls it costs to get the tokens of `credentials`.
async fn cost(server: &Stub, client: &SessionClient, credentials: &[&Credential]) -> usize {
    let before = server.asked().len();
    for credential in credentials {
        client.token(credential).await.unwrap();
    }
    server.asked().len() - before
}

#[tokio::test]
async fn the_end_of_a_session_drops_its_token_and_no_other() {
    let (ended, other) = (credential(), credential());
    let ([sender], receivers) = streams();
    let server = server(vec![ended.clone(), other.clone()], receivers).await;
    let client = server.client();
    assert_eq!(cost(&server, &client, &[&ended, &other]).await, 2);
    let mut watch = client.watch();
    assert_eq!(watch.next().await.unwrap(), Change::Reset, "the past is not known");
    assert_eq!(cost(&server, &client, &[&ended, &other]).await, 2);

    sender.send(": keep-alive\n\n".into()).unwrap();
    sender.send(event("s-1", "refreshed", ended.device_id())).unwrap();
    assert!(matches!(watch.next().await.unwrap(), Change::Other(body) if body.kind == "refreshed"));
    assert_eq!(cost(&server, &client, &[&ended, &other]).await, 0);

    sender.send(event("s-2", "logged_out", ended.device_id())).unwrap();
    let Change::Ended(body) = watch.next().await.unwrap() else { panic!("no end") };
    assert_eq!((body.device_id, body.reason.as_deref()), (ended.device_id(), Some("logout")));
    assert_eq!(cost(&server, &client, &[&ended, &other]).await, 1);

    let asked = streams_asked(&server);
    assert_eq!(asked[0].header("authorization"), format!("Bearer {}", stub::KEY));
    assert_eq!(asked[0].header("accept"), "text/event-stream");
    assert!(!asked[0].headers.contains_key("last-event-id"));
}

#[tokio::test]
async fn a_lost_stream_is_resumed_behind_its_last_event() {
    let device = credential();
    let ([first, second], receivers) = streams();
    let server = server(vec![device.clone()], receivers).await;
    let client = server.client();
    let mut watch = client.watch();
    assert_eq!(watch.next().await.unwrap(), Change::Reset);
    first.send(event("17-4", "refreshed", device.device_id())).unwrap();
    watch.next().await.unwrap();
    assert_eq!(cost(&server, &client, &[&device]).await, 1);
    // Half an event is no event, and its id is not taken.
    first.send("id: 17-5\n".into()).unwrap();
    drop(first);
    second.send(event("17-5", "logged_out", device.device_id())).unwrap();
    assert!(matches!(watch.next().await.unwrap(), Change::Ended(_)), "no reset in between");
    assert_eq!(streams_asked(&server)[1].header("last-event-id"), "17-4");
    assert_eq!(cost(&server, &client, &[&device]).await, 1);
}

#[tokio::test]
async fn a_reset_and_what_cannot_be_read_drop_every_token() {
    let device = credential();
    let ([sender], receivers) = streams();
    let server = server(vec![device.clone()], receivers).await;
    let client = server.client();
    let mut watch = client.watch();
    watch.next().await.unwrap();
    for text in ["event: reset\ndata: {}\nid: 18-0\n\n", "event: reset\n\n", "data: garbage\n\n"] {
        assert_eq!(cost(&server, &client, &[&device]).await, 1, "{text}");
        sender.send(text.into()).unwrap();
        assert_eq!(watch.next().await.unwrap(), Change::Reset, "{text}");
    }
}

#[tokio::test]
async fn a_kind_that_is_not_known_drops_the_token_to_be_sure() {
    let device = credential();
    let ([sender], receivers) = streams();
    let server = server(vec![device.clone()], receivers).await;
    let client = server.client();
    let mut watch = client.watch();
    watch.next().await.unwrap();
    assert_eq!(cost(&server, &client, &[&device]).await, 1);
    sender.send(event("s-1", "suspended", device.device_id())).unwrap();
    assert!(matches!(watch.next().await.unwrap(), Change::Other(_)));
    assert_eq!(cost(&server, &client, &[&device]).await, 1);
}

#[tokio::test]
async fn a_token_that_was_under_way_when_its_session_ended_is_not_kept() {
    let device = credential();
    let (sender, receiver) = unbounded_channel();
    let receiver = Mutex::new(Some(receiver));
    let (arrived, gate) =
        (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
    let server = Stub::start({
        let (device, arrived, gate) = (device.clone(), Arc::clone(&arrived), Arc::clone(&gate));
        move |ask| {
            let stream = match ask.line.as_str() {
                "GET /v1/admin/events" => receiver.lock().unwrap().take(),
                _ => None,
            };
            let (device, arrived, gate) = (device.clone(), Arc::clone(&arrived), Arc::clone(&gate));
            async move {
                let Some(stream) = stream else {
                    arrived.add_permits(1);
                    gate.acquire().await.unwrap().forget();
                    return stub::token(&device, "token", 600);
                };
                stub::events(stream)
            }
        }
    })
    .await;
    let client = server.client();
    let mut watch = client.watch();
    watch.next().await.unwrap();
    let end_it = async {
        arrived.acquire().await.unwrap().forget();
        sender.send(event("s-1", "logged_out", device.device_id())).unwrap();
        watch.next().await.unwrap();
        gate.add_permits(2);
    };
    let (token, ()) = tokio::join!(client.token(&device), end_it);
    token.unwrap();
    client.token(&device).await.unwrap();
    assert_eq!(server.asked().len(), 3, "the second call went to the server");
}

#[tokio::test]
async fn a_key_without_the_scope_is_an_error_of_the_watch() {
    let server = Stub::start(|_| async { stub::problem(403, "missing_scope", &[]) }).await;
    let error = server.client().watch().next().await.unwrap_err();
    assert!(error.is_misconfigured());
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_background_watch_ends_with_its_handle() {
    let ([sender], receivers) = streams();
    let server = server(Vec::new(), receivers).await;
    let task = server.client().watch_in_background().unwrap();
    while server.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(task);
    // The server notices that nobody listens.
    sender.closed().await;
}
