//! Claims about what a dump of the store shows.

use super::records::with_tokens;
use super::*;
use crate::{HolderId, Tokens, Version};

/// Neither a login, a refresh, a lease, an import nor an end writes a token in the clear, in the
/// file or beside it.
pub async fn no_token_is_written_in_the_clear<F: Fixture>(fixture: F) {
    let first = log_in(&fixture, 1, ADA).await;
    let next = with_tokens(&first, "canary");
    let store = fixture.store();
    store.replace(first.version, next, Tokens::Renewed, START).await.unwrap();
    let (version, until) = (first.version.next(), START + seconds(20));
    store.lease(device(1), version, HolderId::from_bytes([1; 16]), until, START).await.unwrap();
    let mut moved = with_tokens(&record(device(2), ADA, START), "canary");
    moved.version = Version::from_number(7);
    store.import(moved, START).await.unwrap();
    for number in 3..=4 {
        log_in(&fixture, number, BOB).await;
    }
    let store = fixture.store();
    store.remove(device(3), None, EndReason::Logout, START).await.unwrap();
    store.remove_all_of(&email(BOB), None, EndReason::Logout, START).await.unwrap();
    shows_no_token(&fixture.written());
    let fixture = fixture.reopen().await;
    shows_no_token(&fixture.written());
}

fn shows_no_token(written: &[u8]) {
    for secret in ["canary", "access-of-", "refresh-of-"] {
        let found = written.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{secret} was written in the clear");
    }
}
