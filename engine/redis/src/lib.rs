//! The token store on Redis, Valkey, Redis Sentinel or Redis Cluster: several servers share it.
//!
//! [`RedisStore::open`] takes [`Settings`] and a key ring, and gives a
//! [`TokenStore`](tokenkeep_core::TokenStore). Any number of processes may have it open.
//!
//! # Layout
//!
//! A record is a hash under the device id, after the prefix if there is one, with the fields of
//! the original application (`email`, `token_type`, `access_token`, `access_expiry`,
//! `refresh_token`, `refresh_expiry`) and our own; see [`tokenkeep_core::codec::Columns`]. The
//! key expires when the record dies. Beside it, in the same slot of a cluster, lies for a while a
//! note why the session ended (`tokenkeep:ended:{<record key>}`).
//!
//! The devices of an email are listed in a hash (`tokenkeep:user:{<SHA-256 of the email>}`). It
//! lies in another slot, so the two are not written at once:
//!
//! - The index names at least what lives; whether it lives, the record says. The index learns of
//!   a login or a longer life before the record, and forgets a device after it.
//! - What ends several devices is first noted in the index, in one script, which also decides
//!   the device ceiling. From then on whoever comes by completes it, should its author be gone.
//!   A login is committed when its record is stored; before that it can be given up, and a note
//!   at the record's place then keeps it from being stored late.
//! - The index counts its changes. Who lists devices reads the records between two looks at the
//!   count, and again if it moved.
//!
//! Every operation on one device is one script in one slot, and every script may run twice.
//!
//! # Keys
//!
//! The meta hash (`tokenkeep:meta`) has check values of the keys that anything may be sealed with:
//! a ring that lacks one of them is refused. Servers that share a store change their keys one
//! after the other: each reads what the others sealed as soon as its ring has the key, or finds it
//! where it comes from ([`KeyRing::rereading`](tokenkeep_core::KeyRing::rereading)). A key is let
//! go of ([`SealedStore::retire`](tokenkeep_core::SealedStore::retire)) when nothing is under it
//! and no server seals with it: each says in the meta hash what it seals with. A server that finds
//! its key retired seals nothing until it has another ring.
//!
//! # Durability
//!
//! What is acknowledged is as durable as Redis is set up to make it. The store contract asks for
//! `appendonly yes` and `appendfsync always`; with `everysec` a crash of the machine loses up to
//! a second of logins and refreshes. Replication is asynchronous: a failover may lose the last
//! writes, also those that were acknowledged, unless `min-replicas-to-write` and the network make
//! that improbable. `maxmemory-policy` must be `noeviction` (or evict nothing of ours): an evicted
//! record is a lost session. All of this is checked at opening, and warned of.

mod changing;
mod devices;
mod driver;
mod ending;
mod events;
mod fault;
mod importing;
mod index;
mod keys;
mod leases;
mod login;
mod meta;
mod moved;
mod original;
mod rotation;
mod row;
mod scripts;
mod settings;
mod store;
mod walking;

pub use fault::{Fault, OpenError};
pub use settings::Settings;
pub use store::RedisStore;
