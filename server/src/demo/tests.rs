//! Claims about the demo auth server over its contract.

use tokenkeep_core::{Issuer as _, IssuerError, ManualClock, RefreshToken};

use super::*;
use crate::central::CentralIssuer;
use crate::config::AuthServerSettings;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

/// The demo auth server on a port of its own, and tokenkeep's adapter towards it.
struct Running {
    demo: Demo,
    clock: Arc<ManualClock>,
    issuer: CentralIssuer,
    base: String,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), DemoError>>,
}

async fn start(says_lifetimes: bool) -> Running {
    let clock = Arc::new(ManualClock::new(NOW));
    let settings = DemoSettings { says_lifetimes, ..DemoSettings::default() };
    let demo = Demo::new(settings, clock.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = demo.clone();
    let task = tokio::spawn(async move {
        let shutdown = async move { drop(stopped.await) };
        server.serve(listener, shutdown).await
    });
    let issuer = CentralIssuer::new(AuthServerSettings {
        base_url: Some(base.clone()),
        revoke_path: Some("/revoke".into()),
        ..AuthServerSettings::default()
    });
    Running { demo, clock, issuer: issuer.unwrap(), base, stop, task }
}

fn password() -> Password {
    Password::new("correct horse")
}

impl Running {
    async fn login(&self) -> tokenkeep_core::Grant {
        self.issuer.login("ada@x.org", &password(), NOW).await.unwrap()
    }

    async fn protected(&self, token: &str) -> u16 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("{}/protected", self.base)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    }
}

fn is_refused<T>(outcome: &Result<T, IssuerError>) -> bool {
    matches!(outcome, Err(IssuerError::Refused(_)))
}

#[tokio::test]
async fn the_contract_is_kept_from_registration_to_revocation() {
    let running = start(false).await;
    let issuer = &running.issuer;
    assert!(issuer.register("ada@x.org", &password()).await.unwrap().is_some());
    assert!(is_refused(&issuer.register("Ada@X.org", &password()).await), "exists");
    assert!(is_refused(&issuer.register("ada", &password()).await), "no address");
    assert!(is_refused(&issuer.login("ada@x.org", &Password::new("wrong"), NOW).await));
    assert!(is_refused(&issuer.login("eve@x.org", &password(), NOW).await));
    let grant = running.login().await;
    assert_eq!(grant.access_expires_at, NOW + Duration::from_secs(120), "no lifetime is said");
    assert_eq!(running.protected(grant.access_token.expose()).await, 200);
    assert_eq!(running.protected("wrong").await, 401);
    running.clock.advance(Duration::from_secs(15));
    assert_eq!(running.protected(grant.access_token.expose()).await, 401, "15 seconds");
    let renewal = issuer.refresh(&grant.refresh_token, NOW).await.unwrap();
    assert_eq!(running.protected(renewal.access_token.expose()).await, 200);
    let (next, _) = renewal.refresh.unwrap();
    issuer.revoke(&next).await.unwrap();
    assert!(is_refused(&issuer.refresh(&next, NOW).await));
    assert_eq!(running.protected(renewal.access_token.expose()).await, 401, "revoked");
    let stats = running.demo.stats();
    assert_eq!((stats.logins, stats.logins_refused, stats.revocations), (1, 2, 1));
}

#[tokio::test]
async fn a_spent_refresh_token_ends_its_family_and_no_other() {
    let running = start(false).await;
    running.demo.register("ada@x.org".parse().unwrap(), &password()).unwrap();
    let (grant, other) = (running.login().await, running.login().await);
    let issuer = &running.issuer;
    let renewal = issuer.refresh(&grant.refresh_token, NOW).await.unwrap();
    assert!(is_refused(&issuer.refresh(&grant.refresh_token, NOW).await), "one time");
    assert!(is_refused(&issuer.refresh(&renewal.refresh.unwrap().0, NOW).await), "the family");
    assert!(issuer.refresh(&other.refresh_token, NOW).await.is_ok());
    let stats = running.demo.stats();
    assert_eq!((stats.refresh_calls, stats.refreshes, stats.reuses), (4, 2, 1));
    let shown = reqwest::get(format!("{}/stats", running.base)).await.unwrap();
    assert_eq!(shown.json::<DemoStats>().await.unwrap(), stats);
}

#[tokio::test]
async fn a_refresh_token_ends_with_its_time() {
    let running = start(true).await;
    running.demo.register("ada@x.org".parse().unwrap(), &password()).unwrap();
    let grant = running.login().await;
    assert_eq!(grant.access_expires_at, NOW + Duration::from_secs(15));
    assert_eq!(grant.refresh_expires_at, NOW + Duration::from_secs(600));
    running.clock.advance(Duration::from_secs(600));
    assert!(is_refused(&running.issuer.refresh(&grant.refresh_token, NOW).await));
}

#[tokio::test]
async fn faults_look_like_the_real_ones() {
    let running = start(false).await;
    running.demo.register("ada@x.org".parse().unwrap(), &password()).unwrap();
    let grant = running.login().await;
    let issuer = &running.issuer;
    let refresh = |token: RefreshToken| async move { issuer.refresh(&token, NOW).await };
    for fault in [Fault::Down(503), Fault::Garbage] {
        running.demo.set_fault(fault);
        assert!(matches!(refresh(grant.refresh_token.clone()).await, Err(IssuerError::Unknown(_))));
    }
    running.demo.set_fault(Fault::Busy(7));
    let outcome = refresh(grant.refresh_token.clone()).await;
    let wait = Some(Duration::from_secs(7));
    assert!(
        matches!(outcome, Err(IssuerError::NotSent { retry_after, .. }) if retry_after == wait)
    );
    assert_eq!(running.demo.stats().refresh_calls, 0, "nothing was done");
    running.demo.set_fault(Fault::Slow(Duration::from_millis(1)));
    let renewal = refresh(grant.refresh_token).await.unwrap();
    running.demo.set_fault(Fault::LostAnswer);
    let (next, _) = renewal.refresh.unwrap();
    assert!(matches!(refresh(next.clone()).await, Err(IssuerError::Unknown(_))));
    running.demo.set_fault(Fault::None);
    assert!(is_refused(&refresh(next).await), "it was spent");
}

#[tokio::test]
async fn it_stops_when_told_and_listens_on_loopback_only() {
    let running = start(false).await;
    assert_eq!(running.protected("x").await, 401);
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let outcome = running.demo.serve(open, async {}).await;
    assert!(matches!(outcome, Err(DemoError::NotLoopback)));
}
