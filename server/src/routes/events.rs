//! Streams of server-sent events: a user's, and everybody's for services.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokenkeep_core::wire::EventBody;
use tokenkeep_core::{Credential, DeviceId, Email, Event, EventKind, Heard, Issuer, TokenStore};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use warp::Reply as _;
use warp::sse;

use crate::app::{App, Place};
use crate::caller::Caller;
use crate::failure::Failure;
use crate::reply::{Answer, Response};
use crate::service_access;
use crate::service_key::Scope;

/// The logins and ended devices of the user. Ends with the session of the device that listens.
pub(super) async fn of_user<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    let credential = caller.credential()?;
    let place = app.event_streams.take().ok_or(Failure::Busy)?;
    // Listening begins before the look, so that nothing falls between the two.
    let events = app.sessions.subscribe(None).receiver;
    let looked = app.sessions.look(credential).await;
    let session = looked.map_err(|error| caller.failed(error))?;
    let email = session.record().email.clone();
    let listener = Listener::Device { credential: credential.clone(), email };
    Ok(start(Stream { app, listener, events, place }, Vec::new()))
}

/// What happens to the sessions of everybody, resumable by `Last-Event-ID`. A listener for whom
/// events may be lost, or who comes for the first time, is told to start afresh: `reset`.
pub(super) async fn of_everybody<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    service_access::check(&*app.keys, &caller, Scope::AdminRead)?;
    let place = app.event_streams.take().ok_or(Failure::Busy)?;
    let after = caller.header("last-event-id").and_then(|id| number_of(id, app.started));
    let subscription = app.sessions.subscribe(after);
    let before = subscription.backlog.first().map_or(subscription.last, |event| event.number - 1);
    // With the id of its place, so that a listener who comes back has missed nothing.
    let place_id = format!("{}-{before}", app.started);
    let reset = (after.is_none() || subscription.gap).then(|| reset().id(place_id));
    let backlog = subscription.backlog.iter().map(|event| numbered(event, app.started));
    let first = reset.into_iter().chain(backlog).collect();
    let listener = Listener::Service { caller };
    let events = subscription.receiver;
    Ok(start(Stream { app, listener, events, place }, first))
}

/// Who listens.
enum Listener {
    Device { credential: Credential, email: Email },
    Service { caller: Arc<Caller> },
}

impl Listener {
    /// What the listener hears of `event`.
    fn hears(&self, event: &Event, started: i64) -> Option<sse::Event> {
        match self {
            Self::Device { email, .. } => {
                let news = matches!(event.kind, EventKind::LoggedIn(_) | EventKind::LoggedOut(_));
                (news && event.email == *email).then(|| written(event))
            }
            Self::Service { .. } => Some(numbered(event, started)),
        }
    }

    /// Whether `event` is the last that the listener hears.
    fn ends_with(&self, event: &Event) -> bool {
        let own: Option<DeviceId> = match self {
            Self::Device { credential, .. } => Some(credential.device_id()),
            Self::Service { .. } => None,
        };
        own == Some(event.device_id) && matches!(event.kind, EventKind::LoggedOut(_))
    }

    /// Whether the listener may still listen: sessions also end by expiry and on other
    /// instances, and keys are revoked.
    async fn is_welcome<S: TokenStore, I: Issuer>(&self, app: &App<S, I>) -> bool {
        match self {
            Self::Device { credential, .. } => match app.sessions.look(credential).await {
                Ok(_) => true,
                Err(error) => !error.is_logged_out(),
            },
            Self::Service { caller } => {
                service_access::check(&*app.keys, caller, Scope::AdminRead).is_ok()
            }
        }
    }
}

/// An open stream, and the place that it takes.
struct Stream<S, I> {
    app: Arc<App<S, I>>,
    listener: Listener,
    events: broadcast::Receiver<Heard>,
    place: Place,
}

