//! A process goes away in the middle of an operation: whoever comes by next completes it, or
//! nothing of it is left.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokenkeep_core::{
    Ceiling, CeilingPolicy, DeviceId, Email, EndReason, Insert, InsertOutcome, KeyRing, Lookup,
    TokenStore as _,
};
use tokenkeep_redis::RedisStore;

use crate::server::Server;
use crate::support::{log_in, login, now};

/// Drives a future for so many steps, and then drops it.
struct Stopped<F> {
    future: Pin<Box<F>>,
    steps: usize,
}

impl<F: Future> Future for Stopped<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(left) = self.steps.checked_sub(1) else { return Poll::Ready(None) };
        self.steps = left;
        match self.future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Lets `operation` come as far as `steps`; whether it came to its end.
async fn stopped<F: Future>(steps: usize, operation: F) -> bool {
    Stopped { future: Box::pin(operation), steps }.await.is_some()
}

/// The devices among `all` that live, once the list of `email` and the records agree.
async fn settled(store: &RedisStore, email: &Email, all: &[DeviceId]) -> Vec<DeviceId> {
    let mut seen = (Vec::new(), Vec::new());
    // What was on its way when the process went away may still arrive.
    for _ in 0..500 {
        let listed = store.devices_of(email, now()).await.unwrap();
        let mut listed: Vec<_> = listed.iter().map(|record| record.device_id).collect();
        let mut live = Vec::new();
        for device in all {
            if let Lookup::Live(_) = store.get(*device, now()).await.unwrap() {
                live.push(*device);
            }
        }
        listed.sort();
        live.sort();
        if listed == live {
            return live;
        }
        seen = (listed, live);
    }
    panic!("the list and the records do not agree: {seen:?}");
}

async fn two_processes(server: &Server) -> (RedisStore, RedisStore) {
    let ring = KeyRing::generate().unwrap();
    let crashing = RedisStore::open(server.settings(), ring.clone()).await.unwrap();
    (crashing, RedisStore::open(server.settings(), ring).await.unwrap())
}

