//! What is answered to a request, profiles and keymaps aside. Whatever touches a disk or reads a keymap is done by the thread `compile`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use clap::ValueEnum;
use keyrx_config::Diagnostic;
use keyrx_engine::notation::{self, Moment};
use keyrx_engine::{DeviceInfo, Time};
use keyrx_platform::{Options, native};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Server, exposition};
use crate::chaos::{self, Point};
use crate::crashes::{self, Found};
use crate::daemon::{Order, Reply};
use crate::health::{KeymapState, Report, Status, WebState};
use crate::logging::LogLevel;
use crate::phase::{Phase, Reason};
use crate::profiles::ProfileError;
use crate::{daemon, devices, scenario};

/// How long the session may take to do what it is told.
const UNTIL_DONE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);

/// So many key events may be played at once, and so much later than the first.
pub const MOST_EVENTS: usize = 10_000;
const MOST_INPUT: usize = 200_000;

pub type Answer = Result<Response, Failure>;
pub type Shared = State<Arc<Server>>;

/// Why a request is not carried out.
#[derive(Debug)]
pub struct Failure {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub diagnostics: Vec<Diagnostic>,
}

impl Failure {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Failure {
        Failure { status, code, message: message.into(), diagnostics: Vec::new() }
    }

    pub fn bad(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub fn of_keymap(diagnostics: &[Diagnostic]) -> Failure {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let mut failure =
            Failure::new(status, "keymap_rejected", "the keymap has mistakes; nothing has changed");
        failure.diagnostics = diagnostics.to_vec();
        failure
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": { "code": self.code, "message": self.message } });
        if !self.diagnostics.is_empty()
            && let Some(fields) = body.as_object_mut()
        {
            fields.insert("diagnostics".into(), json!(self.diagnostics));
        }
        let mut answer = (self.status, Json(body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// A failure as an answer.
pub fn fail(status: StatusCode, code: &'static str, message: &str) -> Response {
    Failure::new(status, code, message).into_response()
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Failure {
        let (status, code) = match error {
            ProfileError::BadName(_) => (StatusCode::BAD_REQUEST, "bad_name"),
            ProfileError::Missing(..) => (StatusCode::NOT_FOUND, "no_such_profile"),
            ProfileError::Exists(_) => (StatusCode::CONFLICT, "profile_exists"),
            ProfileError::NotOwn(_) => (StatusCode::FORBIDDEN, "not_yours"),
            ProfileError::Active(_) => (StatusCode::CONFLICT, "profile_active"),
            ProfileError::TooMany => (StatusCode::CONFLICT, "too_many_profiles"),
            ProfileError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            ProfileError::Io(..) => (StatusCode::INTERNAL_SERVER_ERROR, "file_error"),
        };
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Failure::new(status, code, format!("{error}{cause}"))
    }
}

/// The body as JSON; what is missing in it is told as well.
pub fn body<T: DeserializeOwned>(bytes: Result<Bytes, BytesRejection>) -> Result<T, Failure> {
    let bytes = bytes.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large")
        }
        status => Failure::new(status, "bad_request", rejection.body_text()),
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::bad(format!("the body is not what it should be: {error}")))
}

impl Server {
    /// Has the thread `compile` do something, and waits for it.
    pub async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (done, is_done) = oneshot::channel();
        let job = move || {
            // A panic has been told by the time it is caught; then nothing is sent.
            if let Ok(result) = catch_unwind(AssertUnwindSafe(work)) {
                let _ = done.send(result);
            }
        };
        match self.jobs.try_send(Box::new(job)) {
            Ok(()) => is_done.await.map_err(|_| {
                let message = "keyrx failed at this, which is a mistake of keyrx; the log has more";
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
            }),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                let message = "keyrx has enough to do; try again";
                Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message))
            }
        }
    }

    /// As `work`, for what may fail by a profile.
    pub async fn profile_work<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Server) -> Result<T, ProfileError> + Send + 'static,
    ) -> Result<T, Failure> {
        let server = self.clone();
        Ok(self.work(move || work(&server)).await??)
    }

    /// Asks the control thread for something.
    async fn order(&self, order: Order) -> Result<Reply, Failure> {
        match daemon::order(&self.causes, order).await {
            Ok(Reply::Refused(why)) => Err(Failure::new(StatusCode::CONFLICT, "refused", why)),
            Ok(reply) => Ok(reply),
            Err(_) => {
                let message = "keyrx is ending, or failed at this; the log has more";
                Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "no_answer", message))
            }
        }
    }

    /// Waits until the session has done something.
    async fn until(&self, is_so: impl Fn() -> bool) -> Result<(), Failure> {
        let begin = Instant::now();
        while !is_so() {
            if begin.elapsed() > UNTIL_DONE {
                let message = "the thread that maps keys does not answer; it will do it when it is back";
                return Err(Failure::new(StatusCode::GATEWAY_TIMEOUT, "no_answer", message));
            }
            tokio::time::sleep(LOOK).await;
        }
        self.forget_health();
        Ok(())
    }

    /// What has come of an order that makes a keymap be read, once it is in force.
    pub async fn keymap_answer(&self, order: Order) -> Answer {
        let Reply::Keymap { offered, diagnostics } = self.order(order).await? else { return Ok(done()) };
        let Some(offered) = offered else { return Err(Failure::of_keymap(&diagnostics)) };
        self.until(|| self.daemon.metrics.keymap_in_force() >= offered).await?;
        let view = self.daemon.view();
        let profile = view.source.profile();
        let body = json!({
            "success": true, "profile": profile, "path": view.source.path(), "diagnostics": *diagnostics,
        });
        Ok(Json(body).into_response())
    }
}

