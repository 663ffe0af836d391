//! When keyrx began and how it ended, on the disk: what tells a crash from an end in order, and from a power failure.
//!
//! Moments are counted from the start of the system, and belong to that start alone; what was before counts for
//! nothing, and neither does the time of day. A line that is damaged is skipped: whatever is wrong with the record,
//! keyrx starts.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use keyrx_platform::native::boot;
use serde::{Deserialize, Serialize};

use crate::crashes::{self, Report};
use crate::phase::Reason;
use crate::recovery::{History, Mode, Recovery};
use crate::state;
use crate::timestamp::Timestamp;
use keyrx_platform::lock::Guarded;

/// The variable by which whoever starts keyrx says how much it may do.
pub const MODE: &str = "KEYRX_MODE";

/// So many events are kept.
const MOST_KEPT: usize = 64;

/// What is larger is not ours.
const MAX_BYTES: u64 = 1 << 20;

/// What is worth a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Start {
        run: String,
        pid: u32,
        version: String,
        mode: String,
    },
    /// A supervisor has started, or adopted, this process. `started`: as the system says it.
    Child {
        pid: u32,
        started: u64,
    },
    /// It was asked to end, and does: whatever happens then is no crash.
    Stopping {
        reason: String,
    },
    /// It has ended as programs do.
    Stop {
        code: u8,
    },
    /// It was seen to die.
    Died {
        how: String,
        lived_ms: u64,
    },
    /// What was before is to count no more.
    Forgiven {
        reason: String,
    },
}

/// An event, and when it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    boot: String,
    at_ms: u64,
    /// For people.
    time: String,
    #[serde(flatten)]
    event: Event,
}

/// How the run before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    InOrder,
    Crashed,
    /// The whole system went down.
    PowerLost,
}

/// The events on the disk, and those that could not be brought there.
#[derive(Debug, Default)]
pub struct Record {
    path: Option<PathBuf>,
    boot: String,
    entries: VecDeque<Entry>,
    /// The last event did not come to the disk.
    fails: bool,
}

impl Record {
    /// Reads what there is. Without a path, nothing outlives the process.
    pub fn open(path: Option<PathBuf>) -> Record {
        // Where boots cannot be told apart, none is like another.
        let boot = boot::id().unwrap_or_else(|| format!("unknown {:x}", random()));
        let mut record = Record { path, boot, ..Record::default() };
        let Some(path) = record.path.as_deref() else { return record };
        let mut bytes = Vec::new();
        let read = File::open(path)
            .and_then(|file| file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes).map(drop));
        match read {
            Ok(()) if bytes.len() as u64 <= MAX_BYTES => record.entries = parse(&bytes).collect(),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return record,
            Err(error) => {
                tracing::warn!(
                    event = "state_unreadable",
                    path = %path.display(),
                    error = %error,
                    "it cannot be read how keyrx ended before: {}: {error}",
                    path.display()
                );
                return record;
            }
        }
        if record.entries.is_empty() && !bytes.is_empty() {
            state::set_aside(path, path);
        }
        record
    }

    /// Adds an event, and brings it to the disk.
    pub fn add(&mut self, at: Duration, event: Event) {
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.entries.push_back(Entry {
            boot: self.boot.clone(),
            at_ms,
            time: Timestamp::now().to_string(),
            event,
        });
        let too_many = self.entries.len().saturating_sub(MOST_KEPT);
        self.entries.drain(..too_many);
        let Some(path) = &self.path else { return };
        let text = self.entries.iter().filter_map(line).collect::<String>();
        let saved = state::replace(path, None, text.as_bytes());
        self.fails = saved.is_err();
        if let Err(error) = saved {
            tracing::warn!(
                event = "state_not_saved",
                path = %path.display(),
                error = %error,
                "a restart will not know of this run: {} cannot be written: {error}",
                path.display()
            );
        }
    }

    pub fn fails(&self) -> bool {
        self.fails
    }

    /// The deaths of this boot, and what they come to.
    pub fn history(&self) -> History {
        self.read(Duration::MAX).0
    }

    /// As `history`, up to `now`; and since when there is a run that has not ended.
    fn read(&self, now: Duration) -> (History, Option<Duration>) {
        let mut history = History::default();
        let mut running: Option<Duration> = None;
        for entry in self.entries.iter().filter(|entry| entry.boot == self.boot) {
            let at = Duration::from_millis(entry.at_ms);
            if at > now {
                continue; // of another boot after all
            }
            let mut died = |since: Option<Duration>| {
                if let Some(since) = since {
                    history.died(at, at.saturating_sub(since));
                }
            };
            match &entry.event {
                Event::Start { .. } => died(running.replace(at)),
                Event::Stopping { .. } => running = None,
                Event::Stop { code: 0 } => {
                    running = None;
                    history.forgive();
                }
                Event::Stop { code } if is_end(i32::from(*code)) => running = None,
                Event::Stop { .. } => died(running.take()),
                Event::Died { lived_ms, .. } => {
                    running = None;
                    history.died(at, Duration::from_millis(*lived_ms));
                }
                Event::Forgiven { .. } => history.forgive(),
                Event::Child { .. } => {}
            }
        }
        (history, running)
    }

    /// The process that a supervisor had last, unless it has seen its end.
    #[cfg_attr(not(windows), allow(dead_code, reason = "only the service of Windows adopts one"))]
    pub fn child(&self) -> Option<(u32, u64)> {
        self.entries.iter().filter(|entry| entry.boot == self.boot).fold(None, |child, entry| {
            match entry.event {
                Event::Child { pid, started } => Some((pid, started)),
                Event::Died { .. } | Event::Stop { .. } => None,
                _ => child,
            }
        })
    }

    fn last_start(&self) -> Option<Report> {
        self.entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Start { run, pid, version, mode } => Some(crashes::died(run, *pid, version, mode)),
            _ => None,
        })
    }

    fn before(&self, running: Option<Duration>) -> Before {
        match self.entries.back() {
            Some(Entry { event: Event::Start { .. }, boot, .. }) if *boot != self.boot => Before::PowerLost,
            _ if running.is_some() => Before::Crashed,
            _ => Before::InOrder,
        }
    }
}