/// Three devices of a user of their own.
async fn three(store: &RedisStore, name: &str) -> (Email, Vec<DeviceId>) {
    let email = format!("{name}@example.org");
    let mut devices = Vec::new();
    for _ in 0..3 {
        devices.push(log_in(store, &email).await.device_id);
    }
    devices.sort();
    (email.parse().unwrap(), devices)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_an_email_end_or_none_wherever_it_is_cut_off() {
    let server = Server::start().await;
    let (crashing, next) = two_processes(&server).await;
    let (mut completed, mut kept, mut ended) = (false, 0, 0);
    for steps in 1..60 {
        let (email, all) = three(&crashing, &format!("all-{steps}")).await;
        let why = EndReason::EndedByUser;
        completed = stopped(steps, crashing.remove_all_of(&email, None, why, now())).await;
        let live = settled(&next, &email, &all).await;
        assert!(live.is_empty() || live == all, "cut off at step {steps}: {live:?} of {all:?}");
        assert!(!completed || live.is_empty(), "acknowledged, and not done");
        (kept, ended) =
            (kept + usize::from(!live.is_empty()), ended + usize::from(live.is_empty()));
        if completed {
            break;
        }
    }
    assert!(completed && kept > 0, "{kept} kept, {ended} ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_evicts_or_is_not_there_wherever_it_is_cut_off() {
    let server = Server::start().await;
    let (crashing, next) = two_processes(&server).await;
    let devices = NonZeroUsize::new(3).unwrap();
    let ceiling = Some(Ceiling { devices, policy: CeilingPolicy::EvictLeastRecentlySeen });
    let (mut completed, mut kept, mut stored) = (false, 0, 0);
    for steps in 1..60 {
        let (email, mut all) = three(&crashing, &format!("evict-{steps}")).await;
        let before = all.clone();
        let insert = Insert { ceiling, replaces: Some(all[0]), ..login(email.as_str(), now()) };
        let device = insert.record.device_id;
        completed = stopped(steps, crashing.insert(insert, now())).await;
        all.push(device);
        let live = settled(&next, &email, &all).await;
        if live.contains(&device) {
            stored += 1;
            assert_eq!(live.len(), 3, "cut off at step {steps}");
            assert!(!live.contains(&before[0]), "the replaced one lives");
        } else {
            kept += 1;
            assert!(!completed && live == before, "cut off at step {steps}: {live:?}");
        }
        if completed {
            break;
        }
    }
    assert!(completed && kept > 0, "{kept} kept, {stored} stored");
}

/// The index of the one user that there is.
fn index_key(server: &Server) -> String {
    server.cli(&["KEYS", "tokenkeep:user:*"])
}

/// Notes in the index that somebody who went away wanted to end all of `devices`.
fn leave_intention(server: &Server, devices: &[DeviceId]) {
    let devices: Vec<String> = devices.iter().map(ToString::to_string).collect();
    let code = EndReason::EndedByUser.code();
    let intention = format!("{code} 0 {}", devices.join(","));
    server.cli(&["HSET", &index_key(server), "e:0123456789abcdef", &intention]);
}

/// Makes the login of `device`, which ends `victim`, one that somebody left under way.
fn leave_login(server: &Server, device: DeviceId, example: DeviceId, victim: DeviceId) {
    let (key, code) = (index_key(server), EndReason::Evicted.code());
    let entry = server.cli(&["HGET", &key, &format!("d:{example}")]);
    let lives: Vec<&str> = entry.split(' ').skip(1).take(4).collect();
    let entry = format!("p {} 0123456789abcdef 0 {victim}:{code}", lives.join(" "));
    server.cli(&["HSET", &key, &format!("d:{device}"), &entry]);
}

async fn reason(store: &RedisStore, device: DeviceId) -> Option<EndReason> {
    match store.get(device, now()).await.unwrap() {
        Lookup::Ended(ended) => Some(ended.reason),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_by_completes_what_somebody_left() {
    let server = Server::start().await;
    for who in ["a list", "a purge", "another end"] {
        let (crashed, next) = two_processes(&server).await;
        let (email, all) = three(&crashed, "left").await;
        leave_intention(&server, &all);
        let why = EndReason::EndedByService;
        match who {
            "a list" => assert!(next.devices_of(&email, now()).await.unwrap().is_empty()),
            "a purge" => drop(next.purge_expired(10, now()).await.unwrap()),
            _ => {
                let ended = next.remove_all_of(&email, None, why, now()).await.unwrap();
                assert!(ended.is_empty(), "they ended before: {ended:?}");
            }
        }
        for device in all {
            assert_eq!(reason(&next, device).await, Some(EndReason::EndedByUser), "{who}");
        }
        assert_eq!(index_key(&server), "", "{who} leaves nothing");
        server.cli(&["FLUSHALL"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_makes_place_for_itself_even_if_its_author_went_away() {
    let server = Server::start().await;
    let (crashed, next) = two_processes(&server).await;
    let (email, all) = three(&crashed, "left").await;
    leave_login(&server, all[0], all[0], all[1]);
    assert_eq!(settled(&next, &email, &all).await, [all[0], all[2]]);
    assert_eq!(reason(&next, all[1]).await, Some(EndReason::Evicted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_never_stored_ends_nobody() {
    let server = Server::start().await;
    let (crashed, next) = two_processes(&server).await;
    let (email, all) = three(&crashed, "left").await;
    let never = DeviceId::random().unwrap();
    leave_login(&server, never, all[0], all[1]);
    assert_eq!(settled(&next, &email, &all).await, all);
    let known = server.cli(&["HEXISTS", &index_key(&server), &format!("d:{never}")]);
    assert_eq!(known, "0", "it is given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_cut_off_does_not_block_the_ceiling() {
    let server = Server::start().await;
    let (crashing, next) = two_processes(&server).await;
    let one = NonZeroUsize::new(1).unwrap();
    let attempts = (1..10).map(|steps| {
        let (crashing, next) = (crashing.clone(), next.clone());
        async move {
            let email = format!("cut-{steps}@example.org");
            let ceiling = Some(Ceiling { devices: one, policy: CeilingPolicy::Reject });
            let first = Insert { ceiling, ..login(&email, now()) };
            let device = first.record.device_id;
            stopped(steps, crashing.insert(first, now())).await;
            let second = Insert { ceiling, ..login(&email, now()) };
            let outcome = next.insert(second, now()).await.unwrap();
            let refused = matches!(outcome, InsertOutcome::CeilingReached);
            let first_lives = next.get(device, now()).await.unwrap().live().is_some();
            assert_eq!(refused, first_lives, "cut off at step {steps}: {outcome:?}");
        }
    });
    futures_util::future::join_all(attempts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_others_gave_up_is_not_stored_late() {
    let server = Server::start().await;
    let (slow, next) = two_processes(&server).await;
    let devices = NonZeroUsize::new(1).unwrap();
    let ceiling = Some(Ceiling { devices, policy: CeilingPolicy::Reject });
    let attempts = (1..30).map(|steps| {
        let (slow, next) = (slow.clone(), next.clone());
        async move {
            let email = format!("late-{steps}@example.org");
            let first = Insert { ceiling, ..login(&email, now()) };
            let second = Insert { ceiling, ..login(&email, now()) };
            let all = [first.record.device_id, second.record.device_id];
            // It stands still at this step, and goes on when the other one is through.
            let mut late = Stopped { future: Box::pin(slow.insert(first, now())), steps };
            let early = (&mut late).await;
            let outcome = next.insert(second, now()).await.unwrap();
            let outcome_of_first = match early {
                Some(done) => done,
                None => late.future.await,
            };
            let is_in = |outcome: &InsertOutcome| matches!(outcome, InsertOutcome::Inserted { .. });
            let stored = [outcome_of_first.as_ref().is_ok_and(is_in), is_in(&outcome)];
            let live = settled(&next, &email.parse().unwrap(), &all).await;
            for (device, stored) in all.iter().zip(stored) {
                assert_eq!(live.contains(device), stored, "at step {steps}: {outcome_of_first:?}");
            }
            assert_eq!(live.len(), 1, "at step {steps}");
            outcome_of_first.is_err()
        }
    });
    let given_up = futures_util::future::join_all(attempts).await;
    assert!(given_up.contains(&true), "none was slow enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_was_cut_off_leaves_no_ghost_and_no_index() {
    let server = Server::start().await;
    let (crashing, next) = two_processes(&server).await;
    for steps in 1..20 {
        let email = format!("out-{steps}@example.org");
        let device = log_in(&crashing, &email).await.device_id;
        let remove = crashing.remove(device, None, EndReason::Logout, now());
        let completed = stopped(steps, remove).await;
        let live = settled(&next, &email.parse().unwrap(), &[device]).await;
        if completed {
            assert!(live.is_empty());
            break;
        }
        next.remove(device, None, EndReason::Logout, now()).await.unwrap();
        next.devices_of(&email.parse().unwrap(), now()).await.unwrap();
    }
    assert_eq!(server.cli(&["KEYS", "tokenkeep:user:*"]), "", "no index leaks");
}
