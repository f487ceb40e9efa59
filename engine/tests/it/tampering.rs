//! Somebody can write to the data file and has no key: what they change or plant is not believed,
//! is counted and kept, and the rest is served (requirement D3).

use std::collections::BTreeMap;
use std::time::Duration;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokenkeep::core::codec::{BLOCK_TAG_LEN, CodecError, Header};
use tokenkeep::{EndReason, Engine, HolderId, StoreError, Verifier, Version};

use crate::support::{DAY, HOUR, Place, device, email, ended, live, log_in, login, record};

const HEADERS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("headers");
const BODIES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("bodies");

/// All blocks of one of the tables.
type Blocks = BTreeMap<u64, Vec<u8>>;

/// What somebody does to the file.
struct Attack<'a> {
    headers: &'a mut Blocks,
    bodies: &'a mut Blocks,
}

impl Attack<'_> {
    /// The rows of a block.
    fn rows(&self, number: u64) -> Vec<Vec<u8>> {
        let mut list = &self.headers[&number][BLOCK_TAG_LEN..];
        let mut rows = Vec::new();
        while let Some((length, rest)) = list.split_first_chunk::<4>() {
            let (row, rest) = rest.split_at(usize::try_from(u32::from_le_bytes(*length)).unwrap());
            rows.push(row.to_vec());
            list = rest;
        }
        rows
    }

    /// Puts other rows into a block, behind the tag that stands there or the one of another.
    fn put(&mut self, number: u64, rows: &[Vec<u8>]) {
        let newest = self.headers.last_key_value().unwrap().1;
        let mut list = self.headers.get(&number).unwrap_or(newest)[..BLOCK_TAG_LEN].to_vec();
        for row in rows {
            list.extend(u32::try_from(row.len()).unwrap().to_le_bytes());
            list.extend(row);
        }
        self.headers.insert(number, list);
    }

    /// The block and the place of the newest row of device `n`.
    fn newest(&self, n: u8) -> (u64, usize) {
        let places = self.headers.keys().flat_map(|number| {
            let rows = self.rows(*number).into_iter().enumerate();
            rows.map(|(at, row)| (*number, at, Header::decode(&row).unwrap().device()))
        });
        let mine = places.filter(|(_, _, found)| *found == device(n));
        mine.map(|(number, at, _)| (number, at)).last().unwrap()
    }

    /// Writes another header over the newest row of device `n`, its checksum put right.
    fn overwrite(&mut self, n: u8, header: &Header<'_>) {
        let (number, at) = self.newest(n);
        let mut rows = self.rows(number);
        rows[at] = header.encode().unwrap();
        self.put(number, &rows);
    }

    /// Changes the header of the record of device `n`.
    fn edit(&mut self, n: u8, change: impl FnOnce(&mut tokenkeep::core::codec::RecordHeader<'_>)) {
        let (number, at) = self.newest(n);
        let row = self.rows(number)[at].clone();
        let Header::Record(mut header) = Header::decode(&row).unwrap() else { panic!("no record") };
        change(&mut header);
        self.overwrite(n, &Header::Record(header));
    }

    /// A number behind the last block.
    fn next(&self) -> u64 {
        self.headers.last_key_value().unwrap().0 + 1
    }
}

/// A closed store with the sessions of devices 1 to 4, each in a block of its own, and one of
/// device 9 that was ended.
fn closed_store() -> Place {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    for n in 1..=3 {
        log_in(&engine, n, now);
    }
    let mut idle = record(4, now);
    idle.idle_limit = Some(HOUR);
    engine.blocking().insert(login(idle), now).unwrap();
    log_in(&engine, 9, now);
    engine.blocking().remove(device(9), None, EndReason::Logout, now).unwrap();
    engine.blocking().close().unwrap();
    place
}

/// All blocks of the file, headers and bodies.
fn blocks(place: &Place) -> (Blocks, Blocks) {
    let database = Database::open(place.file()).unwrap();
    let transaction = database.begin_read().unwrap();
    let [headers, bodies] = [HEADERS, BODIES].map(|table| {
        let table = transaction.open_table(table).unwrap();
        let blocks = table.iter().unwrap().map(|block| {
            let (number, list) = block.unwrap();
            (number.value(), list.value().to_vec())
        });
        blocks.collect::<Blocks>()
    });
    (headers, bodies)
}

