//! The table of routes: what lies at which path, under which method, and who answers.

pub(crate) mod admin;
pub(crate) mod authz;
mod devices;
mod events;
mod health;
mod login;
mod logout;
pub(crate) mod oauth2;
mod openapi;
pub(crate) mod session;
mod task;
mod token;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request};
use http_body_util::Full;
use tokenkeep_core::{Issuer, TokenStore, wire};
use tower::Service as _;
use warp::filters::BoxedFilter;
use warp::{Filter, Reply as _};

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::reply::Response;

/// A route, or several: a filter that gives a response.
type Route = BoxedFilter<(Response,)>;

/// The routes as one function from a request to a response.
pub(crate) type Table =
    Arc<dyn Fn(Request<Full<Bytes>>) -> BoxFuture<'static, Response> + Send + Sync>;

/// All routes that are not looked up before: see [`crate::surface`].
pub(crate) fn table<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Table {
    let browsers = login(app)
        .or(register(app))
        .unify()
        .or(refresh(app))
        .unify()
        .or(logout(app))
        .unify()
        .or(oauth2(app))
        .unify()
        .or(events(app))
        .unify()
        .or(devices(app))
        .unify()
        .boxed();
    let services = token(app)
        .or(admin_devices(app))
        .unify()
        .or(admin_end(app))
        .unify()
        .or(admin_stats(app))
        .unify()
        .or(admin_events(app))
        .unify()
        .or(admin_task(app))
        .unify()
        .boxed();
    let all = browsers.or(services).unify().or(health(app)).unify().or(openapi()).unify();
    let service = warp::service(all.recover(nothing_here).unify());
    Arc::new(move |request| {
        let mut service = service.clone();
        Box::pin(async move {
            service
                .call(request)
                .await
                .unwrap_or_else(|never: std::convert::Infallible| match never {})
        })
    })
}

/// POST /v1/register, and as the original application has it.
fn register<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    warp::path!("v1" / "register")
        .or(warp::path!("api_v1" / "auth" / "register"))
        .unify()
        .and(warp::post())
        .and(with(app))
        .and(caller())
        .and(warp::body::bytes())
        .then(login::register)
        .map(warp::Reply::into_response)
        .boxed()
}

/// POST /v1/login, and as the original application has it.
fn login<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    warp::path!("v1" / "login")
        .or(warp::path!("api_v1" / "auth" / "login"))
        .unify()
        .and(warp::post())
        .and(with(app))
        .and(caller())
        .and(warp::body::bytes())
        .then(login::login)
        .map(warp::Reply::into_response)
        .boxed()
}

/// POST /v1/session/refresh
fn refresh<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    warp::path!("v1" / "session" / "refresh")
        .and(warp::post())
        .and(with(app))
        .and(caller())
        .then(session::refresh)
        .map(warp::Reply::into_response)
        .boxed()
}

/// POST /v1/logout
fn logout<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    warp::path!("v1" / "logout")
        .and(warp::post())
        .and(with(app))
        .and(caller())
        .then(logout::logout)
        .map(warp::Reply::into_response)
        .boxed()
}

/// GET /oauth2/userinfo; GET and POST /oauth2/sign_out
fn oauth2<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    let asked = with(app).and(caller());
    let userinfo = warp::path!("oauth2" / "userinfo").and(warp::get()).and(asked.clone());
    let sign_out = warp::path!("oauth2" / "sign_out").and(warp::get().or(warp::post()).unify());
    let userinfo = userinfo.then(oauth2::userinfo).map(warp::Reply::into_response);
    let sign_out = sign_out.and(asked).then(oauth2::sign_out).map(warp::Reply::into_response);
    userinfo.or(sign_out).unify().boxed()
}

/// GET /v1/events
fn events<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    warp::path!("v1" / "events")
        .and(warp::get())
        .and(with(app))
        .and(caller())
        .then(events::of_user)
        .map(warp::Reply::into_response)
        .boxed()
}

/// GET and DELETE /v1/devices; PATCH and DELETE /v1/devices/{id}
fn devices<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    let all = warp::path!("v1" / "devices").and(with(app)).and(caller());
    let list = warp::get().and(all.clone()).then(devices::list);
    let end_all = warp::delete().and(all).then(devices::end_all);
    let one = with(app).and(caller()).and(warp::path!("v1" / "devices" / String));
    let label = warp::patch().and(one.clone()).and(warp::body::bytes()).then(devices::label);
    let end = warp::delete().and(one).then(devices::end);
    let all = list.map(warp::Reply::into_response).or(end_all.map(warp::Reply::into_response));
    let one = label.map(warp::Reply::into_response).or(end.map(warp::Reply::into_response));
    all.unify().or(one.unify()).unify().boxed()
}

/// POST /v1/token
fn token<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    warp::path!("v1" / "token")
        .and(warp::post())
        .and(with(app))
        .and(caller())
        .and(warp::body::bytes())
        .then(token::token)
        .map(warp::Reply::into_response)
        .boxed()
}

/// GET /v1/admin/devices?email=
fn admin_devices<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    warp::path!("v1" / "admin" / "devices")
        .and(warp::get())
        .and(with(app))
        .and(caller())
        .then(admin::devices)
        .map(warp::Reply::into_response)
        .boxed()
}

/// DELETE /v1/admin/devices?email=
fn admin_end<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    warp::path!("v1" / "admin" / "devices")
        .and(warp::delete())
        .and(with(app))
        .and(caller())
        .then(admin::end)
        .map(warp::Reply::into_response)
        .boxed()
}

/// GET /v1/admin/stats
fn admin_stats<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    warp::path!("v1" / "admin" / "stats")
        .and(warp::get())
        .and(with(app))
        .and(caller())
        .then(admin::stats)
        .map(warp::Reply::into_response)
        .boxed()
}

