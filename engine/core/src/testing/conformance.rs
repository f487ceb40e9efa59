//! The contract of [`TokenStore`] as tests: every store passes the same claims.
//!
//! A store's tests give a [`Fixture`] and say [`store_conformance!`](crate::store_conformance):
//!
//! ```
//! # use std::sync::Arc;
//! use tokenkeep_core::testing::MemoryStore;
//! use tokenkeep_core::testing::conformance::{Fixture, START};
//! use tokenkeep_core::ManualClock;
//!
//! struct InMemory(MemoryStore, Arc<ManualClock>);
//!
//! impl Fixture for InMemory {
//!     const SHARED: bool = true;
//!     type Store = MemoryStore;
//!     async fn open() -> Self {
//!         Self(MemoryStore::new(), Arc::new(ManualClock::new(START)))
//!     }
//!     async fn reopen(self) -> Self {
//!         self
//!     }
//!     async fn spoil(self) -> Self {
//!         self.0.spoil();
//!         self
//!     }
//!     fn store(&self) -> &MemoryStore {
//!         &self.0
//!     }
//!     fn clock(&self) -> &ManualClock {
//!         &self.1
//!     }
//!     fn written(&self) -> Vec<u8> {
//!         Vec::new()
//!     }
//! }
//!
//! mod conformance {
//!     use super::InMemory;
//!     tokenkeep_core::store_conformance!(InMemory);
//! }
//! # fn main() {}
//! ```

mod at_rest;
mod ceiling;
mod expiry;
mod import;
mod index;
mod lease;
mod races;
mod records;
mod rotation;
mod unreadable;
mod uses;

pub use at_rest::*;
pub use ceiling::*;
pub use expiry::*;
pub use import::*;
pub use index::*;
pub use lease::*;
pub use races::*;
pub use records::*;
pub use rotation::*;
pub use unreadable::*;
pub use uses::*;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::record;
use crate::{
    DeviceId, Email, EndReason, Insert, InsertOutcome, KeyRing, Lookup, ManualClock, SealedStore,
    Timestamp, TokenRecord, TokenStore,
};

/// A store to be tested, on storage of its own.
pub trait Fixture: Sized + Send + Sync + 'static {
    /// Whether other processes may have the store open: then a lease outlives its process.
    const SHARED: bool = false;

    /// The store.
    type Store: TokenStore;

    /// A fresh, empty store whose clock says [`START`].
    fn open() -> impl Future<Output = Self> + Send;

    /// Closes the store and opens it again on the same storage, with the same clock.
    fn reopen(self) -> impl Future<Output = Self> + Send;

    /// Closes the store, makes every record that it keeps unreadable, as damage or a lost key
    /// does, and opens it again. What is inserted from then on can be read.
    fn spoil(self) -> impl Future<Output = Self> + Send;

    /// The store.
    fn store(&self) -> &Self::Store;

    /// The clock that the store goes by.
    fn clock(&self) -> &ManualClock;

    /// Every byte that the store has written and still keeps.
    fn written(&self) -> Vec<u8>;
}

/// A fixture whose store seals.
pub trait SealedFixture: Fixture<Store: SealedStore> {
    /// The ring that the store was opened with, as it was then.
    fn ring(&self) -> KeyRing;

    /// Closes the store and opens it with `ring`; an error is the sentence of why not.
    fn reopen_with(self, ring: KeyRing) -> impl Future<Output = Result<Self, String>> + Send;
}

