//! The original application, as far as its database goes.

use std::path::Path;

use rusqlite::{Connection, params};

/// A connection as SQLAlchemy makes it.
pub(crate) struct Original(pub(crate) Connection);

impl Original {
    /// Makes the file `path` as the original application does.
    pub(crate) fn create(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        Self(connection)
    }

    /// Connects to a file that is there.
    pub(crate) fn connect(path: &Path) -> Self {
        Self(Connection::open(path).unwrap())
    }

    /// Inserts a login; the tokens are named after the number of the device.
    pub(crate) fn insert(&self, login: &Login<'_>) {
        self.0
            .execute(
                INSERT,
                params![
                    login.device,
                    login.email,
                    login.access_token,
                    login.access_expiry,
                    login.refresh_token,
                    login.refresh_expiry,
                    "bearer",
                ],
            )
            .unwrap();
    }

    /// Stores the pair that a refresh brought.
    pub(crate) fn refresh(&self, login: &Login<'_>) {
        let changed = self.0.execute(
            UPDATE,
            params![
                login.device,
                login.access_token,
                login.access_expiry,
                login.refresh_token,
                login.refresh_expiry,
            ],
        );
        assert_eq!(changed.unwrap(), 1);
    }

    /// What it finds of `device`: access token, access expiry, refresh expiry, email.
    pub(crate) fn find(&self, device: &str) -> Option<[String; 4]> {
        let found = self.0.query_row(SELECT, [device], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
        });
        found.ok()
    }
}

/// A row of the original application.
#[derive(Clone, Copy)]
pub(crate) struct Login<'a> {
    pub(crate) device: &'a str,
    pub(crate) email: &'a str,
    pub(crate) access_token: &'a str,
    pub(crate) access_expiry: &'a str,
    pub(crate) refresh_token: &'a str,
    pub(crate) refresh_expiry: &'a str,
}

/// A login of Ada's that is good at the time of the tests, 2027-01-15 08:00.
pub(crate) const LOGIN: Login<'static> = Login {
    device: "0123456789abcdef0123456789abcdef",
    email: "ada@example.org",
    access_token: "canary-access",
    access_expiry: "2027-01-15 08:02:00.165131",
    refresh_token: "canary-refresh",
    refresh_expiry: "2027-01-15 08:04:00.165131",
};

/// As SQLAlchemy writes it for the original application's model.
const SCHEMA: &str = "
CREATE TABLE user_auth_credentials (
	id INTEGER NOT NULL, 
	device_id VARCHAR, 
	email VARCHAR, 
	access_token VARCHAR, 
	access_expiry DATETIME, 
	refresh_token VARCHAR, 
	refresh_expiry DATETIME, 
	token_type VARCHAR, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_user_auth_credentials_id ON user_auth_credentials (id);
";
const INSERT: &str = "INSERT INTO user_auth_credentials (device_id, email, access_token,
    access_expiry, refresh_token, refresh_expiry, token_type) VALUES (?, ?, ?, ?, ?, ?, ?)";
const UPDATE: &str = "UPDATE user_auth_credentials SET access_token=?2, access_expiry=?3,
    refresh_token=?4, refresh_expiry=?5 WHERE user_auth_credentials.device_id = ?1";
const SELECT: &str = "SELECT access_token, access_expiry, refresh_expiry, email
    FROM user_auth_credentials WHERE user_auth_credentials.device_id = ?";
