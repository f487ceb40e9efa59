//! What opening makes of rows that no engine of this version leaves behind.

use redb::{Database, TableDefinition};
use tokenkeep::core::codec::{BLOCK_TAG_LEN, Header, tag_block};
use tokenkeep::{Clock as _, StoreId, TokenStore as _, Version};

use crate::support::{Place, device, holder, live, log_in, replace};

const HEADERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("headers");

#[test]
fn an_intent_of_an_older_version_speaks_of_tokens_that_are_gone() {
    for (version, is_open) in [(1, false), (2, true)] {
        let place = Place::new();
        let engine = place.open();
        log_in(&engine, 1, place.now());
        replace(&engine, 1, 1, place.now());
        let store = engine.id();
        engine.blocking().close().unwrap();
        drop(engine);
        append(&place, store, version);
        let engine = place.open();
        let intent = live(&engine, 1, place.clock.now()).refresh_intent;
        assert_eq!(intent.is_some(), is_open, "an intent for version {version}");
    }
}

/// Appends an intent for `version` of device 1.
fn append(place: &Place, store: StoreId, version: u64) {
    let (device, version) = (device(1), Version::from_number(version));
    let header = Header::Intent { device, version, holder: holder(1), since: place.now() };
    let transaction = Database::open(place.file()).unwrap().begin_write().unwrap();
    let header = header.encode().unwrap();
    // A block of one row: the tag, the row's length and its bytes.
    let mut bytes = vec![0; BLOCK_TAG_LEN];
    bytes.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header);
    let ring = tokenkeep::key_file::open_or_create(&place.keys()).unwrap();
    tag_block(&mut bytes, 9, ring.active(), &ring, &store).unwrap();
    transaction.open_table(HEADERS).unwrap().insert(9, bytes.as_slice()).unwrap();
    transaction.commit().unwrap();
}
