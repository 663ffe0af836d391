//! How the service is: worked out from what the keyrx of each session says of itself, and from how long ago that was.

use std::time::Duration;

use serde::Deserialize;

use crate::health::{Check, Components, Figures, Report, Status};
use crate::recovery::Mode;

/// What a keyrx said of itself is believed for so long: it says it every second.
const FRESH: Duration = Duration::from_secs(5);

/// For so long a session may be without a keyrx that maps before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session, and the keyrx in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub session: u32,
    pub keyrx: Keyrx,
    /// Since when it is so, or when it was heard of last. As all moments counted from the start of the service.
    pub since: Duration,
    pub mode: Mode,
    pub recent_crashes: usize,
}

/// What is known of the keyrx of a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Keyrx {
    /// It was started and has not said anything yet.
    Starting,
    /// This is what it says of itself.
    Says(Box<Said>),
    /// It has died, and is started again at that moment.
    Due(Duration),
    /// It has ended by itself, and is tried again later, or not at all.
    Ended(String),
}

/// What matters of a body of `/health`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Said {
    pub status: Status,
    pub components: Components,
    pub metrics: Figures,
    pub checks: Vec<SaidCheck>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SaidCheck {
    pub name: String,
    pub status: Status,
    pub reason: String,
}

/// What the service itself knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    pub sessions: Vec<Session>,
    /// The record of deaths cannot be written.
    pub record_fails: bool,
    /// Deaths of the service itself in five minutes.
    pub own_crashes: usize,
    pub is_stopping: bool,
}

/// How the service is at `now`, counted from its start.
pub fn assess(now: Duration, evidence: &Evidence, timestamp: String) -> Report {
    let mut checks = Vec::new();
    let mut components = Components::default();
    let mut metrics = Figures { events_processed: 0, current_latency_p95: 0, error_count_5m: 0 };
    let mut add = |name, status, reason: String| checks.push(Check { name, status, reason });
    if evidence.sessions.is_empty() {
        add("sessions", Status::Healthy, "nobody is logged on: there are no keys to map".into());
    }
    for session in &evidence.sessions {
        let number = session.session;
        let age = now.saturating_sub(session.since);
        let late = if age > PATIENCE { Status::Unhealthy } else { Status::Degraded };
        let (status, reason) = match &session.keyrx {
            Keyrx::Says(said) if age <= FRESH => {
                let Figures { events_processed, current_latency_p95, error_count_5m } = said.metrics;
                metrics.events_processed = metrics.events_processed.saturating_add(events_processed);
                metrics.current_latency_p95 = metrics.current_latency_p95.max(current_latency_p95);
                metrics.error_count_5m = metrics.error_count_5m.saturating_add(error_count_5m);
                components = worse(&components, &said.components);
                let reasons =
                    said.checks.iter().map(|SaidCheck { name, reason, .. }| format!("{name}: {reason}"));
                (said.status, reasons.collect::<Vec<_>>().join("; "))
            }
            Keyrx::Says(_) => (late, format!("keyrx has said nothing for {} s", age.as_secs())),
            Keyrx::Starting => (late, "keyrx is starting".into()),
            Keyrx::Due(at) => {
                let wait = at.saturating_sub(now).as_secs_f64();
                (late, format!("keyrx has died, and is started again in {wait:.1} s"))
            }
            Keyrx::Ended(why) => (Status::Degraded, format!("keyrx is not running: {why}")),
        };
        if !matches!(session.keyrx, Keyrx::Says(_)) || age > FRESH {
            components = worse(&components, &nothing(status));
        }
        if status != Status::Healthy || !reason.is_empty() {
            add("session", status, format!("session {number}: {reason}"));
        }
        let crashes = session.recent_crashes;
        let supervisor = match session.mode {
            Mode::Normal if crashes == 0 => None,
            Mode::Normal => Some(format!("{crashes} crashes of keyrx in five minutes")),
            Mode::Safe => Some("keyrx died again and again: safe mode".into()),
            Mode::Rest { .. } => Some("keyrx died in safe mode, too: it rests".into()),
        };
        if let Some(reason) = supervisor {
            add("supervisor", Status::Degraded, format!("session {number}: {reason}"));
        }
    }
    if evidence.own_crashes > 0 {
        let reason = format!("{} crashes of the service in five minutes", evidence.own_crashes);
        add("service", Status::Degraded, reason);
    }
    if evidence.record_fails {
        add(
            "state",
            Status::Degraded,
            "a restart will not know what died: the record cannot be written".into(),
        );
    }
    if evidence.is_stopping {
        add("service", Status::Degraded, "the service stops".into());
    }
    let worst = checks.iter().map(|check| check.status).max().unwrap_or_default();
    let of_parts = [
        components.web_server,
        components.platform_hooks,
        components.config_loaded,
        components.remapping_active,
    ];
    let status = of_parts.into_iter().fold(worst, Status::max);
    Report {
        status,
        timestamp,
        uptime: now.as_secs(),
        version: env!("CARGO_PKG_VERSION"),
        components,
        metrics,
        checks,
    }
}

