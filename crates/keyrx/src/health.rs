//! How keyrx is, worked out from what it has done lately: nothing can declare itself healthy.
//!
//! `assess` looks at numbers and at how old they are, and at nothing else. More age never makes anything healthier.

use std::fmt;
use std::time::Duration;

use keyrx_platform::Aid;
use serde::{Deserialize, Serialize};

use crate::metrics::{self, Snapshot};
use crate::phase::Phase;
use crate::recovery::{Mode, Recovery};

/// So many latencies say something.
const LATENCIES: u64 = 100;

/// How something is, from the best to the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Healthy,
    Degraded,
    Unhealthy,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Healthy => "healthy",
            Status::Degraded => "degraded",
            Status::Unhealthy => "unhealthy",
        })
    }
}

/// What is known about the state of keyrx.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub metrics: Snapshot,
    pub keymap: KeymapState,
    /// Where the keymap that was read last has its first mistake, without a word of what is in it.
    pub mistake: Option<String>,
    pub web: WebState,
    pub recovery: Recovery,
    /// Within how many microseconds 95 % and 99 % of the latest keys were answered.
    pub latency_p95: u64,
    pub latency_p99: u64,
    /// How many keys that were.
    pub latency_count: u64,
}

/// The keymap in force, against the one that is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeymapState {
    Current,
    /// The one on the disk cannot be used.
    LastGood,
    /// There is none that can be used: keys pass through.
    Missing,
    /// It has not been read, in safe mode: keys pass through.
    Withheld,
    /// Nobody has made a profile yet: keys pass through.
    NoProfile,
}

/// The web server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebState {
    Starting,
    /// At this port.
    Serving(u16),
    /// None of its ports could be had.
    Failed,
}

impl Report {
    /// As the draft "Health Check Response Format for HTTP APIs" of the IETF has it.
    pub fn in_ietf_form(&self) -> serde_json::Value {
        let word = |status| match status {
            Status::Healthy => "pass",
            Status::Degraded => "warn",
            Status::Unhealthy => "fail",
        };
        let Components { web_server, platform_hooks, config_loaded, remapping_active } = &self.components;
        let components = [
            ("web_server", web_server),
            ("platform_hooks", platform_hooks),
            ("config_loaded", config_loaded),
            ("remapping_active", remapping_active),
        ];
        let mut checks = serde_json::Map::new();
        for (name, status) in components {
            let check = serde_json::json!([{ "componentType": "component", "status": word(*status), "time": self.timestamp }]);
            checks.insert(format!("{name}:state"), check);
        }
        for Check { name, status, reason } in &self.checks {
            let check =
                serde_json::json!([{ "status": word(*status), "output": reason, "time": self.timestamp }]);
            checks.insert(format!("{name}:check"), check);
        }
        let measure = |value: u64, unit: &str| serde_json::json!([{ "observedValue": value, "observedUnit": unit, "time": self.timestamp }]);
        checks.insert("uptime".into(), measure(self.uptime, "s"));
        checks.insert("keys:processed".into(), measure(self.metrics.events_processed, "events"));
        checks.insert("keys:latency_p95".into(), measure(self.metrics.current_latency_p95, "us"));
        checks.insert("errors:5m".into(), measure(self.metrics.error_count_5m, "errors"));
        serde_json::json!({
            "status": word(self.status),
            "version": self.version,
            "releaseId": self.version,
            "serviceId": "keyrx",
            "description": "keyrx",
            "checks": checks,
        })
    }
}

/// The answer: the body of `/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub status: Status,
    pub timestamp: String,
    /// In seconds.
    pub uptime: u64,
    pub version: &'static str,
    pub components: Components,
    pub metrics: Figures,
    /// Everything that there is something to say about.
    pub checks: Vec<Check>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Components {
    pub web_server: Status,
    pub platform_hooks: Status,
    pub config_loaded: Status,
    pub remapping_active: Status,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    pub events_processed: u64,
    /// In microseconds.
    pub current_latency_p95: u64,
    pub error_count_5m: u64,
}

/// One thing that was looked at, and why it is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub status: Status,
    pub reason: String,
}

