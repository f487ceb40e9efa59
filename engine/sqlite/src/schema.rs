//! The tables: the original application's with columns of our own, and three beside it.

use rusqlite::Connection;

/// The device id as 32 lower-case digits, however the original application wrote it.
macro_rules! canonical_device {
    () => {
        "lower(replace(device_id, '-', ''))"
    };
}

/// What this store notes in `written` when it writes a row. The original application brings
/// other expiries with other tokens, and knows nothing of `written`.
macro_rules! expiries {
    () => {
        "(coalesce(access_expiry, '') || ' ' || coalesce(refresh_expiry, ''))"
    };
}

/// True of a row that somebody else wrote last.
macro_rules! unsettled {
    () => {
        concat!("written IS NOT ", $crate::schema::expiries!())
    };
}

pub(crate) use {canonical_device, expiries, unsettled};

/// What the original application made, for a fresh file.
const ORIGINAL: &str = "
    CREATE TABLE user_auth_credentials (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        device_id VARCHAR NOT NULL,
        email VARCHAR NOT NULL,
        access_token VARCHAR NOT NULL,
        access_expiry DATETIME NOT NULL,
        refresh_token VARCHAR NOT NULL,
        refresh_expiry DATETIME NOT NULL,
        token_type VARCHAR NOT NULL
    );
";

/// Our columns have no constraint: the original application inserts rows without them.
const OURS: &str = "
    ALTER TABLE user_auth_credentials ADD COLUMN rest BLOB;
    ALTER TABLE user_auth_credentials ADD COLUMN last_seen_at INTEGER;
    ALTER TABLE user_auth_credentials ADD COLUMN previous_visit_at INTEGER;
    ALTER TABLE user_auth_credentials ADD COLUMN dies_at INTEGER;
    ALTER TABLE user_auth_credentials ADD COLUMN holder BLOB;
    ALTER TABLE user_auth_credentials ADD COLUMN leased_since INTEGER;
    ALTER TABLE user_auth_credentials ADD COLUMN leased_until INTEGER;
    ALTER TABLE user_auth_credentials ADD COLUMN uncertain INTEGER;
    ALTER TABLE user_auth_credentials ADD COLUMN written TEXT;
    CREATE TABLE tokenkeep_meta (
        name TEXT NOT NULL PRIMARY KEY,
        value BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE tokenkeep_ended (
        device_id TEXT NOT NULL PRIMARY KEY,
        reason INTEGER NOT NULL,
        verifier BLOB NOT NULL,
        forget_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE tokenkeep_set_aside (
        number INTEGER NOT NULL PRIMARY KEY,
        why TEXT NOT NULL,
        id, device_id, email, token_type, access_expiry, refresh_expiry,
        access_token, refresh_token, rest
    );
";

/// They come last: the rows of the original application may contradict them until they are
/// taken over. Whoever makes the table anew, as its migrations do, loses them.
const INDICES: &str = concat!(
    "CREATE UNIQUE INDEX IF NOT EXISTS tokenkeep_by_device ON user_auth_credentials (",
    canonical_device!(),
    ");
    CREATE INDEX IF NOT EXISTS tokenkeep_by_email ON user_auth_credentials
        (email COLLATE NOCASE, dies_at);
    CREATE INDEX IF NOT EXISTS tokenkeep_ended_by_end ON tokenkeep_ended (forget_at);
    CREATE INDEX IF NOT EXISTS tokenkeep_by_death ON user_auth_credentials (dies_at);
    CREATE INDEX IF NOT EXISTS tokenkeep_by_intent ON user_auth_credentials (leased_until)
        WHERE holder IS NOT NULL;
    CREATE INDEX IF NOT EXISTS tokenkeep_unsettled ON user_auth_credentials (id) WHERE ",
    unsettled!(),
    ";"
);

/// The columns that a row of the original application must have.
pub(crate) const SHARED_COLUMNS: [&str; 8] = [
    "id",
    "device_id",
    "email",
    "access_token",
    "access_expiry",
    "refresh_token",
    "refresh_expiry",
    "token_type",
];

/// The columns that this store adds.
pub(crate) const OUR_COLUMNS: [&str; 9] = [
    "rest",
    "last_seen_at",
    "previous_visit_at",
    "dies_at",
    "holder",
    "leased_since",
    "leased_until",
    "uncertain",
    "written",
];

/// Makes the table as the original application would.
pub(crate) fn make_original(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(ORIGINAL)
}

/// Adds our columns and tables.
pub(crate) fn add_ours(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(OURS)
}

/// Makes the indices that are missing.
pub(crate) fn add_indices(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(INDICES)
}