/// Writes to the file as whoever may write to it can.
fn attack(place: &Place, carry_out: impl FnOnce(&mut Attack<'_>)) {
    let (mut headers, mut bodies) = blocks(place);
    carry_out(&mut Attack { headers: &mut headers, bodies: &mut bodies });
    write(place, &headers, &bodies);
}

fn write(place: &Place, headers: &Blocks, bodies: &Blocks) {
    let transaction = Database::open(place.file()).unwrap().begin_write().unwrap();
    for (definition, blocks) in [(HEADERS, headers), (BODIES, bodies)] {
        let mut table = transaction.open_table(definition).unwrap();
        table.retain(|_, _| false).unwrap();
        for (number, list) in blocks {
            table.insert(number, list.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

#[track_caller]
fn is_unreadable(engine: &Engine, n: u8, place: &Place) {
    let found = engine.blocking().get(device(n), place.now());
    assert!(
        matches!(found, Err(StoreError::Unreadable { cause: CodecError::Tampered, .. })),
        "device {n}: {found:?}"
    );
}

/// Device `n` is unreadable after the attack and counted, the others are served, and neither is
/// anything dropped nor anything of it believed, now or at the next opening.
#[track_caller]
fn is_kept_aside(what: &str, n: u8, carry_out: impl FnOnce(&mut Attack<'_>)) {
    let place = closed_store();
    attack(&place, carry_out);
    for opening in 0..2 {
        let before = blocks(&place).0.len();
        let engine = place.open();
        let now = place.now();
        assert!(engine.blocking().stats(now).unwrap().unreadable > 0, "{what}: not counted");
        is_unreadable(&engine, n, &place);
        for other in (1..=4).filter(|other| *other != n && opening == 0) {
            live(&engine, other, now);
        }
        if n != 9 {
            assert_eq!(ended(&engine, 9, now), "logout", "{what}");
        }
        for user in ["ada@example.org", "eve@example.org"] {
            let listed = engine.blocking().devices_of(&email(user), now).unwrap();
            assert!(listed.iter().all(|record| record.device_id != device(n)), "{what}: {user}");
        }
        let remove = engine.blocking().remove(device(n), None, EndReason::Logout, now);
        assert!(matches!(remove, Err(StoreError::Unreadable { .. })), "{what}: {remove:?}");
        let lease = |version: u64| {
            let version = Version::from_number(version);
            let holder = HolderId::from_bytes([1; 16]);
            engine.blocking().lease(device(n), version, holder, now + HOUR, now)
        };
        assert!(lease(0).is_err() && lease(1).is_err(), "{what}");
        engine.blocking().touch(device(n), now + HOUR).unwrap();
        assert!(engine.blocking().compact().is_err(), "{what}: rows are dropped");
        engine.blocking().close().unwrap();
        drop(engine);
        let after = blocks(&place).0.len();
        assert!(after >= before, "{what}: {before} blocks, then {after}");
    }
}

#[test]
fn a_record_whose_header_was_changed_is_kept_aside() {
    is_kept_aside("a later death", 3, |file| {
        file.edit(3, |header| header.refresh_expires_at = header.refresh_expires_at + 365 * DAY);
    });
    is_kept_aside("an earlier death", 3, |file| {
        file.edit(3, |header| header.refresh_expires_at = header.created_at);
    });
    is_kept_aside("no idle limit", 4, |file| file.edit(4, |header| header.idle_limit = None));
    is_kept_aside("another email", 3, |file| {
        file.edit(3, |header| header.email = "eve@example.org");
    });
    is_kept_aside("a verifier whose secret is known", 3, |file| {
        file.edit(3, |header| header.verifier = Verifier::from_bytes([0xee; 32]));
    });
    is_kept_aside("another version", 3, |file| {
        file.edit(3, |header| header.version = header.version.next());
    });
}

#[test]
fn a_block_under_an_unknown_key_or_without_its_tag_is_kept_aside() {
    for (what, tag) in [("key id", 0..4), ("tag", 4..BLOCK_TAG_LEN), ("all", 0..BLOCK_TAG_LEN)] {
        is_kept_aside(what, 3, |file| {
            let (number, _) = file.newest(3);
            file.headers.get_mut(&number).unwrap()[tag].fill(0x5a);
        });
    }
}

#[test]
fn records_that_were_swapped_are_kept_aside() {
    let place = closed_store();
    attack(&place, |file| {
        let ((two, _), (three, _)) = (file.newest(2), file.newest(3));
        for table in [&mut *file.headers, &mut *file.bodies] {
            let (second, third) = (table[&two].clone(), table[&three].clone());
            table.insert(two, third);
            table.insert(three, second);
        }
    });
    let engine = place.open();
    is_unreadable(&engine, 2, &place);
    is_unreadable(&engine, 3, &place);
    live(&engine, 1, place.now());
}

/// The devices keep their headers and get each other's tokens.
#[test]
fn bodies_that_were_swapped_are_unreadable() {
    let place = closed_store();
    attack(&place, |file| {
        let ((two, _), (three, _)) = (file.newest(2), file.newest(3));
        let (second, third) = (file.bodies[&two].clone(), file.bodies[&three].clone());
        file.bodies.insert(two, third);
        file.bodies.insert(three, second);
    });
    let engine = place.open();
    is_unreadable(&engine, 2, &place);
    is_unreadable(&engine, 3, &place);
    live(&engine, 1, place.now());
}

#[test]
fn a_session_that_ended_is_not_brought_back() {
    is_kept_aside("the end made a row that says nothing", 9, |file| {
        file.overwrite(9, &Header::IntentCleared { device: device(9) });
    });
    is_kept_aside("the end made one that may be forgotten", 9, |file| {
        file.overwrite(
            9,
            &Header::Tombstone {
                device: device(9),
                reason: EndReason::Logout,
                ended_at: tokenkeep::Timestamp::default(),
                verifier: Verifier::NOBODY,
            },
        );
    });
    is_kept_aside("the record once more, behind its end", 9, |file| {
        let (end, _) = file.newest(9);
        let (record, next) = (end - 1, file.next());
        for table in [&mut *file.headers, &mut *file.bodies] {
            let list = table[&record].clone();
            table.insert(next, list);
        }
    });
}

#[test]
fn a_session_that_was_planted_opens_nothing() {
    let place = closed_store();
    let now = place.now();
    attack(&place, |file| {
        let (number, at) = file.newest(3);
        let row = file.rows(number)[at].clone();
        let Header::Record(mut header) = Header::decode(&row).unwrap() else { panic!("no record") };
        header.device = device(66);
        header.verifier = Verifier::from_bytes([0xee; 32]);
        let (next, body) = (file.next(), file.bodies[&number].clone());
        file.put(next, &[Header::Record(header).encode().unwrap()]);
        file.bodies.insert(next, body);
    });
    let engine = place.open();
    is_unreadable(&engine, 66, &place);
    assert_eq!(engine.blocking().devices_of(&email("ada@example.org"), now).unwrap().len(), 4);
    (1..=4).for_each(|n| drop(live(&engine, n, now)));
    let mut taken = record(66, now);
    taken.email = email("eve@example.org");
    let outcome = engine.blocking().insert(login(taken), now).unwrap();
    assert!(matches!(outcome, tokenkeep::InsertOutcome::Taken), "{outcome:?}");
}

#[test]
fn a_use_that_was_planted_lengthens_no_session() {
    is_kept_aside("a later use", 4, |file| {
        let last_seen_at = tokenkeep::Timestamp::from_unix_seconds(1_700_000_000) + 100 * DAY;
        let use_of_it = Header::Touch { device: device(4), last_seen_at, previous_visit_at: None };
        let next = file.next();
        file.put(next, &[use_of_it.encode().unwrap()]);
    });
}

/// What an end that was planted speaks of is not lost: without the planted block it is there.
#[test]
fn an_end_that_was_planted_destroys_nothing() {
    let place = closed_store();
    let (headers, bodies) = blocks(&place);
    attack(&place, |file| {
        let end = Header::Tombstone {
            device: device(3),
            reason: EndReason::Logout,
            ended_at: tokenkeep::Timestamp::from_unix_seconds(1_700_000_000),
            verifier: Verifier::from_bytes([3; 32]),
        };
        let next = file.next();
        file.put(next, &[end.encode().unwrap()]);
    });
    let planted = *blocks(&place).0.last_key_value().unwrap().0;
    let engine = place.open();
    is_unreadable(&engine, 3, &place);
    place.clock.advance(Duration::from_secs(3600 * 2));
    let _ = engine.blocking().purge_expired(100, place.now());
    log_in(&engine, 50, place.now());
    engine.blocking().close().unwrap();
    drop(engine);
    let (mut after, after_bodies) = blocks(&place);
    for number in headers.keys() {
        assert_eq!(after.get(number), headers.get(number), "block {number}");
        assert_eq!(after_bodies.get(number), bodies.get(number), "block {number}");
    }
    after.remove(&planted);
    write(&place, &after, &after_bodies);
    let engine = place.open();
    live(&engine, 3, place.now());
    live(&engine, 50, place.now());
}