pub fn done() -> Response {
    Json(json!({ "success": true })).into_response()
}

// --- Health ----------------------------------------------------------------------------------------------------

/// `GET /health`
pub async fn health(State(server): Shared, headers: HeaderMap) -> Response {
    chaos::strike(Point::Request);
    health_response(&server.health(), &headers)
}

/// How it is, in the form that is asked for.
pub fn health_response(report: &Report, headers: &HeaderMap) -> Response {
    let status = match report.status {
        Status::Healthy | Status::Degraded => StatusCode::OK,
        Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    let accepted = headers.get(ACCEPT).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
    if accepted.contains("application/health+json") {
        return (status, [(CONTENT_TYPE, "application/health+json")], report.in_ietf_form().to_string())
            .into_response();
    }
    (status, Json(report)).into_response()
}

/// `GET /livez`
pub async fn livez(State(server): Shared) -> Response {
    let report = server.health();
    let control =
        report.checks.iter().find(|check| check.name == "control" && check.status == Status::Unhealthy);
    probe(control.map(|check| check.reason.clone()).or_else(|| ending(&server)))
}

/// `GET /readyz`
pub async fn readyz(State(server): Shared) -> Response {
    let report = server.health();
    let Report { components, checks, .. } = &*report;
    let worst = components.platform_hooks.max(components.config_loaded).max(components.remapping_active);
    let reasons = || {
        let bad = checks.iter().filter(|check| check.status == Status::Unhealthy);
        bad.map(|check| check.reason.as_str()).collect::<Vec<_>>().join("; ")
    };
    let phase = server.daemon.metrics.phases().now();
    let starting = (phase == Phase::Starting).then(|| "keyrx is starting".to_owned());
    let unready = (worst == Status::Unhealthy).then(reasons);
    probe(unready.or(starting).or_else(|| ending(&server)))
}

fn ending(server: &Server) -> Option<String> {
    let why = server.daemon.metrics.phases().now().reason()?;
    Some(format!("keyrx is ending ({})", why.name()))
}

/// What machines look at is the status alone.
fn probe(why_not: Option<String>) -> Response {
    match why_not {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// `GET /metrics`
pub async fn metrics(State(server): Shared) -> Response {
    ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], exposition::text(&server)).into_response()
}

/// `GET /api/metrics`
pub async fn metrics_json(State(server): Shared) -> Json<Value> {
    Json(exposition::json(&server))
}

/// `GET /api/metrics/latency`
pub async fn latency(State(server): Shared) -> Json<Value> {
    let all = server.daemon.metrics.snapshot().latency;
    Json(json!({
        "min_us": all.shortest(),
        "avg_us": all.mean(),
        "max_us": all.longest(),
        "p95_us": all.within(95),
        "p99_us": all.within(99),
    }))
}

// --- What it is at ---------------------------------------------------------------------------------------------

/// `GET /api/version`
pub async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "platform": std::env::consts::OS }))
}

