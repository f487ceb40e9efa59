//! No secret in the log.

use std::io::Write;
use std::sync::{Arc, Mutex};

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokenkeep_core::testing::Fault;
use tokenkeep_server::settings::{Proxy, ServerSettings};

use crate::world::{World, plain};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn send(request: RequestBuilder, cookie: &str, secret: &str) {
    let request = request
        .header("cookie", cookie)
        .header("authorization", "Bearer canary-service-key")
        .header("x-device-credential", secret)
        .header("x-forged", "canary-header\u{e9}");
    // Streams do not end by themselves.
    if let Ok(answer) = request.send().await {
        drop(answer);
    }
}

/// Everything that runs here runs on this thread, where the subscriber listens.
#[tokio::test(flavor = "current_thread")]
async fn no_secret_is_in_the_log_at_trace_level() {
    let sink = Sink::default();
    let (writer, log) = (sink.clone(), sink.0);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // While there is one subscriber only, tracing asks the thread that meets a line first whether
    // anybody listens; the other tests' threads would say no for this one, too.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _listening = tracing::subscriber::set_default(subscriber);
    let gone = "http://127.0.0.1:1".to_owned();
    let proxies = vec![Proxy { prefix: "/api".into(), upstream: gone, strip_prefix: false }];
    let world = World::with(ServerSettings { proxies, ..plain() }).await;
    let login = json!({"email": "ada@example.org", "password": "canary-password"});
    let cookie = {
        let answer = world.post("/v1/login").json(&login).send().await.unwrap();
        crate::world::cookie_of(&answer).unwrap()
    };
    let secret = cookie.split_once('.').unwrap().1.to_owned();
    let credential = cookie.split_once('=').unwrap().1.to_owned();
    for body in [
        "{\"canary-key\":1}",
        "{\"email\":\"canary@mail\",\"password\":\"canary-password\"",
        "\u{1b}[canary-body",
    ] {
        let request = world.post("/v1/login").header("content-type", "application/json").body(body);
        send(request, &cookie, &credential).await;
    }
    for fault in [None, Some(Fault::LostAfter), Some(Fault::NotSent), Some(Fault::Misconfigured)] {
        world.clock.advance(std::time::Duration::from_secs(60));
        world.issuer.fail_next(fault);
        for (method, path) in [
            (Method::GET, "/v1/session?canary=query"),
            (Method::POST, "/v1/session/refresh"),
            (Method::GET, "/v1/devices"),
            (Method::GET, "/v1/events"),
            (Method::POST, "/v1/token"),
            (Method::GET, "/v1/admin/stats"),
            (Method::GET, "/authz/nginx"),
            (Method::GET, "/authz/forward"),
            (Method::GET, "/authz/envoy/x?canary=query"),
            (Method::GET, "/api/x?canary=query"),
            (Method::GET, "/nothing?canary=query"),
        ] {
            send(world.ask(method, path), &cookie, &credential).await;
        }
    }
    world.store.set_failing(true);
    send(world.post("/v1/logout"), &cookie, &credential).await;
    world.store.set_failing(false);
    send(world.post("/v1/logout"), &cookie, &credential).await;
    let refused = world.get("/nothing").send().await.unwrap();
    let request_id = crate::world::header(&refused, "x-request-id").to_owned();
    let text = String::from_utf8_lossy(&log.lock().unwrap()).into_owned();
    assert!(
        text.contains("a request was refused") && text.contains("TRACE"),
        "something was logged"
    );
    assert!(text.contains(&request_id), "a problem is found in the log by its request id");
    // The test's own client logs its requests; what the server says is what counts.
    let ours = text
        .lines()
        .filter(|line| !line.contains("reqwest") && !line.contains("hyper_util::client"));
    for line in ours {
        for word in [secret.as_str(), "canary", "access-1-", "refresh-1-"] {
            assert!(!line.contains(word), "{word} is in the log: {line}");
        }
    }
}