/// How keyrx is at `now`, counted from its start. `timestamp` is put into the report as it is.
pub fn assess(now: Duration, evidence: &Evidence, timestamp: String) -> Report {
    let mut checks = Checks::default();
    let metrics = &evidence.metrics;
    let age = |moment: Duration| now.saturating_sub(moment);

    let control_age = age(metrics.control_at);
    let control =
        checks.judge("control", limits(control_age, Duration::from_secs(3), Duration::from_secs(6)), || {
            format!("the control thread has done nothing for {}", seconds(control_age))
        });
    let web = match evidence.web {
        WebState::Serving(_) | WebState::Starting => Status::Healthy,
        WebState::Failed => {
            let reason = "no port can be had for the web page and the commands (control_plane_down)";
            checks.add("web_server", Status::Degraded, reason)
        }
    };
    let web_server = control.max(web);

    let answer_age = metrics.called_at.map(age).unwrap_or_default();
    let session =
        checks.judge("session", limits(answer_age, Duration::from_secs(1), Duration::from_secs(3)), || {
            format!("the thread that maps keys has not answered for {}", seconds(answer_age))
        });
    let canary_age = metrics.canary_at.map(age).unwrap_or_default();
    let output =
        checks.judge("output", limits(canary_age, Duration::from_secs(1), Duration::from_secs(3)), || {
            format!("nothing has got to the system for {} (no_output)", seconds(canary_age))
        });
    let busy = metrics.busy_since.map(age).unwrap_or_default();
    let engine =
        checks.judge("engine", limits(busy, Duration::from_millis(50), Duration::from_millis(500)), || {
            format!("an event has been worked on for {}", seconds(busy))
        });
    // Another desktop has the keyboards, or no keymap wants any: then there is nothing to be read, and nothing wrong
    // with that.
    let has_keymap = matches!(evidence.keymap, KeymapState::Current | KeymapState::LastGood);
    let has_keyboards = metrics.keyboards > 0 || metrics.is_away || !has_keymap;
    let devices = match (metrics.phase, has_keyboards) {
        (Phase::Starting, _) => checks.add("devices", Status::Degraded, "keyrx is starting"),
        (_, false) => checks.add("devices", Status::Degraded, "there is no keyboard to read"),
        (_, true) => Status::Healthy,
    };
    if metrics.is_away {
        checks.add("desktop", Status::Healthy, "the screen is locked, or another desktop is in front");
    }
    checks.judge("device_ids", degraded_if(metrics.is_refused(Aid::RawInput)), || {
        format!("{} (no_device_ids)", Aid::RawInput.lack())
    });
    checks.judge("device_watch", degraded_if(metrics.is_refused(Aid::DeviceWatch)), || {
        Aid::DeviceWatch.lack().into()
    });
    let platform_hooks = session.max(output).max(engine).max(devices);

    let place = evidence.mistake.as_ref().map(|mistake| format!(" ({mistake})")).unwrap_or_default();
    let config_loaded = match evidence.keymap {
        KeymapState::Current => Status::Healthy,
        KeymapState::LastGood => {
            let what = "the last good one is in force (config_last_good)";
            checks.add("keymap", Status::Degraded, format!("the keymap has mistakes{place}; {what}"))
        }
        KeymapState::Missing => {
            let what = "keys pass through (passthrough)";
            checks.add("keymap", Status::Unhealthy, format!("the keymap has mistakes{place}; {what}"))
        }
        KeymapState::NoProfile => {
            let reason = "there is no profile yet; keys pass through (passthrough)";
            checks.add("keymap", Status::Degraded, reason)
        }
        KeymapState::Withheld => checks.add(
            "keymap",
            Status::Degraded,
            "the keymap has not been read; keys pass through (passthrough)",
        ),
    };
    checks.judge("keymap_watch", degraded_if(metrics.files_unwatched), || {
        "the system does not tell when a keymap changes; it is looked at every few seconds".into()
    });
    let Recovery { mode, recent_crashes } = evidence.recovery;
    checks.judge("supervisor", degraded_if(mode != Mode::Normal || recent_crashes > 0), || match mode {
        Mode::Normal => format!("{recent_crashes} crashes of keyrx in five minutes"),
        Mode::Safe => "keyrx died again and again: safe mode".into(),
        Mode::Rest { .. } => "keyrx died in safe mode, too: it rests and takes no keyboard".into(),
    });

    let paused = match metrics.is_paused {
        true => checks.add("paused", Status::Degraded, "mapping is paused (LCtrl + Space + Escape resumes)"),
        false => Status::Healthy,
    };
    let remapping_active = paused.max(session).max(engine).max(config_loaded);

    // Of a few keys, one that was slow says nothing.
    let worst_latency = match evidence.latency_count {
        ..LATENCIES => Status::Healthy,
        _ => limits(evidence.latency_p95, 1000, 20_000).max(limits(evidence.latency_p99, 5000, 100_000)),
    };
    checks.judge("latency", worst_latency, || {
        format!("keys take {} µs (95 %), {} µs (99 %)", evidence.latency_p95, evidence.latency_p99)
    });
    checks.judge("panics", degraded_if(metrics.panics_5m > 0), || {
        format!("{} internal errors in five minutes", metrics.panics_5m)
    });
    checks.judge("log", degraded_if(metrics.log_file_fails), || {
        "the log's file cannot be written (logs_memory_only)".into()
    });
    checks.judge("state", degraded_if(metrics.state_fails), || {
        "the state cannot be written: a restart will not know whether mapping was paused".into()
    });

    Report {
        status: checks.worst,
        timestamp,
        uptime: now.as_secs(),
        version: env!("CARGO_PKG_VERSION"),
        components: Components { web_server, platform_hooks, config_loaded, remapping_active },
        metrics: Figures {
            events_processed: metrics.events.total(),
            current_latency_p95: evidence.latency_p95,
            error_count_5m: metrics.errors_5m,
        },
        checks: checks.list,
    }
}

