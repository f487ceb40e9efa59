//! A thousand requests at once with one dead access token.

use futures_util::future::join_all;
use reqwest::StatusCode;
use tokenkeep_core::Credential;
use tokenkeep_server::config::StoreKind;
use tokio::task::JoinHandle;

use crate::multiplexed::{Answered, Client};
use crate::stores::over_every_store;
use crate::whole::{Whole, cookie};
use crate::world::{PATIENCE, until};

/// The answers to a thousand requests on eight connections, of which all are under way when this
/// returns: the auth server holds the refresh that they wait for.
struct Storm {
    clients: Vec<Client>,
    answers: Vec<Vec<JoinHandle<Answered>>>,
}

impl Storm {
    async fn break_loose(whole: &mut Whole, credential: &Credential) -> Self {
        whole.auth_server.hold().await;
        let (mut clients, mut answers) = (Vec::new(), Vec::new());
        let cookie = cookie(credential);
        for _ in 0..CONNECTIONS {
            let mut client = Client::connect(whole.address).await;
            let send = |_| tokio::spawn(client.send("/authz/nginx", &cookie));
            answers.push((0..REQUESTS_EACH).map(send).collect());
            // Requests of one connection are taken in order: after this one, all are under way.
            let (status, _) = client.send("/livez", &cookie).await.unwrap();
            assert_eq!(status, StatusCode::OK);
            clients.push(client);
        }
        until(async || whole.sessions.stats().refreshes_in_flight == 1).await;
        assert_eq!(whole.demo.stats().refresh_calls, 0, "it is held");
        Self { clients, answers }
    }
}

over_every_store! {
    #[tokio::test]
    a_thousand_requests_on_a_dead_token_cost_one_refresh,
    clients_that_hang_up_take_the_refresh_from_nobody,
    a_refresh_that_everybody_left_is_stored,
}

async fn a_thousand_requests_on_a_dead_token_cost_one_refresh(kind: StoreKind) {
    let mut whole = Whole::new(kind).await;
    let ada = whole.join("ada@example.org").await;
    whole.outlive_access();
    let storm = Storm::break_loose(&mut whole, &ada).await;
    whole.auth_server.come_back();
    let answers = storm.answers.into_iter().flatten();
    let mut tokens = Vec::new();
    for answer in tokio::time::timeout(PATIENCE, join_all(answers)).await.unwrap() {
        let (status, token) = answer.unwrap().expect("an answer");
        assert_eq!(status, StatusCode::OK);
        tokens.push(token);
    }
    assert_eq!(tokens.len(), CONNECTIONS * REQUESTS_EACH);
    tokens.dedup();
    assert_eq!(tokens, [whole.client.token(&ada).await.unwrap().header().to_str().unwrap()]);
    let stats = whole.demo.stats();
    assert_eq!((stats.refresh_calls, stats.refreshes, stats.reuses), (1, 1, 0));
}

async fn clients_that_hang_up_take_the_refresh_from_nobody(kind: StoreKind) {
    let mut whole = Whole::new(kind).await;
    let ada = whole.join("ada@example.org").await;
    whole.outlive_access();
    let mut storm = Storm::break_loose(&mut whole, &ada).await;
    // The first half goes, and with it the request that began the refresh.
    for client in storm.clients.drain(..CONNECTIONS / 2) {
        client.hang_up().await;
    }
    for answer in storm.answers.drain(..CONNECTIONS / 2).flatten() {
        assert_eq!(answer.await.unwrap(), None);
    }
    whole.auth_server.come_back();
    let answers = storm.answers.into_iter().flatten();
    for answer in tokio::time::timeout(PATIENCE, join_all(answers)).await.unwrap() {
        assert_eq!(answer.unwrap().expect("an answer").0, StatusCode::OK);
    }
    assert_eq!(whole.demo.stats().refresh_calls, 1);
    assert_eq!(whole.sessions.stats().refreshes_done, 1);
    whole.outlive_access();
    whole.reaches_the_resource(&ada).await;
    let stats = whole.demo.stats();
    assert_eq!((stats.refresh_calls, stats.reuses), (2, 0), "the pair in the store is the last");
}

async fn a_refresh_that_everybody_left_is_stored(kind: StoreKind) {
    let mut whole = Whole::new(kind).await;
    let ada = whole.join("ada@example.org").await;
    whole.outlive_access();
    let mut storm = Storm::break_loose(&mut whole, &ada).await;
    for client in storm.clients.drain(..) {
        client.hang_up().await;
    }
    for answer in storm.answers.drain(..).flatten() {
        assert_eq!(answer.await.unwrap(), None);
    }
    whole.auth_server.come_back();
    until(async || whole.sessions.stats().refreshes_done == 1).await;
    whole.reaches_the_resource(&ada).await;
    assert_eq!(whole.demo.stats().refresh_calls, 1);
}

const CONNECTIONS: usize = 8;
const REQUESTS_EACH: usize = 125;
