//! Servers on one Redis of which one takes the sessions elsewhere, or comes from elsewhere.

use reqwest::{Method, StatusCode};
use tokenkeep_core::Password;

use super::Pair;
use super::stream::Stream;
use crate::commands::complaint;
use crate::crash::Site;
use crate::moving::redis::Redis;
use crate::process::{Installation, Server, must};
use crate::world::{cookie_of, until};

/// Moves the sessions of `server`, which is at `site`, to `to`.
async fn move_away(site: &Site, server: &Server, to: &str) {
    let mut moving = site.place.command(&["migrate", "--live", "--to", to]);
    moving.args(["--server", &server.url("")]).env("TOKENKEEP_SERVICE_KEY", &site.key);
    must(moving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stays_behind_serves_nothing_and_says_where_the_sessions_are() {
    let pair = Pair::new().await;
    pair.register("ada@example.org");
    let cookie = pair.login(1, "ada@example.org").await;
    let directory = tempfile::tempdir().unwrap();
    let to = format!("sqlite:{}", directory.path().join("tokens.sqlite").display());
    let settings = pair.site.place.data_dir().with_file_name("settings.toml");
    let said = std::fs::read_to_string(&settings).unwrap();
    let said =
        said.replace("kind = \"redis\"\n", &format!("kind = \"redis\"\nmove_to = \"{to}\"\n"));
    std::fs::write(&settings, said).unwrap();

    move_away(&pair.site, &pair.servers[0], &to).await;
    let status = async |at| pair.send(at, Method::GET, "/v1/session", &cookie).await.status();
    assert_eq!(status(0).await, StatusCode::OK);
    until(async || status(1).await == StatusCode::SERVICE_UNAVAILABLE).await;
    pair.servers[1].until_said("another server moved the sessions").await;
    // What ended here must not live on there.
    let logout = pair.send(1, Method::POST, "/v1/logout", &cookie).await;
    assert_eq!(logout.status(), StatusCode::SERVICE_UNAVAILABLE);
    let Pair { servers, _other: other, .. } = pair;
    for server in servers {
        server.stop().await;
    }
    let said = complaint(other.command(&["serve", "--listen", "127.0.0.1:0"]), 78).await;
    assert!(said.contains("were moved to") && said.contains("sqlite:"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_came_from_elsewhere_tells_the_others() {
    let redis = Redis::start(&[]).await;
    let ring = tempfile::tempdir().unwrap();
    let file = ring.path().join("keyring");
    tokenkeep::key_file::open_or_create(&file).unwrap();
    let (file, url) = (file.display(), redis.url());
    let store = format!("[store]\nkey_ring_file = \"{file}\"\n");
    let site = Site::with_settings(0, 7, &format!("{store}move_to = \"{url}\"\n")).await;
    let server = site.place.serve().await;
    site.demo.register("ada@example.org".parse().unwrap(), &Password::new("right")).unwrap();
    let login = site.http.post(server.url("/v1/login"));
    let login = login.json(&serde_json::json!({"email": "ada@example.org", "password": "right"}));
    let cookie = cookie_of(&login.send().await.unwrap()).unwrap();
    move_away(&site, &server, &url).await;

    let on_redis = format!("{store}kind = \"redis\"\n[store.redis]\nurl = \"{url}\"\n");
    let other = Installation::new(&site.auth_server.url(), &on_redis);
    std::fs::create_dir(other.data_dir()).unwrap();
    let keys = |place: &Installation| place.data_dir().join("service-keys.json");
    std::fs::copy(keys(&site.place), keys(&other)).unwrap();
    let second = other.serve().await;
    let listening = site.http.get(second.url("/v1/admin/events")).bearer_auth(&site.key);
    let mut told = Stream::of(listening.send().await.unwrap());
    told.tells("event:reset").await;
    let logout = site.http.post(server.url("/v1/logout")).header("cookie", &cookie);
    assert_eq!(logout.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    told.tells("event:logged_out").await;
    server.stop().await;
    second.stop().await;
}
