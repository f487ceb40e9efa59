//! The HTTP vocabulary that the server speaks and the client understands: paths, headers,
//! request and answer bodies, error codes. The only serialisable types.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{DeviceId, Email, Session, Timestamp, TokenRecord};

/// `POST`: passes a registration on to the auth server.
pub const REGISTER: &str = "/v1/register";
/// `POST`: logs in.
pub const LOGIN: &str = "/v1/login";
/// `GET`: the standing of this session.
pub const SESSION: &str = "/v1/session";
/// `POST`: refreshes this session.
pub const SESSION_REFRESH: &str = "/v1/session/refresh";
/// `POST`: ends this session.
pub const LOGOUT: &str = "/v1/logout";
/// `GET`, `DELETE`: the user's devices; with `/{id}`, `PATCH` and `DELETE` one of them.
pub const DEVICES: &str = "/v1/devices";
/// `GET`: server-sent events for this user.
pub const EVENTS: &str = "/v1/events";
/// `POST`: a usable access token, for a service.
pub const TOKEN: &str = "/v1/token";
/// `GET`, `DELETE`: the devices of an email, for a service.
pub const ADMIN_DEVICES: &str = "/v1/admin/devices";
/// `GET`: counts, sizes, rates.
pub const ADMIN_STATS: &str = "/v1/admin/stats";
/// `GET`: numbered stream of ended and changed devices.
pub const ADMIN_EVENTS: &str = "/v1/admin/events";

/// `POST`, `GET`, `DELETE`: long work on the store of a running server.
pub const ADMIN_TASK: &str = "/v1/admin/task";

/// Header that carries a device credential from a service.
pub const CREDENTIAL_HEADER: &str = "x-device-credential";
/// Header that names a request in answers and in the log.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// The device cookie's name over https.
pub const COOKIE: &str = "__Host-device_id";
/// The device cookie's name over plain http on a loopback address.
pub const LOOPBACK_COOKIE: &str = "device_id";
/// Media type of errors (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Body of a login and of a registration; a login may also be a form.
///
/// `username` is accepted for `email`, as the original application's forms have it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    /// The user's address.
    #[serde(alias = "username")]
    pub email: String,
    /// The user's password.
    pub password: String,
}

impl std::fmt::Debug for LoginBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginBody").field("email", &self.email).finish_non_exhaustive()
    }
}

/// Answer to a registration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RegisteredBody {
    /// The auth server's words.
    pub message: String,
}

/// A session as its own device sees it. It holds no token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionBody {
    /// The device.
    pub device_id: DeviceId,
    /// Who is logged in.
    pub email: Email,
    /// When the access token stops working.
    pub access_expires_at: Timestamp,
    /// When the refresh token stops working.
    pub refresh_expires_at: Timestamp,
    /// When the session ends at the latest.
    pub session_expires_at: Timestamp,
    /// Whole seconds until `access_expires_at`.
    pub access_seconds_left: u64,
    /// Whole seconds until `session_expires_at`.
    pub session_seconds_left: u64,
}

impl SessionBody {
    /// The body for `record` at `now`.
    #[must_use]
    pub fn new(record: &TokenRecord, now: Timestamp) -> Self {
        Self {
            device_id: record.device_id,
            email: record.email.clone(),
            access_expires_at: record.access_expires_at,
            refresh_expires_at: record.refresh_expires_at,
            session_expires_at: record.dies_at(),
            access_seconds_left: record.access_expires_at.duration_since(now).as_secs(),
            session_seconds_left: record.dies_at().duration_since(now).as_secs(),
        }
    }
}

/// One device in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceBody {
    /// The device.
    pub device_id: DeviceId,
    /// The name its owner gave it.
    pub label: Option<String>,
    /// The browser or program, in its own words.
    pub user_agent: Option<String>,
    /// The network address that it logged in from.
    pub address: Option<IpAddr>,
    /// When it logged in.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_seen_at: Timestamp,
    /// When its session ends at the latest.
    pub session_expires_at: Timestamp,
    /// Whether it is the device that asks.
    pub current: bool,
    /// Whether it logged in after the asking device's visit before this one.
    pub new_since_last_visit: bool,
}

impl DeviceBody {
    /// The body for `record`, as the device of `asking` sees it; a service is no device.
    #[must_use]
    pub fn new(record: &TokenRecord, asking: Option<&TokenRecord>) -> Self {
        let current = asking.is_some_and(|asking| asking.device_id == record.device_id);
        let known_at = asking.map(|a| a.previous_visit_at.unwrap_or(a.created_at));
        Self {
            device_id: record.device_id,
            label: record.label.as_ref().map(|label| label.as_str().to_owned()),
            user_agent: record.client.user_agent().map(str::to_owned),
            address: record.client.address(),
            created_at: record.created_at,
            last_seen_at: record.last_seen_at,
            session_expires_at: record.dies_at(),
            current,
            new_since_last_visit: !current && known_at.is_some_and(|at| record.created_at > at),
        }
    }
}

/// A list of devices, oldest login first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DevicesBody {
    /// The devices.
    pub devices: Vec<DeviceBody>,
}

/// Body of a change to a device: a text sets the label, `null` takes it away.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelBody {
    /// The label.
    pub label: Option<String>,
}

