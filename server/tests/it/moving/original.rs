//! The original application's data, taken over.

use reqwest::StatusCode;
use tokenkeep_core::{Clock as _, SystemClock, TimeText, Timestamp};

use super::redis::Redis;
use super::sessions::{device, open, place};
use crate::commands::count;
use crate::process::{Installation, must, output};

/// When the tokens of the sessions run out.
fn times() -> (Timestamp, Timestamp) {
    let now = SystemClock::new().now();
    let hour = std::time::Duration::from_secs(3600);
    (now + hour, now + 24 * hour)
}

fn write_sqlite(file: &std::path::Path, count: u32) {
    let (access, refresh) = times();
    let connection = rusqlite::Connection::open(file).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE user_auth_credentials (
                id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, device_id VARCHAR NOT NULL,
                email VARCHAR NOT NULL, access_token VARCHAR NOT NULL,
                access_expiry DATETIME NOT NULL, refresh_token VARCHAR NOT NULL,
                refresh_expiry DATETIME NOT NULL, token_type VARCHAR NOT NULL);
             CREATE UNIQUE INDEX ix_user_auth_credentials_device_id
                ON user_auth_credentials (device_id);",
        )
        .unwrap();
    for number in 0..count {
        let time = |at| TimeText::WithoutOffset.write(at);
        connection
            .execute(
                "INSERT INTO user_auth_credentials (device_id, email, access_token, access_expiry,
                    refresh_token, refresh_expiry, token_type) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (
                    device(number).to_string(),
                    "ada@example.org",
                    format!("access-{number}"),
                    time(access),
                    format!("refresh-{number}"),
                    time(refresh),
                    "bearer",
                ),
            )
            .unwrap();
    }
}

/// Whether each line of the credentials opens its session on a server of `place`.
async fn all_stand(place: &Installation, credentials: &std::path::Path, expected: usize) {
    let mode = std::fs::metadata(credentials).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    let lines = std::fs::read_to_string(credentials).unwrap();
    assert_eq!(lines.lines().count(), expected);
    let server = place.serve().await;
    let http = tokenkeep_server::assembly::http_client().unwrap();
    for line in lines.lines() {
        let (id, credential) = line.split_once(' ').unwrap();
        assert!(credential.starts_with(id));
        let request = http.get(server.url("/v1/session"));
        let answer = request.header("cookie", format!("device_id={credential}")).send().await;
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_original_application_is_taken_over_with_credentials() {
    let place = place();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("app.db");
    write_sqlite(&file, 20);
    let before = std::fs::read(&file).unwrap();
    let from = format!("original+sqlite:{}", file.display());
    let to = format!("redb:{}", place.data_dir().display());
    let credentials = directory.path().join("credentials");
    let issue = credentials.to_str().unwrap();
    let arguments = ["migrate", "--from", &from, "--to", &to, "--issue-credentials", issue];
    let said = place.must(&arguments).await;
    assert_eq!(count(&said, "stored at the destination"), 20, "{said}");
    assert_eq!(count(&said, "checked: the same, with its remaining life"), 20, "{said}");
    assert!(std::fs::read(&file).unwrap() == before, "the original is as it was");
    all_stand(&place, &credentials, 20).await;
    // Again changes nothing, and draws nothing.
    let said = place.must(&arguments).await;
    assert_eq!(count(&said, "there already"), 20, "{said}");
    all_stand(&place, &credentials, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_it_is_said_that_nobody_can_present_them() {
    let place = place();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("app.db");
    write_sqlite(&file, 3);
    let from = format!("original+sqlite:{}", file.display());
    let to = format!("redb:{}", place.data_dir().display());
    let done = output(place.command(&["migrate", "--from", &from, "--to", &to])).await;
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success() && said.contains("nobody can present"), "{said}");
    drop(open(&place));
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_of_the_original_application_are_taken_over_with_credentials() {
    let redis = Redis::start(&[]).await;
    let (access, refresh) = times();
    for number in 0..10 {
        let id = device(number).to_string();
        let time = |at| TimeText::WithOffset.write(at);
        redis.cli(&[
            "HSET",
            &id,
            "email",
            "ada@example.org",
            "token_type",
            "bearer",
            "access_token",
            "an-access-token",
            "access_expiry",
            &time(access),
            "refresh_token",
            "a-refresh-token",
            "refresh_expiry",
            &time(refresh),
        ]);
        redis.cli(&["EXPIRE", &id, "86400"]);
    }
    let place = place();
    let credentials = place.data_dir().with_file_name("credentials");
    let from = format!("original+{}", redis.url());
    let to = format!("redb:{}", place.data_dir().display());
    let said = must(place.command(&[
        "migrate",
        "--from",
        &from,
        "--to",
        &to,
        "--issue-credentials",
        credentials.to_str().unwrap(),
    ]))
    .await;
    assert_eq!(count(&said, "stored at the destination"), 10, "{said}");
    all_stand(&place, &credentials, 10).await;
}