fn worse(one: &Components, other: &Components) -> Components {
    Components {
        web_server: one.web_server.max(other.web_server),
        platform_hooks: one.platform_hooks.max(other.platform_hooks),
        config_loaded: one.config_loaded.max(other.config_loaded),
        remapping_active: one.remapping_active.max(other.remapping_active),
    }
}

/// Where there is no keyrx nothing of it works.
fn nothing(status: Status) -> Components {
    Components { web_server: status, platform_hooks: status, config_loaded: status, remapping_active: status }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn said(status: Status) -> Keyrx {
        let reason = "mapping is paused".to_owned();
        let checks = match status {
            Status::Healthy => Vec::new(),
            _ => vec![SaidCheck { name: "paused".into(), status, reason }],
        };
        let components = Components { remapping_active: status, ..Components::default() };
        let metrics = Figures { events_processed: 5, current_latency_p95: 40, error_count_5m: 1 };
        Keyrx::Says(Box::new(Said { status, components, metrics, checks }))
    }

    fn session(keyrx: Keyrx, since: Duration) -> Session {
        Session { session: 2, keyrx, since, mode: Mode::Normal, recent_crashes: 0 }
    }

    fn check(sessions: Vec<Session>, now: Duration, status: Status, says: &str) -> Report {
        let evidence = Evidence { sessions, ..Evidence::default() };
        let report = assess(now, &evidence, "now".into());
        assert_eq!(report.status, status, "{report:?}");
        let reasons = report.checks.iter().map(|check| &*check.reason).collect::<Vec<_>>().join("; ");
        assert_eq!(reasons, says);
        report
    }

    #[test]
    fn with_nobody_logged_on_it_is_healthy_and_says_so() {
        check(vec![], SECOND, Status::Healthy, "nobody is logged on: there are no keys to map");
    }

    #[test]
    fn a_session_is_as_its_keyrx_says_as_long_as_it_says_it() {
        let report = check(vec![session(said(Status::Healthy), SECOND)], 2 * SECOND, Status::Healthy, "");
        assert_eq!(report.metrics.events_processed, 5);
        let paused = session(said(Status::Degraded), SECOND);
        let report =
            check(vec![paused], 2 * SECOND, Status::Degraded, "session 2: paused: mapping is paused");
        assert_eq!(report.components.remapping_active, Status::Degraded);
        let silent = |now, status| {
            let says = format!("session 2: keyrx has said nothing for {now} s");
            let sessions = vec![session(said(Status::Healthy), Duration::ZERO)];
            let report = check(sessions, now * SECOND, status, &says);
            assert_eq!(report.components.remapping_active, status);
        };
        silent(6, Status::Degraded);
        silent(11, Status::Unhealthy);
    }

    #[test]
    fn of_several_sessions_the_worst_counts_and_keys_are_added_up() {
        let other = Session { session: 3, ..session(said(Status::Degraded), SECOND) };
        let sessions = vec![session(said(Status::Healthy), SECOND), other];
        let report = check(sessions, SECOND, Status::Degraded, "session 3: paused: mapping is paused");
        assert_eq!((report.metrics.events_processed, report.metrics.error_count_5m), (10, 2));
    }

    #[test]
    fn without_a_keyrx_a_session_is_degraded_then_unhealthy() {
        let due = |now, status, says: &str| {
            check(vec![session(Keyrx::Due(SECOND + SECOND / 2), SECOND)], now, status, says);
        };
        due(SECOND, Status::Degraded, "session 2: keyrx has died, and is started again in 0.5 s");
        due(12 * SECOND, Status::Unhealthy, "session 2: keyrx has died, and is started again in 0.0 s");
        let starting = vec![session(Keyrx::Starting, SECOND)];
        check(starting, SECOND, Status::Degraded, "session 2: keyrx is starting");
        let ended = vec![session(Keyrx::Ended("its user ended it".into()), SECOND)];
        check(ended, 99 * SECOND, Status::Degraded, "session 2: keyrx is not running: its user ended it");
    }

    #[test]
    fn crashes_safe_mode_and_a_record_that_fails_degrade_it() {
        let with = |mode, recent_crashes| {
            vec![Session { mode, recent_crashes, ..session(said(Status::Healthy), SECOND) }]
        };
        let safe = "session 2: keyrx died again and again: safe mode";
        check(with(Mode::Safe, 5), SECOND, Status::Degraded, safe);
        check(
            with(Mode::Normal, 1),
            SECOND,
            Status::Degraded,
            "session 2: 1 crashes of keyrx in five minutes",
        );
        let rest = Mode::Rest { until: SECOND };
        check(with(rest, 8), SECOND, Status::Degraded, "session 2: keyrx died in safe mode, too: it rests");
        let evidence = Evidence { record_fails: true, own_crashes: 1, ..Evidence::default() };
        assert_eq!(assess(SECOND, &evidence, String::new()).status, Status::Degraded);
    }

    #[test]
    fn what_a_keyrx_says_is_understood() {
        let report = assess(SECOND, &Evidence::default(), "now".into());
        let said = serde_json::from_str::<Said>(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!((said.status, said.components), (report.status, report.components));
    }
}