/// `GET /api/status`
pub async fn status(State(server): Shared) -> Json<Value> {
    Json(status_of(&server))
}

pub fn status_of(server: &Server) -> Value {
    let report = server.health();
    let (view, metrics) = (server.daemon.view(), &server.daemon.metrics);
    let phase = metrics.phases().now();
    let port = match view.web {
        WebState::Serving(port) => Some(port),
        WebState::Starting | WebState::Failed => None,
    };
    let keyboards = server.daemon.keyboards.with(|known| known.len());
    json!({
        "status": report.status,
        "version": report.version,
        "platform": server.daemon.desk.name(),
        "pid": std::process::id(),
        "port": port,
        "uptime_secs": report.uptime,
        "daemon_running": phase.reason().is_none(),
        "phase": phase.name(),
        "stop_reason": phase.reason().map(Reason::name),
        "paused": metrics.is_paused(),
        "active_profile": view.source.profile(),
        "device_count": keyboards,
        "keymap": {
            "path": view.source.path(),
            "profile": view.source.profile(),
            "state": view.state.name(),
            "diagnostics": *view.diagnostics,
        },
        "viewers": server.live.viewers(),
        "state_dir": server.daemon.paths.state_dir(),
        "config_dirs": server.daemon.paths.configs(),
        "checks": report.checks,
    })
}

/// Whether a status says anything new beside the time.
pub fn is_other_status(before: &str, after: &str) -> bool {
    let without_time = |text: &str| {
        let mut status = serde_json::from_str::<Value>(text).unwrap_or_default();
        if let Some(payload) = status.get_mut("payload").and_then(Value::as_object_mut) {
            payload.remove("uptime_secs");
        }
        status
    };
    without_time(before) != without_time(after)
}

/// `GET /api/devices`
pub async fn devices(State(server): Shared) -> Answer {
    let read = server.daemon.keyboards.with(|known| known.clone());
    let as_json = |(id, info): (&keyrx_engine::DeviceId, &DeviceInfo)| {
        json!({
            "id": id.0, "name": info.name, "serial": info.serial, "path": info.path, "vid_pid": info.vid_pid(),
            "active": true,
        })
    };
    let mut all = read.iter().map(as_json).collect::<Vec<_>>();
    if server.daemon.desk.simulated().is_none() {
        let found = server.work(|| native::list(&Options::default())).await?;
        let found = found.map_err(|error| {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "no_devices", error.to_string())
        })?;
        let others = found.iter().filter(|device| !read.values().any(|known| *known == device.info));
        all.extend(others.map(|device| {
            let mut device = devices::as_json(device);
            if let Some(fields) = device.as_object_mut() {
                fields.insert("active".into(), false.into());
            }
            device
        }));
    }
    Ok(Json(json!({ "devices": all })).into_response())
}

/// Which lines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    #[serde(default)]
    after: u64,
}

fn after(query: Result<Query<After>, QueryRejection>) -> Result<u64, Failure> {
    query.map(|Query(After { after })| after).map_err(|error| Failure::bad(error.body_text()))
}

/// `GET /api/logs`
pub async fn logs(State(server): Shared, query: Result<Query<After>, QueryRejection>) -> Answer {
    let (next, lines) = server.daemon.log.lines(after(query)?);
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(Json(json!({ "next": next, "lines": lines.collect::<Vec<_>>() })).into_response())
}

