//! Every path that is served, in one table: who may use it, what it does, and how it is described.
//!
//! The router and the OpenAPI document are both made from it, so that neither can have what the other has not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use OpenTo::{Chaos, Everybody, Known, Simulation};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};

use super::api::{Failure, fail};
use super::{Server, access, api, assets, keymaps, live, openapi};
use crate::profiles;

/// The body of a request has at most so many bytes: a profile, in JSON.
const MOST_BODY: usize = profiles::MOST_BYTES + (64 << 10);

/// How long a request may take, its body included.
const UNTIL_ANSWERED: Duration = Duration::from_secs(10);

/// What a page of ours may load: what we serve.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// One thing that can be asked for.
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub open_to: OpenTo,
    /// What it does, in a line.
    pub about: &'static str,
    /// An example of what is sent, as JSON; empty if nothing is.
    pub takes: &'static str,
    handler: fn() -> MethodRouter<Arc<Server>>,
}

/// Who may ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenTo {
    Everybody,
    /// Who has the token or a session.
    Known,
    /// As well, and only where the keyboards are simulated.
    Simulation,
    /// As well, and only where faults may be asked for.
    Chaos,
}

type Handler = fn() -> MethodRouter<Arc<Server>>;

const fn row(
    method: &'static str,
    path: &'static str,
    open_to: OpenTo,
    takes: &'static str,
    about: &'static str,
    handler: Handler,
) -> Route {
    Route { method, path, open_to, about, takes, handler }
}

const SOURCE: &str = r#"{"source":"map(\"A\", \"B\");"}"#;
const PLAY: &str = r#"{"source":"map(\"A\", \"B\");","events":"+A 50 -A","device":"keyboard"}"#;