/// What the clock of a fresh fixture says.
pub const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// Declares one test for each claim of the store contract, over a
/// [`Fixture`](crate::testing::conformance::Fixture). Needs tokio as a dev-dependency.
#[macro_export]
macro_rules! store_conformance {
    ($fixture:ty) => {
        $crate::store_conformance!($fixture;
            what_was_inserted_is_there,
            a_taken_id_is_not_inserted_again,
            expired_means_absent_at_the_very_instant,
            every_limit_ends_a_session_at_the_very_instant,
            what_was_ended_while_dead_stays_dead,
            a_replace_needs_the_current_version,
            a_replace_cannot_revive,
            a_remove_minds_the_version_it_was_given,
            an_ended_session_says_why,
            what_was_acknowledged_survives_reopening,
            a_touch_moves_the_last_use_only,
            a_touch_extends_the_idle_limit,
            a_replace_keeps_the_later_use,
            a_renewed_expiry_counts_everywhere,
            no_token_is_written_in_the_clear,
            the_list_of_an_email_is_exact,
            all_of_an_email_end_at_once,
            list_and_records_agree_after_reopening,
            purging_changes_no_answer,
            a_scan_sees_every_record,
            stats_count_what_lives,
            a_scan_goes_on_while_records_change,
            a_cursor_of_another_store_is_refused,
            what_cannot_be_read_is_an_error_and_stays,
            what_cannot_be_read_keeps_nobody_out,
            what_cannot_be_read_can_be_ended,
            a_login_over_the_ceiling_is_refused,
            a_login_over_the_ceiling_evicts_the_least_recently_seen,
            the_dead_do_not_count_towards_the_ceiling,
            what_was_displaced_is_returned,
            a_replaced_session_ends_and_does_not_count,
            nobody_replaces_the_session_of_another_user,
            nobody_counts_or_evicts_the_devices_of_another_user,
            no_end_reaches_the_dead_of_another_user,
            the_ceiling_holds_under_parallel_logins,
            parallel_logins_are_refused_over_the_ceiling,
            of_devices_seen_at_once_the_oldest_login_is_evicted,
            a_lease_is_held_by_one,
            a_lease_needs_the_current_version,
            a_lease_that_was_given_back_leaves_no_trace,
            an_uncertain_outcome_is_remembered,
            a_lease_that_ran_out_is_taken_over_as_uncertain,
            only_the_holder_extends_and_releases,
            storing_the_new_pair_releases_the_lease,
            a_label_keeps_the_lease,
            an_intent_survives_reopening,
            new_tokens_drop_whoever_holds_the_lease,
            an_import_keeps_a_record_as_it_is,
            an_import_never_turns_time_back,
            an_import_adds_what_was_noted_elsewhere,
            an_import_keeps_the_later_use_of_any_version,
            one_of_many_replaces_wins,
            one_of_many_leases_is_granted,
            a_remove_beats_the_replaces_that_follow,
            of_a_remove_and_a_replace_of_one_version_one_wins,
            one_of_many_logins_with_one_id_is_stored,
            an_end_of_all_and_the_logins_that_meet_it_agree
        );
    };
    ($fixture:ty; $($claim:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $claim() {
            use $crate::testing::conformance::{self, Fixture as _};
            conformance::$claim(<$fixture>::open().await).await;
        }
    )+};
}

/// Declares one test for each claim about the keys of a store that seals, over a
/// [`SealedFixture`](crate::testing::conformance::SealedFixture).
#[macro_export]
macro_rules! sealed_store_conformance {
    ($fixture:ty) => {
        $crate::store_conformance!($fixture;
            keys_change_and_nobody_is_logged_out,
            a_key_that_records_are_under_is_not_retired,
            a_ring_without_a_needed_key_is_refused,
            a_key_of_another_ring_is_refused,
            resealing_that_was_called_off_goes_on,
            resealing_beats_no_refresh_and_no_logout,
            what_cannot_be_read_is_not_resealed
        );
    };
}

const ADA: &str = "ada@example.org";
const BOB: &str = "bob@example.org";

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

fn email(text: &str) -> Email {
    text.parse().unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn login_of(number: u8, email: &str, now: Timestamp) -> Insert {
    Insert { record: record(device(number), email, now), replaces: None, ceiling: None }
}

/// Inserts device `number` of `email` at the fixture's time.
async fn log_in<F: Fixture>(fixture: &F, number: u8, email: &str) -> Arc<TokenRecord> {
    let now = now(fixture);
    match fixture.store().insert(login_of(number, email, now), now).await.unwrap() {
        InsertOutcome::Inserted { record, .. } => record,
        other => panic!("the login was not stored: {other:?}"),
    }
}

fn now<F: Fixture>(fixture: &F) -> Timestamp {
    crate::Clock::now(fixture.clock())
}

async fn live<F: Fixture>(fixture: &F, number: u8) -> Option<Arc<TokenRecord>> {
    fixture.store().get(device(number), now(fixture)).await.unwrap().live()
}

async fn reason<F: Fixture>(fixture: &F, number: u8) -> Option<EndReason> {
    match fixture.store().get(device(number), now(fixture)).await.unwrap() {
        Lookup::Ended(ended) => Some(ended.reason),
        _ => None,
    }
}

/// The devices of `email`, by the number they were logged in with.
async fn listed<F: Fixture>(fixture: &F, email: &str) -> Vec<u8> {
    let records = fixture.store().devices_of(&self::email(email), now(fixture)).await.unwrap();
    records.iter().map(|record| record.device_id.as_bytes()[0]).collect()
}
