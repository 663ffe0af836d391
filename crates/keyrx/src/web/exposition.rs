//! What is counted and measured, as Prometheus reads it and as JSON, from one reading.
//!
//! A figure is a row in `families`; what has labels has a sample for each. The text is the format that every version
//! of Prometheus understands.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use keyrx_engine::{Engine, Motion};
use keyrx_platform::{Figures, Interruption, Queue, live};
use serde_json::{Map, Value, json};

use super::Server;
use crate::health::Status;
use crate::metrics::{Hit, Path, Snapshot};
use crate::recovery::Mode;
use crate::timestamp::Timestamp;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const MOTIONS: [(Motion, &str); 3] =
    [(Motion::Press, "press"), (Motion::Release, "release"), (Motion::Repeat, "repeat")];
const PATHS: [(Path, &str); 3] =
    [(Path::Passed, "passed"), (Path::Mapped, "mapped"), (Path::Dropped, "dropped")];
const STATUSES: [Status; 3] = [Status::Healthy, Status::Degraded, Status::Unhealthy];

/// Interruptions for which a hook of Windows was put in again.
const HOOK_AGAIN: [Interruption; 5] = [
    Interruption::HookLost,
    Interruption::HookSlow,
    Interruption::Returned,
    Interruption::Resumed,
    Interruption::LetGo,
];

/// A figure, with a sample for each combination of labels.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    samples: Vec<Sample>,
}

