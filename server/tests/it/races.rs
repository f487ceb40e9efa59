//! What users and administrators do at the same time, through the HTTP surface and over every store.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::json;
use tokenkeep_core::DeviceId;
use tokenkeep_core::wire::{DevicesBody, EndedBody};
use tokenkeep_server::config::{CeilingKind, StoreKind};

use crate::stores::over_every_store;
use crate::whole::{PASSWORD, Whole, cookie};
use crate::world::{cookie_of, until};

over_every_store! {
    #[tokio::test]
    a_logout_beats_the_refresh_that_is_under_way,
    an_end_of_all_and_the_logins_that_meet_it_agree,
    a_hundred_logins_at_once_hold_the_ceiling,
    a_hundred_logins_at_once_are_refused_over_the_ceiling,
}

async fn a_logout_beats_the_refresh_that_is_under_way(kind: StoreKind) {
    let mut whole = Whole::new(kind).await;
    let ada = whole.join(ADA).await;
    whole.outlive_access();
    whole.auth_server.hold().await;
    let asked = whole.ask(Method::GET, "/authz/nginx").header("cookie", cookie(&ada));
    let asked = tokio::spawn(asked.send());
    until(async || whole.sessions.stats().refreshes_in_flight == 1).await;
    let left = whole.send(Method::POST, "/v1/logout", &ada).await;
    assert_eq!(left.status(), StatusCode::NO_CONTENT);
    assert_eq!(whole.demo.stats().refresh_calls, 0, "it is held");
    whole.auth_server.come_back();
    assert_eq!(asked.await.unwrap().unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(whole.get("/v1/session", &ada).await.status(), StatusCode::UNAUTHORIZED);
    assert!(listed(&whole).await.is_empty());
    // The pair that nobody needs goes back: by its own token or by the one before.
    until(async || whole.demo.stats().revocations > 0).await;
}

async fn an_end_of_all_and_the_logins_that_meet_it_agree(kind: StoreKind) {
    let whole = Whole::with(kind, |config| config.limits.logins_per_email = 10_000).await;
    drop(whole.join(ADA).await);
    let (mut logins, mut ended) = (1, 0);
    let mut cookies = Vec::new();
    for _ in 0..10 {
        let begun = join_all((0..8).map(|_| login(&whole).send()));
        let end = as_admin(&whole, Method::DELETE).send();
        let (answers, end) = futures_util::join!(begun, end);
        ended += end.unwrap().json::<EndedBody>().await.unwrap().ended;
        for answer in answers {
            let answer = answer.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            cookies.push(cookie_of(&answer).unwrap());
            logins += 1;
        }
        let before = cookies.len() - 8;
        let left = living(&whole, &cookies[..before]).await;
        assert!(left.is_empty(), "they were there before the end began: {left:?}");
        let living = living(&whole, &cookies[before..]).await;
        assert_eq!(living, listed(&whole).await, "who may go on is who is listed");
        assert_eq!(ended + living.len(), logins, "each login lives, or was ended once");
    }
}

async fn a_hundred_logins_at_once_hold_the_ceiling(kind: StoreKind) {
    let (whole, answers) = crowd(kind, CeilingKind::Evict).await;
    let cookies: Vec<_> = answers.iter().filter_map(cookie_of).collect();
    assert_eq!(cookies.len(), CROWD);
    let living = living(&whole, &cookies).await;
    assert_eq!((living.len(), &living), (PLACES.get(), &listed(&whole).await));
}

async fn a_hundred_logins_at_once_are_refused_over_the_ceiling(kind: StoreKind) {
    let (whole, answers) = crowd(kind, CeilingKind::Reject).await;
    let count = |status| answers.iter().filter(|answer| answer.status() == status).count();
    assert_eq!(count(StatusCode::OK), PLACES.get());
    assert_eq!(count(StatusCode::CONFLICT), CROWD - PLACES.get());
    let cookies: Vec<_> = answers.iter().filter_map(cookie_of).collect();
    let living = living(&whole, &cookies).await;
    assert_eq!((living.len(), &living), (PLACES.get(), &listed(&whole).await));
    let refused = CROWD - PLACES.get();
    until(async || whole.demo.stats().revocations == refused as u64).await;
}

/// A hundred logins of one user at once, where a few devices are allowed.
async fn crowd(kind: StoreKind, policy: CeilingKind) -> (Whole, Vec<Response>) {
    let whole = Whole::with(kind, |config| {
        config.limits.logins_per_email = 10_000;
        config.session.ceiling_devices = PLACES;
        config.session.ceiling_policy = policy;
    });
    let whole = whole.await;
    let account = json!({"email": ADA, "password": PASSWORD});
    let made = whole.ask(Method::POST, "/v1/register").json(&account).send().await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    let answers = join_all((0..CROWD).map(|_| login(&whole).send())).await;
    (whole, answers.into_iter().map(Result::unwrap).collect())
}

fn login(whole: &Whole) -> RequestBuilder {
    whole.ask(Method::POST, "/v1/login").json(&json!({"email": ADA, "password": PASSWORD}))
}

fn as_admin(whole: &Whole, method: Method) -> RequestBuilder {
    let path = format!("/v1/admin/devices?email={ADA}");
    whole.ask(method, &path).bearer_auth(&whole.key_text)
}

/// The devices that are listed.
async fn listed(whole: &Whole) -> BTreeSet<DeviceId> {
    let listed = as_admin(whole, Method::GET).send().await.unwrap();
    let listed: DevicesBody = listed.json().await.unwrap();
    listed.devices.into_iter().map(|device| device.device_id).collect()
}

/// The devices of `cookies` that may go on.
async fn living(whole: &Whole, cookies: &[String]) -> BTreeSet<DeviceId> {
    let looks = cookies.iter().map(async |cookie| {
        let asked = whole.ask(Method::GET, "/v1/session").header("cookie", cookie);
        let lives = asked.send().await.unwrap().status() == StatusCode::OK;
        let (_, credential) = cookie.split_once('=').unwrap();
        lives.then(|| credential.split('.').next().unwrap().parse().unwrap())
    });
    join_all(looks).await.into_iter().flatten().collect()
}

const ADA: &str = "ada@example.org";
const CROWD: usize = 100;
const PLACES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);
