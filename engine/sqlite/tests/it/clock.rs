//! A wall clock that leaps: nothing is destroyed by it, and it is believed in the end.

use std::time::Duration;

use rusqlite::Connection;
use tokenkeep_core::testing::conformance::START;
use tokenkeep_core::{Clock as _, Insert, TokenStore as _};

use crate::support::{Place, device, live, record_of};

const HOUR: Duration = Duration::from_secs(3600);

/// Once it had leapt, nothing was ever freed by it again.
#[tokio::test]
async fn a_leap_of_the_wall_clock_is_believed_after_an_hour() {
    let place = Place::sealed();
    let store = place.open();
    let mut record = record_of(1, "ada@example.org");
    record.refresh_expires_at = START + 24 * HOUR;
    store.insert(Insert { record, replaces: None, ceiling: None }, START).await.unwrap();
    let rows = || {
        let connection = Connection::open(place.file()).unwrap();
        let count = "SELECT count(*) FROM user_auth_credentials";
        connection.query_row(count, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    place.clock.advance(HOUR);
    place.clock.leap_to(START + 240 * HOUR);
    store.purge_expired(10, place.clock.now()).await.unwrap();
    assert_eq!(rows(), 1, "it may have been a mistake");
    live(&store, device(1)).await;
    place.clock.advance(HOUR);
    store.purge_expired(10, place.clock.now()).await.unwrap();
    assert_eq!(rows(), 0, "it was none");
}
