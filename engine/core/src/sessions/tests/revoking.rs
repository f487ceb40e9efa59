//! The issuer hears of every session that ended, over a crash as well.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::*;
use crate::testing::FakeIssuer;
use crate::{Ceiling, CeilingPolicy, Clock as _, Cursor, Lookup, TokenRecord, TokenStore as _};

/// The flow with an outbox.
struct Post {
    rig: Rig,
    outbox: MemoryStore,
}

impl Post {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let mut rig = Rig::with(settings, Rotation::Strict);
        let outbox = MemoryStore::new();
        rig.sessions = rig.sessions.with_outbox(outbox.clone());
        Self { rig, outbox }
    }

    /// What the next process makes of the same stores and the same issuer.
    fn restarted(&self) -> Sessions<MemoryStore, FakeIssuer> {
        self.rig.another_instance().with_outbox(self.outbox.clone())
    }

    async fn noted(&self) -> Vec<Arc<TokenRecord>> {
        let all = NonZeroUsize::new(1000).unwrap();
        self.outbox.scan(None::<Cursor>, all, self.rig.clock.now()).await.unwrap().records
    }

    /// The refresh tokens in the outbox, in order.
    async fn owed(&self) -> Vec<String> {
        let noted = self.noted().await;
        let mut owed: Vec<_> =
            noted.iter().map(|record| record.refresh_token.expose().to_owned()).collect();
        owed.sort();
        owed
    }

    fn revoked(&self) -> Vec<String> {
        let mut revoked = self.rig.issuer.revoked();
        revoked.sort();
        revoked
    }
}

#[tokio::test]
async fn what_the_issuer_did_not_hear_before_a_crash_it_hears_after() {
    let post = Post::new();
    let ada = post.rig.login(ADA).await;
    post.rig.issuer.set_deaf(true);
    post.rig.sessions.logout(&ada).await.unwrap();
    assert_eq!(post.owed().await, ["refresh-1-1"], "durable before the logout is answered");
    let note = &post.noted().await[0];
    let presented = ada.verifier(&post.rig.store.id());
    assert!(!note.verifier.matches(&presented), "a note lets nobody in");
    post.rig.let_tasks_run().await;
    post.rig.issuer.set_deaf(false);
    post.restarted().settle().await.unwrap();
    post.rig.let_tasks_run().await;
    assert_eq!((post.revoked(), post.owed().await.len()), (vec!["refresh-1-1".to_owned()], 0));
}

