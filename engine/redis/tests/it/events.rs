//! What one server does, the others hear.

use std::time::Duration;

use tokenkeep_core::{ClientInfo, DeviceId, EndReason, Event, EventKind, Heard, KeyRing, Origin};
use tokenkeep_redis::RedisStore;
use tokio::sync::mpsc::Receiver;

use crate::server::Server;
use crate::support::{ada, now};

fn event(number: u64) -> Event {
    let kind = EventKind::LoggedOut(EndReason::EndedByUser);
    let device_id = DeviceId::from_bytes([1; 16]);
    Event { number, at: now(), email: ada(), device_id, kind, origin: Origin::Here }
}

/// The number of the next event; none if there is a gap first.
async fn next(heard: &mut Receiver<Heard>) -> Option<u64> {
    let waited = tokio::time::timeout(Duration::from_secs(30), heard.recv()).await;
    match waited.expect("something is heard").expect("the listener lives") {
        Heard::Event(event) => {
            assert!(matches!(event.kind, EventKind::LoggedOut(EndReason::EndedByUser)));
            assert_eq!(event.origin, Origin::Elsewhere);
            assert_eq!((event.email, event.device_id), (ada(), DeviceId::from_bytes([1; 16])));
            Some(event.number)
        }
        Heard::Gap => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_hear_of_it_and_nobody_hears_himself() {
    let server = Server::start().await;
    let ring = KeyRing::generate().unwrap();
    let one = RedisStore::open(server.settings(), ring.clone()).await.unwrap();
    let other = RedisStore::open(server.settings(), ring).await.unwrap();
    one.publish(&event(1)).await.unwrap();
    let (mut by_one, mut by_other) = (one.listen().await.unwrap(), other.listen().await.unwrap());
    one.publish(&event(2)).await.unwrap();
    other.publish(&event(3)).await.unwrap();
    one.publish(&event(4)).await.unwrap();
    assert_eq!(next(&mut by_other).await, Some(2), "from the beginning of listening on");
    assert_eq!(next(&mut by_other).await, Some(4), "not what it told itself");
    assert_eq!(next(&mut by_one).await, Some(3));
    other.publish_gap().await.unwrap();
    assert_eq!(next(&mut by_one).await, None, "the other one lost something");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_goes_on_after_an_outage_and_tells_what_is_lost() {
    let mut server = Server::start().await;
    let ring = KeyRing::generate().unwrap();
    let one = RedisStore::open(server.settings(), ring.clone()).await.unwrap();
    let other = RedisStore::open(server.settings(), ring).await.unwrap();
    let mut heard = other.listen().await.unwrap();
    one.publish(&event(1)).await.unwrap();
    assert_eq!(next(&mut heard).await, Some(1));
    server.kill();
    server.start_again().await;
    let mut told = one.publish(&event(2)).await;
    for _ in 0..100 {
        if told.is_ok() {
            break;
        }
        told = one.publish(&event(2)).await;
    }
    told.unwrap();
    assert_eq!(next(&mut heard).await, Some(2), "where it was");
    server.cli(&["DEL", "tokenkeep:events"]);
    one.publish(&event(3)).await.unwrap();
    assert_eq!(next(&mut heard).await, None, "something may be lost");
    assert_eq!(next(&mut heard).await, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_at_a_gap_is_not_told_again() {
    let server = Server::start().await;
    let ring = KeyRing::generate().unwrap();
    let one = RedisStore::open(server.settings(), ring.clone()).await.unwrap();
    let other = RedisStore::open(server.settings(), ring).await.unwrap();
    let mut heard = other.listen().await.unwrap();
    one.publish(&event(1)).await.unwrap();
    one.publish(&event(2)).await.unwrap();
    assert_eq!((next(&mut heard).await, next(&mut heard).await), (Some(1), Some(2)));
    // A failover took the last entry: the first one is still there, and nothing is newer.
    let last = server.cli(&["XREVRANGE", "tokenkeep:events", "+", "-", "COUNT", "1"]);
    let last = last.lines().next().unwrap().to_owned();
    server.cli(&["XDEL", "tokenkeep:events", &last]);
    assert_eq!(next(&mut heard).await, None, "something is lost");
    one.publish(&event(3)).await.unwrap();
    assert_eq!(next(&mut heard).await, Some(3), "once, and without what was before it");
    one.publish(&event(4)).await.unwrap();
    assert_eq!(next(&mut heard).await, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_elsewhere_says_on_which_device() {
    let server = Server::start().await;
    let ring = KeyRing::generate().unwrap();
    let one = RedisStore::open(server.settings(), ring.clone()).await.unwrap();
    let other = RedisStore::open(server.settings(), ring).await.unwrap();
    let mut heard = other.listen().await.unwrap();
    let address = Some("2001:db8::1".parse().unwrap());
    for client in [ClientInfo::new(Some("Browser \u{e9}/1"), address), ClientInfo::default()] {
        let login = Event { kind: EventKind::LoggedIn(client.clone()), ..event(1) };
        one.publish(&login).await.unwrap();
        let Some(Heard::Event(event)) = heard.recv().await else { panic!("no event") };
        assert!(matches!(&event.kind, EventKind::LoggedIn(told) if *told == client), "{event:?}");
    }
}
