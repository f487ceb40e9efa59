//! Follows what happens to sessions and drops the tokens of those that ended.

mod event_stream;

use std::pin::Pin;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, Response};
use tokenkeep_core::wire::{self, EventBody};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep, timeout};

use self::event_stream::{EventStream, Item};
use crate::backoff::Backoff;
use crate::{Error, SessionClient};

/// What a [`Watch`] has to tell.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// A session ended.
    Ended(EventBody),
    /// Something else happened to a session: its `kind` says what.
    Other(EventBody),
    /// Events may have been missed: what is remembered of any session may be wrong.
    Reset,
}

/// A place in the server's stream of events.
///
/// It connects, and connects again where it stopped, in [`Watch::next`]: nothing is dropped unless
/// that is called.
#[derive(Debug)]
pub struct Watch {
    client: SessionClient,
    connection: Option<Connection>,
    last_id: Option<HeaderValue>,
    backoff: Backoff,
    /// How long to wait before connecting.
    wait: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct Connection {
    response: Response,
    stream: EventStream,
}

/// A watch that runs by itself; dropping this stops it.
#[derive(Debug)]
#[must_use = "dropping it stops the watch"]
pub struct WatchTask(JoinHandle<()>);

impl SessionClient {
    /// Follows what happens to sessions. Needs the scope `admin:read`.
    ///
    /// Tokens at hand of sessions that end are dropped before [`Watch::next`] tells of them, and
    /// all of them whenever events may have been missed.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch {
            client: self.clone(),
            connection: None,
            last_id: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            wait: None,
        }
    }

    /// Follows what happens to sessions in a task of its own, only to drop tokens at hand.
    ///
    /// A server that will not tell is asked again and again, slowly, and the log says so.
    ///
    /// # Errors
    /// [`Error::is_misconfigured`] outside a tokio runtime.
    pub fn watch_in_background(&self) -> Result<WatchTask, Error> {
        let runtime = Handle::try_current().map_err(Error::misconfigured)?;
        let mut watch = self.watch();
        Ok(WatchTask(runtime.spawn(async move {
            loop {
                if let Err(error) = watch.next().await {
                    tracing::warn!(%error, "the session server does not tell of its events");
                }
            }
        })))
    }
}

impl Watch {
    /// Waits for the next change, through losses of the connection.
    ///
    /// A call that is dropped loses no change: the next call goes on where it was.
    ///
    /// # Errors
    /// If the server says no: the service key will not do, or the server has no such stream.
    /// Calling again waits a while and asks again.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            if let Some(item) = self.connection.as_mut().and_then(|live| live.stream.pop()) {
                match self.take_in(&item) {
                    Some(change) => return Ok(change),
                    None => continue,
                }
            }
            match &mut self.connection {
                Some(live) => {
                    if let Err(error) = live.read().await {
                        self.lost(&error);
                    } else {
                        self.backoff.reset();
                    }
                }
                None => {
                    if let Some(change) = self.connect().await? {
                        return Ok(change);
                    }
                }
            }
        }
    }

    /// Connects behind the last event that was taken in; the first time that is a reset, because
    /// what happened before is not known.
    async fn connect(&mut self) -> Result<Option<Change>, Error> {
        // It goes on where a call that was dropped stopped waiting.
        if let Some(wait) = &mut self.wait {
            wait.await;
            self.wait = None;
        }
        match self.open().await {
            Ok(response) => {
                self.connection = Some(Connection { response, stream: EventStream::default() });
                Ok(if self.last_id.is_none() { Some(self.reset()) } else { None })
            }
            Err(error) => {
                self.lost(&error);
                if error.is_unavailable() { Ok(None) } else { Err(error) }
            }
        }
    }

    async fn open(&self) -> Result<Response, Error> {
        let transport = &self.client.transport;
        let request = transport.as_service(Method::GET, wire::ADMIN_EVENTS)?;
        let request = request.header(ACCEPT, EVENT_STREAM);
        let request = match &self.last_id {
            Some(id) => request.header("last-event-id", id.clone()),
            None => request,
        };
        transport.open(request).await
    }

    /// Drops what an event makes stale, and says what happened.
    fn take_in(&mut self, item: &Item) -> Option<Change> {
        if let Some(id) = item.id.as_deref().filter(|id| id.len() <= MAX_ID_LEN) {
            self.last_id = HeaderValue::from_str(id).ok().filter(|id| !id.is_empty());
        }
        if item.name == RESET {
            return Some(self.reset());
        }
        if item.data.is_empty() {
            return None;
        }
        // An event that cannot be read may be about any device.
        let Ok(body) = serde_json::from_str::<EventBody>(&item.data) else {
            return Some(self.reset());
        };
        match body.kind.as_str() {
            "logged_in" | "refreshed" | "refresh_failed" | "relabelled" => {
                Some(Change::Other(body))
            }
            // A kind that is not known may be an end, too.
            kind => {
                self.client.tokens.forget_device(body.device_id);
                let ended = kind == "logged_out";
                Some(if ended { Change::Ended(body) } else { Change::Other(body) })
            }
        }
    }

    fn reset(&self) -> Change {
        self.client.tokens.forget_all();
        Change::Reset
    }

    /// Gives the connection up, and plans the next one.
    fn lost(&mut self, error: &Error) {
        tracing::debug!(%error, "the stream of events is interrupted");
        self.connection = None;
        let asked = error.retry_after().unwrap_or_default().min(LONGEST_WAIT);
        // A server that says no will hardly say yes in a moment.
        let asked = if error.is_unavailable() { asked } else { LONGEST_WAIT };
        self.wait = Some(Box::pin(sleep(self.backoff.next(asked))));
    }
}

impl Connection {
    /// Reads on; an end and a silence are errors.
    async fn read(&mut self) -> Result<(), Error> {
        // The server breaks its silence every few seconds; longer than this, nobody is there.
        let read = timeout(LONGEST_SILENCE, self.response.chunk()).await;
        let chunk = read.map_err(|_| Error::timeout())?.map_err(Error::transport)?;
        let chunk = chunk.ok_or_else(Error::call_lost)?;
        self.stream.feed(&chunk).map_err(Error::unexpected)
    }
}

impl Drop for WatchTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const EVENT_STREAM: &str = "text/event-stream";
/// The event that says that events are missing.
const RESET: &str = "reset";
/// The longest id that is sent back.
const MAX_ID_LEN: usize = 256;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

#[cfg(feature = "testing")]
pub(crate) mod testing {
    use super::event_stream::{EventStream, Item};

    /// A stream comes apart in the same way in whatever pieces it comes.
    pub fn event_stream(bytes: &[u8]) {
        let (size, rest) = bytes.split_first().unwrap_or((&0, bytes));
        let whole = apart(rest, rest.len().max(1));
        assert_eq!(apart(rest, usize::from(*size) + 1), whole);
    }

    fn apart(bytes: &[u8], size: usize) -> (Vec<Item>, bool) {
        let mut stream = EventStream::default();
        let fits = bytes.chunks(size).all(|chunk| stream.feed(chunk).is_ok());
        (std::iter::from_fn(|| stream.pop()).collect(), fits)
    }
}