/// Answers with the events of `first` and those to come.
fn start<S: TokenStore, I: Issuer>(stream: Stream<S, I>, first: Vec<sse::Event>) -> Response {
    let (sender, mut receiver) = mpsc::channel(64);
    tokio::spawn(stream.run(first, sender));
    let events = futures_util::stream::poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|event| event.map(Ok::<_, Infallible>))
    });
    sse::reply(sse::keep_alive().interval(KEEP_ALIVE).stream(events)).into_response()
}

impl<S: TokenStore, I: Issuer> Stream<S, I> {
    /// Hands events over until the listener goes, is not welcome any more, or the server stops.
    async fn run(mut self, first: Vec<sse::Event>, sender: mpsc::Sender<sse::Event>) {
        let closing = self.app.lifecycle.closing.clone();
        let backlog = async {
            for event in first {
                if !send(&sender, event).await {
                    return false;
                }
            }
            true
        };
        let taken = tokio::select! {
            () = closing.cancelled() => false,
            taken = backlog => taken,
        };
        if !taken {
            return;
        }
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                () = sender.closed() => break,
                _ = check.tick() => if !self.listener.is_welcome(&self.app).await { break },
                received = self.events.recv() => {
                    let goes_on = tokio::select! {
                        () = closing.cancelled() => false,
                        goes_on = self.hand_over(received, &sender) => goes_on,
                    };
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        drop(self.place);
    }

    /// Hands one event over; false if it was the last.
    async fn hand_over(
        &self,
        received: Result<Heard, RecvError>,
        sender: &mpsc::Sender<sse::Event>,
    ) -> bool {
        let (heard, last) = match received {
            Ok(Heard::Event(event)) => {
                (self.listener.hears(&event, self.app.started), self.listener.ends_with(&event))
            }
            // Events are lost on their way here, or to a listener that was too slow.
            Ok(Heard::Gap) | Err(RecvError::Lagged(_)) => (Some(reset()), false),
            Err(RecvError::Closed) => (None, true),
        };
        let taken = match heard {
            Some(event) => send(sender, event).await,
            None => true,
        };
        taken && !last
    }
}

/// Hands one event over; false if the listener is gone, or does not read.
async fn send(sender: &mpsc::Sender<sse::Event>, event: sse::Event) -> bool {
    matches!(tokio::time::timeout(SEND_LIMIT, sender.send(event)).await, Ok(Ok(())))
}

fn written(event: &Event) -> sse::Event {
    let body = body(event);
    let kind = body.kind.clone();
    // Our own plain types always have a JSON form.
    sse::Event::default().event(kind).json_data(body).unwrap_or_default()
}

fn numbered(event: &Event, started: i64) -> sse::Event {
    written(event).id(format!("{started}-{}", event.number))
}

fn reset() -> sse::Event {
    sse::Event::default().event("reset").data("{}")
}

/// The number in an event id, if it is of this process.
fn number_of(id: &str, started: i64) -> Option<u64> {
    let (process, number) = id.rsplit_once('-')?;
    let number = number.parse().ok()?;
    (process.parse() == Ok(started)).then_some(number)
}

fn body(event: &Event) -> EventBody {
    let mut body = EventBody {
        kind: String::new(),
        at: event.at,
        device_id: event.device_id,
        email: event.email.clone(),
        reason: None,
        user_agent: None,
        address: None,
    };
    let kind = match &event.kind {
        EventKind::LoggedIn(client) => {
            body.user_agent = client.user_agent().map(str::to_owned);
            body.address = client.address();
            "logged_in"
        }
        EventKind::LoggedOut(reason) => {
            body.reason = Some(reason.as_str().to_owned());
            "logged_out"
        }
        EventKind::Refreshed => "refreshed",
        EventKind::RefreshFailed => "refresh_failed",
        EventKind::Relabelled => "relabelled",
        _ => "changed",
    };
    kind.clone_into(&mut body.kind);
    body
}

/// How often it is checked that the listener may still listen.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// How long a listener may not read while there is something for it.
const SEND_LIMIT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
