//! Stores full of sessions of all kinds, and how they are compared.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokenkeep::{Engine, Options};
use tokenkeep_core::{
    AccessToken, ClientInfo, Clock as _, DeviceId, HolderId, RefreshIntent, RefreshToken,
    SystemClock, TokenRecord, TokenStore, TokenType, Verifier, Version,
};

use crate::process::Installation;

/// How many sessions are moved; `TOKENKEEP_MOVED_SESSIONS=100000` is the full form.
pub fn how_many() -> u32 {
    std::env::var("TOKENKEEP_MOVED_SESSIONS").map_or(3000, |count| count.parse().unwrap())
}

pub fn device(number: u32) -> DeviceId {
    let mut bytes = [0x5e; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

/// A record with everything that a record can have, differently for each number.
pub fn record(number: u32) -> TokenRecord {
    let now = SystemClock::new().now();
    let some = Duration::from_micros(u64::from(number) * 1_000_003 % 86_400_000_000);
    TokenRecord {
        device_id: device(number),
        version: Version::from_number(u64::from(number % 7) + 1),
        verifier: Verifier::from_bytes([number.to_be_bytes()[3].max(1); 32]),
        email: format!("user{}@example.org", number / 3).parse().unwrap(),
        token_type: TokenType::default(),
        access_token: AccessToken::new(format!("canary-access-{number}")).unwrap(),
        access_issued_at: now.saturating_sub(some),
        access_expires_at: now + Duration::from_secs(900),
        refresh_token: RefreshToken::new(format!("canary-refresh-{number}")).unwrap(),
        refresh_expires_at: now + Duration::from_secs(30 * 86_400) + some,
        created_at: now.saturating_sub(some * 2),
        last_seen_at: now.saturating_sub(some),
        previous_visit_at: number.is_multiple_of(3).then(|| now.saturating_sub(some * 2)),
        absolute_expires_at: number
            .is_multiple_of(5)
            .then(|| now + Duration::from_secs(86_400) + some),
        idle_limit: number.is_multiple_of(11).then_some(Duration::from_secs(200_000)),
        client: ClientInfo::new(Some("a \"browser\"\u{e9}"), Some([10, 0, 0, 1].into())),
        label: number.is_multiple_of(4).then(|| "my phone".parse().unwrap()),
        refresh_intent: number.is_multiple_of(13).then_some(RefreshIntent {
            holder: HolderId::from_bytes([7; 16]),
            since: now.saturating_sub(some),
            leased_until: now.saturating_sub(some),
            uncertain: true,
        }),
    }
}

/// Opens the embedded store of an installation as a server would.
pub fn open(place: &Installation) -> Engine {
    open_at(&place.data_dir())
}

pub fn open_at(directory: &Path) -> Engine {
    Engine::open(directory, Options::new().key_file(directory.join("keyring"))).unwrap()
}

/// Stores the records with these numbers.
pub async fn fill<S: TokenStore>(store: &S, numbers: impl Iterator<Item = u32>) {
    let now = SystemClock::new().now();
    let imports = numbers.map(|number| store.import(record(number), now));
    futures_util::stream::iter(imports)
        .buffer_unordered(64)
        .for_each(async |done| assert!(done.is_ok()))
        .await;
}

/// Everything that a store holds, tokens included, as text that can be compared.
pub async fn all_of<S: TokenStore>(store: &S) -> BTreeMap<DeviceId, String> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let limit = NonZeroUsize::new(500).unwrap();
        let page = store.scan(after, limit, SystemClock::new().now()).await.unwrap();
        for record in page.records {
            all.insert(record.device_id, shown(&record));
        }
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// A record with its tokens, as text that can be compared.
pub fn shown(record: &TokenRecord) -> String {
    let mut shown = record.clone();
    // Who held a lease is gone, however long it was for.
    if let Some(intent) = &mut shown.refresh_intent {
        intent.leased_until = intent.since;
    }
    let tokens = (record.access_token.expose(), record.refresh_token.expose());
    format!("{shown:?} {:?} {tokens:?}", record.verifier.as_bytes())
}

/// A place without a server, and without settings that matter.
pub fn place() -> Installation {
    Installation::new("http://127.0.0.1:1", "")
}