/// Whether a process that ends with this code has done what it could: it is not to be started again. All else is a
/// failure: a death like others.
pub fn is_end(code: i32) -> bool {
    // Done, bad input, bad usage, not permitted; stopped, though not in time; stopped at once.
    matches!(code, 0..=3 | 75 | 130)
}

/// What is known at a start: what there was, and what it means for this run. Whoever is started holds the lock, so
/// that a run which has not ended is no more.
fn decide(record: &Record, now: Duration) -> (History, Before) {
    let (mut history, running) = record.read(now);
    if let Some(since) = running {
        history.died(now, now.saturating_sub(since));
    }
    (history, record.before(running))
}

fn line(entry: &Entry) -> Option<String> {
    let json = serde_json::to_string(entry).ok()?;
    Some(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())))
}

/// The events of all lines that are whole, as many as are kept.
fn parse(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    let entry = |line: &[u8]| {
        let (sum, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        let is_whole = sum == format!("{:08x}", crc32fast::hash(json.as_bytes()));
        is_whole.then(|| serde_json::from_str(json).ok()).flatten()
    };
    let entries = bytes.split(|byte| *byte == b'\n').filter_map(entry).collect::<Vec<Entry>>();
    let too_many = entries.len().saturating_sub(MOST_KEPT);
    entries.into_iter().skip(too_many)
}

/// Not to be guessed by chance; it is no secret.
pub fn random() -> u64 {
    RandomState::new().hash_one("keyrx")
}

/// This run, for all its threads.
#[derive(Debug)]
pub struct Lifecycle(Guarded<Run>);

#[derive(Debug)]
struct Run {
    /// Its name.
    name: String,
    record: Record,
    history: History,
    /// What was before, if it ended without a word.
    died_before: Option<Report>,
}

impl Lifecycle {
    /// Begins a run, once the lock is held.
    pub fn begin(path: Option<PathBuf>) -> Lifecycle {
        let now = boot::age();
        let mut record = Record::open(path);
        let (mut history, before) = decide(&record, now);
        let told = std::env::var(MODE).ok().and_then(|text| Mode::parse(&text, now));
        history.heed(told.unwrap_or_default(), now);
        let mode = history.mode(now);
        let died_before = record.last_start().filter(|_| before == Before::Crashed);
        let run = format!("{:016x}", random());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let start =
            Event::Start { run: run.clone(), pid: std::process::id(), version, mode: mode.to_string() };
        record.add(now, start);
        tell(before, mode, history.recent_deaths(now));
        Lifecycle(Guarded::new(Run { name: run, record, history, died_before }, |_| {}))
    }

    /// What tells this run from others.
    pub fn run(&self) -> String {
        self.0.with(|run| run.name.clone())
    }

    /// The run before, if it ended without a word.
    pub fn died_before(&self) -> Option<Report> {
        self.0.with(|run| run.died_before.clone())
    }

    /// How much keyrx may do by now.
    pub fn mode(&self) -> Mode {
        self.0.with(|run| run.history.mode(boot::age()))
    }

    /// How much is left of a rest.
    pub fn rest(&self) -> Option<Duration> {
        match self.mode() {
            Mode::Rest { until } => Some(until.saturating_sub(boot::age())),
            Mode::Normal | Mode::Safe => None,
        }
    }

    /// How keyrx recovers, for its health.
    pub fn recovery(&self) -> Recovery {
        let now = boot::age();
        self.0.with(|run| Recovery {
            mode: run.history.mode(now),
            recent_crashes: run.history.recent_deaths(now),
        })
    }

    /// Leaves safe mode or a rest, because there is something new to try. Whether there was one.
    pub fn forgive(&self, reason: &str) -> bool {
        self.0.with(|run| {
            if run.history.mode(boot::age()) == Mode::Normal {
                return false;
            }
            run.history.forgive();
            run.record.add(boot::age(), Event::Forgiven { reason: reason.into() });
            true
        })
    }

    /// It ends. If somebody wanted it, then from here on it is no crash.
    pub fn stopping(&self, why: Reason) {
        let reason = why.name();
        tracing::info!(event = "stopping", reason, "stopping ({reason})");
        if why.is_wanted() {
            self.add(Event::Stopping { reason: reason.into() });
        }
    }

    /// Ends the run.
    pub fn stopped(&self, code: u8) {
        self.add(Event::Stop { code });
    }

    fn add(&self, event: Event) {
        self.0.with(|run| run.record.add(boot::age(), event));
    }
}

fn tell(before: Before, mode: Mode, crashes: usize) {
    match before {
        Before::InOrder => {}
        Before::Crashed => {
            tracing::warn!(event = "crashed_before", crashes, "keyrx ended without a word the last time");
        }
        Before::PowerLost => {
            tracing::info!(
                event = "power_lost_before",
                "the system went down the last time, with keyrx running"
            );
        }
    }
    let mode_name = mode.to_string();
    match mode {
        Mode::Normal => {}
        Mode::Safe => {
            tracing::warn!(
                event = "safe_mode",
                mode = mode_name,
                crashes,
                "safe mode, for keyrx died again and again: keys pass through, until the keymap is changed or read \
                 again, or after ten minutes"
            );
        }
        Mode::Rest { .. } => {
            tracing::error!(
                event = "resting",
                mode = mode_name,
                crashes,
                "keyrx rests for ten minutes, for it died in safe mode, too: no keyboard is touched"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::directory;

    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> Event {
        let (run, version, mode) = ("1f".into(), "2".into(), "normal".into());
        Event::Start { run, pid: 1, version, mode }
    }

    fn record(test: &str) -> Record {
        Record::open(Some(directory(test).join("run.lifecycle")))
    }

    /// The record as the next process finds it.
    fn again(record: &Record) -> Record {
        Record::open(record.path.clone())
    }

    fn deaths(record: &Record, now: Duration) -> (usize, Before) {
        let (history, before) = decide(record, now);
        (history.recent_deaths(now), before)
    }

    #[test]
    fn a_start_without_an_end_is_a_crash() {
        let mut record = record("lifecycle-crash");
        assert_eq!(deaths(&record, SECOND), (0, Before::InOrder));
        record.add(SECOND, start());
        assert_eq!(deaths(&again(&record), 2 * SECOND), (1, Before::Crashed));
        record.add(2 * SECOND, start());
        assert_eq!(deaths(&again(&record), 3 * SECOND), (2, Before::Crashed));
        record.add(4 * SECOND, Event::Stop { code: 0 });
        assert_eq!(deaths(&again(&record), 5 * SECOND), (1, Before::InOrder));
    }

    #[test]
    fn an_end_is_a_crash_or_not_by_its_code() {
        for (code, expected) in [(0, 0), (1, 0), (2, 0), (3, 0), (70, 1), (75, 0), (101, 1), (130, 0)] {
            let mut record = record("lifecycle-code");
            record.add(SECOND, start());
            record.add(2 * SECOND, Event::Stop { code });
            assert_eq!(deaths(&again(&record), 3 * SECOND), (expected, Before::InOrder), "code {code}");
        }
    }

    #[test]
    fn who_was_asked_to_end_may_do_it_as_it_likes() {
        let mut record = record("lifecycle-asked");
        record.add(SECOND, start());
        record.add(2 * SECOND, Event::Stopping { reason: "signal".into() });
        assert_eq!(deaths(&again(&record), 3 * SECOND), (0, Before::InOrder), "killed by a second signal");
        record.add(3 * SECOND, Event::Stop { code: 70 });
        assert_eq!(deaths(&again(&record), 4 * SECOND), (0, Before::InOrder));
    }

    #[test]
    fn a_power_failure_is_no_crash() {
        let mut record = record("lifecycle-power");
        let boot = std::mem::replace(&mut record.boot, "another".into());
        for second in 1..9 {
            record.add(second * SECOND, start());
        }
        assert_eq!(
            decide(&record, 9 * SECOND).0.mode(9 * SECOND),
            Mode::Rest { until: 10 * 60 * SECOND + 9 * SECOND }
        );
        record.boot = boot;
        assert_eq!(deaths(&again(&record), 100 * SECOND), (0, Before::PowerLost));
        record.add(SECOND, start());
        assert_eq!(deaths(&again(&record), 100 * SECOND), (1, Before::Crashed));
    }

    #[test]
    fn five_crashes_within_a_minute_lead_to_safe_mode_and_three_there_to_a_rest() {
        let mut record = record("lifecycle-loop");
        let mut modes = Vec::new();
        for second in 1..=10 {
            let now = 100 * SECOND + second * SECOND;
            modes.push(decide(&again(&record), now).0.mode(now).to_string());
            record.add(now, start());
        }
        let normal = ["normal"; 5];
        assert_eq!(modes, [&normal[..], &["safe"; 3], &["rest"; 2]].concat());
        let later = 110 * SECOND + crate::recovery::REST;
        assert_eq!(decide(&again(&record), later).0.mode(later), Mode::Normal);
        record.add(111 * SECOND, Event::Forgiven { reason: "a new keymap".into() });
        let now = 112 * SECOND;
        assert_eq!(decide(&again(&record), now).0.mode(now), Mode::Normal);
    }

    #[test]
    fn the_time_of_day_decides_nothing() {
        let mut record = record("lifecycle-clock");
        record.add(SECOND, start());
        record.add(2 * SECOND, start());
        let before = decide(&record, 3 * SECOND);
        for (entry, time) in record.entries.iter_mut().zip(["1970-01-01T00:00:00.000Z", "nonsense"]) {
            entry.time = time.into();
        }
        assert_eq!(decide(&record, 3 * SECOND), before);
    }

    #[test]
    fn what_seems_to_come_later_than_now_counts_for_nothing() {
        let mut record = record("lifecycle-future");
        record.add(100 * SECOND, start());
        assert_eq!(deaths(&record, SECOND).0, 0);
    }

    #[test]
    fn so_many_events_are_kept_and_no_more() {
        let mut record = record("lifecycle-many");
        for second in 0..200 {
            record.add(second * SECOND, start());
        }
        let again = again(&record);
        assert_eq!((again.entries.len(), &again.entries), (MOST_KEPT, &record.entries));
        assert_eq!(again.entries.back().unwrap().at_ms, 199_000);
    }

    #[test]
    fn damaged_lines_are_skipped_and_a_damaged_file_is_set_aside() {
        let mut record = record("lifecycle-damaged");
        for second in 1..4 {
            record.add(second * SECOND, start());
        }
        let path = record.path.clone().unwrap();
        let whole = fs::read(&path).unwrap();
        let line = whole.iter().position(|byte| *byte == b'\n').unwrap();
        let left = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            again(&record).entries.len()
        };
        assert_eq!(left(&whole[..whole.len() - 1]), 3, "without the last end of line");
        assert_eq!(left(&whole[..whole.len() - 2]), 2, "torn");
        assert_eq!(left(&[&whole[..line / 2], &whole[line..]].concat()), 2);
        assert_eq!(left(&[&whole[..], b"\xff\x00\n"].concat()), 3);
        assert!(!path.with_extension("lifecycle.damaged.1").exists());
        assert_eq!(left(b"nonsense"), 0);
        assert!(path.with_extension("lifecycle.damaged.1").exists() && !path.exists());
        assert_eq!(left(&vec![b'x'; 2 << 20]), 0);
        assert!(path.with_extension("lifecycle.damaged.2").exists());
        fs::create_dir(&path).unwrap();
        let mut unreadable = again(&record);
        unreadable.add(SECOND, start());
        assert_eq!(deaths(&unreadable, 2 * SECOND), (1, Before::Crashed), "then in memory alone");
    }

    #[test]
    fn a_run_is_recorded_from_its_start_to_its_end() {
        let path = directory("lifecycle-run").join("run.lifecycle");
        let modes = [(); 6].map(|()| Lifecycle::begin(Some(path.clone())).mode());
        assert_eq!(modes, [&[Mode::Normal; 5][..], &[Mode::Safe]].concat()[..]);
        let run = Lifecycle::begin(Some(path.clone()));
        assert_eq!(run.recovery(), Recovery { mode: Mode::Safe, recent_crashes: 6 });
        assert!(run.forgive("a new keymap") && !run.forgive("nothing to forgive"));
        assert_eq!((run.mode(), run.rest()), (Mode::Normal, None));
        run.stopping(Reason::Signal);
        run.stopped(0);
        let events = Record::open(Some(path)).entries.into_iter().rev().map(|entry| entry.event);
        let reason = |text: &str| text.to_owned();
        let expected = [
            Event::Stop { code: 0 },
            Event::Stopping { reason: reason("signal") },
            Event::Forgiven { reason: reason("a new keymap") },
        ];
        assert_eq!(events.take(3).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn without_a_place_on_the_disk_a_run_is_a_normal_one() {
        let run = Lifecycle::begin(None);
        assert_eq!(run.recovery(), Recovery::default());
        run.stopped(0);
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(start()),
            1 => Just(Event::Stopping { reason: String::new() }),
            2 => any::<u8>().prop_map(|code| Event::Stop { code }),
            4 => (0_u64..100_000).prop_map(|lived_ms| Event::Died { how: String::new(), lived_ms }),
            1 => Just(Event::Forgiven { reason: String::new() }),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(parse(&bytes).count(), 0);
        }

        #[test]
        fn whatever_is_damaged_the_rest_is_read(
            events in proptest::collection::vec(event(), 1..20),
            place in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut record = Record { boot: "boot".into(), ..Record::default() };
            for (second, event) in (0..).zip(events) {
                record.add(second * SECOND, event);
            }
            let mut bytes = record.entries.iter().filter_map(line).collect::<String>().into_bytes();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let left = parse(&bytes).collect::<Vec<_>>();
            prop_assert!(left.len() + 2 >= record.entries.len(), "one line, or two that became one");
            prop_assert!(left.iter().all(|entry| record.entries.contains(entry)));
        }

        #[test]
        fn whatever_was_a_start_is_decided_and_all_is_forgotten_in_the_end(
            events in proptest::collection::vec((0_u64..200_000, event()), 0..100),
            now in 0_u64..20_000_000,
        ) {
            let mut record = Record { boot: "boot".into(), ..Record::default() };
            let mut at = Duration::ZERO;
            for (pause, event) in events {
                at += Duration::from_millis(pause);
                record.add(at, event);
            }
            let now = Duration::from_millis(now);
            let (history, _) = decide(&record, now);
            if let Mode::Rest { until } = history.mode(now) {
                prop_assert!(until > now && until <= now + crate::recovery::REST);
            }
            let later = now + 2 * crate::recovery::REST;
            prop_assert_eq!(history.mode(later), Mode::Normal);
            prop_assert_eq!(history.recent_deaths(later), 0);
        }
    }
}
