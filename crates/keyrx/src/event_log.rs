//! What keyrx tells people in the Event Log of Windows: few things, each with a number and a sentence of its own.
//!
//! The sentences are in resources/event_log.mc, by the same names, and in the executable as its table of messages. All
//! users of the machine can read them: no entry has a word of a keymap in it. Where there is no Event Log, or nobody
//! has installed its source, nothing happens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use keyrx_platform::lock::Guarded;
use keyrx_platform::native;
use keyrx_platform::native::boot;
use serde_json::{Map, Value};

/// The name under which the Event Viewer shows entries.
pub const SOURCE: &str = "keyrx";

/// Of each kind there is at most one entry in so long.
const PAUSE: Duration = Duration::from_secs(60);

/// Something that people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(windows),
    allow(dead_code, reason = "only the service of Windows has something to tell of each")
)]
pub enum Entry {
    Started {
        version: String,
        pid: u32,
    },
    Stopped {
        reason: String,
    },
    Installed {
        version: String,
    },
    Uninstalled,
    /// A keymap by the name of its profile, or of its file.
    KeymapApplied {
        name: String,
    },
    Recovered,
    SessionServed {
        session: u32,
        pid: u32,
    },
    SessionAdopted {
        session: u32,
        pid: u32,
    },
    SessionLeft {
        session: u32,
        reason: String,
    },
    KeymapRejected {
        place: String,
        /// The number of what is wrong.
        message: String,
    },
    Degraded {
        reasons: String,
    },
    HookReinstalled {
        reason: String,
    },
    Restarted {
        session: u32,
        cause: String,
        deaths: usize,
        delay: Duration,
    },
    SlowCallback {
        p99: Duration,
        longest: Duration,
    },
    NoWebServer {
        reason: String,
    },
    RefusedClient {
        pid: u32,
        reason: String,
    },
    PrivilegeMissing {
        privilege: String,
        consequence: String,
    },
    DiedBefore,
    Panicked {
        thread: String,
        location: String,
    },
    Unhealthy {
        reasons: String,
    },
    SafeMode {
        deaths: usize,
    },
    Rest,
    StateCorrupt {
        file: String,
    },
    LockHeld {
        pid: u32,
    },
    Hung {
        session: u32,
        pid: u32,
        silence: Duration,
    },
    Stalled {
        time: Duration,
    },
    GaveUp {
        reason: String,
    },
    Failed {
        reason: String,
    },
}

impl Entry {
    /// What an event of the log is worth to people, if it is.
    pub fn of(event: &str, context: &Map<String, Value>) -> Option<Entry> {
        let text = |field| match context.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        let number = |field| context.get(field).and_then(Value::as_u64).unwrap_or_default();
        Some(match event {
            "started" | "service_started" => {
                Entry::Started { version: text("version"), pid: number("pid") as u32 }
            }
            "stopping" => Entry::Stopped { reason: text("reason") },
            "keymap_loaded" => Entry::KeymapApplied { name: file_name(&text("path")) },
            "keymap_rejected" => {
                Entry::KeymapRejected { place: file_name(&text("place")), message: text("code") }
            }
            "health_changed" => match text("status").as_str() {
                "healthy" => Entry::Recovered,
                "degraded" => Entry::Degraded { reasons: text("reasons") },
                _ => Entry::Unhealthy { reasons: text("reasons") },
            },
            "interrupted" if text("kind").starts_with("hook_") => {
                Entry::HookReinstalled { reason: text("reason") }
            }
            "web_unreachable" | "web_failed" => Entry::NoWebServer { reason: text("message") },
            "crashed_before" => Entry::DiedBefore,
            "launched" => {
                Entry::SessionServed { session: number("session") as u32, pid: number("pid") as u32 }
            }
            "adopted" => {
                Entry::SessionAdopted { session: number("session") as u32, pid: number("pid") as u32 }
            }
            "keyrx_ended" => Entry::SessionLeft { session: number("session") as u32, reason: text("reason") },
            "keyrx_died" => Entry::Restarted {
                session: number("session") as u32,
                cause: text("cause"),
                deaths: number("deaths") as usize,
                delay: Duration::from_millis(number("delay_ms")),
            },
            "keyrx_hangs" => Entry::Hung {
                session: number("session") as u32,
                pid: number("pid") as u32,
                silence: Duration::from_millis(number("silence_ms")),
            },
            "client_refused" => Entry::RefusedClient { pid: number("pid") as u32, reason: text("reason") },
            "launched_with_less" => {
                Entry::PrivilegeMissing { privilege: text("missing"), consequence: text("consequence") }
            }
            "keys_slow" => Entry::SlowCallback {
                p99: Duration::from_micros(number("p99_us")),
                longest: Duration::from_micros(number("max_us")),
            },
            "panic" => Entry::Panicked { thread: text("thread"), location: text("location") },
            "safe_mode" => Entry::SafeMode { deaths: number("crashes") as usize },
            "resting" => Entry::Rest,
            "state_damaged" => Entry::StateCorrupt { file: text("path") },
            "stalled" => Entry::Stalled { time: Duration::from_millis(number("for_ms")) },
            "gave_up" => Entry::GaveUp { reason: text("message") },
            "platform_failed" => Entry::Failed { reason: text("error") },
            _ => return None,
        })
    }