#[tokio::test]
async fn every_kind_of_end_is_noted() {
    let ceiling = Ceiling {
        devices: NonZeroUsize::new(3).unwrap(),
        policy: CeilingPolicy::EvictLeastRecentlySeen,
    };
    let post = Post::with(Settings { ceiling: Some(ceiling), ..Settings::default() });
    let rig = &post.rig;
    rig.issuer.set_deaf(true);
    let first = rig.login(ADA).await;
    rig.sessions.logout(&first).await.unwrap();
    let second = rig.login(ADA).await;
    let third = rig.login(ADA).await;
    rig.sessions.end_device(&second, third.device_id()).await.unwrap();
    // The same browser again, by the same user and by another one.
    let fourth = rig.login_with(ADA, Some(second)).await.unwrap().credential;
    rig.login_with(BOB, Some(fourth)).await.unwrap();
    // One device too many.
    let mut devices = Vec::new();
    for _ in 0..4 {
        rig.clock.advance(Duration::from_secs(1));
        devices.push(rig.login(ADA).await);
    }
    rig.let_tasks_run().await;
    let named = |numbers: std::ops::RangeInclusive<u32>| {
        let mut named: Vec<_> = numbers.map(|number| format!("refresh-{number}-1")).collect();
        named.sort();
        named
    };
    // The fifth login is Bob's, the sixth made place.
    let mut expected = named(1..=4);
    expected.push("refresh-6-1".into());
    assert_eq!(post.owed().await, expected);
    rig.sessions.end_devices(&devices[3], true).await.unwrap();
    rig.sessions.end_all_of(&BOB.parse().unwrap()).await.unwrap();
    rig.sessions.end_all_of(&ADA.parse().unwrap()).await.unwrap();
    assert_eq!(post.owed().await, named(1..=9));
    assert_eq!(post.revoked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_session_that_lives_is_never_revoked() {
    let post = Post::new();
    let ada = post.rig.login(ADA).await;
    let live = post.rig.store.get(ada.device_id(), post.rig.clock.now()).await.unwrap();
    let Lookup::Live(live) = live else { panic!("{live:?}") };
    // The crash came after the note and before the end.
    post.rig.sessions.note(&[live]).await;
    let next = post.restarted();
    next.settle().await.unwrap();
    post.rig.let_tasks_run().await;
    assert_eq!(post.revoked(), Vec::<String>::new());
    // A refresh later it ends: what the issuer hears of is the pair that it has then.
    post.rig.outlive_access();
    next.resume(&ada).await.unwrap();
    next.logout(&ada).await.unwrap();
    assert_eq!(post.owed().await, ["refresh-1-2"]);
    post.rig.let_tasks_run().await;
    assert_eq!((post.revoked(), post.owed().await.len()), (vec!["refresh-1-2".to_owned()], 0));
}

#[tokio::test]
async fn a_pair_that_comes_too_late_is_noted_before_it_is_given_back() {
    let post = Post::new();
    let rig = &post.rig;
    let ada = rig.login(ADA).await;
    rig.outlive_access();
    rig.issuer.close_gate();
    let (sessions, credential) = (rig.sessions.clone(), ada.clone());
    let late = tokio::spawn(async move { sessions.resume(&credential).await });
    rig.issuer.until_running(1).await;
    rig.sessions.logout(&ada).await.unwrap();
    rig.let_tasks_run().await;
    assert_eq!(post.revoked(), ["refresh-1-1"], "heard of, and out of the outbox");
    rig.issuer.set_deaf(true);
    rig.issuer.open_gate();
    assert_eq!(over(late.await.unwrap()), EndReason::Logout);
    assert_eq!(post.owed().await, ["refresh-1-2"]);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_does_not_hear_is_told_again() {
    let post = Post::new();
    let ada = post.rig.login(ADA).await;
    post.rig.issuer.set_deaf(true);
    post.rig.sessions.logout(&ada).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(post.owed().await, ["refresh-1-1"]);
    post.rig.issuer.set_deaf(false);
    tokio::time::sleep(Duration::from_secs(20 * 60)).await;
    assert_eq!((post.revoked(), post.owed().await.len()), (vec!["refresh-1-1".to_owned()], 0));
}

#[tokio::test]
async fn an_outbox_that_fails_keeps_nobody_from_logging_out() {
    let post = Post::new();
    let ada = post.rig.login(ADA).await;
    post.outbox.set_failing(true);
    assert!(post.rig.sessions.logout(&ada).await.unwrap());
    assert_eq!(over(post.rig.resume(&ada).await), EndReason::Logout);
    post.rig.let_tasks_run().await;
    assert_eq!(post.revoked(), ["refresh-1-1"]);
}

#[tokio::test]
async fn a_note_dies_with_its_refresh_token() {
    let post = Post::new();
    let ada = post.rig.login(ADA).await;
    post.rig.issuer.set_deaf(true);
    post.rig.sessions.logout(&ada).await.unwrap();
    let dies_at = post.noted().await[0].refresh_expires_at;
    post.rig.clock.leap_to(dies_at);
    assert_eq!(post.owed().await, Vec::<String>::new());
}

fn limited(idle: Option<u64>, absolute: Option<u64>) -> Post {
    let (idle_limit, absolute_limit) = (idle.map(seconds), absolute.map(seconds));
    Post::with(Settings { idle_limit, absolute_limit, ..Settings::default() })
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test]
async fn a_session_that_runs_out_by_a_limit_is_told_with_its_last_token() {
    for post in [limited(Some(200), None), limited(None, Some(200))] {
        let ada = post.rig.login(ADA).await;
        assert_eq!(post.owed().await, ["refresh-1-1"]);
        post.rig.outlive_access();
        post.rig.resume(&ada).await.unwrap();
        assert_eq!(post.owed().await, ["refresh-1-2"], "of each pair before anyone uses it");
        post.restarted().settle().await.unwrap();
        post.rig.let_tasks_run().await;
        assert_eq!(post.revoked(), Vec::<String>::new(), "it lives");
        post.rig.clock.advance(seconds(200));
        assert!(post.rig.resume(&ada).await.is_err());
        // A crash is between the end and the telling.
        post.restarted().settle().await.unwrap();
        post.rig.let_tasks_run().await;
        let told = (post.revoked(), post.owed().await.len());
        assert_eq!(told, (vec!["refresh-1-2".to_owned()], 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_runs_out_while_nobody_looks_is_told_within_minutes() {
    let post = limited(Some(130), None);
    post.rig.sessions.settle().await.unwrap();
    post.rig.login(ADA).await;
    tokio::time::sleep(seconds(301)).await;
    assert_eq!(post.revoked(), Vec::<String>::new(), "it lives");
    post.rig.clock.advance(seconds(130));
    tokio::time::sleep(seconds(301)).await;
    assert_eq!(post.revoked(), ["refresh-1-1"]);
}

#[tokio::test]
async fn a_session_without_limits_is_noted_when_it_ends() {
    // Its refresh token runs out before the limit does.
    for post in [Post::new(), limited(None, Some(100_000))] {
        post.rig.login(ADA).await;
        assert!(post.noted().await.is_empty());
    }
}

#[tokio::test]
async fn a_login_over_the_ceiling_gives_its_tokens_back() {
    let ceiling = Ceiling { devices: NonZeroUsize::MIN, policy: CeilingPolicy::Reject };
    let post = Post::with(Settings { ceiling: Some(ceiling), ..Settings::default() });
    post.rig.login(ADA).await;
    let refused = post.rig.login_with(ADA, None).await;
    assert!(matches!(refused, Err(Error::CeilingReached)), "{refused:?}");
    post.rig.let_tasks_run().await;
    assert_eq!(post.revoked(), ["refresh-2-1"]);
}