#[rustfmt::skip] // a table
pub const ROUTES: &[Route] = &[
    row("GET", "/health", Everybody, "", "How keyrx is; 503 if it is unhealthy. `Accept: application/health+json` gives that form", || get(api::health)),
    row("GET", "/livez", Everybody, "", "200 while keyrx works at all", || get(api::livez)),
    row("GET", "/readyz", Everybody, "", "200 while keyrx maps keys, or could", || get(api::readyz)),
    row("GET", "/metrics", Everybody, "", "What is counted and measured, for Prometheus", || get(api::metrics)),
    row("GET", "/api/metrics", Everybody, "", "The same as JSON", || get(api::metrics_json)),
    row("GET", "/api/health", Everybody, "", "As /health", || get(api::health)),
    row("GET", "/api/session", Everybody, "", "Whether who asks is `known`: has the token or a session", || get(api::session)),
    row("POST", "/api/session", Everybody, r#"{"code":"..."}"#, "Begins the `session` of a page, with a code that is good once", || post(api::begin_session)),
    row("POST", "/api/session/code", Known, "", "A code for a page, good once and for a minute", || post(api::session_code)),
    row("GET", "/api/openapi.json", Known, "", "This description", || get(openapi::document)),
    row("GET", "/api/version", Known, "", "The version", || get(api::version)),
    row("GET", "/api/status", Known, "", "What keyrx is at", || get(api::status)),
    row("GET", "/api/metrics/latency", Known, "", "How long keys take, in microseconds", || get(api::latency)),
    row("GET", "/api/devices", Known, "", "The keyboards, and which are read", || get(api::devices)),
    row("POST", "/api/pause", Known, "", "Pauses mapping: keys pass", || post(api::pause)),
    row("POST", "/api/resume", Known, "", "Goes on mapping", || post(api::resume)),
    row("POST", "/api/reload", Known, "", "Reads keymap and settings again; 422 if the keymap cannot be used", || post(api::reload)),
    row("POST", "/api/stop", Known, "", "Ends keyrx", || post(api::stop)),
    row("GET", "/api/logs", Known, "", "The last lines of the log, from the number `after` on", || get(api::logs)),
    row("GET", "/api/crashes", Known, "", "What is known of crashes: the reports, and where dumps are", || get(api::crashes)),
    row("PUT", "/api/log-level", Known, r#"{"level":"debug"}"#, "What is worth a line from now on", || put(api::set_log_level)),
    row("GET", "/api/profiles", Known, "", "All profiles", || get(keymaps::profiles)),
    row("POST", "/api/profiles", Known, r#"{"name":"work","source":""}"#, "Makes a profile; without a source a blank one", || post(keymaps::create_profile)),
    row("GET", "/api/profiles/active", Known, "", "The active profile", || get(keymaps::active_profile)),
    row("POST", "/api/profiles/active/reload", Known, "", "As /api/reload", || post(api::reload)),
    row("DELETE", "/api/profiles/{name}", Known, "", "Removes a profile, unless it is active", || delete(keymaps::delete_profile)),
    row("POST", "/api/profiles/{name}/activate", Known, "", "Makes a profile the active one; 422 if it cannot be used", || post(keymaps::activate_profile)),
    row("POST", "/api/profiles/{name}/validate", Known, "", "What is wrong with a profile", || post(keymaps::validate_profile)),
    row("POST", "/api/profiles/{name}/duplicate", Known, r#"{"newName":"work2"}"#, "Makes another profile that says the same", || post(keymaps::duplicate_profile)),
    row("PUT", "/api/profiles/{name}/rename", Known, r#"{"newName":"work2"}"#, "Gives a profile another name", || put(keymaps::rename_profile)),
    row("GET", "/api/profiles/{name}/config", Known, "", "What a profile says", || get(keymaps::profile_config)),
    row("PUT", "/api/profiles/{name}/config", Known, r#"{"config":"map(\"A\", \"B\");"}"#, "Replaces what a profile says, mistakes or not, and tells them", || put(keymaps::set_profile_config)),
    row("GET", "/api/config", Known, "", "The text of the keymap in use", || get(keymaps::config)),
    row("GET", "/api/keymap", Known, "", "Where the keymap comes from, how it is, and its text", || get(keymaps::keymap)),
    row("POST", "/api/check", Known, SOURCE, "What is wrong with a keymap", || post(keymaps::check)),
    row("POST", "/api/simulate", Known, PLAY, "What comes out of a keymap, or of a `profile`, and why", || post(keymaps::simulate)),
    row("GET", "/api/vocabulary", Known, "", "The functions, settings and keys of the language", || get(keymaps::vocabulary)),
    row("GET", "/ws", Known, "", "A WebSocket: status, metrics and, for who asks, keys as they move. A page offers the protocols `keyrx` and `keyrx.session.SESSION`", || get(live::upgrade)),
    row("POST", "/api/input", Simulation, r#"{"events":"+A 50 -A","device":"simulated keyboard"}"#, "Types on a simulated keyboard, from now on", || post(api::input)),
    row("GET", "/api/output", Simulation, "", "What came out, from the effect of the number `after` on", || get(api::output)),
    row("POST", "/api/chaos", Chaos, r#"{"point":"session","stall_ms":700}"#, "Has something go wrong, once: a stall, or else a panic", || post(api::chaos)),
];

/// Everything that is served.
pub fn router(server: Arc<Server>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let handler = match route.open_to {
            Everybody => (route.handler)(),
            Known => (route.handler)().layer(from_fn_with_state(server.clone(), only_known)),
            Simulation if server.daemon.desk.simulated().is_none() => continue,
            Chaos if !server.daemon.has_chaos => continue,
            Simulation | Chaos => (route.handler)().layer(from_fn_with_state(server.clone(), only_known)),
        };
        router = router.route(route.path, handler);
    }
    for asset in assets::ASSETS {
        router = router.route(asset.path, get(|| async { asset.answer() }));
    }
    router
        .fallback(|| async { fail(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            fail(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path has other methods")
        })
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(from_fn(serve))
        .with_state(server)
}

/// What holds for every request: it is for us, it comes to an end, and a mistake of ours is an answer too.
async fn serve(request: Request, next: Next) -> Response {
    if let Err(denied) = access::Access::is_ours(request.uri(), request.headers()) {
        return denied.into_response();
    }
    // Where the client says so itself, nothing of it is read.
    let length =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MOST_BODY as u64) {
        return fail(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large");
    }
    let mut answering = pin!(next.run(request));
    // A panic has been told by the time it is caught.
    let answering = std::future::poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context))).unwrap_or_else(|_| {
            let message = "keyrx failed at this, which is a mistake of keyrx; the log has more";
            std::task::Poll::Ready(fail(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message))
        })
    });
    let mut answer = tokio::time::timeout(UNTIL_ANSWERED, answering).await.unwrap_or_else(|_| {
        fail(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the request took too long; it may have been carried out",
        )
    });
    let headers = answer.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

async fn only_known(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    match server.daemon.access.admit(request.headers(), Instant::now()) {
        Ok(stay) => {
            request.extensions_mut().insert(stay);
            next.run(request).await
        }
        Err(denied) => denied.into_response(),
    }
}

impl IntoResponse for access::Denied {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            access::Denied::Host => {
                let message = "address this server as 127.0.0.1, localhost or [::1]";
                (StatusCode::MISDIRECTED_REQUEST, "wrong_host", message)
            }
            access::Denied::Origin => {
                (StatusCode::FORBIDDEN, "foreign_origin", "pages of other origins are not served")
            }
            access::Denied::Token => {
                let message = "send `Authorization: Bearer TOKEN`; the token is in the file `token` of the state \
                               directory. `keyrx ui` opens the page";
                (StatusCode::UNAUTHORIZED, "no_token", message)
            }
        };
        Failure { status, code, message: message.into(), diagnostics: Vec::new() }.into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_path_has_each_method_once_and_its_examples_are_json() {
        let mut known = BTreeSet::new();
        for route in ROUTES {
            assert!(known.insert((route.method, route.path)), "{} {}", route.method, route.path);
            if !route.takes.is_empty() {
                serde_json::from_str::<serde_json::Value>(route.takes).unwrap();
            }
        }
    }

    #[test]
    fn only_health_and_metrics_are_for_everybody() {
        let open = ROUTES.iter().filter(|route| route.open_to == Everybody).map(|route| route.path);
        assert_eq!(
            open.collect::<Vec<_>>(),
            [
                "/health",
                "/livez",
                "/readyz",
                "/metrics",
                "/api/metrics",
                "/api/health",
                "/api/session",
                "/api/session"
            ]
        );
    }
}