    /// Its number, severity and all, as the table of messages has it.
    pub fn id(&self) -> u32 {
        let number = self.parts().0;
        // The table has no other severities, and all is of the facility 0.
        let severity = u32::from(number / 1000).min(3);
        severity << 30 | u32::from(number)
    }

    /// Its number, and what is put into its text.
    fn parts(&self) -> (u16, Vec<String>) {
        let seconds = |time: &Duration| format!("{:.1} s", time.as_secs_f64());
        let millis = |time: &Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        match self {
            Entry::Started { version, pid } => (1000, vec![version.clone(), pid.to_string()]),
            Entry::Stopped { reason } => (1001, vec![reason.clone()]),
            Entry::Installed { version } => (1002, vec![version.clone()]),
            Entry::Uninstalled => (1003, vec![]),
            Entry::KeymapApplied { name } => (1004, vec![name.clone()]),
            Entry::Recovered => (1005, vec![]),
            Entry::SessionServed { session, pid } => (1006, vec![session.to_string(), pid.to_string()]),
            Entry::SessionAdopted { session, pid } => (1007, vec![session.to_string(), pid.to_string()]),
            Entry::SessionLeft { session, reason } => (1008, vec![session.to_string(), reason.clone()]),
            Entry::KeymapRejected { place, message } => (2000, vec![place.clone(), message.clone()]),
            Entry::Degraded { reasons } => (2001, vec![reasons.clone()]),
            Entry::HookReinstalled { reason } => (2002, vec![reason.clone()]),
            Entry::Restarted { session, cause, deaths, delay } => {
                (2003, vec![session.to_string(), cause.clone(), deaths.to_string(), seconds(delay)])
            }
            Entry::SlowCallback { p99, longest } => (2004, vec![millis(p99), millis(longest)]),
            Entry::NoWebServer { reason } => (2005, vec![reason.clone()]),
            Entry::RefusedClient { pid, reason } => (2006, vec![pid.to_string(), reason.clone()]),
            Entry::PrivilegeMissing { privilege, consequence } => {
                (2007, vec![privilege.clone(), consequence.clone()])
            }
            Entry::DiedBefore => (2008, vec![]),
            Entry::Panicked { thread, location } => (2009, vec![thread.clone(), location.clone()]),
            Entry::Unhealthy { reasons } => (3000, vec![reasons.clone()]),
            Entry::SafeMode { deaths } => (3001, vec![deaths.to_string()]),
            Entry::Rest => (3002, vec![]),
            Entry::StateCorrupt { file } => (3003, vec![file.clone()]),
            Entry::LockHeld { pid } => (3004, vec![pid.to_string()]),
            Entry::Hung { session, pid, silence } => {
                (3005, vec![session.to_string(), pid.to_string(), seconds(silence)])
            }
            Entry::Stalled { time } => (3006, vec![seconds(time)]),
            Entry::GaveUp { reason } => (3007, vec![reason.clone()]),
            Entry::Failed { reason } => (3008, vec![reason.clone()]),
        }
    }
}