#[derive(Default)]
struct Checks {
    list: Vec<Check>,
    worst: Status,
}

impl Checks {
    /// Says something whatever the status is.
    fn add(&mut self, name: &'static str, status: Status, reason: impl Into<String>) -> Status {
        self.list.push(Check { name, status, reason: reason.into() });
        self.worst = self.worst.max(status);
        status
    }

    /// Says something if it is not well.
    fn judge(&mut self, name: &'static str, status: Status, reason: impl FnOnce() -> String) -> Status {
        match status {
            Status::Healthy => status,
            _ => self.add(name, status, reason()),
        }
    }
}

/// Healthy up to a limit, unhealthy beyond another.
fn limits<T: PartialOrd>(value: T, degraded: T, unhealthy: T) -> Status {
    match value {
        value if value > unhealthy => Status::Unhealthy,
        value if value > degraded => Status::Degraded,
        _ => Status::Healthy,
    }
}

fn degraded_if(is_so: bool) -> Status {
    if is_so { Status::Degraded } else { Status::Healthy }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

impl Evidence {
    /// The latency is that of the keys between `earlier` and the reading; of all else it is known that it is well.
    pub fn new(metrics: Snapshot, earlier: &metrics::Latency, keymap: KeymapState) -> Evidence {
        let latency = metrics.latency.since(earlier);
        Evidence {
            metrics,
            keymap,
            mistake: None,
            web: WebState::Starting,
            recovery: Recovery::default(),
            latency_p95: latency.within(95),
            latency_p99: latency.within(99),
            latency_count: latency.count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::Metrics;

    /// All is well.
    fn well() -> Evidence {
        let metrics = Metrics::new();
        metrics.phases().ready();
        metrics.keyboard_connected();
        let snapshot = Snapshot { at: Duration::ZERO, ..metrics.snapshot() };
        let none = snapshot.latency.clone();
        Evidence::new(snapshot, &none, KeymapState::Current)
    }

    /// How it is when `change` is made: the status, and what is said.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Evidence), now: u64, status: Status, names: &[&str]) {
        let mut evidence = well();
        // What is said of the control thread has its own rows.
        evidence.metrics.control_at = Duration::from_millis(now);
        change(&mut evidence);
        let report = assess(Duration::from_millis(now), &evidence, String::new());
        let said = report.checks.iter().map(|check| check.name).collect::<Vec<_>>();
        assert_eq!((report.status, said.as_slice()), (status, names), "{report:?}");
        let silent = report.checks.iter().any(|check| check.reason.is_empty());
        assert!(!silent, "everything that is not well has a reason");
    }

    #[test]
    fn each_fault_shows() {
        use Status::{Degraded, Healthy, Unhealthy};
        let second = Duration::from_secs(1);
        check(|_| {}, 100_000, Healthy, &[]);
        check(|it| it.metrics.control_at = second, 4_500, Degraded, &["control"]);
        check(|it| it.metrics.control_at = second, 7_500, Unhealthy, &["control"]);
        check(|it| it.metrics.called_at = Some(second), 1_900, Healthy, &[]);
        check(|it| it.metrics.called_at = Some(second), 2_500, Degraded, &["session"]);
        check(|it| it.metrics.called_at = Some(second), 4_500, Unhealthy, &["session"]);
        check(|it| it.metrics.canary_at = Some(second), 2_500, Degraded, &["output"]);
        check(|it| it.metrics.canary_at = Some(second), 4_500, Unhealthy, &["output"]);
        check(|it| it.metrics.busy_since = Some(second), 1_100, Degraded, &["engine"]);
        check(|it| it.metrics.busy_since = Some(second), 1_600, Unhealthy, &["engine"]);
        check(|it| it.metrics.phase = Phase::Starting, 10, Degraded, &["devices"]);
        check(|it| it.metrics.keyboards = 0, 10, Degraded, &["devices"]);
        check(|it| it.metrics.is_away = true, 10, Healthy, &["desktop"]);
        check(|it| (it.metrics.is_away, it.metrics.keyboards) = (true, 0), 10, Healthy, &["desktop"]);
        check(|it| it.metrics.is_paused = true, 10, Degraded, &["paused"]);
        check(|it| it.keymap = KeymapState::LastGood, 10, Degraded, &["keymap"]);
        check(|it| it.keymap = KeymapState::Missing, 10, Unhealthy, &["keymap"]);
        check(|it| it.keymap = KeymapState::NoProfile, 10, Degraded, &["keymap"]);
        check(|it| it.web = WebState::Failed, 10, Degraded, &["web_server"]);
        check(|it| (it.latency_p95, it.latency_count) = (1001, 100), 10, Degraded, &["latency"]);
        check(|it| (it.latency_p95, it.latency_count) = (1001, 99), 10, Healthy, &[]);
        check(|it| (it.latency_p99, it.latency_count) = (100_001, 100), 10, Unhealthy, &["latency"]);
        check(|it| it.recovery.recent_crashes = 1, 10, Degraded, &["supervisor"]);
        check(|it| it.recovery.mode = Mode::Safe, 10, Degraded, &["supervisor"]);
        check(|it| it.recovery.mode = Mode::Rest { until: second }, 10, Degraded, &["supervisor"]);
        check(|it| it.keymap = KeymapState::Withheld, 10, Degraded, &["keymap"]);
        check(|it| it.metrics.panics_5m = 1, 10, Degraded, &["panics"]);
        check(|it| it.metrics.log_file_fails = true, 10, Degraded, &["log"]);
        check(|it| it.metrics.state_fails = true, 10, Degraded, &["state"]);
        check(|it| it.metrics.files_unwatched = true, 10, Degraded, &["keymap_watch"]);
        check(|it| it.metrics.refused[Aid::RawInput as usize] = true, 10, Degraded, &["device_ids"]);
        check(|it| it.metrics.refused[Aid::DeviceWatch as usize] = true, 10, Degraded, &["device_watch"]);
        check(|it| it.metrics.errors_5m = 5, 10, Healthy, &[]);
    }

    #[test]
    fn a_component_is_as_bad_as_what_it_is_made_of() {
        let mut evidence = well();
        evidence.metrics.is_paused = true;
        evidence.keymap = KeymapState::Missing;
        let components = assess(Duration::ZERO, &evidence, String::new()).components;
        assert_eq!(
            components,
            Components {
                config_loaded: Status::Unhealthy,
                remapping_active: Status::Unhealthy,
                ..Components::default()
            }
        );
    }

    #[test]
    fn the_body_has_the_promised_names() {
        let report = assess(Duration::from_secs(0), &well(), "2026-01-30T12:00:00Z".into());
        let expected = serde_json::json!({
            "status": "healthy",
            "timestamp": "2026-01-30T12:00:00Z",
            "uptime": 0,
            "version": env!("CARGO_PKG_VERSION"),
            "components": {
                "web_server": "healthy",
                "platform_hooks": "healthy",
                "config_loaded": "healthy",
                "remapping_active": "healthy",
            },
            "metrics": { "events_processed": 0, "current_latency_p95": 0, "error_count_5m": 0 },
            "checks": [],
        });
        assert_eq!(serde_json::to_value(report).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn more_age_never_gets_healthier(
            called_at in proptest::option::of(0_u64..20_000),
            busy_since in proptest::option::of(0_u64..20_000),
            control_at in 0_u64..20_000,
            flags in any::<[bool; 4]>(),
            now in 0_u64..40_000,
            later in 0_u64..40_000,
        ) {
            let mut evidence = well();
            evidence.metrics.called_at = called_at.map(Duration::from_millis);
            evidence.metrics.busy_since = busy_since.map(Duration::from_millis);
            evidence.metrics.control_at = Duration::from_millis(control_at);
            let [is_starting, is_paused, is_away, log_file_fails] = flags;
            let phase = if is_starting { Phase::Starting } else { Phase::Running };
            evidence.metrics = Snapshot { phase, is_paused, is_away, log_file_fails, ..evidence.metrics };
            let at = |millis| assess(Duration::from_millis(millis), &evidence, String::new());
            let (before, after) = (at(now), at(now + later));
            prop_assert!(before.status <= after.status);
            prop_assert!(before.components.web_server <= after.components.web_server);
            prop_assert!(before.components.platform_hooks <= after.components.platform_hooks);
            prop_assert!(before.components.remapping_active <= after.components.remapping_active);
        }
    }
}
