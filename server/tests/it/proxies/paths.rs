//! Paths that would step around the protection.

use super::Site;
use super::front::BOTH;
use crate::world::raw;

/// Ways to write a protected path so that it looks like one that is not.
const TRICKS: [&str; 46] = [
    "/app",
    "/app/../app",
    "/public/../app",
    "/public/../../app",
    "/public/./../app",
    "/public/%2e%2e/app",
    "/public/%2E%2E/app",
    "/public/.%2e/app",
    "/public/%2e./app",
    "/public/..%2fapp",
    "/public/..%2Fapp",
    "/public%2f..%2fapp",
    "/public/%2e%2e%2fapp",
    "/public/..\\app",
    "/public\\..\\app",
    "/public/..%5capp",
    "/public/%2e%2e%5capp",
    "/public/..;/app",
    "/public/..;x=y/app",
    "/public/..%3b/app",
    "/public/;/../app",
    "/public/;x/app",
    "/public/%252e%252e/app",
    "/public/..%252fapp",
    "/public/%25%32%65%25%32%65/app",
    "/public/%c0%ae%c0%ae/app",
    "/public/%e0%80%ae%e0%80%ae/app",
    "/public%c0%afapp",
    "/public/%00/../app",
    "/public/x%00/../../app",
    "/public/%0d%0aX-Auth-Request-Email:root/../../app",
    "/public//../app",
    "/public/..//app",
    "//public/../app",
    "//app",
    "///app",
    "/./app",
    "/%61pp",
    "/login/../app",
    "/login%2f..%2fapp",
    "/login.js/../app",
    "/v1/../app",
    "/v1/%2e%2e/app",
    "/v1/..;/app",
    "/public/#/../../app",
    "/tokenkeep-authz/../app",
];

#[tokio::test]
async fn no_spelling_of_a_path_steps_around_the_protection() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let host = site.front.address;
        for path in TRICKS {
            let absolute = format!("http://{host}{path}");
            for target in [path, absolute.as_str()] {
                for method in ["GET", "POST", "OPTIONS", "PROPFIND"] {
                    let head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
                    let answer = raw(host, format!("{head}connection: close\r\n\r\n")).await;
                    let status = answer.get(9..12).unwrap_or_default();
                    let closed = ["301", "307", "308", "400", "401", "403", "404", "405"];
                    assert!(closed.contains(&status), "{kind:?} {method} {target}: {answer}");
                    assert_eq!(site.api.times_asked(), 0, "{kind:?}: {target} was let in");
                }
            }
        }
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_reaches_what_is_for_services() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let host = site.front.address;
        for path in [
            "/v1/admin/stats",
            "/v1//admin/stats",
            "/v1/./admin/stats",
            "/v1/x/../admin/stats",
            "/v1/%61dmin/stats",
            "/v1/admin%2fstats",
            "/V1/admin/stats",
            "/v1/ADMIN/stats",
            "/v1/admin/./stats",
            "/v1/admin;x/stats",
            "/public/../v1/admin/stats",
            "/tokenkeep-authz",
        ] {
            let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
            let answer = raw(host, format!("{head}authorization: Bearer read-key\r\n\r\n")).await;
            let status = answer.get(9..12).unwrap_or_default();
            assert!(["400", "401", "404"].contains(&status), "{kind:?} {path}: {answer}");
        }
    }
}

#[tokio::test]
async fn plain_paths_pass_as_they_are() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        let lines = format!("connection: close\r\ncookie: {cookie}\r\n");
        for path in
            ["/", "/a/b", "/a%20b", "/a;v=1/b", "/a.b/.well-known/c", "/%c3%a9", "/a?b=//../%2e;#"]
        {
            let got = site.seen_of(path, &lines).await;
            assert_eq!(got["path"], path.trim_end_matches('#'), "{kind:?}");
        }
    }
}