/// GET /v1/admin/events
fn admin_events<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    warp::path!("v1" / "admin" / "events")
        .and(warp::get())
        .and(with(app))
        .and(caller())
        .then(events::of_everybody)
        .map(warp::Reply::into_response)
        .boxed()
}

/// POST, GET and DELETE /v1/admin/task
fn admin_task<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    let all = warp::path!("v1" / "admin" / "task").and(with(app)).and(caller());
    let begin = warp::post().and(all.clone()).and(warp::body::bytes()).then(task::begin);
    let state = warp::get().and(all.clone()).then(task::state);
    let call_off = warp::delete().and(all).then(task::call_off);
    let begin = begin.map(warp::Reply::into_response);
    begin
        .or(state.map(warp::Reply::into_response))
        .unify()
        .or(call_off.map(warp::Reply::into_response))
        .unify()
        .boxed()
}

/// GET /livez and GET /readyz
fn health<S: TokenStore, I: Issuer>(app: &Arc<App<S, I>>) -> Route {
    let live = warp::path!("livez").and(warp::get()).then(health::live);
    let ready = warp::path!("readyz").and(warp::get()).and(with(app)).then(health::ready);
    live.map(warp::Reply::into_response).or(ready.map(warp::Reply::into_response)).unify().boxed()
}

/// GET /openapi.json
fn openapi() -> Route {
    warp::path!("openapi.json")
        .and(warp::get())
        .then(openapi::document)
        .map(warp::Reply::into_response)
        .boxed()
}

/// The methods that a path takes, as `Allow` names them; absent if nothing is there.
pub(crate) fn methods_at(path: &str) -> Option<&'static str> {
    if let Some((_, methods)) = METHODS.iter().find(|(known, _)| *known == path) {
        return Some(methods);
    }
    let device = path.strip_prefix(wire::DEVICES)?.strip_prefix('/')?;
    (!device.is_empty() && !device.contains('/')).then_some(METHODS_OF_A_DEVICE)
}

/// Whether a path asks for the health of the server.
pub(crate) fn is_health(path: &str) -> bool {
    matches!(path, LIVE | READY)
}

/// Whether a path is taken at every door.
pub(crate) fn is_everywhere(path: &str) -> bool {
    is_health(path) || matches!(path, wire::TOKEN | OPENAPI)
}

/// Whether a path is for programs with a service key, which no browser sends by itself.
pub(crate) fn is_for_services(path: &str) -> bool {
    matches!(
        path,
        wire::TOKEN
            | wire::ADMIN_DEVICES
            | wire::ADMIN_STATS
            | wire::ADMIN_EVENTS
            | wire::ADMIN_TASK
    )
}

/// Whether the paths that begin with `segment` are ours, and never an upstream's.
pub(crate) fn is_reserved(segment: &[u8]) -> bool {
    RESERVED.iter().any(|reserved| reserved.as_bytes() == segment)
}

/// Whether a path of ours takes `method`.
pub(crate) fn check_method(path: &str, method: &Method) -> Result<(), Failure> {
    let methods = methods_at(path).ok_or(Failure::NotFound)?;
    let taken = methods.split(", ").any(|allowed| allowed == method.as_str());
    if taken { Ok(()) } else { Err(Failure::MethodNotAllowed(methods)) }
}

/// Gives the handlers what they share.
fn with<S: TokenStore, I: Issuer>(
    app: &Arc<App<S, I>>,
) -> impl Filter<Extract = (Arc<App<S, I>>,), Error = std::convert::Infallible> + Clone + use<S, I>
{
    let app = Arc::clone(app);
    warp::any().map(move || Arc::clone(&app))
}

/// Gives the handlers the head of the request, which the surface has read already.
fn caller() -> impl Filter<Extract = (Arc<Caller>,), Error = warp::Rejection> + Copy {
    warp::ext::get::<Arc<Caller>>()
}

/// Paths and methods are checked before; what no route takes all the same is not there.
async fn nothing_here(_: warp::Rejection) -> Result<Response, std::convert::Infallible> {
    Ok(Failure::NotFound.into_response())
}

const LIVE: &str = "/livez";
const READY: &str = "/readyz";
const OPENAPI: &str = "/openapi.json";
/// The methods of every path that is there as it is.
const METHODS: [(&str, &str); 19] = [
    ("/api_v1/auth/register", "POST"),
    ("/api_v1/auth/login", "POST"),
    (wire::REGISTER, "POST"),
    (wire::LOGIN, "POST"),
    (wire::SESSION, "GET, HEAD"),
    (wire::SESSION_REFRESH, "POST"),
    (wire::LOGOUT, "POST"),
    (oauth2::USERINFO, "GET, HEAD"),
    (oauth2::SIGN_OUT, "GET, POST"),
    (wire::DEVICES, "GET, HEAD, DELETE"),
    // They do not end, so their heads come with the first event.
    (wire::EVENTS, "GET"),
    (wire::ADMIN_EVENTS, "GET"),
    (wire::TOKEN, "POST"),
    (wire::ADMIN_DEVICES, "GET, HEAD, DELETE"),
    (wire::ADMIN_STATS, "GET, HEAD"),
    (wire::ADMIN_TASK, "GET, HEAD, POST, DELETE"),
    (LIVE, "GET, HEAD"),
    (READY, "GET, HEAD"),
    (OPENAPI, "GET, HEAD"),
];
const METHODS_OF_A_DEVICE: &str = "PATCH, DELETE";
const RESERVED: [&str; 8] =
    ["v1", "authz", "livez", "readyz", "metrics", "openapi.json", "oauth2", "api_v1"];
