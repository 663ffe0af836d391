//! The health port of the service: four paths to be read, for everybody on this machine, whoever is logged on.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keyrx_platform::lock::Guarded;
use keyrx_platform::native::boot;
use tokio::sync::watch;

use super::health::{self, Evidence};
use crate::health::{Report, Status};
use crate::timestamp::Timestamp;
use crate::web::{self, Access, Connections};
use keyrx_platform::threads::Threads;

/// How long until the port is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What is known of the service, for who asks.
pub struct Board {
    began: Duration,
    evidence: Guarded<Evidence>,
}

impl Board {
    pub fn new() -> Board {
        Board { began: boot::age(), evidence: Guarded::default() }
    }

    /// Moments in it are those of the system; they become those since the start of the service.
    pub fn publish(&self, mut evidence: Evidence) {
        for session in &mut evidence.sessions {
            session.since = session.since.saturating_sub(self.began);
            if let health::Keyrx::Due(at) = &mut session.keyrx {
                *at = at.saturating_sub(self.began);
            }
        }
        self.evidence.with(|known| *known = evidence);
    }

    fn report(&self) -> Report {
        let evidence = self.evidence.with(|known| known.clone());
        health::assess(boot::age().saturating_sub(self.began), &evidence, Timestamp::now().seconds())
    }

    fn is_stopping(&self) -> bool {
        self.evidence.with(|known| known.is_stopping)
    }

    /// As Prometheus reads it.
    fn metrics(&self) -> String {
        let evidence = self.evidence.with(|known| known.clone());
        let report = self.report();
        let mapped = evidence.sessions.iter().filter(|it| matches!(it.keyrx, health::Keyrx::Says(_))).count();
        let crashes = evidence.sessions.iter().map(|it| it.recent_crashes).sum::<usize>();
        let safe = evidence.sessions.iter().filter(|it| it.mode != crate::recovery::Mode::Normal).count();
        let is = |status| u8::from(report.status == status);
        format!(
            "# HELP keyrx_service_info The version of the service.\n\
             # TYPE keyrx_service_info gauge\n\
             keyrx_service_info{{version=\"{version}\"}} 1\n\
             # HELP keyrx_service_uptime_seconds How long the service has been running.\n\
             # TYPE keyrx_service_uptime_seconds gauge\n\
             keyrx_service_uptime_seconds {uptime}\n\
             # HELP keyrx_service_health How the service is: 1 at what holds.\n\
             # TYPE keyrx_service_health gauge\n\
             keyrx_service_health{{status=\"healthy\"}} {healthy}\n\
             keyrx_service_health{{status=\"degraded\"}} {degraded}\n\
             keyrx_service_health{{status=\"unhealthy\"}} {unhealthy}\n\
             # HELP keyrx_service_sessions Sessions of users that are to have a keyrx, and those that have one that answers.\n\
             # TYPE keyrx_service_sessions gauge\n\
             keyrx_service_sessions{{state=\"wanted\"}} {wanted}\n\
             keyrx_service_sessions{{state=\"answering\"}} {mapped}\n\
             # HELP keyrx_service_recent_crashes Deaths of keyrx in all sessions in the last five minutes.\n\
             # TYPE keyrx_service_recent_crashes gauge\n\
             keyrx_service_recent_crashes {crashes}\n\
             # HELP keyrx_service_safe_mode Sessions in safe mode or at rest.\n\
             # TYPE keyrx_service_safe_mode gauge\n\
             keyrx_service_safe_mode {safe}\n",
            version = env!("CARGO_PKG_VERSION"),
            uptime = report.uptime,
            healthy = is(Status::Healthy),
            degraded = is(Status::Degraded),
            unhealthy = is(Status::Unhealthy),
            wanted = evidence.sessions.len(),
        )
    }
}

/// Serves the board.
pub struct Web;

impl Web {
    /// On a thread of its own, until that is told to stop. Port 0: not at all.
    pub fn start(threads: &mut Threads, board: Arc<Board>, port: u16) -> std::io::Result<()> {
        if port == 0 {
            return Ok(());
        }
        let (end, ended) = watch::channel(false);
        let wake = move || {
            end.send_replace(true);
        };
        threads.start("web", wake, move |_| {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(serve(board.clone(), port, ended.clone())),
                Err(error) => {
                    tracing::error!(event = "web_failed", error = %error, "the health port cannot be served: {error}");
                }
            }
        })?;
        Ok(())
    }
}

async fn serve(board: Arc<Board>, port: u16, mut end: watch::Receiver<bool>) {
    let mut is_told = false;
    let listeners = loop {
        match web::listen(port) {
            Ok(listeners) => break listeners,
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::error!(
                        event = "web_unreachable",
                        port,
                        error = %error,
                        "the health port {port} cannot be had, and is tried again every {} s: {error}",
                        RETRY.as_secs()
                    );
                }
            }
        }
        tokio::select! {
            _ = end.wait_for(|end| *end) => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    };
    tracing::info!(event = "web_serving", port, "health is at http://127.0.0.1:{port}/health");
    let router = Router::new()
        .route("/health", get(health))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(from_fn(only_ours))
        .with_state(board);
    let connections = Connections::new(router);
    tokio::select! {
        () = connections.accept(&listeners) => {}
        _ = end.wait_for(|end| *end) => {}
    }
}

/// A page that has had its name point to this machine gets nothing.
async fn only_ours(request: Request, next: Next) -> Response {
    match Access::is_ours(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(denied) => denied.into_response(),
    }
}

async fn health(State(board): State<Arc<Board>>, headers: HeaderMap) -> Response {
    web::health_response(&board.report(), &headers)
}

async fn live(State(board): State<Arc<Board>>) -> (StatusCode, &'static str) {
    if board.is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn ready(State(board): State<Arc<Board>>) -> (StatusCode, &'static str) {
    match board.report().status {
        _ if board.is_stopping() => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        Status::Unhealthy => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        Status::Healthy | Status::Degraded => (StatusCode::OK, "ok\n"),
    }
}

async fn metrics(State(board): State<Arc<Board>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], board.metrics())
}
