//! Two servers on one Redis change their keys one after the other.

use reqwest::{Method, StatusCode};

use super::Pair;
use crate::commands::complaint;
use crate::process::must;

#[tokio::test(flavor = "multi_thread")]
async fn servers_change_their_keys_one_after_the_other() {
    let pair = Pair::new().await;
    pair.register("ada@example.org");
    let keys = |at: usize, arguments: &[&str]| {
        let mut command = pair.site.place.command(&["keys"]);
        command.args(arguments).args(["--server", &pair.servers[at].url("")]);
        command.env("TOKENKEEP_SERVICE_KEY", &pair.site.key);
        command
    };
    let mut cookies = vec![pair.login(0, "ada@example.org").await];
    cookies.push(pair.login(1, "ada@example.org").await);
    let listed = must(pair.site.place.command(&["keys", "list-ring"])).await;
    let active = listed.lines().find(|line| line.contains("active:")).unwrap();
    let old =
        active.split([' ', '|', '\u{2502}', '\u{2506}']).find(|word| word.len() == 8).unwrap();

    must(keys(0, &["rotate-ring"])).await;
    // What the first seals with its new key the second reads, which was not told of it.
    cookies.push(pair.login(0, "ada@example.org").await);
    let check = async || {
        for (cookie, at) in cookies.iter().flat_map(|cookie| [(cookie, 0), (cookie, 1)]) {
            let answer = pair.send(at, Method::GET, "/v1/session", cookie).await;
            assert_eq!(answer.status(), StatusCode::OK, "server {at}");
        }
    };
    check().await;
    must(keys(0, &["reseal"])).await;
    let said = complaint(keys(0, &["retire", old]), 69).await;
    assert!(said.contains("another server sealed with the key"), "{said}");
    pair.servers[1].signal("-HUP");
    pair.servers[1].until_said("the key ring was read again").await;
    must(keys(0, &["retire", old])).await;
    check().await;
}
