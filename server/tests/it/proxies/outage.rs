//! Servers that are away: nothing is open then.

use tokenkeep_core::testing::Fault;

use super::Site;
use super::front::BOTH;
use crate::world::header;

#[tokio::test]
async fn a_server_that_is_down_opens_nothing() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        let Site { world, api, front } = site;
        world.stop.cancel();
        let _ = world.stopped.await.unwrap();
        for (path, name, value) in [
            ("/app", "cookie", cookie.as_str()),
            ("/app", "accept", "text/html"),
            ("/app", "x-auth-request-email", "root"),
            ("/v1/session", "cookie", cookie.as_str()),
        ] {
            let request = world.http.get(format!("http://{}{path}", front.address));
            let answer = request.header(name, value).send().await.unwrap();
            assert!(answer.status().is_server_error(), "{kind:?}: {}", answer.status());
        }
        assert_eq!(api.times_asked(), 0, "{kind:?}");
    }
}

#[tokio::test]
async fn an_auth_server_that_is_down_logs_nobody_out() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        site.world.outlive_access();
        site.world.issuer.fail_next([Fault::NotSent]);
        let request = site.get("/app").header("cookie", &cookie).header("accept", "text/html");
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_server_error(), "{kind:?}: {}", answer.status());
        assert_eq!(header(&answer, "set-cookie"), "<absent>", "{kind:?}");
        assert_eq!(site.api.times_asked(), 0, "{kind:?}");
    }
}
