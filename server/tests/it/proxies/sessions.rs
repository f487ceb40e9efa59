//! Sessions through the proxy: login, refresh, logout, and what is there without one.

use reqwest::{Method, StatusCode};

use super::Site;
use super::front::BOTH;
use crate::world::{clears_cookie, header};

#[tokio::test]
async fn without_a_session_programs_get_a_401_and_people_the_login_page() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let html = |method| site.ask(method, "/app?x=1&y=2").header("accept", "text/html,*/*");
        for request in [
            site.get("/app"),
            site.get("/app").header("cookie", "device_id=dead"),
            html(Method::POST),
            html(Method::GET).header("x-requested-with", "XMLHttpRequest"),
        ] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{kind:?}");
            assert_eq!(header(&answer, "content-type"), "application/problem+json", "{kind:?}");
            assert!(answer.text().await.unwrap().contains(r#""code":"not_logged_in""#));
        }
        let answer = html(Method::GET).header("cookie", "device_id=dead").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FOUND, "{kind:?}");
        assert_eq!(header(&answer, "location"), "/login?rd=%2Fapp%3Fx%3D1%26y%3D2", "{kind:?}");
        assert!(clears_cookie(&answer), "{kind:?}");
        assert_eq!(site.api.times_asked(), 0, "{kind:?}");
        let page = site.get("/login?rd=%2Fapp").send().await.unwrap();
        assert_eq!(page.status(), StatusCode::OK, "{kind:?}");
        assert!(header(&page, "content-security-policy").contains("default-src 'self'"));
        assert!(page.text().await.unwrap().contains("/login.js"), "{kind:?}");
        let script = site.get("/login.js").send().await.unwrap();
        assert!(header(&script, "content-type").starts_with("text/javascript"), "{kind:?}");
    }
}

#[tokio::test]
async fn a_dead_token_is_renewed_on_the_way() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        site.world.outlive_access();
        site.api.expect("access-1-2");
        let answer = site.get("/app").header("cookie", &cookie).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{kind:?}");
        assert_eq!(site.world.issuer.refresh_calls(), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn a_logout_counts_for_the_very_next_request() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        let ask = |method, path| site.ask(method, path).header("cookie", &cookie).send();
        assert_eq!(ask(Method::GET, "/app").await.unwrap().status(), StatusCode::OK, "{kind:?}");
        let answer = ask(Method::POST, "/v1/logout").await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{kind:?}");
        assert!(clears_cookie(&answer), "{kind:?}");
        let answer = ask(Method::GET, "/app").await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{kind:?}");
        assert_eq!(site.api.times_asked(), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn an_unsafe_request_of_another_site_does_not_log_out() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        let request = site.ask(Method::POST, "/v1/logout").header("cookie", &cookie);
        let answer = request.header("origin", "http://evil.example").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{kind:?}");
    }
}

#[tokio::test]
async fn what_is_for_services_is_not_there_from_outside() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        for path in ["/v1/token", "/v1/admin/stats", "/v1/admin/devices?email=a@b", "/V1/TOKEN"] {
            let request = site.get(path).header("authorization", "Bearer read-key");
            let status = request.send().await.unwrap().status();
            let refused = [StatusCode::NOT_FOUND, StatusCode::UNAUTHORIZED].contains(&status);
            assert!(refused, "{kind:?} {path}: {status}");
        }
        assert_eq!(site.api.times_asked(), 0, "{kind:?}");
    }
}