/// `GET /api/crashes`
pub async fn crashes(State(server): Shared) -> Answer {
    let found = Found::in_directories(&crashes::directories(&server.daemon.paths));
    Ok(Json(found.json()).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
}

/// `PUT /api/log-level`
pub async fn set_log_level(State(server): Shared, bytes: Result<Bytes, BytesRejection>) -> Answer {
    let Level { level } = body(bytes)?;
    let level = LogLevel::from_str(&level, true)
        .map_err(|_| Failure::bad("the level is error, warn, info, debug or trace"))?;
    server.daemon.log.set_level(level);
    tracing::info!(event = "log_level_changed", to = level.name(), "the log's level is now {}", level.name());
    Ok(done())
}

// --- What is ordered -------------------------------------------------------------------------------------------

/// `POST /api/pause`
pub async fn pause(State(server): Shared) -> Answer {
    set_paused(&server, true).await
}

/// `POST /api/resume`
pub async fn resume(State(server): Shared) -> Answer {
    set_paused(&server, false).await
}

async fn set_paused(server: &Server, is_wanted: bool) -> Answer {
    server.order(Order::Pause(is_wanted)).await?;
    server.until(|| server.daemon.metrics.is_paused() == is_wanted).await?;
    Ok(Json(json!({ "success": true, "paused": is_wanted })).into_response())
}

/// `POST /api/reload`
pub async fn reload(State(server): Shared) -> Answer {
    server.keymap_answer(Order::Reload).await
}

/// `POST /api/stop`
pub async fn stop(State(server): Shared) -> Answer {
    server.order(Order::Stop).await?;
    Ok((StatusCode::ACCEPTED, done()).into_response())
}

/// `GET /api/session`
pub async fn session(State(server): Shared, headers: HeaderMap) -> Json<Value> {
    let known = server.daemon.access.admit(&headers, Instant::now());
    Json(json!({ "known": known.is_ok() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    code: String,
}

/// `POST /api/session`
pub async fn begin_session(State(server): Shared, bytes: Result<Bytes, BytesRejection>) -> Answer {
    let Code { code } = body(bytes)?;
    let Some(session) = server.daemon.access.begin_session(&code, Instant::now()) else {
        let message = "the code is wrong, was used, or is older than a minute: run `keyrx ui` again";
        return Err(Failure::new(StatusCode::UNAUTHORIZED, "bad_code", message));
    };
    Ok(Json(json!({ "session": session })).into_response())
}

/// `POST /api/session/code`
pub async fn session_code(State(server): Shared) -> Answer {
    let code = server.daemon.access.code(Instant::now());
    let code = code.ok_or_else(|| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "no_code", "the system has no random numbers")
    })?;
    Ok(Json(json!({ "code": code })).into_response())
}

/// Key events in the notation.
pub fn read_moments(events: &str, most: usize) -> Result<Vec<Moment>, Failure> {
    let parsed = notation::parse(events, Time::ZERO);
    let (moments, _) =
        parsed.map_err(|error| Failure::bad(format!("events: {}", scenario::explain(&error))))?;
    if moments.len() > most {
        return Err(Failure::bad(format!("there are {} events, and {most} are possible", moments.len())));
    }
    Ok(moments)
}

// --- Simulated keyboards, and faults ---------------------------------------------------------------------------

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    events: String,
    #[serde(default = "simulated_keyboard")]
    device: String,
}

fn simulated_keyboard() -> String {
    "simulated keyboard".into()
}

/// `POST /api/input`
pub async fn input(State(server): Shared, bytes: Result<Bytes, BytesRejection>) -> Answer {
    let Input { events, device } = body(bytes)?;
    let moments = read_moments(&events, MOST_INPUT)?;
    let count = moments.len();
    if let Some(remote) = server.daemon.desk.simulated() {
        remote.play(&device, moments);
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": count }))).into_response())
}

/// `GET /api/output`
pub async fn output(State(server): Shared, query: Result<Query<After>, QueryRejection>) -> Answer {
    let after = after(query)?;
    let Some(remote) = server.daemon.desk.simulated() else { return Ok(done()) };
    let printed = remote.output(after);
    let effects = notation::print(printed.effects.into_iter().map(Moment::from));
    Ok(Json(json!({ "next": printed.next, "missed": printed.missed, "effects": effects })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    point: FaultPoint,
    stall_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FaultPoint {
    Point(Point),
    Other(String),
}

/// `POST /api/chaos`
pub async fn chaos(State(server): Shared, bytes: Result<Bytes, BytesRejection>) -> Answer {
    let Fault { point, stall_ms } = body(bytes)?;
    match point {
        FaultPoint::Point(point) => chaos::arm(point, stall_ms),
        FaultPoint::Other(name) if name == "sleep" => server.daemon.desk.pretend_sleep(),
        FaultPoint::Other(name) => return Err(Failure::bad(format!("there is no point {name:?}"))),
    }
    Ok(done())
}

impl KeymapState {
    /// For programs.
    pub fn name(self) -> &'static str {
        match self {
            KeymapState::Current => "current",
            KeymapState::LastGood => "last_good",
            KeymapState::Missing => "missing",
            KeymapState::NoProfile => "no_profile",
            KeymapState::Withheld => "withheld",
        }
    }
}