/// Without the directories, which are the user's business.
fn file_name(path: &str) -> String {
    path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned()
}

/// The Event Log, if there is one that knows keyrx.
#[derive(Debug)]
pub struct EventLog {
    log: Option<native::event_log::EventLog>,
    throttle: Guarded<Throttle>,
}

impl EventLog {
    pub fn open() -> EventLog {
        let throttle = Guarded::new(Throttle::default(), |_| {});
        EventLog { log: native::event_log::EventLog::open(SOURCE).ok(), throttle }
    }

    /// Writes an entry, at once or when there may be one of its kind again. It cannot be told that this fails.
    pub fn report(&self, entry: Entry) {
        let Some(log) = &self.log else { return };
        if let Some(entry) = self.throttle.with(|throttle| throttle.take(entry, boot::age())) {
            let _ = log.report(entry.id(), &entry.insertions());
        }
    }

    /// When there is something to catch up with.
    pub fn next(&self) -> Option<Instant> {
        let next = self.throttle.with(|throttle| throttle.next())?;
        Instant::now().checked_add(next.saturating_sub(boot::age()))
    }

    /// Writes what had to wait, if it is time. To be called at `next`, and at the end with `all`.
    pub fn catch_up(&self, all: bool) {
        let Some(log) = &self.log else { return };
        let now = if all { Duration::MAX } else { boot::age() };
        for entry in self.throttle.with(|throttle| throttle.due(now)) {
            let _ = log.report(entry.id(), &entry.insertions());
        }
    }
}

/// An entry, and how many of its kind there were since the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counted {
    entry: Entry,
    more: u64,
}

impl Counted {
    fn id(&self) -> u32 {
        self.entry.id()
    }

    fn insertions(&self) -> Vec<String> {
        let mut insertions = self.entry.parts().1;
        insertions.push(match self.more {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        });
        insertions
    }
}

/// Lets the first of a kind through at once, and then the latest one after each pause.
#[derive(Debug, Default)]
struct Throttle {
    kinds: BTreeMap<u32, Kind>,
}

#[derive(Debug)]
struct Kind {
    /// When there may be the next one.
    next: Duration,
    waiting: Option<Counted>,
}

impl Throttle {
    fn take(&mut self, entry: Entry, now: Duration) -> Option<Counted> {
        let kind = self.kinds.entry(entry.id()).or_insert(Kind { next: now, waiting: None });
        let more = kind.waiting.take().map(|waiting| waiting.more.saturating_add(1)).unwrap_or_default();
        let counted = Counted { entry, more };
        if now < kind.next {
            kind.waiting = Some(counted);
            return None;
        }
        kind.next = now.saturating_add(PAUSE);
        Some(counted)
    }

    fn next(&self) -> Option<Duration> {
        let waiting = self.kinds.values().filter(|kind| kind.waiting.is_some());
        waiting.map(|kind| kind.next).min()
    }