/// Answer to ending several devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedBody {
    /// How many sessions ended.
    pub ended: usize,
}

/// Body of a token request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// SHA-256, in hex, of an access token that met a 401.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<String>,
}

/// Answer to a token request: the one body that holds an access token.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenBody {
    /// How the token is presented, e.g. `Bearer`.
    pub token_type: String,
    /// The token.
    pub access_token: String,
    /// When it stops working.
    pub access_expires_at: Timestamp,
    /// Whole seconds until then.
    pub access_seconds_left: u64,
    /// The device.
    pub device_id: DeviceId,
    /// Who is logged in.
    pub email: Email,
}

impl TokenBody {
    /// The body for `session` at `now`.
    #[must_use]
    pub fn new(session: &Session, now: Timestamp) -> Self {
        let record = session.record();
        Self {
            token_type: record.token_type.scheme().to_owned(),
            access_token: record.access_token.expose().to_owned(),
            access_expires_at: record.access_expires_at,
            access_seconds_left: record.access_expires_at.duration_since(now).as_secs(),
            device_id: record.device_id,
            email: record.email.clone(),
        }
    }
}

impl std::fmt::Debug for TokenBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenBody").field("device_id", &self.device_id).finish_non_exhaustive()
    }
}

/// What the store holds and what the flow is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsBody {
    /// Live records.
    pub devices: u64,
    /// Emails with a live record.
    pub users: u64,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Rows that wait for their space to be reclaimed.
    pub garbage_rows: u64,
    /// Records that could not be read.
    pub unreadable: u64,
    /// Refreshes under way.
    pub refreshes_in_flight: u64,
    /// Refreshes that stored a new pair, since the start.
    pub refreshes_done: u64,
    /// Refreshes that failed without a verdict, since the start.
    pub refreshes_failed: u64,
    /// Logins since the start.
    pub logins: u64,
    /// Requests that met a fault of the server itself, since the start.
    pub panics: u64,
}

/// Long work that is ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskOrder {
    /// A backup in the server's own directory of backups.
    Backup {
        /// The name of its file.
        name: String,
    },
    /// A move of all sessions to another store.
    Move {
        /// Where to: `store.move_to` of the server's settings, to confirm it.
        to: String,
    },
    /// The key ring is read again, and taken up.
    TakeRing {
        /// The id of its active key, to confirm it.
        active: String,
    },
    /// Everything is brought under the active key.
    Reseal {},
    /// The store lets go of a key that nothing is under.
    Retire {
        /// The id of the key.
        key: String,
    },
}

/// Long work that is under way, or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskBody {
    /// What it is: `backup`, `move`, `take_ring`, `reseal` or `retire`.
    pub kind: String,
    /// How it stands.
    pub state: TaskState,
    /// What is being done.
    pub phase: String,
    /// How much of it is done.
    pub done: u64,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// If it failed: the exit code (sysexits.h) of a command that carries it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
}

/// How long work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It is under way.
    Running,
    /// It is done.
    Done,
    /// It did not come about; nothing was changed.
    Failed,
}

/// Data of a server-sent event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventBody {
    /// What happened: `logged_in`, `logged_out`, `refreshed`, `refresh_failed`, `relabelled`.
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// Which device it was.
    pub device_id: DeviceId,
    /// Whose it was.
    pub email: Email,
    /// Why a session ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The browser or program of a new login, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The network address of a new login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

/// An error as a body (RFC 9457).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What to do about it.
    pub detail: String,
    /// The stable word for this problem.
    pub code: ErrorCode,
    /// Why the session is over, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Names the request in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The stable words for problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The request cannot be understood.
    BadRequest,
    /// The user's address is not one.
    InvalidEmail,
    /// No session comes with the request.
    NotLoggedIn,
    /// The session is over; `reason` says why.
    SessionEnded,
    /// The auth server refused email and password.
    LoginRefused,
    /// The auth server refused the registration.
    RegistrationRefused,
    /// The account exists already.
    AccountExists,
    /// The user has as many devices as allowed.
    CeilingReached,
    /// A request from another site.
    CrossSite,
    /// The service key is missing, unknown or revoked.
    InvalidServiceKey,
    /// The service key has not the scope that this needs.
    MissingScope,
    /// The user has no such device.
    NoSuchDevice,
    /// There is nothing at this path.
    NotFound,
    /// The path does not take this method.
    MethodNotAllowed,
    /// The body has a media type that is not understood here.
    UnsupportedMediaType,
    /// The body is too large.
    BodyTooLarge,
    /// The address of the request is too long.
    UriTooLong,
    /// The headers are too large.
    HeadersTooLarge,
    /// The body came too slowly.
    RequestTimeout,
    /// Too many attempts; `Retry-After` says when to come back.
    TooManyRequests,
    /// The auth server cannot be reached; nobody was logged out.
    AuthServerUnavailable,
    /// The upstream of the gateway cannot be reached.
    UpstreamUnavailable,
    /// The store cannot help.
    StoreUnavailable,
    /// The server has as much to do as it takes on at one time; nothing was done.
    Busy,
    /// The server is shutting down.
    ShuttingDown,
    /// Something that should not happen; the log has it under `request_id`.
    Internal,
}
