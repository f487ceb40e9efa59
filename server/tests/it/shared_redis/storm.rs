//! A thousand requests at both servers that wait for one refresh.

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};

use super::Pair;
use super::upstream::Upstream;
use crate::multiplexed::Client;
use crate::world::{PATIENCE, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_that_wait_at_two_servers_cost_one_refresh() {
    let upstream = Upstream::start().await;
    let proxy = format!("[[proxy]]\nprefix = \"/other\"\nupstream = \"{}\"\n", upstream.url);
    let mut pair = Pair::with(0, &proxy).await;
    pair.register("ada@example.org");
    let ada = pair.login(0, "ada@example.org").await;
    for at in [0, 1] {
        let answer = pair.send(at, Method::GET, "/other/", &ada).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    upstream.forget();
    pair.site.auth_server.hold().await;
    let (mut clients, mut answers) = (Vec::new(), Vec::new());
    for number in 0..CONNECTIONS {
        let mut client = Client::connect(pair.servers[number % 2].address).await;
        answers.extend((0..REQUESTS_EACH).map(|_| tokio::spawn(client.send("/other/", &ada))));
        clients.push(client);
    }
    // Every request has met its 401, and a refresh is under way at either server.
    until(async || upstream.refusals() == CONNECTIONS * REQUESTS_EACH).await;
    for at in [0, 1] {
        until(async || pair.stats(at).await.refreshes_in_flight == 1).await;
    }
    assert_eq!(pair.site.demo.stats().refresh_calls, 0, "it is held");
    assert!(answers.iter().all(|answer| !answer.is_finished()), "all of them wait");
    pair.site.auth_server.come_back();
    for answer in tokio::time::timeout(PATIENCE, join_all(answers)).await.unwrap() {
        assert_eq!(answer.unwrap().expect("an answer").0, StatusCode::OK);
    }
    let stats = pair.site.demo.stats();
    assert_eq!((stats.refresh_calls, stats.refreshes, stats.reuses), (1, 1, 0));
    assert_eq!(upstream.refusals(), CONNECTIONS * REQUESTS_EACH, "nobody met a second 401");
    assert_eq!(upstream.alive(), 1, "all have the same new token");
}

const CONNECTIONS: usize = 8;
const REQUESTS_EACH: usize = 125;