    fn due(&mut self, now: Duration) -> Vec<Counted> {
        let due = self.kinds.values_mut().filter(|kind| kind.next <= now);
        due.filter_map(|kind| {
            let waiting = kind.waiting.take()?;
            kind.next = now.saturating_add(PAUSE);
            Some(waiting)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One of each.
    fn samples() -> Vec<(&'static str, Entry)> {
        let text = || "something".to_owned();
        let (session, pid) = (1, 2);
        macro_rules! named {
            ($($name:ident $({ $($fields:tt)* })?),* $(,)?) => {
                vec![$((stringify!($name), Entry::$name $({ $($fields)* })?)),*]
            };
        }
        let samples = named![
            Started { version: text(), pid },
            Stopped { reason: text() },
            Installed { version: text() },
            Uninstalled,
            KeymapApplied { name: text() },
            Recovered,
            SessionServed { session, pid },
            SessionAdopted { session, pid },
            SessionLeft { session, reason: text() },
            KeymapRejected { place: text(), message: text() },
            Degraded { reasons: text() },
            HookReinstalled { reason: text() },
            Restarted { session, cause: text(), deaths: 3, delay: SECOND },
            SlowCallback { p99: SECOND, longest: SECOND },
            NoWebServer { reason: text() },
            RefusedClient { pid, reason: text() },
            PrivilegeMissing { privilege: text(), consequence: text() },
            DiedBefore,
            Panicked { thread: text(), location: text() },
            Unhealthy { reasons: text() },
            SafeMode { deaths: 3 },
            Rest,
            StateCorrupt { file: text() },
            LockHeld { pid },
            Hung { session, pid, silence: SECOND },
            Stalled { time: SECOND },
            GaveUp { reason: text() },
            Failed { reason: text() },
        ];
        // A new entry must be added above: this does not compile without it.
        for (_, entry) in &samples {
            match entry {
                Entry::Started { .. }
                | Entry::Stopped { .. }
                | Entry::Installed { .. }
                | Entry::Uninstalled
                | Entry::KeymapApplied { .. }
                | Entry::Recovered
                | Entry::SessionServed { .. }
                | Entry::SessionAdopted { .. }
                | Entry::SessionLeft { .. }
                | Entry::KeymapRejected { .. }
                | Entry::Degraded { .. }
                | Entry::HookReinstalled { .. }
                | Entry::Restarted { .. }
                | Entry::SlowCallback { .. }
                | Entry::NoWebServer { .. }
                | Entry::RefusedClient { .. }
                | Entry::PrivilegeMissing { .. }
                | Entry::DiedBefore
                | Entry::Panicked { .. }
                | Entry::Unhealthy { .. }
                | Entry::SafeMode { .. }
                | Entry::Rest
                | Entry::StateCorrupt { .. }
                | Entry::LockHeld { .. }
                | Entry::Hung { .. }
                | Entry::Stalled { .. }
                | Entry::GaveUp { .. }
                | Entry::Failed { .. } => {}
            }
        }
        samples
    }

    /// What the table says: name, number and how many insertions the text has.
    fn table() -> Vec<(String, u32, usize)> {
        let source = include_str!("../resources/event_log.mc");
        assert!(source.is_ascii(), "the message compilers disagree about everything else");
        let severities = ["", "Informational", "Warning", "Error"];
        let entries = source.split("MessageId=").skip(1).map(|entry| {
            let lines = entry.lines().collect::<Vec<_>>();
            let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).unwrap();
            let number = lines[0].parse::<u32>().unwrap();
            let severity = severities.iter().position(|severity| *severity == value("Severity=")).unwrap();
            let text = lines[5];
            assert_eq!((lines[4], lines[6]), ("Language=English", "."), "{number}: one line of text");
            let used = (1..=99).filter(|number| {
                let rest = text.split(&format!("%{number}")).nth(1);
                rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
            });
            let used = used.collect::<Vec<_>>();
            assert_eq!(used, (1..=used.len()).collect::<Vec<_>>(), "{number}: {text}");
            assert!(text.ends_with(&format!("%{}", used.len())), "{number}: the count comes last");
            (value("SymbolicName=").to_owned(), (severity as u32) << 30 | number, used.len())
        });
        entries.collect()
    }

    #[test]
    fn the_table_of_messages_has_the_same_entries() {
        let insertions = |entry: &Entry| Counted { entry: entry.clone(), more: 0 }.insertions().len();
        let entries = samples()
            .iter()
            .map(|(name, entry)| (name.to_string(), entry.id(), insertions(entry)))
            .collect::<Vec<_>>();
        assert_eq!(table(), entries);
        let numbers = entries.iter().map(|(_, id, _)| id & 0xffff).collect::<BTreeSet<_>>();
        assert_eq!(numbers.len(), entries.len(), "each has its own number");
        assert!(numbers.iter().all(|number| matches!(number, 1000..=1099 | 2000..=2099 | 3000..=3099)));
    }

    #[test]
    fn the_manual_has_every_entry() {
        let manual = include_str!("../../../docs/event-log.md");
        let is_entry = |row: &&str| {
            let number = row.strip_prefix("| ");
            number.is_some_and(|number| number.starts_with(|first: char| first.is_ascii_digit()))
        };
        let rows = manual
            .lines()
            .filter(is_entry)
            .map(|row| row.trim_matches(['|', ' ']).replace('*', ""))
            .collect::<Vec<_>>();
        let expected = include_str!("../resources/event_log.mc").split("MessageId=").skip(1).map(|entry| {
            let lines = entry.lines().collect::<Vec<_>>();
            let text = lines[5].trim_end_matches(|end: char| end.is_ascii_digit()).trim_end_matches('%');
            format!("{} | {text}", lines[0])
        });
        assert_eq!(rows, expected.collect::<Vec<_>>());
    }

    fn rejected(place: u32) -> Entry {
        Entry::KeymapRejected { place: place.to_string(), message: String::new() }
    }

    #[test]
    fn the_first_comes_at_once_and_then_the_latest_once_a_minute() {
        let mut throttle = Throttle::default();
        let mut told = Vec::new();
        for second in 100..350 {
            if second < 200 {
                told.extend(throttle.take(rejected(second), second * SECOND).map(|told| (second, told)));
            }
            told.extend(throttle.due(second * SECOND).into_iter().map(|told| (second, told)));
        }
        let expected = [(100, 100, 0), (160, 160, 59), (220, 199, 38)];
        let expected = expected.map(|(at, place, more)| (at, Counted { entry: rejected(place), more }));
        assert_eq!(told, expected);
        assert_eq!(expected[1].1.insertions(), ["160", "", " (and 59 more)"]);
        assert_eq!(expected[0].1.insertions(), ["100", "", ""]);
    }

    #[test]
    fn one_kind_does_not_hold_up_another_and_the_end_waits_for_none() {
        let mut throttle = Throttle::default();
        assert!(throttle.take(rejected(1), SECOND).is_some());
        assert!(throttle.take(Entry::Recovered, SECOND).is_some());
        assert!(throttle.take(Entry::Recovered, 2 * SECOND).is_none());
        assert_eq!(throttle.due(3 * SECOND), []);
        assert_eq!(throttle.next(), Some(61 * SECOND));
        assert_eq!(throttle.due(Duration::MAX), [Counted { entry: Entry::Recovered, more: 0 }]);
        assert_eq!((throttle.due(Duration::MAX), throttle.next()), (vec![], None));
    }

    #[test]
    fn events_of_the_log_that_concern_people_are_entries() {
        let entry = |event: &str, context: Value| Entry::of(event, context.as_object().unwrap());
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let started = Entry::Started { version: "2.0".into(), pid: 7 };
        assert_eq!(entry("started", json(r#"{"version":"2.0","pid":7}"#)), Some(started));
        let health =
            |status: &str| entry("health_changed", serde_json::json!({ "status": status, "reasons": "a" }));
        assert_eq!(health("healthy"), Some(Entry::Recovered));
        assert_eq!(health("degraded"), Some(Entry::Degraded { reasons: "a".into() }));
        assert_eq!(health("unhealthy"), Some(Entry::Unhealthy { reasons: "a".into() }));
        let interrupted =
            |kind: &str| entry("interrupted", serde_json::json!({ "kind": kind, "reason": "why" }));
        assert_eq!(interrupted("hook_slow"), Some(Entry::HookReinstalled { reason: "why".into() }));
        assert_eq!(interrupted("resumed"), None);
        let loaded = entry("keymap_loaded", json(r#"{"path":"C:\\\\Users\\\\u\\\\work.rhai"}"#));
        assert_eq!(loaded, Some(Entry::KeymapApplied { name: "work.rhai".into() }));
        assert_eq!(entry("ready", json("{}")), None);
    }
}