struct Sample {
    /// What comes after the name, such as `_bucket`.
    suffix: &'static str,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

fn sample(labels: &[(&'static str, &str)], value: f64) -> Sample {
    let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Sample { suffix: "", labels, value }
}

fn family(name: &'static str, kind: &'static str, help: &'static str, samples: Vec<Sample>) -> Family {
    Family { name, kind, help, samples }
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Family {
    family(name, "counter", help, vec![sample(&[], value as f64)])
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Family {
    family(name, "gauge", help, vec![sample(&[], value)])
}

fn families(server: &Server) -> Vec<Family> {
    let all = server.daemon.metrics.snapshot();
    let view = server.daemon.view();
    let report = server.health();
    let is = |is_so: bool| f64::from(u8::from(is_so));

    let by_kind = MOTIONS.into_iter().flat_map(|(motion, kind)| {
        PATHS.map(|(path, name)| {
            sample(&[("kind", kind), ("path", name)], all.events.count(motion, path) as f64)
        })
    });
    let hits =
        Hit::ALL.iter().zip(all.hits).map(|((_, kind), count)| sample(&[("kind", kind)], count as f64));
    let recovery = server.daemon.lifecycle.recovery();
    let figures = &view.figures;
    let cpu = figures.cpu.map(|cpu| sample(&[], cpu.as_secs_f64())).into_iter().collect();
    let only = |value: Option<u64>| value.map(|value| sample(&[], value as f64)).into_iter().collect();
    let threads =
        by_name(figures).into_iter().map(|(name, cpu)| sample(&[("thread", name)], cpu.as_secs_f64()));
    let live_resources =
        live::counts().into_iter().map(|(kind, count)| sample(&[("type", kind)], count as f64));
    let effects = MOTIONS.iter().zip(all.effects);
    let effects = effects.map(|((_, kind), count)| sample(&[("kind", kind)], count as f64));
    let interruptions = Interruption::ALL.iter().zip(all.interruptions);
    let interruptions = interruptions.map(|((_, reason), count)| sample(&[("reason", reason)], count as f64));
    let hook_again = HOOK_AGAIN.map(|why| {
        let name = Interruption::ALL.iter().find(|(other, _)| *other == why).map_or("", |(_, name)| name);
        sample(&[("reason", name)], hook_again(&all, why) as f64)
    });
    let status =
        STATUSES.map(|status| sample(&[("status", &status.to_string())], is(status == report.status)));
    let queues = queues(server, &all);
    let by_queue = |figure: fn(&Queue) -> u64| {
        queues.iter().map(|(name, queue)| sample(&[("queue", *name)], figure(queue) as f64)).collect()
    };
    let version = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("os", std::env::consts::OS),
        ("arch", std::env::consts::ARCH),
    ];

    vec![
        family(
            "keyrx_events_total",
            "counter",
            "Events of keys, by what the key did and what came of it.",
            by_kind.collect(),
        ),
        gauge("keyrx_event_rate", "Events of keys a second, over the last minute.", view.rate),
        family(
            "keyrx_mapping_hits_total",
            "counter",
            "Presses by the kind of mapping that they met.",
            hits.collect(),
        ),
        family("keyrx_effects_total", "counter", "Keys that were sent.", effects.collect()),
        gauge("keyrx_keys_held", "Keys that are down because of keyrx.", all.keys_held() as f64),
        latency(&all),
        family(
            "keyrx_interruptions_total",
            "counter",
            "Times at which everything was released, by reason.",
            interruptions.collect(),
        ),
        family(
            "keyrx_hook_reinstalls_total",
            "counter",
            "Times at which the keyboard hook was put in again (Windows).",
            hook_again.into(),
        ),
        gauge("keyrx_errors_recent", "Errors in the last five minutes.", all.errors_5m as f64),
        counter("keyrx_errors_total", "Errors in the log.", all.errors),
        counter("keyrx_panics_total", "Internal errors that were caught.", all.panics),
        counter(
            "keyrx_mutex_recovered_total",
            "Values that were repaired after a panic.",
            all.locks_repaired,
        ),
        family(
            "keyrx_config_reloads_total",
            "counter",
            "Keymaps that were read.",
            vec![
                sample(&[("result", "accepted")], all.keymaps_loaded as f64),
                sample(&[("result", "rejected")], all.keymaps_rejected as f64),
            ],
        ),
        gauge(
            "keyrx_keymap_in_force",
            "The number of the keymap in force, counted from the start.",
            all.keymap_in_force as f64,
        ),
        gauge("keyrx_keyboards", "Keyboards that are read.", all.keyboards as f64),
        gauge("keyrx_paused", "Whether mapping is paused.", is(all.is_paused)),
        family("keyrx_health", "gauge", "How keyrx is: 1 for its status.", status.into()),
        gauge("keyrx_websocket_clients", "Clients of the WebSocket.", server.live.clients() as f64),
        gauge("keyrx_live_viewers", "Clients that see keys as they move.", server.live.viewers() as f64),
        family("keyrx_queue_depth", "gauge", "What waits in a queue.", by_queue(|queue| queue.depth)),
        family(
            "keyrx_queue_capacity",
            "gauge",
            "How much a queue can hold.",
            by_queue(|queue| queue.capacity),
        ),
        gauge(
            "keyrx_crashes_recent",
            "Crashes of keyrx in the last five minutes.",
            recovery.recent_crashes as f64,
        ),
        gauge(
            "keyrx_safe_mode",
            "Whether keyrx crashed so often that it maps no keys.",
            is(recovery.mode != Mode::Normal),
        ),
        family("keyrx_live", "gauge", "Resources of the system that are held.", live_resources.collect()),
        family(
            "keyrx_thread_cpu_seconds_total",
            "counter",
            "What threads have computed, by name.",
            threads.collect(),
        ),
        family("process_cpu_seconds_total", "counter", "What the process has computed.", cpu),
        family("process_resident_memory_bytes", "gauge", "Bytes in memory.", only(figures.resident)),
        family("keyrx_handles", "gauge", "Open files (Linux) or handles (Windows).", only(figures.handles)),
        family("keyrx_gdi_objects", "gauge", "GDI objects (Windows).", only(figures.gdi_objects)),
        family("keyrx_user_objects", "gauge", "USER objects (Windows).", only(figures.user_objects)),
        counter("keyrx_log_dropped_total", "Lines that are in no log.", all.lost_lines),
        gauge("keyrx_uptime_seconds", "Seconds since the start.", all.at.as_secs_f64()),
        family("keyrx_build_info", "gauge", "The version.", vec![sample(&version, 1.0)]),
    ]
}

/// The queues there are, by the names that operators know.
fn queues(server: &Server, all: &Snapshot) -> Vec<(&'static str, Queue)> {
    let pending = Queue { depth: all.waiting, capacity: Engine::MOST_WAITING as u64 };
    let output = server.daemon.desk.output_queue().map(|queue| ("output", queue));
    [("pending", pending), ("live", server.live.queue()), ("log", server.daemon.log.queue())]
        .into_iter()
        .chain(output)
        .collect()
}

/// What threads have computed: those of one name together.
fn by_name(figures: &Figures) -> BTreeMap<&str, Duration> {
    let mut sums = BTreeMap::new();
    for thread in &figures.threads {
        let sum: &mut Duration = sums.entry(thread.name.as_str()).or_default();
        *sum = sum.saturating_add(thread.cpu);
    }
    sums
}

fn hook_again(all: &Snapshot, why: Interruption) -> u64 {
    // On other systems these are interruptions without a hook.
    if cfg!(windows) { all.interruptions.get(why as usize).copied().unwrap_or(0) } else { 0 }
}

fn latency(all: &Snapshot) -> Family {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let bucket = |bound: &str, count: u64| Sample {
        suffix: "_bucket",
        labels: vec![("le", bound.to_owned())],
        value: count as f64,
    };
    let count = all.latency.count();
    // More than a second is all the same.
    let octaves = all.latency.cumulative().into_iter().take_while(|(micros, _)| *micros < 2_000_000);
    let mut samples =
        octaves.map(|(micros, count)| bucket(&seconds(micros).to_string(), count)).collect::<Vec<_>>();
    samples.push(bucket("+Inf", count));
    samples.push(Sample { suffix: "_sum", labels: Vec::new(), value: seconds(all.latency.total()) });
    samples.push(Sample { suffix: "_count", labels: Vec::new(), value: count as f64 });
    family(
        "keyrx_event_latency_seconds",
        "histogram",
        "From a key's event to when its effects were on their way.",
        samples,
    )
}

/// For Prometheus.
pub fn text(server: &Server) -> String {
    print(&families(server))
}

fn print(families: &[Family]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for Family { name, kind, help, samples } in families {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for Sample { suffix, labels, value } in samples {
            let labels = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
            let labels = labels.collect::<Vec<_>>().join(",");
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(text, "{name}{suffix}{labels} {value}");
        }
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// For everybody else.
pub fn json(server: &Server) -> Value {
    let all = server.daemon.metrics.snapshot();
    let view = server.daemon.view();
    let recent = all.latency.since(&view.earlier);
    let recovery = server.daemon.lifecycle.recovery();
    let queues = queues(server, &all);
    let named = |pairs: &mut dyn Iterator<Item = (&str, u64)>| {
        Value::Object(pairs.map(|(name, count)| (name.to_owned(), count.into())).collect::<Map<_, _>>())
    };
    let latency = |latency: &crate::metrics::Latency| {
        json!({
            "count": latency.count(),
            "mean": latency.mean(),
            "p50": latency.within(50),
            "p95": latency.within(95),
            "p99": latency.within(99),
            "max": latency.longest(),
        })
    };
    json!({
        "timestamp": Timestamp::now().seconds(),
        "uptime_seconds": all.at.as_secs(),
        "events": {
            "total": all.events.total(),
            "rate_per_second": view.rate,
            "by_kind": named(&mut MOTIONS.iter().map(|(motion, name)| (*name, all.events.by_motion(*motion)))),
            "by_path": named(&mut PATHS.iter().map(|(path, name)| (*name, all.events.by_path(*path)))),
        },
        "mapping_hits": named(&mut Hit::ALL.iter().zip(all.hits).map(|((_, name), count)| (*name, count))),
        "effects": named(&mut MOTIONS.iter().zip(all.effects).map(|((_, name), count)| (*name, count))),
        "keys_held": all.keys_held(),
        "latency_us": latency(&all.latency),
        "latency_recent_us": latency(&recent),
        "errors": {
            "total": all.errors,
            "count_5m": all.errors_5m,
            "rate_per_minute_5m": all.errors_5m as f64 / 5.0,
            "panics_total": all.panics,
            "panics_5m": all.panics_5m,
            "locks_repaired": all.locks_repaired,
            "log_lines_lost": all.lost_lines,
        },
        "interruptions":
            named(&mut Interruption::ALL.iter().zip(all.interruptions).map(|((_, name), count)| (*name, count))),
        "hook_reinstalls": HOOK_AGAIN.iter().map(|why| hook_again(&all, *why)).sum::<u64>(),
        "reloads": { "accepted": all.keymaps_loaded, "rejected": all.keymaps_rejected },
        "keymap_in_force": all.keymap_in_force,
        "keyboards": all.keyboards,
        "paused": all.is_paused,
        "websocket_clients": server.live.clients(),
        "live_viewers": server.live.viewers(),
        "queues": named(&mut queues.iter().map(|(name, queue)| (*name, queue.depth))),
        "queue_capacities": named(&mut queues.iter().map(|(name, queue)| (*name, queue.capacity))),
        "restarts": { "crashes_5m": recovery.recent_crashes, "safe_mode": recovery.mode != Mode::Normal },
        "process": {
            "cpu_seconds": view.figures.cpu.map(|cpu| cpu.as_secs_f64()),
            "working_set_bytes": view.figures.resident,
            "handles": view.figures.handles,
            "gdi_objects": view.figures.gdi_objects,
            "user_objects": view.figures.user_objects,
            "started": view.figures.started.map(|at| Timestamp::from(at).seconds()),
        },
        "threads": by_name(&view.figures).iter().map(|(name, cpu)| {
            json!({ "name": name, "cpu_seconds": cpu.as_secs_f64() })
        }).collect::<Vec<_>>(),
        "live_resources": named(&mut live::counts().into_iter()),
        "build": {
            "version": env!("CARGO_PKG_VERSION"),
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_may_hold_anything() {
        let families = [family("a_total", "counter", "Help.", vec![sample(&[("x", "\"\\\n")], 1.0)])];
        assert_eq!(
            print(&families),
            "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"\\\"\\\\\\n\"} 1\n"
        );
    }
}
