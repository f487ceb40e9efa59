//! Real nginx and real Caddy in front of the server, with the very files that are shipped in
//! `server/deploy`; only addresses are put in.

mod front;
mod identity;
mod outage;
mod paths;
mod sessions;
mod streams;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use tokenkeep_server::assembly;
use tokenkeep_server::config::Config;
use tokenkeep_server::settings::ServerSettings;

use crate::api::Api;
use crate::world::{World, cookie_of, raw};
use front::{Front, Kind};

/// The server with the shipped settings, and the application that a proxy protects.
struct Site {
    world: World,
    api: Api,
    front: Front,
}

impl Site {
    async fn new(kind: Kind) -> Self {
        let (world, api) = (World::with(shipped_settings()).await, Api::start().await);
        let front = Front::start(kind, world.address, api.address).await;
        Self { world, api, front }
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.world.http.request(method, format!("http://{}{path}", self.front.address))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.ask(Method::GET, path)
    }

    /// Logs in through the proxy; returns the cookie pair.
    async fn login(&self, email: &str) -> String {
        let body = serde_json::json!({"email": email, "password": "right"});
        let request = self.ask(Method::POST, "/v1/login").json(&body);
        let own = format!("http://{}", self.front.address);
        let answer = request.header("origin", own).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", self.front.kind);
        cookie_of(&answer).unwrap()
    }

    /// Sends a GET with these lines in its head, as they are; the body of the answer is JSON.
    async fn seen_of(&self, path: &str, lines: &str) -> serde_json::Value {
        let host = self.front.address;
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n");
        let answer = raw(self.front.address, head).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let object = body.find('{').zip(body.rfind('}'));
        let (start, end) = object.unwrap_or_else(|| panic!("{:?}: {answer}", self.front.kind));
        serde_json::from_str(&body[start..=end]).unwrap()
    }
}

/// Where the shipped files are.
fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn shipped_settings() -> ServerSettings {
    let config = Config::load(Some(&shipped("tokenkeep.toml")), std::iter::empty()).unwrap();
    ServerSettings { drain_delay: Duration::ZERO, ..assembly::server_settings(&config) }
}
