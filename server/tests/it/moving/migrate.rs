//! Migrations between stores of all kinds.

use tokenkeep_core::{Clock as _, EndReason, SystemClock, TokenStore as _};

use super::sessions::{all_of, device, fill, how_many, open, open_at, place};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_go_from_store_to_store_and_stay_as_they_are() {
    let place = place();
    let engine = open(&place);
    fill(&engine, 0..how_many()).await;
    let before = all_of(&engine).await;
    engine.close().await.unwrap();
    let sqlite = format!("sqlite:{}", place.data_dir().join("tokens.sqlite").display());
    let said = place.must(&["migrate", "--to", &sqlite]).await;
    let figure = |name: &str| super::super::commands::count(&said, name);
    assert_eq!(figure("stored at the destination"), u64::from(how_many()));
    assert_eq!(figure("checked: the same, with its remaining life"), u64::from(how_many()));
    assert_eq!(figure("devices at the destination"), u64::from(how_many()));
    let back = place.data_dir().with_file_name("back");
    let redb = format!("redb:{}", back.display());
    place.must(&["migrate", "--from", &sqlite, "--to", &redb]).await;
    assert!(all_of(&open_at(&back)).await == before, "there and back again, nothing changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_interrupted_is_run_again() {
    let place = place();
    let engine = open(&place);
    fill(&engine, 0..100).await;
    engine.close().await.unwrap();
    let other = place.data_dir().with_file_name("other");
    let redb = format!("redb:{}", other.display());
    place.must(&["migrate", "--to", &redb]).await;
    // Half of it is missing, and one of it ended, as if it had been served from.
    let engine = open(&place);
    fill(&engine, 100..200).await;
    let expected = all_of(&engine).await;
    engine.close().await.unwrap();
    let there = open_at(&other);
    there.remove(device(7), None, EndReason::Logout, SystemClock::new().now()).await.unwrap();
    there.close().await.unwrap();
    let said = place.must(&["migrate", "--to", &redb]).await;
    assert_eq!(super::super::commands::count(&said, "stored at the destination"), 100, "{said}");
    assert_eq!(super::super::commands::count(&said, "checked: ended there"), 1, "{said}");
    let mut all = all_of(&open_at(&other)).await;
    all.insert(device(7), expected[&device(7)].clone());
    assert!(all == expected);
}
